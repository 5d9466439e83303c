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

REWARM_HD bool is_finite(double x) { return x - x == 0.0; }

// One more value of a statistic: its running mean and variance, and whether it lies far above them. The first 1 / (1 - decay)
// values weigh alike (Welford), later ones decay (West 1979). A value that is not finite is a spike and changes no mean.
// moments: mean, variance. counts: values seen, spikes, whether this was one.
REWARM_HD void watch_value(double x, double* moments, int64_t* counts, const Watch& w) {
  const bool finite = is_finite(x);
  const bool spike = !finite || (counts[0] >= w.after && x > moments[0] + w.deviations * sqrt(moments[1]));
  counts[1] += spike;
  counts[2] = spike;
  if (!finite) return;
  ++counts[0];
  const double even = 1.0 / static_cast<double>(counts[0]), forgetting = 1.0 - w.decay;
  const double weight = even > forgetting ? even : forgetting;
  const double off = x - moments[0];
  moments[0] += weight * off;
  moments[1] = (1.0 - weight) * (moments[1] + weight * off * off);
}

REWARM_HD void record_norm(const NormOutcome& n, const Control& c, const Watch& w) {
  c.scalars[kNorm] = n.norm;
  c.scalars[kClipCoef] = n.coefficient;
  watch_value(n.norm, c.scalars + kNormMean, c.counters + kNorms, w);
  if (!is_finite(n.norm)) return;
  if (n.coefficient < 1.0) ++c.counters[kClipped];
  c.scalars[kClipRate] = static_cast<double>(c.counters[kClipped]) / static_cast<double>(c.counters[kNorms]);
}

// The applied rate of a group, and the areas of Tissue et al. 2024 (arXiv 2408.11029) that the law of continual pre-training of
// Wang et al. 2025 (arXiv 2505.07796) is written in: S1 = sum of lr_i, S2 = sum over i of sum over k <= i of
// (lr_(k-1) - lr_k) lambda^(i-k). Where the schedules stand still (an override), so do the areas.
REWARM_HD void record_lr(double* group, double lr, double annealing_decay, bool advance) {
  group[kLastLr] = lr;
  if (!advance) return;
  const double fall = is_finite(group[kAreaLr]) ? group[kAreaLr] - lr : 0.0;
  group[kAnnealing] = fma(annealing_decay, group[kAnnealing], fall);
  group[kAnnealingArea] += group[kAnnealing];
  group[kLrArea] += lr;
  group[kAreaLr] = lr;
}

// t of the update about to be applied. state["step"] written from outside (a checkpoint loaded in place) wins over the counter.
REWARM_HD int64_t next_t(int64_t t, float shown) {
  if (shown != static_cast<float>(t)) t = static_cast<int64_t>(llround(static_cast<double>(shown)));
  return t + 1;
}

REWARM_HD void count_skip(int64_t* counters, const StepOptions& o, int64_t tokens) {
  ++counters[kSkipped];
  if (o.count_skipped_tokens) counters[kTokens] += tokens;
}

REWARM_HD void count_update(int64_t* counters, bool advance, int64_t tokens) {
  if (advance) ++counters[kUpdates];
  counters[kTokens] += tokens;
}

}  // namespace rewarm::optim
