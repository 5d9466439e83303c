// The CPU step of a plan. Owns scratch only: parameters, moments, counters and tables belong to the caller.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "common/pace.h"
#include "common/threads.h"
#include "optim/kernels.h"
#include "optim/plan.h"

namespace rewarm::optim {

// What one call of step works on.
struct CpuStepInput {
  const int64_t* gradients;       // [n_tensors] addresses, 0 = no gradient
  int64_t* t;                     // [n_tensors] updates applied to each parameter; MomentStart [n_tensors] behind them
  const GroupConfig* groups;      // [n_groups]
  const schedule::Segment* rows;  // [n_groups][kScheduledValues][kSegmentsPerSchedule], null without schedules
  Control control;
  StepOptions options;
  double loss_scale;  // gradients are divided by it (GradScaler); 1 = none
  int threads;
  const double* sum_of_squares = nullptr;  // [1] of the gradients of all ranks; null: of those here
};

class AdamWCpu final : private ParallelJob {
 public:
  explicit AdamWCpu(Plan plan);

  // Applies one update; false when it was skipped because the gradient norm is not finite.
  bool step(const CpuStepInput& input);
  // The first half of a step whose other half waits for other ranks: sums of squares of the gradients by class of tensor, for
  // ranks to exchange. gradients, classes: [n_tensors]; sums: [n_classes]. Nothing advances.
  void sum_squares(const int64_t* gradients, const int32_t* classes, int64_t n_classes, double* sums, int threads);
  const Plan& plan() const { return plan_; }

 private:
  enum Phase { kNorm = 0, kUpdate = 1, kPhases = 2 };
  static constexpr int kMaxThreads = 64;
  static constexpr int64_t kAlwaysWide = int64_t{1} << 22;  // a step of this size takes milliseconds; not tuned
  static constexpr int64_t kTile = 1024;  // elements; theirs lie in the first-level cache together. A multiple of 256
  static constexpr int64_t kElementsPerThread = 16384;  // below two of these nobody is woken; not measured here

  void work(int slot) override;
  int widest(int threads) const;
  void open_claims();
  void run_phase(Phase phase, int slot);
  void wait_for_update() const;
  void open_update();
  void norm_chunk(int64_t i);
  void update_chunk(int64_t i);
  double update_in_tiles(const TensorEntry& e, UpdateFunction update, UpdateArgs a, float* ema) const;
  void finish_observation() const;
  void finish_norm(double sum);
  void prepare_update();

  Plan plan_;
  const Kernels* kernels_;
  bool any_ema_ = false;
  std::vector<double> partials_;  // [n_chunks] sums of squares, one fixed slot a chunk: of gradients, then of changes
  std::vector<Scalars> scalars_;  // [n_tensors]
  std::array<std::array<ClaimRange, kMaxThreads>, kPhases> claims_;

  // The step in progress.
  const CpuStepInput* in_ = nullptr;
  const int64_t* gradients_ = nullptr;
  int width_ = 1;
  Pace pace_;
  bool with_norm_ = false;
  bool with_update_ = true;
  bool skip_ = false;
  bool extras_ = false;  // something rides along with the update
  double grad_factor_ = 1.0;
  std::array<std::atomic<int64_t>, kPhases> done_;
  std::atomic<bool> update_open_{false};
};

}  // namespace rewarm::optim
