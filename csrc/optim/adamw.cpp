// The CPU step: one parallel region, a norm phase and an update phase, over the chunks of all tensors and groups.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/isa.h"
#include "optim/adamw_cpu.h"
#include "optim/advance.h"

namespace rewarm::optim {
namespace {

const Kernels& kernels_of(Isa isa) {
  switch (isa) {
#if defined(REWARM_X86)
    case Isa::kAvx512Bf16: return kAvx512Bf16Kernels;
    case Isa::kAvx512: return kAvx512Kernels;
    case Isa::kAvx2: return kAvx2Kernels;
#endif
    default: return kBaselineKernels;
  }
}

void* advance(void* base, int64_t elements, int64_t size) {
  return base == nullptr ? nullptr : static_cast<char*>(base) + elements * size;
}

}  // namespace

AdamWCpu::AdamWCpu(Plan plan)
    : plan_(std::move(plan)),
      kernels_(&kernels_of(active_isa())),
      partials_(plan_.chunks.size()),
      scalars_(plan_.tensors.size()) {
  for (const TensorEntry& e : plan_.tensors) any_ema_ = any_ema_ || e.ema != nullptr;
}

bool AdamWCpu::step(const CpuStepInput& input) {
  in_ = &input;
  gradients_ = input.gradients;
  const StepOptions& o = input.options;
  with_update_ = true;
  with_norm_ = o.clip || o.skip_nonfinite;
  skip_ = false;
  extras_ = any_ema_ || o.zero_gradients || o.observe;
  grad_factor_ = 1.0 / input.loss_scale;
  if (with_norm_ && input.sum_of_squares != nullptr) {
    finish_norm(*input.sum_of_squares);
    with_norm_ = false;
  }
  if (!with_norm_ && !skip_) prepare_update();

  if (!skip_ || o.zero_gradients) {
    const int wide = widest(input.threads);
    const bool learn = wide > 1 && plan_.total_elements < kAlwaysWide;
    width_ = learn ? pace_.choose(wide) : wide;
    open_claims();
    if (with_norm_ && plan_.chunks.empty()) open_update();
    run_parallel(*this, width_);
    if (learn) pace_.record();
  }

  int64_t* counters = input.control.counters;
  if (skip_) {
    count_skip(counters, o, o.tokens);
  } else {
    count_update(counters, o.advance, o.tokens);
    if (o.observe) finish_observation();
  }
  in_ = nullptr;
  return !skip_;
}

void AdamWCpu::sum_squares(const int64_t* gradients, const int32_t* classes, int64_t n_classes, double* sums, int threads) {
  gradients_ = gradients;
  with_norm_ = true;
  with_update_ = false;
  width_ = widest(threads);
  open_claims();
  if (!plan_.chunks.empty()) run_parallel(*this, width_);
  std::fill(sums, sums + n_classes, 0.0);
  for (size_t i = 0; i < partials_.size(); ++i) sums[classes[plan_.chunks[i].tensor]] += partials_[i];
}

int AdamWCpu::widest(int threads) const {
  const int64_t by_size = plan_.total_elements / kElementsPerThread;
  return static_cast<int>(std::clamp<int64_t>(std::min<int64_t>(by_size, threads), 1, kMaxThreads));
}

void AdamWCpu::open_claims() {
  const int64_t n = static_cast<int64_t>(plan_.chunks.size());
  for (int phase = 0; phase < kPhases; ++phase) {
    done_[static_cast<size_t>(phase)].store(0, std::memory_order_relaxed);
    for (int s = 0; s < width_; ++s) {
      ClaimRange& range = claims_[static_cast<size_t>(phase)][static_cast<size_t>(s)];
      range.next.store(n * s / width_, std::memory_order_relaxed);
      range.end = n * (s + 1) / width_;
    }
  }
  update_open_.store(false, std::memory_order_relaxed);
}

void AdamWCpu::work(int slot) {
  if (with_norm_) {
    run_phase(kNorm, slot);
    Backoff backoff;
    while (!update_open_.load(std::memory_order_acquire)) backoff.wait();
    if (!with_update_ || (skip_ && !in_->options.zero_gradients)) return;
  }
  run_phase(kUpdate, slot);
  if (slot == 0) wait_for_update();
}

// A slot starts with its own contiguous range, so that its update finds in its core's cache what its norm left there (the
// update walks each range backwards); whoever has nothing left takes from the others.
void AdamWCpu::run_phase(Phase phase, int slot) {
  const int64_t n = static_cast<int64_t>(plan_.chunks.size());
  for (int k = 0; k < width_; ++k) {
    const int owner = (slot + k) % width_;
    ClaimRange& range = claims_[phase][static_cast<size_t>(owner)];
    const int64_t first = n * owner / width_;
    for (;;) {
      const int64_t i = range.next.fetch_add(1, std::memory_order_relaxed);
      if (i >= range.end) break;
      if (phase == kNorm) {
        norm_chunk(i);
      } else {
        update_chunk(first + range.end - 1 - i);
      }
      // Whoever finishes the last chunk of the norm prepares the update: on a busy machine it need not be the caller.
      if (done_[phase].fetch_add(1, std::memory_order_acq_rel) + 1 == n && phase == kNorm) open_update();
    }
  }
}

void AdamWCpu::open_update() {
  if (with_update_) {
    double sum = 0.0;
    for (double partial : partials_) sum += partial;
    finish_norm(sum);
    if (!skip_) prepare_update();
  }
  update_open_.store(true, std::memory_order_release);
}

void AdamWCpu::wait_for_update() const {
  const int64_t all = static_cast<int64_t>(plan_.chunks.size());
  Backoff backoff;
  while (done_[kUpdate].load(std::memory_order_acquire) != all) backoff.wait();
}

void AdamWCpu::norm_chunk(int64_t i) {
  const Chunk& c = plan_.chunks[static_cast<size_t>(i)];
  const TensorEntry& e = plan_.tensors[static_cast<size_t>(c.tensor)];
  void* g = reinterpret_cast<void*>(gradients_[c.tensor]);
  partials_[static_cast<size_t>(i)] =
      g == nullptr ? 0.0 : kernels_->sum_squares(e.dtype)(advance(g, c.begin, dtype_size(e.dtype)), c.count);
}

void AdamWCpu::finish_norm(double sum) {
  const double limit = norm_limit(in_->groups, in_->rows, in_->control.counters, in_->options);
  const NormOutcome norm = norm_outcome(sum, grad_factor_, limit, in_->options);
  skip_ = norm.skip;
  record_norm(norm, in_->control, in_->options.watch);
  grad_factor_ *= norm.coefficient;
}

// Schedules, counters and folded scalars of every parameter that has a gradient.
void AdamWCpu::prepare_update() {
  int32_t known_group = -1;
  int64_t known_t = -1;
  MomentStart known_start{};
  const MomentStart* starts = starts_behind(in_->t, static_cast<int64_t>(plan_.tensors.size()));
  Hyper hyper{};
  BiasCorrection correction{};
  for (int64_t g = 0; g < plan_.n_groups; ++g) {
    const double lr = hyper_now(in_->groups[g], in_->rows, in_->control.counters, g).lr;
    double* results = in_->control.scalars + kGroups + kGroupScalars * g;
    record_lr(results, lr, in_->options.watch.annealing_decay, in_->options.advance);
  }
  for (size_t i = 0; i < plan_.tensors.size(); ++i) {
    if (in_->gradients[i] == 0) continue;
    const TensorEntry& e = plan_.tensors[i];
    int64_t& t = in_->t[i];
    t = next_t(t, *e.step);
    *e.step = static_cast<float>(t);
    if (e.group != known_group) {
      hyper = hyper_now(in_->groups[e.group], in_->rows, in_->control.counters, e.group);
      known_group = e.group;
      known_t = -1;
    }
    const MomentStart start = start_of(starts[i], t);
    if (t != known_t || !(start == known_start)) {
      correction = bias_correction(hyper.beta1, hyper.beta2, t, start);
      known_t = t;
      known_start = start;
    }
    scalars_[i] = fold(hyper, correction, grad_factor_);
  }
}

void AdamWCpu::update_chunk(int64_t i) {
  const Chunk& c = plan_.chunks[static_cast<size_t>(i)];
  const size_t k = static_cast<size_t>(c.tensor);
  void* g = reinterpret_cast<void*>(in_->gradients[k]);
  const TensorEntry& e = plan_.tensors[k];
  const int64_t size = dtype_size(e.dtype), state_size = dtype_size(e.state_dtype);
  if (extras_) partials_[static_cast<size_t>(i)] = 0.0;
  if (g == nullptr) return;
  if (skip_) {
    std::memset(advance(g, c.begin, size), 0, static_cast<size_t>(c.count * size));
    return;
  }
  const StepOptions& o = in_->options;
  UpdateArgs a;
  a.p = advance(e.p, c.begin, size);
  a.g = advance(g, c.begin, size);
  a.m = advance(e.m, c.begin, state_size);
  a.v = advance(e.v, c.begin, state_size);
  a.vmax = advance(e.vmax, c.begin, state_size);
  a.n = c.count;
  a.begin = c.begin;
  a.scalars = scalars_[k];
  a.key0 = static_cast<uint32_t>(o.seed);
  a.key1 = static_cast<uint32_t>(o.seed >> 32);
  a.rounding_t = static_cast<uint32_t>(in_->t[k]);
  a.rounding_ordinal = static_cast<uint32_t>(e.ordinal);
  const UpdateFunction update = kernels_->update(e.dtype, e.state_dtype, e.vmax != nullptr, o.stochastic_rounding);
  if (extras_) {
    partials_[static_cast<size_t>(i)] = update_in_tiles(e, update, a, e.ema == nullptr ? nullptr : e.ema + c.begin);
  } else {
    update(a);
  }
}

// The update of a chunk, a tile at a time; what rides along reads each tile right after it was written. Returns the sum of the
// squared changes where they are observed.
double AdamWCpu::update_in_tiles(const TensorEntry& e, UpdateFunction update, UpdateArgs a, float* ema) const {
  const StepOptions& o = in_->options;
  const int64_t size = dtype_size(e.dtype), state_size = dtype_size(e.state_dtype), count = a.n;
  const float decay = a.scalars.ema_decay, weight = a.scalars.one_minus_ema_decay;
  const BlendFunction blend = kernels_->blend(e.dtype);
  const ChangeFunction squared_change = kernels_->squared_change(e.dtype);
  alignas(64) char before[kTile * sizeof(float)];
  double sum = 0.0;
  for (int64_t done = 0; done < count; done += kTile) {
    a.n = std::min(kTile, count - done);
    const size_t bytes = static_cast<size_t>(a.n * size);
    void* g = const_cast<void*>(a.g);
    if (o.observe) std::memcpy(before, a.p, bytes);
    update(a);
    if (o.observe) sum += squared_change(before, a.p, a.n);
    if (ema != nullptr && weight != 0.0f) blend(ema + done, a.p, a.n, decay, weight);
    if (o.zero_gradients) std::memset(g, 0, bytes);
    a.p = advance(a.p, kTile, size);
    a.g = advance(g, kTile, size);
    a.m = advance(a.m, kTile, state_size);
    a.v = advance(a.v, kTile, state_size);
    a.vmax = advance(a.vmax, kTile, state_size);
    a.begin += kTile;
  }
  return sum;
}

void AdamWCpu::finish_observation() const {
  double sum = 0.0;
  for (double partial : partials_) sum += partial;
  int64_t elements = 0;
  for (size_t i = 0; i < plan_.tensors.size(); ++i)
    if (in_->gradients[i] != 0) elements += plan_.tensors[i].numel;
  in_->control.scalars[kUpdateRms] = elements == 0 ? 0.0 : sqrt(sum / static_cast<double>(elements));
}

}  // namespace rewarm::optim
