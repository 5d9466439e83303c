// What one instruction set offers to the networks: products, and what is done to a tile of rows while it is hot.
//
// Columns are padded to the panel of a product (see Gemm::padded); what lies behind a row's width is 0 in every buffer and in
// every parameter given here, and stays 0.
#pragma once

#include <cstdint>

#include "common/gemm.h"

namespace rewarm::q {

struct MlpKernels {
  const Gemm* gemm;
  // z -> (z - mean) / sqrt(var + eps) in place, y = relu(ln_weight · that + ln_bias), rstd [rows] unless null.
  // z, y: [rows, stride]; width: the columns that count.
  void (*norm_relu)(int64_t rows, int64_t width, int64_t stride, const float* ln_weight, const float* ln_bias, float eps,
                    float* z, float* y, float* rstd);
  // y -> relu(y) in place.
  void (*relu)(int64_t rows, int64_t width, int64_t stride, float* y);
  // dy -> the gradient of z; adds to the sums [width] of ln_weight, ln_bias and bias. dz: [rows, stride], dy: [rows, dy_stride]
  void (*norm_relu_backward)(int64_t rows, int64_t width, int64_t stride, const float* ln_weight, const float* normalized,
                             const float* y, const float* rstd, const float* dy, int64_t dy_stride, float* dz,
                             float* d_ln_weight, float* d_ln_bias, float* d_bias);
  void (*relu_backward)(int64_t rows, int64_t width, int64_t stride, const float* y, const float* dy, int64_t dy_stride,
                        float* dz, float* d_bias);
  // A head with one output: q [rows] = y · weight + bias.
  void (*head)(int64_t rows, int64_t width, int64_t stride, const float* y, const float* weight, float bias, float* q);
  // dy [rows, dy_stride] = dq · weight, and d_weight [width] += dq · y unless null.
  void (*head_backward)(int64_t rows, int64_t width, int64_t stride, const float* y, const float* weight, const float* dq,
                        float* dy, int64_t dy_stride, float* d_weight);
};

extern const MlpKernels kBaselineMlp;
#if defined(REWARM_X86)
extern const MlpKernels kAvx2Mlp;
extern const MlpKernels kAvx512Mlp;
#endif

// Those of the instruction set in use.
const MlpKernels& mlp_kernels();

}  // namespace rewarm::q
