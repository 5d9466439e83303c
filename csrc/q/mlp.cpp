// Forward and backward of one network on one thread.
#include "q/mlp.h"

#include <algorithm>
#include <cstring>

#include "common/isa.h"

namespace rewarm::q {

#if defined(REWARM_EMULATED)
extern const MlpKernels kEmulatedMlp;  // the AVX-512 ones for any processor, slow: where REWARM_EMULATE=avx512 asks for it
#endif

const MlpKernels& mlp_kernels() {
#if defined(REWARM_EMULATED)
  if (emulated()) return kEmulatedMlp;
#endif
#if defined(REWARM_X86)
  if (active_isa() >= Isa::kAvx512) return kAvx512Mlp;
  if (active_isa() == Isa::kAvx2) return kAvx2Mlp;
#endif
  return kBaselineMlp;
}

namespace {

// Rows of a buffer do not begin a power of two apart: columns of such rows share few sets of the first-level cache.
constexpr int64_t kSkew = 16;

size_t at(int64_t i) { return static_cast<size_t>(i); }

void copy_padded(const float* from, int64_t n, float* to, int64_t padded) {
  std::memcpy(to, from, at(n) * sizeof(float));
  std::fill(to + n, to + padded, 0.0f);
}

void finish(const float* totals, int64_t n, float* to) {
  if (to != nullptr) std::copy_n(totals, n, to);
}

}  // namespace

MlpLayout::MlpLayout(const MlpShape& shape, const Gemm& gemm) : shape_(shape) {
  for (int64_t l = 0; l <= shape.n_layers; ++l) strides_[at(l)] = gemm.padded(shape.widths[at(l)]) + kSkew;
  head_stride_ = gemm.padded(shape.outputs);
}

int64_t MlpLayout::kept_floats(int64_t rows) const {
  int64_t n = 0;
  for (int64_t l = 0; l < shape_.n_layers; ++l)
    n += rows * stride(l + 1) * (shape_.layer_norm[at(l)] ? 2 : 1) + (rows + 15) / 16 * 16;
  return n;
}

Activations MlpLayout::lay_out(float* memory, int64_t rows) const {
  Activations kept{};
  for (int64_t l = 0; l < shape_.n_layers; ++l) {
    Activations::Layer& layer = kept.layers[at(l)];
    const auto take = [&memory](int64_t n) {
      float* p = memory;
      memory += n;
      return p;
    };
    layer.y = take(rows * stride(l + 1));
    layer.normalized = shape_.layer_norm[at(l)] ? take(rows * stride(l + 1)) : nullptr;
    layer.rstd = take((rows + 15) / 16 * 16);
  }
  return kept;
}

MlpWorker::MlpWorker(const MlpShape& shape, int64_t most_rows)
    : shape_(shape), most_rows_(most_rows), kernels_(mlp_kernels()), gemm_(*kernels_.gemm), layout_(shape, *kernels_.gemm) {}

void MlpWorker::load(const Net& net, bool backward, int64_t dx_begin, int64_t dx_end) {
  net_ = net;
  dx_begin_ = dx_begin;
  dx_end_ = dx_end;
  const int64_t n_layers = shape_.n_layers;
  // One block: packed weights, then the padded vectors.
  int64_t size = 0, sums = 0;
  for (int64_t l = 0; l <= n_layers; ++l) {
    const int64_t in = shape_.widths[at(l)], out = l < n_layers ? shape_.widths[at(l + 1)] : shape_.outputs;
    size += gemm_.right_size(in, out) + gemm_.right_size(out, in) + 4 * gemm_.padded(out) + gemm_.padded(in);
    sums += 3 * gemm_.padded(std::max(in, out));
  }
  size += gemm_.right_size(shape_.widths[1], std::max<int64_t>(dx_end - dx_begin, 1));
  float* next = parameters_.floats(size);
  n_sums_ = sums;
  float* next_sum = sums_.floats(sums);
  const auto take = [&next](int64_t n) {
    float* p = next;
    next += n;
    return p;
  };
  for (int64_t l = 0; l < n_layers; ++l) {
    const auto& layer = net.layers[at(l)];
    Packed& p = packed_[at(l)];
    const int64_t in = shape_.widths[at(l)], out = shape_.widths[at(l + 1)], padded = gemm_.padded(out);
    p.weight = take(gemm_.right_size(in, out));
    gemm_.pack_right(layer.weight, in, out, out, p.weight);
    p.bias = take(padded);
    copy_padded(layer.bias, out, p.bias, padded);
    if (shape_.layer_norm[at(l)]) {
      p.ln_weight = take(padded);
      p.ln_bias = take(padded);
      copy_padded(layer.ln_weight, out, p.ln_weight, padded);
      copy_padded(layer.ln_bias, out, p.ln_bias, padded);
    }
    if (!backward) continue;
    if (l > 0) {
      p.weight_transposed = take(gemm_.right_size(out, in));
      gemm_.pack_right_transposed(layer.weight, out, in, out, p.weight_transposed);
    }
    for (float** sum : {&p.d_bias, &p.d_ln_weight, &p.d_ln_bias}) {
      *sum = next_sum;
      next_sum += padded;
    }
  }
  if (backward && dx_end > dx_begin) {
    const int64_t out = shape_.widths[1];
    dx_weight_ = take(gemm_.right_size(out, dx_end - dx_begin));
    gemm_.pack_right_transposed(net.layers[0].weight + dx_begin * out, out, dx_end - dx_begin, out, dx_weight_);
  }
  Packed& head = packed_[at(n_layers)];
  const int64_t last = shape_.last();
  if (shape_.outputs == 1) {
    head.weight = take(gemm_.padded(last));
    copy_padded(net.head_weight, last, head.weight, gemm_.padded(last));
    head.d_ln_weight = next_sum;  // of the weight, a vector here
    next_sum += gemm_.padded(last);
  } else {
    head.weight = take(gemm_.right_size(last, shape_.outputs));
    gemm_.pack_right(net.head_weight, last, shape_.outputs, shape_.outputs, head.weight);
    head.bias = take(gemm_.padded(shape_.outputs));
    copy_padded(net.head_bias, shape_.outputs, head.bias, gemm_.padded(shape_.outputs));
    if (backward) {
      head.weight_transposed = take(gemm_.right_size(shape_.outputs, last));
      gemm_.pack_right_transposed(net.head_weight, shape_.outputs, last, shape_.outputs, head.weight_transposed);
    }
  }
  head.d_bias = next_sum;
}

void MlpWorker::assemble(const MlpInput& input, int64_t first, int64_t rows, float* to) const {
  const int64_t stride = layout_.stride(0), width = shape_.inputs();
  for (int64_t r = 0; r < rows; ++r, to += stride) {
    const int64_t row = input.rows != nullptr ? input.rows[first + r] : first + r;
    std::memcpy(to, input.x + row / input.repeat * input.x_width, at(input.x_width) * sizeof(float));
    if (input.actions != nullptr)
      std::memcpy(to + input.x_width, input.actions + row * input.action_width, at(input.action_width) * sizeof(float));
    std::fill(to + width, to + stride, 0.0f);
  }
}

void MlpWorker::head_forward(int64_t rows, const float* y, float* q) {
  const int64_t n = shape_.n_layers, stride = layout_.stride(n);
  const Packed& head = packed_[at(n)];
  if (shape_.outputs == 1) {
    kernels_.head(rows, shape_.last(), stride, y, head.weight, net_.head_bias[0], q);
  } else {
    gemm_.multiply({rows, shape_.outputs, shape_.last(), y, stride, head.weight, head.bias, q, shape_.outputs, false, false});
  }
}

void MlpWorker::forward(const MlpInput& input, int64_t first, int64_t rows, const Activations* kept, float* q) {
  const int64_t n = shape_.n_layers;
  int64_t widest = 0;
  for (int64_t l = 0; l <= n; ++l) widest = std::max(widest, layout_.stride(l));
  // x or a layer's y, the next one's, and z where nothing is kept.
  float* tile = tile_.floats(3 * kTile * widest);
  for (int64_t begin = 0; begin < rows; begin += kTile) {
    const int64_t count = std::min(kTile, rows - begin);
    float *in = tile, *other = tile + kTile * widest, *spare = tile + 2 * kTile * widest;
    assemble(input, first + begin, count, in);
    for (int64_t l = 0; l < n; ++l) {
      const Packed& p = packed_[at(l)];
      const int64_t stride = layout_.stride(l + 1), width = shape_.widths[at(l + 1)];
      const bool norm = shape_.layer_norm[at(l)];
      float* y = kept != nullptr ? kept->layers[at(l)].y + begin * stride : other;
      float* z = !norm ? y : kept != nullptr ? kept->layers[at(l)].normalized + begin * stride : spare;
      gemm_.multiply({count, width, shape_.widths[at(l)], in, layout_.stride(l), p.weight, p.bias, z, stride, false, true});
      if (norm)
        kernels_.norm_relu(count, width, stride, p.ln_weight, p.ln_bias, shape_.eps, z, y,
                           kept != nullptr ? kept->layers[at(l)].rstd + begin : nullptr);
      else
        kernels_.relu(count, width, stride, y);
      if (kept == nullptr) std::swap(in, other);
      if (kept != nullptr) in = y;
    }
    head_forward(count, in, q + begin * shape_.outputs);
  }
}

void MlpWorker::begin_gradient() {
  std::fill_n(sums_.floats(n_sums_), n_sums_, 0.0f);
  std::fill_n(totals_.floats(n_sums_), n_sums_, 0.0f);
  fresh_ = true;
}

// A long sum is one of short ones: its error grows with their number, not with that of the rows.
void MlpWorker::add_sums() {
  float *sums = sums_.floats(n_sums_), *totals = totals_.floats(n_sums_);
  for (int64_t i = 0; i < n_sums_; ++i) totals[i] += sums[i];
  std::fill_n(sums, n_sums_, 0.0f);
}

void MlpWorker::weight_gradient(int64_t layer, int64_t rows, const float* in, int64_t in_stride, int64_t in_width,
                                float* weight, bool add) {
  const int64_t out = layer < shape_.n_layers ? shape_.widths[at(layer + 1)] : shape_.outputs;
  float* left = left_.floats(gemm_.left_size(rows, in_width));
  gemm_.pack_left_transposed(in, rows, in_width, in_stride, left);
  gemm_.multiply_packed({in_width, out, rows, left, 0, right_.floats(0), nullptr, weight, out, add, false});
}

void MlpWorker::head_gradient(int64_t rows, const float* y, const float* dq, const NetGradient* gradient) {
  const int64_t n = shape_.n_layers, outputs = shape_.outputs;
  float* d_bias = packed_[at(n)].d_bias;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < outputs; ++o) d_bias[o] += dq[r * outputs + o];
  if (outputs == 1) return;  // its weight's sums are taken where dy is made
  gemm_.pack_right(dq, rows, outputs, outputs, right_.floats(gemm_.right_size(rows, outputs)));
  weight_gradient(n, rows, y, layout_.stride(n), shape_.last(), gradient->head_weight, !fresh_);
}

void MlpWorker::backward(const MlpInput& input, int64_t first, int64_t rows, const Activations& kept, const float* dq,
                         const NetGradient* gradient, float* dx) {
  const int64_t n = shape_.n_layers, outputs = shape_.outputs;
  int64_t size = 0, widest = 0;
  for (int64_t l = 1; l <= n; ++l) {
    size += most_rows_ * layout_.stride(l);
    widest = std::max(widest, layout_.stride(l));
  }
  float* dz_all = gradients_.floats(size);
  std::array<float*, kMaxLayers> dz{};
  for (int64_t l = 0; l < n; ++l) {
    dz[at(l)] = dz_all;
    dz_all += most_rows_ * layout_.stride(l + 1);
  }
  float* dy = tile_.floats(3 * kTile * std::max(widest, layout_.stride(0)));
  Packed& head = packed_[at(n)];
  for (int64_t begin = 0; begin < rows; begin += kTile) {
    const int64_t count = std::min(kTile, rows - begin);
    for (int64_t l = n - 1; l >= 0; --l) {
      const int64_t stride = layout_.stride(l + 1), width = shape_.widths[at(l + 1)];
      const Activations::Layer& a = kept.layers[at(l)];
      const float* y = a.y + begin * stride;
      if (l == n - 1) {
        const float* d = dq + begin * outputs;
        if (outputs == 1)
          kernels_.head_backward(count, width, stride, y, head.weight, d, dy, stride,
                                 gradient != nullptr ? head.d_ln_weight : nullptr);
        else
          gemm_.multiply({count, width, outputs, d, outputs, head.weight_transposed, nullptr, dy, stride, false, true});
      } else {
        const int64_t next = layout_.stride(l + 2);
        gemm_.multiply({count, width, shape_.widths[at(l + 2)], dz[at(l + 1)] + begin * next, next,
                        packed_[at(l + 1)].weight_transposed, nullptr, dy, stride, false, true});
      }
      Packed& p = packed_[at(l)];
      float* to = dz[at(l)] + begin * stride;
      if (shape_.layer_norm[at(l)])
        kernels_.norm_relu_backward(count, width, stride, p.ln_weight, a.normalized + begin * stride, y, a.rstd + begin, dy,
                                    stride, to, p.d_ln_weight, p.d_ln_bias, p.d_bias);
      else
        kernels_.relu_backward(count, width, stride, y, dy, stride, to, p.d_bias);
    }
    if (dx != nullptr) {
      const int64_t columns = dx_end_ - dx_begin_;
      gemm_.multiply({count, columns, shape_.widths[1], dz[0] + begin * layout_.stride(1), layout_.stride(1), dx_weight_,
                      nullptr, dx + begin * columns, columns, false, false});
    }
  }
  if (gradient == nullptr) return;
  head_gradient(rows, kept.layers[at(n - 1)].y, dq, gradient);
  float* x = input_.floats(most_rows_ * layout_.stride(0));
  assemble(input, first, rows, x);
  for (int64_t l = n - 1; l >= 0; --l) {
    const int64_t out = shape_.widths[at(l + 1)];
    gemm_.pack_right(dz[at(l)], rows, out, layout_.stride(l + 1), right_.floats(gemm_.right_size(rows, out)));
    weight_gradient(l, rows, l > 0 ? kept.layers[at(l - 1)].y : x, layout_.stride(l), shape_.widths[at(l)],
                    gradient->layers[at(l)].weight, !fresh_);
  }
  fresh_ = false;
  add_sums();
}

void MlpWorker::clear_weights(const NetGradient& gradient) const {
  for (int64_t l = 0; l < shape_.n_layers; ++l)
    std::fill_n(gradient.layers[at(l)].weight, shape_.widths[at(l)] * shape_.widths[at(l + 1)], 0.0f);
  std::fill_n(gradient.head_weight, shape_.last() * shape_.outputs, 0.0f);
}

void MlpWorker::finish_gradient(const NetGradient& gradient) {
  const auto total = [this](const float* sum) { return totals_.floats(n_sums_) + (sum - sums_.floats(n_sums_)); };
  for (int64_t l = 0; l < shape_.n_layers; ++l) {
    const Packed& p = packed_[at(l)];
    const auto& to = gradient.layers[at(l)];
    const int64_t width = shape_.widths[at(l + 1)];
    finish(total(p.d_bias), width, to.bias);
    finish(total(p.d_ln_weight), width, to.ln_weight);
    finish(total(p.d_ln_bias), width, to.ln_bias);
  }
  const Packed& head = packed_[at(shape_.n_layers)];
  if (shape_.outputs == 1) finish(total(head.d_ln_weight), shape_.last(), gradient.head_weight);
  finish(total(head.d_bias), shape_.outputs, gradient.head_bias);
}

}  // namespace rewarm::q
