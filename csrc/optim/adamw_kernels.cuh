// Device code of the AdamW step: the sum of squares of a chunk, the update of a chunk, and the block that closes a step.
//
// Every result has a fixed order of operations: an element's lane follows from its place in the chunk, a chunk's partial sum
// has its own slot, one block adds the slots. Hence the same bits for any grid, and for aligned and unaligned gradients.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/dtype.h"
#include "common/philox.h"
#include "optim/adamw.h"
#include "optim/adamw_cuda.h"
#include "optim/advance.h"

namespace rewarm::optim::device {

constexpr int kBlock = 256;    // threads a block; not yet measured
constexpr int kNormLoads = 4;  // 16-byte loads a thread issues before it uses the first; not yet measured
constexpr int kWarps = kBlock / 32;

struct alignas(16) Words {
  uint32_t w[4];
};

// An address that came out of a table is of no known memory space to the compiler, which would use generic accesses.
__device__ __forceinline__ void assume_global(const void* p) { __builtin_assume(__isGlobal(p)); }

__device__ __forceinline__ Words load16(const void* base, int i) { return static_cast<const Words*>(base)[i]; }
__device__ __forceinline__ void store16(void* base, int i, const Words& x) { static_cast<Words*>(base)[i] = x; }

// ---- storage formats: the hardware's conversions where there are some, with the same roundings as common/dtype.h ------------

template <class T>
__device__ __forceinline__ float element(const Words& x, int j) {
  if constexpr (sizeof(T) == 4) {
    return bits_float(x.w[j]);
  } else {
    const uint16_t bits = static_cast<uint16_t>(x.w[j / 2] >> (16 * (j % 2)));
#if defined(__CUDA_ARCH__)
    if constexpr (std::is_same_v<T, Float16>) {
      float out;
      asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(bits));
      return out;
    }
#endif
    return to_float(T{bits});
  }
}

template <class T>
__device__ __forceinline__ uint32_t storage_bits(float x) {
  if constexpr (sizeof(T) == 4) {
    return float_bits(x);
  } else {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint16_t out;
    if constexpr (std::is_same_v<T, Float16>) {
      asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(x));
    } else {
      asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(x));
    }
    return out;
#else
    return from_float<T>(x).bits;
#endif
  }
}

// Sets element j of a register block that starts out zero.
template <class T>
__device__ __forceinline__ void put(Words& x, int j, uint32_t bits) {
  if constexpr (sizeof(T) == 4) {
    x.w[j] = bits;
  } else {
    x.w[j / 2] |= bits << (16 * (j % 2));
  }
}

template <class T>
__device__ __forceinline__ float load_one(const T* x) {
  if constexpr (sizeof(T) == 4) {
    return *x;
  } else {
    return element<T>(Words{{reinterpret_cast<const uint16_t*>(x)[0], 0, 0, 0}}, 0);
  }
}

template <class T>
__device__ __forceinline__ void store_one(T* x, uint32_t bits) {
  if constexpr (sizeof(T) == 4) {
    *x = bits_float(bits);
  } else {
    *reinterpret_cast<uint16_t*>(x) = static_cast<uint16_t>(bits);
  }
}

__device__ __forceinline__ bool aligned16(const void* p) { return (reinterpret_cast<uintptr_t>(p) & 15u) == 0; }

template <class T>
__device__ __forceinline__ T* at(void* base, int64_t elements) {
  return static_cast<T*>(base) + elements;
}

// ---- the norm --------------------------------------------------------------------------------------------------------------

// The sum over the block, on every thread.
__device__ inline double block_sum(double x) {
  __shared__ double warp_sums[kWarps];
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_down_sync(0xffffffffu, x, distance);
  __syncthreads();  // the sums of the call before have been read
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = x;
  __syncthreads();
  double total = 0.0;
  for (int w = 0; w < kWarps; ++w) total += warp_sums[w];
  return total;
}

// This thread's part of the sum of squares of g [count]. Vector i (16 bytes of elements) belongs to thread i mod kBlock.
template <class T>
__device__ double squares(const T* g, int count) {
  constexpr int kElements = 16 / static_cast<int>(sizeof(T));
  assume_global(g);
  double sum[4] = {};
  const int tid = static_cast<int>(threadIdx.x);
  const int full = count / kElements;
  int i = tid;
  if (aligned16(g)) {
    for (; i < full; i += kBlock * kNormLoads) {
      Words x[kNormLoads];
#pragma unroll
      for (int u = 0; u < kNormLoads; ++u) x[u] = i + u * kBlock < full ? load16(g, i + u * kBlock) : Words{};
#pragma unroll
      for (int u = 0; u < kNormLoads; ++u)
#pragma unroll
        for (int j = 0; j < kElements; ++j) {
          const double y = static_cast<double>(element<T>(x[u], j));
          sum[j % 4] = fma(y, y, sum[j % 4]);
        }
    }
    i = full % kBlock == tid ? full : full + 1;  // the incomplete vector at the end, if it is this thread's
  }
  for (; i <= full; i += kBlock)
    for (int j = 0; j < kElements && i * kElements + j < count; ++j) {
      const double y = static_cast<double>(load_one(g + i * kElements + j));
      sum[j % 4] = fma(y, y, sum[j % 4]);
    }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

__device__ inline double chunk_squares(const StepArguments& a, const Chunk& chunk) {
  void* g = reinterpret_cast<void*>(a.gradients[chunk.tensor]);
  if (g == nullptr) return 0.0;
  switch (a.entries[chunk.tensor].dtype) {
    case Dtype::kFloat32: return squares(at<float>(g, chunk.begin), chunk.count);
    case Dtype::kBfloat16: return squares(at<Bfloat16>(g, chunk.begin), chunk.count);
    default: return squares(at<Float16>(g, chunk.begin), chunk.count);
  }
}

// The partial sums of all chunks in a fixed order, on every thread. They were written by other blocks of this launch.
__device__ inline double sum_of_partials(const StepArguments& a) {
  double sum[8] = {};
  int64_t i = threadIdx.x;
  for (; i + 7 * kBlock < a.n_chunks; i += 8 * kBlock) {
    double x[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) x[u] = __ldcg(a.partials + i + u * kBlock);
#pragma unroll
    for (int u = 0; u < 8; ++u) sum[u] += x[u];
  }
  for (; i < a.n_chunks; i += kBlock) sum[0] += __ldcg(a.partials + i);
  return block_sum(((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])));
}

// ---- the end of a step -----------------------------------------------------------------------------------------------------

// True in the block that arrives last; what the others wrote before is visible to it. The ticket wraps to 0 by itself, which
// is what makes a replay possible.
__device__ inline bool last_to_arrive(uint32_t* ticket) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

__device__ __forceinline__ bool overflowed(const StepArguments& a) { return a.found_inf != nullptr && *a.found_inf != 0.0f; }

__device__ __forceinline__ double unscale_factor(const StepArguments& a) {
  return a.loss_scale == nullptr ? 1.0 : 1.0 / static_cast<double>(*a.loss_scale);
}

struct Correction {
  int64_t t;  // -1 = nothing known yet
  int32_t group;
  MomentStart start;
  BiasCorrection value;
};

// Two pows: only where t, its start or the group differs from the call before.
__device__ inline const BiasCorrection& correction_of(const StepArguments& a, Correction& known, const Hyper& h, int64_t tensor,
                                                      int64_t t) {
  const int32_t group = a.entries[tensor].group;
  const MomentStart start = start_of(starts_behind(a.t, a.n_tensors)[tensor], t);
  if (t != known.t || group != known.group || !(start == known.start))
    known = {t, group, start, bias_correction(h.beta1, h.beta2, t, start)};
  return known.value;
}

__device__ __forceinline__ int64_t tokens_now(const StepArguments& a) {
  return a.tokens == nullptr ? a.options.tokens : *a.tokens;
}

// Done by one block when no other reads t, counters or step any more: hyper-parameters of this update, its scalars for every
// tensor (kFold: the update kernel follows and reads them), then everything advances by one. Not inlined, so that its float64
// work takes no registers from the loops over elements.
template <bool kFold>
__device__ __noinline__ void advance_tables(const StepArguments& a, double grad_factor) {
  int64_t* counters = a.control.counters;
  for (int64_t g = threadIdx.x; g < a.n_groups; g += kBlock) {
    const Hyper h = hyper_now(a.configs[g], a.rows, counters, g);
    a.hypers[g] = h;
    double* results = a.control.scalars + kGroups + kGroupScalars * g;
    record_lr(results, h.lr, a.options.watch.annealing_decay, a.options.advance);
  }
  __syncthreads();  // hypers are written, counters read
  Correction known{-1, -1, {}, {}};
  for (int64_t i = threadIdx.x; i < a.n_tensors; i += kBlock) {
    if (a.gradients[i] == 0) continue;
    const TensorEntry& e = a.entries[i];
    const int64_t t = next_t(a.t[i], *e.step);
    a.t[i] = t;
    *e.step = static_cast<float>(t);
    if constexpr (kFold) {
      const Hyper h = a.hypers[e.group];
      a.folded[i] = fold(h, correction_of(a, known, h, i, t), grad_factor);
    }
  }
  if (threadIdx.x == 0) count_update(counters, a.options.advance, tokens_now(a));
}

// ---- the update ------------------------------------------------------------------------------------------------------------

struct Rounding {
  uint32_t key0, key1, t, ordinal;
};

// The four words of stochastic rounding for elements 8 block .. 8 block + 7.
__device__ __forceinline__ Philox4 random_block(const Rounding& r, uint64_t block) {
  return philox4x32_10({{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), r.t, r.ordinal}}, r.key0, r.key1);
}

__device__ __forceinline__ uint32_t random16(const Philox4& words, int j) {
  return (words.x[j / 2] >> (16 * (j % 2))) & 0xffffu;
}

// What rides along with the update of a chunk.
struct Extras {
  float* ema;  // of the chunk's first element, or null
  bool zero_gradients;
  bool observe;
};

// P: storage of parameter and gradient, M: storage of the moments.
template <class P, class M, bool kStochastic, bool kExtras>
struct ChunkUpdate {
  static constexpr int kElements = 16 / static_cast<int>(sizeof(P));  // of one vector
  static constexpr int kMomentWords = kElements * static_cast<int>(sizeof(M)) / 16;
  static constexpr int kPerMoment = kElements / kMomentWords;
  // Vectors a thread has in flight, 4 to 8 loads of 16 bytes, as many as fit 64 registers without spills; not yet measured.
  static constexpr int kVectors = sizeof(P) == 4 ? 2 : 1;
  static_assert(!kStochastic || kElements == 8, "one Philox block a vector");

  P* p;
  P* g;
  M* m;
  M* v;
  int64_t begin;  // index of p[0] in its tensor, a multiple of 128
  int count;
  Scalars s;
  Rounding rounding;
  Extras extras;

  // Element i after its update: the average follows it, its change is squared.
  __device__ __forceinline__ void ride_along(int i, float before, float after, double& squares) const {
    if (extras.observe) {
      const double change = static_cast<double>(after - before);
      squares = fma(change, change, squares);
    }
    if (extras.ema != nullptr && s.one_minus_ema_decay != 0.0f) {
      const float old = extras.ema[i], ahead = after - old;
      extras.ema[i] = s.one_minus_ema_decay > 0.5f ? fmaf(-s.ema_decay, ahead, after) : fmaf(s.one_minus_ema_decay, ahead, old);
    }
  }

  struct Vector {
    Words p, g, m[kMomentWords], v[kMomentWords];
  };

  __device__ __forceinline__ void load(Vector& x, int i) const {
    x.p = load16(p, i);
    x.g = load16(g, i);
#pragma unroll
    for (int k = 0; k < kMomentWords; ++k) {
      x.m[k] = load16(m, i * kMomentWords + k);
      x.v[k] = load16(v, i * kMomentWords + k);
    }
  }

  __device__ __forceinline__ uint32_t rounded(float x, const Philox4& random, int j) const {
    if constexpr (kStochastic) return round_stochastic(x, random16(random, j)).bits;
    return storage_bits<P>(x);
  }

  __device__ __forceinline__ void apply(const Vector& x, int i, double& squares) const {
    Philox4 random{};
    if constexpr (kStochastic) random = random_block(rounding, static_cast<uint64_t>(begin) / 8 + static_cast<uint64_t>(i));
    Words new_p{};
#pragma unroll
    for (int k = 0; k < kMomentWords; ++k) {
      Words new_m{}, new_v{};
#pragma unroll
      for (int l = 0; l < kPerMoment; ++l) {
        const int j = k * kPerMoment + l;
        float mj = element<M>(x.m[k], l), vj = element<M>(x.v[k], l), unused = 0.0f;
        const float pj = adamw_element<false, Form::kAny>(s, element<P>(x.p, j), element<P>(x.g, j), mj, vj, unused);
        put<P>(new_p, j, rounded(pj, random, j));
        if constexpr (kExtras) ride_along(i * kElements + j, element<P>(x.p, j), element<P>(new_p, j), squares);
        put<M>(new_m, l, storage_bits<M>(mj));
        put<M>(new_v, l, storage_bits<M>(vj));
      }
      store16(m, i * kMomentWords + k, new_m);
      store16(v, i * kMomentWords + k, new_v);
    }
    store16(p, i, new_p);
    if (kExtras && extras.zero_gradients) store16(g, i, Words{});
  }

  __device__ __forceinline__ void apply_one(int i, double& squares) const {
    Philox4 random{};
    if constexpr (kStochastic) random = random_block(rounding, static_cast<uint64_t>(begin + i) / 8);
    float mi = load_one(m + i), vi = load_one(v + i), unused = 0.0f;
    const float before = load_one(p + i);
    const float pi = adamw_element<false, Form::kAny>(s, before, load_one(g + i), mi, vi, unused);
    store_one(m + i, storage_bits<M>(mi));
    store_one(v + i, storage_bits<M>(vi));
    // random16 with a run-time index would put the words in local memory: choose by comparison.
    uint32_t word = 0;
    if constexpr (kStochastic) {
      const int j = i % 8;
      word = j < 2 ? random.x[0] : j < 4 ? random.x[1] : j < 6 ? random.x[2] : random.x[3];
      store_one(p + i, round_stochastic(pi, (word >> (16 * (j % 2))) & 0xffffu).bits);
    } else {
      store_one(p + i, storage_bits<P>(pi));
    }
    if constexpr (kExtras) ride_along(i, before, load_one(p + i), squares);
    if (kExtras && extras.zero_gradients) store_one(g + i, 0u);
  }

  // Returns this thread's part of the squared changes.
  __device__ double run() const {
    double squares = 0.0;
    assume_global(p);
    assume_global(g);
    assume_global(m);
    assume_global(v);
    const int tid = static_cast<int>(threadIdx.x);
    int done = 0;
    if (aligned16(p) && aligned16(g) && aligned16(m) && aligned16(v)) {
      const int vectors = count / kElements;
      for (int i = tid; i < vectors; i += kBlock * kVectors) {
        Vector x[kVectors];
#pragma unroll
        for (int u = 0; u < kVectors; ++u)
          if (i + u * kBlock < vectors) load(x[u], i + u * kBlock);
#pragma unroll
        for (int u = 0; u < kVectors; ++u)
          if (i + u * kBlock < vectors) apply(x[u], i + u * kBlock, squares);
      }
      done = vectors * kElements;
    }
    for (int i = done + tid; i < count; i += kBlock) apply_one(i, squares);
    return squares;
  }
};

template <class P, class M, bool kStochastic, bool kExtras>
__device__ __forceinline__ double update_chunk(const TensorEntry& e, const Chunk& c, void* g, const Scalars& s,
                                               const Rounding& r, const Extras& x) {
  const ChunkUpdate<P, M, kStochastic, kExtras> update = {
      at<P>(e.p, c.begin), at<P>(g, c.begin), at<M>(e.m, c.begin), at<M>(e.v, c.begin), c.begin, c.count, s, r, x};
  return update.run();
}

// Instead of an update that is skipped.
__device__ inline void zero_gradients(const StepArguments& a) {
  for (int64_t i = blockIdx.x; i < a.n_chunks; i += gridDim.x) {
    const Chunk c = a.chunks[i];
    if (a.gradients[c.tensor] == 0) continue;
    const int64_t size = dtype_size(a.entries[c.tensor].dtype);
    char* g = reinterpret_cast<char*>(a.gradients[c.tensor]) + c.begin * size;
    assume_global(g);
    for (int64_t k = threadIdx.x; k < c.count * size; k += kBlock) g[k] = 0;
  }
}

// By the last block of a launch that observed: the root of the mean of the squared changes.
__device__ inline void finish_observation(const StepArguments& a) {
  const double sum = sum_of_partials(a);
  double elements = 0.0;
  for (int64_t i = threadIdx.x; i < a.n_tensors; i += kBlock)
    if (a.gradients[i] != 0) elements += static_cast<double>(a.entries[i].numel);
  elements = block_sum(elements);
  if (threadIdx.x == 0) a.control.scalars[kUpdateRms] = elements == 0.0 ? 0.0 : sqrt(sum / elements);
}

}  // namespace rewarm::optim::device
