// The chunk functions of one instruction set, and the table that adamw.cpp picks them from.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/dtype.h"
#include "common/philox.h"
#include "optim/adamw.h"

namespace rewarm::optim {

// One chunk of one tensor; pointers are already advanced to its first element.
struct UpdateArgs {
  void* p;        // [n]
  const void* g;  // [n]
  void* m;        // [n]
  void* v;        // [n]
  void* vmax;     // [n] or null
  int64_t n;
  int64_t begin;  // index of the first element within its tensor, a multiple of 256
  Scalars scalars;
  uint32_t key0, key1;        // stochastic rounding: the seed,
  uint32_t rounding_t;        // t of this parameter,
  uint32_t rounding_ordinal;  // and its ordinal
};

using UpdateFunction = void (*)(const UpdateArgs&);
using SumSquaresFunction = double (*)(const void* data, int64_t n);
using BlendFunction = void (*)(float* ema, const void* theta, int64_t n, float decay, float one_minus_decay);
using ChangeFunction = double (*)(const void* before, const void* after, int64_t n);

struct Kernels {
  UpdateFunction (*update)(Dtype p, Dtype m, bool amsgrad, bool stochastic);
  SumSquaresFunction (*sum_squares)(Dtype g);
  BlendFunction (*blend)(Dtype p);
  ChangeFunction (*squared_change)(Dtype p);
};

extern const Kernels kBaselineKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512Bf16Kernels;

}  // namespace rewarm::optim
