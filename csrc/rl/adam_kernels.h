// One Adam step and one Polyak average of a run of parameters while their gradient is hot (Kingma & Ba 2015; every operation is
// rounded for itself, so that an element's result does not depend on where it lies).
#pragma once

#include <cstdint>

namespace rewarm::rl {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kAdamEps = 1e-8;

// What is the same for all elements of a step.
struct AdamScalars {
  float step_size;        // lr / (1 - beta1^t)
  float root_correction;  // sqrt(1 - beta2^t)
};
AdamScalars adam_scalars(double lr, int64_t t);

struct AdamRun {
  int64_t n;
  float* p;        // [n]
  const float* g;  // [n], null: 0
  float *m, *v;    // [n]
  float* target;   // [n], null: no average
};

struct AdamKernels {
  // target <- (1 - tau) target + tau p, after the step.
  void (*step)(const AdamRun& run, const AdamScalars& scalars, double tau);
};

extern const AdamKernels kBaselineAdam;
#if defined(REWARM_X86)
extern const AdamKernels kAvx2Adam;
extern const AdamKernels kAvx512Adam;
#endif

// Those of the instruction set in use.
const AdamKernels& adam_kernels();

}  // namespace rewarm::rl
