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

// 16 random bits for each element of a parameter at one step, in element order: Philox blocks of 8 (common/philox.h), a tile of
// them at a time. The same for all blocks, and so worked out beforehand: the keys, and half of the first two rounds, where two
// of the four words still are what the parameter, its t and the upper half of the block number made them.
class RandomBits {
 public:
  static constexpr int kTile = 8 * kRandomSets * Words::kLanes;  // elements

  // For the elements from `begin` up to the next multiple of 2^35: further on the upper half is another one.
  RandomBits(const UpdateArgs& a, int64_t begin) {
    const Philox4 start = {
        {0, static_cast<uint32_t>(static_cast<uint64_t>(begin / 8) >> 32), a.rounding_t, a.rounding_ordinal}};
    uint32_t high, low, key0 = a.key0, key1 = a.key1;
    mul_wide(start.x[2], kPhiloxRight, &high, &low);
    const uint32_t x0 = high ^ start.x[1] ^ key0, x1 = low;
    first2_ = Words(start.x[3] ^ key1);
    mul_wide(x0, kPhiloxLeft, &high, &low);
    key0 += kPhiloxKey0, key1 += kPhiloxKey1;
    second0_ = Words(x1 ^ key0);
    second2_ = Words(high ^ key1);
    third3_ = Words(low);
    for (int round = 2; round < 10; ++round) {
      key0 += kPhiloxKey0, key1 += kPhiloxKey1;
      key0_[round] = Words(key0);
      key1_[round] = Words(key1);
    }
  }

  // kRandomSets independent sets at once: one alone would wait for its own multiplications.
  inline __attribute__((always_inline)) void tile(int64_t first_block, uint16_t* out) const {
    Words x0[kRandomSets], x1[kRandomSets], x2[kRandomSets], x3[kRandomSets], high, low;
    for (int k = 0; k < kRandomSets; ++k) {
      multiply(Words::count_from(static_cast<uint32_t>(first_block + k * Words::kLanes)), kPhiloxLeft, &high, &low);
      x2[k] = low ^ second2_;
      multiply(high ^ first2_, kPhiloxRight, &high, &low);
      x0[k] = high ^ second0_;
      x1[k] = low;
      x3[k] = third3_;
    }
#pragma GCC unroll 8
    for (int round = 2; round < 10; ++round) {
      for (int k = 0; k < kRandomSets; ++k) {
        Words right_high, right_low;
        multiply(x0[k], kPhiloxLeft, &high, &low);
        multiply(x2[k], kPhiloxRight, &right_high, &right_low);
        x0[k] = right_high ^ (x1[k] ^ key0_[round]);
        x1[k] = right_low;
        x2[k] = high ^ (x3[k] ^ key1_[round]);
        x3[k] = low;
      }
    }
    for (int k = 0; k < kRandomSets; ++k) store_blocks(out + 8 * k * Words::kLanes, x0[k], x1[k], x2[k], x3[k]);
  }

 private:
  Words first2_, second0_, second2_, third3_;  // what is xored into word 2 in the first round, and so on
  Words key0_[10], key1_[10];
};

// One vector of elements. False, and nothing stored, when kFinite turns out not to hold.
template <class P, class M, bool kAmsgrad, bool kStochastic, Form kForm>
inline __attribute__((always_inline)) bool update_vector(const Scalars& s, P* p, const P* g, M* m, M* v, M* vmax,
                                                         const uint16_t* random) {
  constexpr Order kOrder = order_of<P, M>();
  constexpr bool kClean = kForm == Form::kFinite;  // what is stored is known not to be NaN
  Vec mv = load<kOrder>(m), vv = load<kOrder>(v), xv = kAmsgrad ? load<kOrder>(vmax) : vv;
  const Vec next = adamw_element<kAmsgrad, kForm>(s, load<kOrder>(p), load<kOrder>(g), mv, vv, xv);
  if constexpr (kClean) {
    if (__builtin_expect(kStochastic ? any_not_finite(next) : any_nan(next), 0)) return false;
  }
  store<kOrder, kClean>(m, mv);
  store<kOrder, kClean>(v, vv);
  if (kAmsgrad) store<kOrder, kClean>(vmax, xv);
  if constexpr (kStochastic) {
    store_stochastic<kOrder, kClean>(p, next, random);
  } else {
    store<kOrder, kClean>(p, next);
  }
  return true;
}

template <class P, class M, bool kAmsgrad, bool kStochastic, Form kForm>
void update_elements(const UpdateArgs& a) {
  P* p = static_cast<P*>(a.p);
  const P* g = static_cast<const P*>(a.g);
  M* m = static_cast<M*>(a.m);
  M* v = static_cast<M*>(a.v);
  M* x = static_cast<M*>(a.vmax);
  const Scalars s = a.scalars;
  const int64_t n = a.n;
  constexpr int kW = Vec::kWidth;
  constexpr Form kAlways = kForm == Form::kFinite ? Form::kCommon : kForm;
  constexpr int kTile = RandomBits::kTile;
  alignas(64) uint16_t random[kStochastic ? kTile : 1];
  const auto bits = [&] {
    if constexpr (kStochastic)
      return RandomBits(a, a.begin);
    else
      return 0;
  }();
  int64_t i = 0;
  for (; i + kW <= n; i += kW) {
    if constexpr (kStochastic) {
      if (i % kTile == 0) bits.tile((a.begin + i) / 8, random);
    }
    M* xi = kAmsgrad ? x + i : nullptr;
    const uint16_t* r = random + i % kTile;
    if (!update_vector<P, M, kAmsgrad, kStochastic, kForm>(s, p + i, g + i, m + i, v + i, xi, r))
      update_vector<P, M, kAmsgrad, kStochastic, kAlways>(s, p + i, g + i, m + i, v + i, xi, r);
  }
  if (i < n) {
    // The last few elements go through a full vector in a buffer: the same operations, the same bits.
    if constexpr (kStochastic) {
      if (i % kTile == 0) bits.tile((a.begin + i) / 8, random);
    }
    P pb[kW] = {}, gb[kW] = {};
    M mb[kW] = {}, vb[kW] = {}, xb[kW] = {};
    const int64_t left = n - i;
    for (int64_t j = 0; j < left; ++j) {
      pb[j] = p[i + j], gb[j] = g[i + j], mb[j] = m[i + j], vb[j] = v[i + j];
      if (kAmsgrad) xb[j] = x[i + j];
    }
    update_vector<P, M, kAmsgrad, kStochastic, kAlways>(s, pb, gb, mb, vb, xb, random + i % kTile);
    for (int64_t j = 0; j < left; ++j) {
      p[i + j] = pb[j], m[i + j] = mb[j], v[i + j] = vb[j];
      if (kAmsgrad) x[i + j] = xb[j];
    }
  }
}

template <class P, class M, bool kAmsgrad, bool kStochastic>
void update_chunk(const UpdateArgs& a) {
  if (kTryFinite && is_common_with_decay(a.scalars)) {
    update_elements<P, M, kAmsgrad, kStochastic, kTryFinite ? Form::kFinite : Form::kCommon>(a);
  } else if (is_common(a.scalars)) {
    update_elements<P, M, kAmsgrad, kStochastic, Form::kCommon>(a);
  } else {
    update_elements<P, M, kAmsgrad, kStochastic, Form::kAny>(a);
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
