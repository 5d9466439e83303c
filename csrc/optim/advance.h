// What one update does to norm, counters and t besides the elements: the lines that the CPU step and the CUDA kernels share.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "optim/plan.h"

namespace rewarm::optim {

struct NormOutcome {
  double norm;         // of the unscaled gradients
  double coefficient;  // factor on them; 0 when the update is skipped
  bool skip;
};

// The limit of the norm for the update about to be applied; it means nothing where there is no clipping.
REWARM_HD double norm_limit(const GroupConfig* groups, const schedule::Segment* rows, const int64_t* counters,
                            const StepOptions& o) {
  return groups[0].segments[kMaxGradNorm] > 0 ? scheduled(groups[0], rows, counters, 0, kMaxGradNorm) : o.max_grad_norm;
}

// grad_factor = 1 / loss scale.
REWARM_HD NormOutcome norm_outcome(double sum_of_squares, double grad_factor, double limit, const StepOptions& o) {
  NormOutcome out{sqrt(sum_of_squares) * grad_factor, 1.0, false};
  const bool is_nan = out.norm != out.norm;
  if (o.clip) {
    const double wanted = limit / (out.norm + 1e-6);
    if (wanted < 1.0) out.coefficient = wanted;
  }
  if (o.skip_nonfinite && (is_nan || out.norm - out.norm != 0.0)) {
    out.skip = true;
    out.coefficient = 0.0;
  } else if (is_nan) {
    out.coefficient = out.norm;  // without skipping NaN reaches every parameter, as torch's clip does
  }
  return out;
}

// t of the update about to be applied. state["step"] written from outside (a checkpoint loaded in place) wins over the counter.
REWARM_HD int64_t next_t(int64_t t, float shown) {
  if (shown != static_cast<float>(t)) t = static_cast<int64_t>(llround(static_cast<double>(shown)));
  return t + 1;
}

REWARM_HD void count_update(int64_t* counters, bool advance, int64_t tokens) {
  if (advance) ++counters[kUpdates];
  counters[kTokens] += tokens;
}

}  // namespace rewarm::optim
