// Sixteen elements a vector, in two registers of AVX2 (with FMA and F16C). Included once, inside a namespace of its own, before
// adamw_loop.h.
//
// What the bfloat16 loops cost is the conversion. Two registers let even and odd elements be taken apart by a shift and a mask
// and put together by a blend, without any permutation; and NaN is looked for once a vector, before anything is stored. One
// thread, 16,384 elements, AMD EPYC (Zen 3), ns an element, one register with care for every element / this form: float32
// 0.52 / 0.45, bfloat16 1.26 / 0.74, bfloat16 with float32 moments 0.69 / 0.52.

#define REWARM_V inline __attribute__((always_inline))

// Where the elements of a vector lie in its two registers.
enum class Order {
  kHalves,   // the first eight, the last eight
  kEvenOdd,  // the even ones, the odd ones: cheapest where every operand is bfloat16
};
template <class P, class M>
constexpr Order order_of() {
  return std::is_same_v<P, Bfloat16> && std::is_same_v<M, Bfloat16> ? Order::kEvenOdd : Order::kHalves;
}

constexpr bool kTryFinite = true;

struct Vec {
  static constexpr int kWidth = 16;
  __m256 a, b;
  REWARM_V Vec(__m256 first, __m256 second) : a(first), b(second) {}
  REWARM_V explicit Vec(float value) : a(_mm256_set1_ps(value)), b(a) {}
};

REWARM_V Vec operator+(Vec x, Vec y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
REWARM_V Vec operator-(Vec x, Vec y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
REWARM_V Vec operator*(Vec x, Vec y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
REWARM_V Vec operator/(Vec x, Vec y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
REWARM_V Vec square_root(Vec x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
REWARM_V Vec fused_multiply_add(Vec x, Vec y, Vec z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
REWARM_V Vec fused_multiply_subtract(Vec x, Vec y, Vec z) {
  return {_mm256_fmsub_ps(x.a, y.a, z.a), _mm256_fmsub_ps(x.b, y.b, z.b)};
}
REWARM_V __m256 finite(__m256 x) {
  const __m256 most = _mm256_set1_ps(3.402823466e+38f);
  return _mm256_max_ps(_mm256_min_ps(x, most), _mm256_sub_ps(_mm256_setzero_ps(), most));
}
REWARM_V Vec finite(Vec x) { return {finite(x.a), finite(x.b)}; }
REWARM_V __m256 is_nan(__m256 x) { return _mm256_cmp_ps(x, x, _CMP_UNORD_Q); }
REWARM_V __m256 larger_or_nan(__m256 x, __m256 y) { return _mm256_blendv_ps(_mm256_max_ps(x, y), x, is_nan(x)); }
REWARM_V Vec larger_or_nan(Vec x, Vec y) { return {larger_or_nan(x.a, y.a), larger_or_nan(x.b, y.b)}; }
REWARM_V bool any_nan(Vec x) { return _mm256_movemask_ps(_mm256_cmp_ps(x.a, x.b, _CMP_UNORD_Q)) != 0; }
REWARM_V bool any_not_finite(Vec x) { return any_nan(x - x); }

REWARM_V __m256i load_sixteen(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
REWARM_V __m256 low_halves(__m256i words) { return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)); }
REWARM_V __m256 high_halves(__m256i words) {
  return _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
REWARM_V __m256 load_eight(const Bfloat16* p) {
  return low_halves(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
REWARM_V __m256 load_eight(const Float16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
REWARM_V __m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }

template <Order kOrder, class T>
REWARM_V Vec load(const T* p) {
  if constexpr (kOrder == Order::kEvenOdd) {
    const __m256i words = load_sixteen(p);
    return {low_halves(words), high_halves(words)};
  } else {
    return {load_eight(p), load_eight(p + 8)};
  }
}

// The upper halves of two registers, in memory order.
template <Order kOrder>
REWARM_V void store_high_halves(Bfloat16* p, __m256i a, __m256i b) {
  __m256i packed;
  if constexpr (kOrder == Order::kEvenOdd) {
    packed = _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xAA);
  } else {
    packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16)), 0xD8);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}
REWARM_V __m256i quiet(__m256i bits) { return _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000)); }

// To nearest, ties to even; the lower half is left over. kClean: not NaN.
template <bool kClean>
REWARM_V __m256i round_to_high_half(__m256 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  return kClean ? rounded : _mm256_blendv_epi8(rounded, quiet(u), _mm256_castps_si256(is_nan(x)));
}
// kClean: finite.
template <bool kClean>
REWARM_V __m256i round_stochastic(__m256 x, __m256i noise) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i rounded = _mm256_add_epi32(u, noise);
  if (kClean) return rounded;
  const __m256i exponent = _mm256_set1_epi32(0x7f800000);
  const __m256i special = _mm256_cmpeq_epi32(_mm256_and_si256(u, exponent), exponent);
  return _mm256_blendv_epi8(rounded, _mm256_blendv_epi8(u, quiet(u), _mm256_castps_si256(is_nan(x))), special);
}

template <Order kOrder, bool kClean>
REWARM_V void store(float* p, Vec x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
template <Order kOrder, bool kClean>
REWARM_V void store(Bfloat16* p, Vec x) {
  store_high_halves<kOrder>(p, round_to_high_half<kClean>(x.a), round_to_high_half<kClean>(x.b));
}
template <Order kOrder, bool kClean>
REWARM_V void store(Float16* p, Vec x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, kNearest));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, kNearest));
}
template <Order kOrder, bool kClean>
REWARM_V void store_stochastic(Bfloat16* p, Vec x, const uint16_t* random) {
  __m256i noise_a, noise_b;
  if constexpr (kOrder == Order::kEvenOdd) {
    const __m256i words = load_sixteen(random);
    noise_a = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    noise_b = _mm256_srli_epi32(words, 16);
  } else {
    noise_a = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(random)));
    noise_b = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(random + 8)));
  }
  store_high_halves<kOrder>(p, round_stochastic<kClean>(x.a, noise_a), round_stochastic<kClean>(x.b, noise_b));
}

// Four 32-bit words, one of four Philox blocks each, in the lower halves of 64-bit lanes: where the multiplication reads them,
// and where it leaves them. The upper halves hold whatever was left there.
struct Words {
  static constexpr int kLanes = 4;
  __m256i x;
  REWARM_V Words() : x(_mm256_setzero_si256()) {}
  REWARM_V explicit Words(__m256i value) : x(value) {}
  REWARM_V explicit Words(uint32_t value) : x(_mm256_set1_epi64x(static_cast<int64_t>(value))) {}
  // In an order that unpacking straightens.
  REWARM_V static Words count_from(uint32_t first) {
    return Words(_mm256_add_epi64(_mm256_set1_epi64x(static_cast<int64_t>(first)), _mm256_setr_epi64x(0, 2, 1, 3)));
  }
};
// 1.12 ns an element with SR before; with 1, 2 and 4 sets: 0.92, 0.91, 0.80 (AMD EPYC Zen 3, bfloat16, float32 moments, in L2).
constexpr int kRandomSets = 4;

REWARM_V Words operator^(Words a, Words b) { return Words(_mm256_xor_si256(a.x, b.x)); }
REWARM_V void multiply(Words a, uint32_t factor, Words* high, Words* low) {
  const __m256i product = _mm256_mul_epu32(a.x, _mm256_set1_epi64x(static_cast<int64_t>(factor)));
  *low = Words(product);
  *high = Words(_mm256_srli_epi64(product, 32));
}
// So that each block's four words lie together.
REWARM_V void store_blocks(uint16_t* out, Words a, Words b, Words c, Words d) {
  const __m256i ab = _mm256_blend_epi32(a.x, _mm256_slli_epi64(b.x, 32), 0xAA);
  const __m256i cd = _mm256_blend_epi32(c.x, _mm256_slli_epi64(d.x, 32), 0xAA);
  __m256i* o = reinterpret_cast<__m256i*>(out);
  _mm256_store_si256(o, _mm256_unpacklo_epi64(ab, cd));
  _mm256_store_si256(o + 1, _mm256_unpackhi_epi64(ab, cd));
}

struct Sum {
  __m256d lane[8];
  REWARM_V Sum() {
    for (auto& l : lane) l = _mm256_setzero_pd();
  }
  template <class T>
  REWARM_V void add_squares(const T* g) {
    for (int j = 0; j < 4; ++j) {
      const __m256 x = load_eight(g + 8 * j);
      const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
      const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
      lane[2 * j] = _mm256_fmadd_pd(low, low, lane[2 * j]);
      lane[2 * j + 1] = _mm256_fmadd_pd(high, high, lane[2 * j + 1]);
    }
  }
  double total() {
    alignas(32) double all[32];
    for (int j = 0; j < 8; ++j) _mm256_store_pd(all + 4 * j, lane[j]);
    for (int width = 16; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) all[j] += all[j + width];
    return all[0];
  }
};
