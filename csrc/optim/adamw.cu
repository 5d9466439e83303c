// The CUDA step: two launches with a norm (norm, update), one without, for all tensors and groups; captured or not.
//
// Two launches: the last block of the norm kernel adds the partial sums, decides about clip and skip, folds the scalars of
// every tensor and advances the counters; the update kernel only reads. One launch: each block folds for itself from counters
// that stand still, and the last block advances them.
#include <algorithm>
#include <cstring>

#include "common/launch.cuh"
#include "optim/adamw_cuda.h"
#include "optim/adamw_kernels.cuh"

namespace rewarm::optim {
namespace {

using device::kBlock;

// Which storage a plan holds; kMixed looks it up for every chunk.
enum Format { kFloat32, kBfloat16, kBfloat16Wide, kFloat16Wide, kMixed };

// Resident blocks a multiprocessor that registers are kept down for, with hardly a spill; not yet measured.
template <int kFormat>
constexpr int kUpdateBlocks = kFormat == kMixed     ? 2
                              : kFormat == kFloat32 ? 3
                                                    : 4;
constexpr int64_t kNormWaves = 1;                               // grid as a multiple of the resident blocks; not yet measured
constexpr int64_t kUpdateWaves = 1;                             // likewise
constexpr int64_t kSmallestChunk = 2048, kChunksWanted = 2048;  // likewise

__global__ void __launch_bounds__(kBlock) norm_kernel(const __grid_constant__ StepArguments a) {
  for (int64_t c = blockIdx.x; c < a.n_chunks; c += gridDim.x) {
    const double sum = device::block_sum(device::chunk_squares(a, a.chunks[c]));
    if (threadIdx.x == 0) a.partials[c] = sum;
  }
  if (!device::last_to_arrive(a.ticket)) return;

  const NormOutcome norm = norm_outcome(device::sum_of_partials(a), device::unscale_factor(a),
                                        norm_limit(a.configs, a.rows, a.control.counters, a.options), a.options);
  const bool overflowed = device::overflowed(a);
  const bool skip = overflowed || norm.skip;
  if (threadIdx.x == 0) {
    *a.skip = skip;
    if (skip) count_skip(a.control.counters, a.options, device::tokens_now(a));
    if (!overflowed) record_norm(norm, a.control, a.options.watch);
  }
  if (!skip) device::advance_tables<true>(a, device::unscale_factor(a) * norm.coefficient);
}

// Returns this thread's part of the squared changes, 0 without extras.
template <Format kFormat, bool kStochastic, bool kExtras>
__device__ __forceinline__ double update_by_format(const StepArguments& a, const Chunk& c, void* g, const Scalars& s,
                                                   uint32_t t) {
  using device::update_chunk;
  const TensorEntry& e = a.entries[c.tensor];
  const device::Rounding r = {static_cast<uint32_t>(a.options.seed), static_cast<uint32_t>(a.options.seed >> 32), t,
                              static_cast<uint32_t>(e.ordinal)};
  const device::Extras x = {e.ema == nullptr ? nullptr : e.ema + c.begin, a.options.zero_gradients, a.options.observe};
  if constexpr (kFormat == kFloat32) {
    return update_chunk<float, float, false, kExtras>(e, c, g, s, r, x);
  } else if constexpr (kFormat == kBfloat16) {
    return update_chunk<Bfloat16, Bfloat16, kStochastic, kExtras>(e, c, g, s, r, x);
  } else if constexpr (kFormat == kBfloat16Wide) {
    return update_chunk<Bfloat16, float, kStochastic, kExtras>(e, c, g, s, r, x);
  } else if constexpr (kFormat == kFloat16Wide) {
    return update_chunk<Float16, float, false, kExtras>(e, c, g, s, r, x);
  } else if (e.dtype == Dtype::kFloat32) {
    return update_chunk<float, float, false, kExtras>(e, c, g, s, r, x);
  } else if (e.dtype == Dtype::kFloat16) {
    return update_chunk<Float16, float, false, kExtras>(e, c, g, s, r, x);
  } else if (e.state_dtype == Dtype::kFloat32) {
    return update_chunk<Bfloat16, float, kStochastic, kExtras>(e, c, g, s, r, x);
  } else {
    return update_chunk<Bfloat16, Bfloat16, kStochastic, kExtras>(e, c, g, s, r, x);
  }
}

// One chunk; with extras also its slot of the observation, which every thread of the block takes part in.
template <Format kFormat, bool kStochastic, bool kExtras>
__device__ __forceinline__ void update_one(const StepArguments& a, int64_t slot, const Chunk& c, void* g, const Scalars& s,
                                           uint32_t t) {
  const double squares = update_by_format<kFormat, kStochastic, kExtras>(a, c, g, s, t);
  if constexpr (kExtras) {
    if (!a.options.observe) return;
    const double sum = device::block_sum(squares);
    if (threadIdx.x == 0) a.partials[slot] = sum;
  }
}

// After norm_kernel. Walks the chunks backwards: the gradients that the norm read last are still in the L2 cache.
template <Format kFormat, bool kStochastic, bool kExtras>
__global__ void __launch_bounds__(kBlock, kUpdateBlocks<kFormat>) update_kernel(const __grid_constant__ StepArguments a) {
  if (*a.skip) {
    if (kExtras && a.options.zero_gradients) device::zero_gradients(a);
    return;
  }
  for (int64_t i = blockIdx.x; i < a.n_chunks; i += gridDim.x) {
    const int64_t slot = a.n_chunks - 1 - i;
    const Chunk c = a.chunks[slot];
    void* g = reinterpret_cast<void*>(a.gradients[c.tensor]);
    if (kExtras && threadIdx.x == 0) a.partials[slot] = 0.0;
    if (g == nullptr) continue;
    const uint32_t t = kStochastic ? static_cast<uint32_t>(a.t[c.tensor]) : 0u;
    update_one<kFormat, kStochastic, kExtras>(a, slot, c, g, a.folded[c.tensor], t);
  }
  if constexpr (kExtras) {
    if (a.options.observe && device::last_to_arrive(a.ticket)) device::finish_observation(a);
  }
}

// What a block of whole_step_kernel keeps of the tensor it works on.
struct CurrentTensor {
  Scalars folded;
  uint32_t t;
  device::Correction known;
};

// By one thread. Not inlined, so that its float64 work takes no registers from the element loop.
__device__ __noinline__ void fold_tensor(const StepArguments& a, int32_t tensor, CurrentTensor& out) {
  const TensorEntry& e = a.entries[tensor];
  const Hyper h = hyper_now(a.configs[e.group], a.rows, a.control.counters, e.group);
  const int64_t t = next_t(a.t[tensor], *e.step);
  out.folded = fold(h, device::correction_of(a, out.known, h, tensor, t), device::unscale_factor(a));
  out.t = static_cast<uint32_t>(t);
}

// The only launch of a step without a norm. Nothing that fold_tensor reads changes before every block has arrived.
template <Format kFormat, bool kStochastic, bool kExtras>
__global__ void __launch_bounds__(kBlock, kUpdateBlocks<kFormat>) whole_step_kernel(const __grid_constant__ StepArguments a) {
  __shared__ CurrentTensor current;
  const bool skip = device::overflowed(a);
  if (!skip) {
    if (threadIdx.x == 0) current.known.t = -1;
    int32_t tensor = -1;  // whose scalars are in `current`
    for (int64_t i = blockIdx.x; i < a.n_chunks; i += gridDim.x) {
      const Chunk c = a.chunks[i];
      void* g = reinterpret_cast<void*>(a.gradients[c.tensor]);
      if (kExtras && threadIdx.x == 0) a.partials[i] = 0.0;
      if (g == nullptr) continue;
      if (c.tensor != tensor) {
        tensor = c.tensor;
        __syncthreads();  // the scalars of the tensor before are no longer read
        if (threadIdx.x == 0) fold_tensor(a, tensor, current);
        __syncthreads();
      }
      update_one<kFormat, kStochastic, kExtras>(a, i, c, g, current.folded, current.t);
    }
  } else if (kExtras && a.options.zero_gradients) {
    device::zero_gradients(a);
  }
  if (!device::last_to_arrive(a.ticket)) return;
  if (!skip) {
    if (kExtras && a.options.observe) device::finish_observation(a);
    device::advance_tables<false>(a, 1.0);
  } else if (threadIdx.x == 0) {
    count_skip(a.control.counters, a.options, device::tokens_now(a));
  }
}

using Kernel = void (*)(StepArguments);

template <Format kFormat, bool kStochastic, bool kExtras = false>
Kernel pick(bool with_norm) {
  return with_norm ? update_kernel<kFormat, kStochastic, kExtras> : whole_step_kernel<kFormat, kStochastic, kExtras>;
}

// With extras the formats are looked up for every chunk: a kernel of each kind would double what is compiled.
Kernel pick_update(Format format, bool stochastic, bool with_norm, bool extras) {
  if (extras) return stochastic ? pick<kMixed, true, true>(with_norm) : pick<kMixed, false, true>(with_norm);
  switch (format) {
    case kFloat32: return pick<kFloat32, false>(with_norm);
    case kBfloat16: return stochastic ? pick<kBfloat16, true>(with_norm) : pick<kBfloat16, false>(with_norm);
    case kBfloat16Wide: return stochastic ? pick<kBfloat16Wide, true>(with_norm) : pick<kBfloat16Wide, false>(with_norm);
    case kFloat16Wide: return pick<kFloat16Wide, false>(with_norm);
    default: return stochastic ? pick<kMixed, true>(with_norm) : pick<kMixed, false>(with_norm);
  }
}

Format format_of(const TensorEntry& e) {
  const bool wide = e.state_dtype == Dtype::kFloat32;
  if (e.dtype == Dtype::kFloat32) return kFloat32;
  if (e.dtype == Dtype::kBfloat16) return wide ? kBfloat16Wide : kBfloat16;
  if (!wide) throw Error(ErrorKind::kInvalidArgument, "the CUDA step keeps float16 parameters with float32 moments only");
  return kFloat16Wide;
}

// Small sets in small chunks, so that every multiprocessor gets some. Depends on the plan alone, and so do the bits of the
// norm.
int64_t chunk_elements(int64_t total) {
  int64_t chunk = kChunkElements;
  while (chunk > kSmallestChunk && total / chunk < kChunksWanted) chunk /= 2;
  return chunk;
}

}  // namespace

AdamWCuda::AdamWCuda(Plan plan, const StepOptions& options, int device)
    : plan_(std::move(plan)), options_(options), with_norm_(options.clip || options.skip_nonfinite) {
  const int64_t n = static_cast<int64_t>(plan_.tensors.size());
  plan_.build_chunks(chunk_elements(plan_.total_elements));
  int64_t end = 0;
  const auto next = [&end](int64_t bytes) {
    const int64_t begin = end;
    end = (begin + bytes + 15) / 16 * 16;
    return begin;
  };
  layout_.entries = next(n * static_cast<int64_t>(sizeof(TensorEntry)));
  layout_.chunks = next(n_chunks() * static_cast<int64_t>(sizeof(Chunk)));
  layout_.configs = next(plan_.n_groups * static_cast<int64_t>(sizeof(GroupConfig)));
  layout_.gradients = next(n * 8);
  layout_.partials = next(n_chunks() * 8);
  layout_.folded = next(n * static_cast<int64_t>(sizeof(Scalars)));
  layout_.hypers = next(plan_.n_groups * static_cast<int64_t>(sizeof(Hyper)));
  layout_.ticket = next(4);
  layout_.skip = next(4);
  layout_.end = end;
  image_.assign(static_cast<size_t>(layout_.configs), 0);
  if (n > 0) std::memcpy(image_.data() + layout_.entries, plan_.tensors.data(), sizeof(TensorEntry) * plan_.tensors.size());
  if (n_chunks() > 0) std::memcpy(image_.data() + layout_.chunks, plan_.chunks.data(), sizeof(Chunk) * plan_.chunks.size());
  choose_kernels(device);

  const cuda::OutsideCapture guard;
  for (cudaEvent_t& event : staged_) cuda::check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  cuda::check(cudaEventCreateWithFlags(&stepped_, cudaEventDisableTiming), "creating an event");
  cuda::check(cudaStreamCreateWithFlags(&beside_, cudaStreamNonBlocking), "creating a stream");
}

// Failures are left alone here: at the end of the process the driver may be gone before us.
AdamWCuda::~AdamWCuda() {
  const cuda::OutsideCapture guard;
  for (cudaEvent_t event : staged_) {
    if (event == nullptr) continue;
    cudaEventSynchronize(event);  // a copy still reads the pinned memory
    cudaEventDestroy(event);
  }
  if (stepped_ != nullptr) cudaEventDestroy(stepped_);
  if (beside_ != nullptr) cudaStreamDestroy(beside_);
  cudaGetLastError();
}

void AdamWCuda::choose_kernels(int device) {
  Format format = plan_.tensors.empty() ? kFloat32 : format_of(plan_.tensors[0]);
  for (const TensorEntry& e : plan_.tensors)
    if (format_of(e) != format) format = kMixed;
  bool extras = options_.zero_gradients || options_.observe;
  for (const TensorEntry& e : plan_.tensors) extras = extras || e.ema != nullptr;
  update_ = pick_update(format, options_.stochastic_rounding, with_norm_, extras);
  const auto blocks = [&](Kernel kernel, int64_t waves) {
    return std::clamp<int64_t>(n_chunks(), 1, std::max<int64_t>(1, waves * cuda::resident_blocks(kernel, kBlock, device)));
  };
  update_blocks_ = blocks(update_, kUpdateWaves);
  norm_blocks_ = blocks(norm_kernel, kNormWaves);
}

void AdamWCuda::bind(const CudaBuffers& b) {
  buffers_ = b;
  char* w = b.workspace;
  fixed_.entries = reinterpret_cast<const TensorEntry*>(w + layout_.entries);
  fixed_.chunks = reinterpret_cast<const Chunk*>(w + layout_.chunks);
  fixed_.configs = reinterpret_cast<const GroupConfig*>(w + layout_.configs);
  fixed_.partials = reinterpret_cast<double*>(w + layout_.partials);
  fixed_.folded = reinterpret_cast<Scalars*>(w + layout_.folded);
  fixed_.hypers = reinterpret_cast<Hyper*>(w + layout_.hypers);
  fixed_.ticket = reinterpret_cast<uint32_t*>(w + layout_.ticket);
  fixed_.skip = reinterpret_cast<int32_t*>(w + layout_.skip);
  fixed_.rows = b.rows;
  fixed_.control = b.control;
  fixed_.t = b.t;
  fixed_.n_tensors = static_cast<int64_t>(plan_.tensors.size());
  fixed_.n_chunks = n_chunks();
  fixed_.n_groups = plan_.n_groups;
  fixed_.options = options_;
}

void AdamWCuda::issue(cudaStream_t stream, const int64_t* gradients, const CudaStepInput& input) {
  StepArguments a = fixed_;
  a.gradients = gradients;
  a.loss_scale = input.loss_scale;
  a.found_inf = input.found_inf;
  a.tokens = input.tokens_on_device;
  a.options.tokens = input.tokens;
  a.options.advance = input.advance;
  if (with_norm_) cuda::launch(norm_kernel, norm_blocks_, kBlock, stream, a, "launching the norm kernel of AdamW");
  cuda::launch(update_, update_blocks_, kBlock, stream, a, "launching the update kernel of AdamW");
}

// Copies what was asked for into a slot of the pinned buffer; begin and end: the bytes of the slot that hold it. Waits only
// when all slots are under way.
char* AdamWCuda::stage(int slot, int what, int64_t* begin, int64_t* end) {
  if (n_staged_ >= kSlots) {
    const cuda::OutsideCapture guard;
    cuda::check(cudaEventSynchronize(staged_[static_cast<size_t>(slot)]), "waiting for an earlier copy");
  }
  char* base = buffers_.staging + slot * slot_bytes();
  const int64_t split = layout_.gradients - layout_.configs;
  *begin = (what & kUploadGroups) ? 0 : split;
  *end = (what & kUploadGradients) ? slot_bytes() : split;
  if (what & kUploadGroups) std::memcpy(base, buffers_.host_configs, sizeof(GroupConfig) * static_cast<size_t>(plan_.n_groups));
  if (what & kUploadGradients) std::memcpy(base + split, buffers_.host_gradients, 8 * plan_.tensors.size());
  return base;
}

void AdamWCuda::order_after_last(cudaStream_t stream) {
  if (any_step_ && stream != last_stream_) cuda::check(cudaStreamWaitEvent(stream, stepped_, 0), "ordering two streams");
}

void AdamWCuda::mark(cudaStream_t stream) {
  cuda::check(cudaEventRecord(stepped_, stream), "recording an event");
  last_stream_ = stream;
  any_step_ = true;
}

void AdamWCuda::copy_tables(cudaStream_t stream, int what) {
  if (what == kUploadNothing) return;
  const int slot = static_cast<int>(n_staged_ % kSlots);
  int64_t begin = 0, end = 0;
  const char* staged = stage(slot, what, &begin, &end);
  cuda::check(cudaMemcpyAsync(buffers_.workspace + layout_.configs + begin, staged + begin, static_cast<size_t>(end - begin),
                              cudaMemcpyHostToDevice, stream),
              "copying the tables of AdamW");
  cuda::check(cudaEventRecord(staged_[static_cast<size_t>(slot)], stream), "recording an event");
  ++n_staged_;
}

void AdamWCuda::upload(cudaStream_t stream, int what) {
  order_after_last(stream);
  copy_tables(stream, what);
  mark(stream);
}

void AdamWCuda::step(cudaStream_t stream, int what, const CudaStepInput& input) {
  order_after_last(stream);
  copy_tables(stream, what);
  issue(stream, reinterpret_cast<const int64_t*>(buffers_.workspace + layout_.gradients), input);
  mark(stream);
}

// The copies run beside the capture and are over when this returns: they are no nodes of the graph, so a replay repeats
// nothing and the pinned memory is free again.
void AdamWCuda::record(cudaStream_t stream, int64_t* gradients, int what, const CudaStepInput& input) {
  {
    const cuda::OutsideCapture guard;
    order_after_last(beside_);
    const int slot = static_cast<int>(n_staged_ % kSlots);
    int64_t begin = 0, end = 0;
    const char* staged = stage(slot, what | kUploadGradients, &begin, &end);
    const int64_t split = layout_.gradients - layout_.configs;
    const char* text = "copying the tables of AdamW beside a capture";
    cuda::check(cudaMemcpyAsync(gradients, staged + split, 8 * plan_.tensors.size(), cudaMemcpyHostToDevice, beside_), text);
    if (what & kUploadGroups)
      cuda::check(cudaMemcpyAsync(buffers_.workspace + layout_.configs, staged, static_cast<size_t>(split),
                                  cudaMemcpyHostToDevice, beside_),
                  text);
    cuda::check(cudaStreamSynchronize(beside_), text);
  }
  issue(stream, gradients, input);
}

}  // namespace rewarm::optim
