// The plan: everything about one optimizer that does not change from step to step, as plain tables for host and device.
//
// A plan covers all groups and tensors at once. Chunks never cross a tensor, and the partial norm of a chunk has a fixed slot,
// so results do not depend on the number of threads or blocks. Gradients are not part of it: their addresses sit in a table of
// their own (0 = no gradient) that the caller refreshes.
#pragma once

#include <cstdint>
#include <vector>

#include "common/dtype.h"
#include "common/error.h"
#include "optim/adamw.h"
#include "schedule/schedule.h"

namespace rewarm::optim {

constexpr int64_t kChunkElements = 16384;  // 256 KB of float32 p, g, m, v: fits a core's L2 and balances two threads
constexpr int64_t kSegmentsPerSchedule = schedule::kMaxSegments;  // capacity, preallocated so that a swap under capture fits
// What a Schedule may drive, in the order of SCHEDULED in rewarm/optim/arguments.py. All are values of a group, except that the
// limit of the norm is one for all groups: that of group 0.
enum ScheduledValue : int64_t {
  kLr = 0,
  kWeightDecay = 1,
  kBeta1 = 2,
  kBeta2 = 3,
  kEps = 4,
  kMaxGradNorm = 5,
  kEmaDecay = 6,
  kScheduledValues = 7
};

struct TensorEntry {
  void* p;      // [numel] parameter dtype
  void* m;      // [numel] state dtype
  void* v;      // [numel] state dtype
  void* vmax;   // [numel] state dtype, or null without amsgrad
  float* ema;   // [numel] moving average of the parameter, or null without
  float* step;  // [1] t as torch shows it in state[p]["step"]
  int64_t numel;
  int32_t group;
  int32_t ordinal;  // position among all parameters: the stochastic rounding stream
  Dtype dtype;
  Dtype state_dtype;
};

struct Chunk {
  int64_t begin;   // first element within the tensor
  int32_t tensor;  // index into the entries
  int32_t count;   // elements
};

// One row per group; refreshed from param_groups before a step, plain data for upload.
struct GroupConfig {
  double value[kScheduledValues];       // used where segments is 0; that of lr also where override_lr is not
  int64_t segments[kScheduledValues];   // number of segments, 0 = a plain float
  int64_t in_tokens[kScheduledValues];  // 1 = the schedule counts tokens
  double lr_scale;
  int64_t decoupled, maximize;
  int64_t override_lr;   // 1 = lr was set to exactly 0.0 from outside: apply it, leave the schedule alone
  int64_t lr_address;    // device address of a tensor learning rate, 0 = none
  int64_t lr_is_double;  // that tensor's dtype: 1 = float64, 0 = float32
};
static_assert(sizeof(GroupConfig) == (3 * kScheduledValues + 6) * 8, "GroupConfig is an exchange format");

// Counters and results that live where the step runs. Two arrays of 8-byte words, so that torch can own and show them.
struct Control {
  int64_t* counters;  // as Counter, then origin[group][kScheduledValues]
  double* scalars;    // as Scalar, then [group][kGroupScalars]
};
enum Counter : int64_t {
  kUpdates = 0,
  kTokens = 1,
  kSkipped = 2,
  kClipped = 3,      // updates whose gradients were scaled down
  kNorms = 4,        // updates whose norm was read: what kClipped is a part of
  kNormSpikes = 5,   // norms far above their running mean
  kNormSpiking = 6,  // whether the last one was
  kLosses = 7,       // losses recorded
  kLossSpikes = 8,   // those far above their running mean
  kLossSpiking = 9,  // whether the last one was
  kOrigins = 10
};
enum Scalar : int64_t {
  kNorm = 0,
  kClipCoef = 1,
  kClipRate = 2,   // kClipped / kNorms
  kUpdateRms = 3,  // of theta_new - theta_old in the last update
  kNormMean = 4,
  kNormVariance = 5,
  kLossMean = 6,
  kLossVariance = 7,
  kGroups = 8
};
enum GroupScalar : int64_t {
  kLastLr = 0,
  kLrArea = 1,         // sum of the applied rates
  kAnnealingArea = 2,  // sum of kAnnealing
  kAnnealing = 3,      // falls of the rate, forgotten geometrically
  kAreaLr = 4,         // the rate that the areas counted last
  kGroupScalars = 5
};

// How the statistics of a run forget, and what they call a spike.
struct Watch {
  double annealing_decay;  // lambda of the annealing area
  double decay;            // of the running means and variances
  double deviations;       // a spike lies more than so many standard deviations above the mean
  int64_t after;           // values seen before anything is called a spike
};

struct StepOptions {
  bool clip;
  double max_grad_norm;  // unless a schedule of group 0 drives it
  bool skip_nonfinite;   // skip the update when the gradient norm is not finite
  bool zero_gradients;   // present gradients become zero, also when the update is skipped
  bool observe;          // read kUpdateRms
  Watch watch;
  bool advance;    // false: an override step, counters of schedules stay
  int64_t tokens;  // tokens consumed by this update
  bool stochastic_rounding;
  uint64_t seed;
  bool count_skipped_tokens;  // a skipped update consumed its tokens too
};

// One table a plan: t [n], then where the moments of every parameter began [n].
constexpr int64_t kStartWords = sizeof(MomentStart) / 8;
REWARM_HD const MomentStart* starts_behind(const int64_t* t, int64_t n) { return reinterpret_cast<const MomentStart*>(t + n); }

// The knots of all tables of an optimizer [kMaxKnots] lie in front of its rows, so that one address serves both and neither
// moves.
REWARM_HD const schedule::Knot* knots_of(const schedule::Segment* rows) {
  return reinterpret_cast<const schedule::Knot*>(rows) - schedule::kMaxKnots;
}

REWARM_HD double scheduled(const GroupConfig& g, const schedule::Segment* rows, const int64_t* counters, int64_t group,
                           ScheduledValue which) {
  const int64_t now = counters[g.in_tokens[which] ? kTokens : kUpdates] - counters[kOrigins + kScheduledValues * group + which];
  const schedule::Segment* row = rows + (kScheduledValues * group + which) * kSegmentsPerSchedule;
  return schedule::value_at(row, g.segments[which], knots_of(rows), now);
}

// Any value but lr, for the update about to be applied.
REWARM_HD double value_now(const GroupConfig& g, const schedule::Segment* rows, const int64_t* counters, int64_t group,
                           ScheduledValue which) {
  return g.segments[which] > 0 ? scheduled(g, rows, counters, group, which) : g.value[which];
}

// The hyper-parameters of a group for the update about to be applied.
// rows: [groups][kScheduledValues][kSegmentsPerSchedule], after the knots.
REWARM_HD Hyper hyper_now(const GroupConfig& g, const schedule::Segment* rows, const int64_t* counters, int64_t group) {
  Hyper h;
  h.lr = g.value[kLr];
  if (g.lr_address != 0)
    h.lr = g.lr_is_double ? *reinterpret_cast<const double*>(g.lr_address)
                          : static_cast<double>(*reinterpret_cast<const float*>(g.lr_address));
  if (g.segments[kLr] > 0 && !g.override_lr) h.lr = scheduled(g, rows, counters, group, kLr);
  h.lr *= g.lr_scale;
  h.weight_decay = value_now(g, rows, counters, group, kWeightDecay);
  h.beta1 = value_now(g, rows, counters, group, kBeta1);
  h.beta2 = value_now(g, rows, counters, group, kBeta2);
  h.eps = value_now(g, rows, counters, group, kEps);
  h.ema_decay = value_now(g, rows, counters, group, kEmaDecay);
  h.decoupled = g.decoupled != 0;
  h.maximize = g.maximize != 0;
  return h;
}

struct Plan {
  std::vector<TensorEntry> tensors;
  std::vector<Chunk> chunks;
  int64_t n_groups = 0;
  int64_t total_elements = 0;

  // chunk_elements: a multiple of 128, so that chunks of an aligned tensor are aligned.
  void build_chunks(int64_t chunk_elements = kChunkElements) {
    chunks.clear();
    total_elements = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const int64_t n = tensors[i].numel;
      total_elements += n;
      for (int64_t b = 0; b < n; b += chunk_elements)
        chunks.push_back({b, static_cast<int32_t>(i), static_cast<int32_t>(n - b < chunk_elements ? n - b : chunk_elements)});
    }
  }
};

}  // namespace rewarm::optim
