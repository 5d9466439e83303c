// The chunk loops of the CPU step, written once over a SIMD vector type; each adamw_<isa>.cpp includes this in a namespace of
// its own after its simd_<isa>.h, so that no symbol of one instruction set can be linked into another.
//
// Needs: Vec with kWidth, load(const T*), store(T*, Vec), the operations of adamw.h; Words (kLanes 32-bit words) with multiply
// and store_blocks; Sum with add_squares and total.

// Sum of squares in float64 over a fixed arrangement of 32 lanes (element i goes to lane i mod 32, lanes are added as a tree),
// the same for every instruction set: the square of a float32 is exact in float64, so fused or not makes no difference.
template <class T>
double sum_squares(const void* data, int64_t n) {
  const T* g = static_cast<const T*>(data);
  Sum sum;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) sum.add_squares(g + i);
  if (i < n) {
    T last[32] = {};
    for (int64_t j = 0; i + j < n; ++j) last[j] = g[i + j];
    sum.add_squares(last);
  }
  return sum.total();
}

// 16 random bits for each of kTile elements: Philox blocks of 8 (common/philox.h), Words::kLanes at a time, in element order.
// Two independent sets at once: one alone would wait for its own multiplications.
constexpr int kTile = 256;

inline void random_tile(const UpdateArgs& a, int64_t first_block, uint16_t* out) {
  constexpr int kSets = 2;
  for (int j = 0; j < kTile / 8; j += kSets * Words::kLanes) {
    Words x0[kSets], x1[kSets], x2[kSets], x3[kSets];
    for (int k = 0; k < kSets; ++k) {
      x0[k] = Words::count_from(static_cast<uint32_t>(first_block + j + k * Words::kLanes));
      x1[k] = Words(static_cast<uint32_t>(static_cast<uint64_t>(first_block) >> 32));
      x2[k] = Words(a.rounding_t);
      x3[k] = Words(a.rounding_ordinal);
    }
    uint32_t key0 = a.key0, key1 = a.key1;
    for (int round = 0; round < 10; ++round) {
      for (int k = 0; k < kSets; ++k) {
        Words left_high, left_low, right_high, right_low;
        multiply(x0[k], 0xD2511F53u, &left_high, &left_low);
        multiply(x2[k], 0xCD9E8D57u, &right_high, &right_low);
        x0[k] = right_high ^ x1[k] ^ Words(key0);
        x1[k] = right_low;
        x2[k] = left_high ^ x3[k] ^ Words(key1);
        x3[k] = left_low;
      }
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    for (int k = 0; k < kSets; ++k) store_blocks(out + 8 * (j + k * Words::kLanes), x0[k], x1[k], x2[k], x3[k]);
  }
}

template <class P, class M, bool kAmsgrad, bool kStochastic, bool kCommon>
inline __attribute__((always_inline)) void update_vector(const Scalars& s, P* p, const P* g, M* m, M* v, M* vmax,
                                                         const uint16_t* random) {
  Vec mv = load(m), vv = load(v), xv = kAmsgrad ? load(vmax) : vv;
  const Vec next = adamw_element<kAmsgrad, kCommon>(s, load(p), load(g), mv, vv, xv);
  store(m, mv);
  store(v, vv);
  if (kAmsgrad) store(vmax, xv);
  if constexpr (kStochastic) {
    store_stochastic(p, next, random);
  } else {
    store(p, next);
  }
}

template <class P, class M, bool kAmsgrad, bool kStochastic, bool kCommon>
void update_elements(const UpdateArgs& a) {
  P* p = static_cast<P*>(a.p);
  const P* g = static_cast<const P*>(a.g);
  M* m = static_cast<M*>(a.m);
  M* v = static_cast<M*>(a.v);
  M* x = static_cast<M*>(a.vmax);
  const Scalars s = a.scalars;
  constexpr int kW = Vec::kWidth;
  alignas(64) uint16_t random[kTile];
  int64_t i = 0;
  for (; i + kW <= a.n; i += kW) {
    if (kStochastic && i % kTile == 0) random_tile(a, (a.begin + i) / 8, random);
    update_vector<P, M, kAmsgrad, kStochastic, kCommon>(s, p + i, g + i, m + i, v + i, kAmsgrad ? x + i : nullptr,
                                                        random + i % kTile);
  }
  if (i < a.n) {
    // The last few elements go through a full vector in a buffer: the same operations, the same bits.
    if (kStochastic && i % kTile == 0) random_tile(a, (a.begin + i) / 8, random);
    P pb[kW] = {}, gb[kW] = {};
    M mb[kW] = {}, vb[kW] = {}, xb[kW] = {};
    const int64_t left = a.n - i;
    for (int64_t j = 0; j < left; ++j) {
      pb[j] = p[i + j], gb[j] = g[i + j], mb[j] = m[i + j], vb[j] = v[i + j];
      if (kAmsgrad) xb[j] = x[i + j];
    }
    update_vector<P, M, kAmsgrad, kStochastic, kCommon>(s, pb, gb, mb, vb, xb, random + i % kTile);
    for (int64_t j = 0; j < left; ++j) {
      p[i + j] = pb[j], m[i + j] = mb[j], v[i + j] = vb[j];
      if (kAmsgrad) x[i + j] = xb[j];
    }
  }
}

template <class P, class M, bool kAmsgrad, bool kStochastic>
void update_chunk(const UpdateArgs& a) {
  if (is_common(a.scalars)) {
    update_elements<P, M, kAmsgrad, kStochastic, true>(a);
  } else {
    update_elements<P, M, kAmsgrad, kStochastic, false>(a);
  }
}

template <class P, class M>
constexpr UpdateFunction pick(bool amsgrad, bool stochastic) {
  if constexpr (std::is_same_v<P, Bfloat16>) {
    if (stochastic) return amsgrad ? update_chunk<P, M, true, true> : update_chunk<P, M, false, true>;
  }
  return amsgrad ? update_chunk<P, M, true, false> : update_chunk<P, M, false, false>;
}

inline UpdateFunction pick_update(Dtype p, Dtype m, bool amsgrad, bool stochastic) {
  if (p == Dtype::kFloat32) return pick<float, float>(amsgrad, stochastic);
  if (p == Dtype::kBfloat16)
    return m == Dtype::kFloat32 ? pick<Bfloat16, float>(amsgrad, stochastic) : pick<Bfloat16, Bfloat16>(amsgrad, stochastic);
  return m == Dtype::kFloat32 ? pick<Float16, float>(amsgrad, stochastic) : pick<Float16, Float16>(amsgrad, stochastic);
}

inline SumSquaresFunction pick_sum_squares(Dtype g) {
  return g == Dtype::kFloat32 ? sum_squares<float> : g == Dtype::kBfloat16 ? sum_squares<Bfloat16> : sum_squares<Float16>;
}
