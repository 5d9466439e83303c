// Sixteen elements a vector in AVX-512 (F, BW, VL, DQ), with the bf16 instructions where the including file may use them.
// Included once a translation unit, inside a namespace of its own, before adamw_loop.h.

#define REWARM_V inline __attribute__((always_inline))

// Elements lie in a register as in memory.
enum class Order { kSame };
template <class P, class M>
constexpr Order order_of() {
  return Order::kSame;
}

constexpr bool kTryFinite = false;  // one instruction makes a number finite here: nothing to gain

struct Vec {
  static constexpr int kWidth = 16;
  __m512 x;
  REWARM_V explicit Vec(__m512 value) : x(value) {}
  REWARM_V explicit Vec(float value) : x(_mm512_set1_ps(value)) {}
};

REWARM_V Vec operator+(Vec a, Vec b) { return Vec(_mm512_add_ps(a.x, b.x)); }
REWARM_V Vec operator-(Vec a, Vec b) { return Vec(_mm512_sub_ps(a.x, b.x)); }
REWARM_V Vec operator*(Vec a, Vec b) { return Vec(_mm512_mul_ps(a.x, b.x)); }
REWARM_V Vec operator/(Vec a, Vec b) { return Vec(_mm512_div_ps(a.x, b.x)); }
REWARM_V Vec fused_multiply_add(Vec a, Vec b, Vec c) { return Vec(_mm512_fmadd_ps(a.x, b.x, c.x)); }
REWARM_V Vec square_root(Vec a) { return Vec(_mm512_sqrt_ps(a.x)); }
REWARM_V Vec fused_multiply_subtract(Vec a, Vec b, Vec c) { return Vec(_mm512_fmsub_ps(a.x, b.x, c.x)); }
REWARM_V Vec finite(Vec a) {
  constexpr int kSmallerMagnitudeSignOfFirst = 0x02;
  return Vec(_mm512_range_ps(a.x, _mm512_set1_ps(3.402823466e+38f), kSmallerMagnitudeSignOfFirst));
}
REWARM_V Vec larger_or_nan(Vec a, Vec b) {
  return Vec(_mm512_mask_mov_ps(_mm512_max_ps(a.x, b.x), _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q), a.x));
}

REWARM_V bool any_nan(Vec a) { return _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q) != 0; }
REWARM_V bool any_not_finite(Vec a) { return any_nan(a - a); }

REWARM_V Vec load_sixteen(const float* p) { return Vec(_mm512_loadu_ps(p)); }
REWARM_V Vec load_sixteen(const Bfloat16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  // One permutation puts every half word into the upper half of a word.
  const __m512i spread =
      _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
  return Vec(_mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xAAAAAAAAu, spread, _mm512_castsi256_si512(bits))));
}
REWARM_V Vec load_sixteen(const Float16* p) {
  return Vec(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}

template <Order, class T>
REWARM_V Vec load(const T* p) {
  return load_sixteen(p);
}

REWARM_V void store_high_halves(Bfloat16* p, __m512i bits) {
  const __m512i odd_halves = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31, 29, 27, 25, 23, 21, 19, 17,
                                              15, 13, 11, 9, 7, 5, 3, 1);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(_mm512_permutexvar_epi16(odd_halves, bits)));
}
REWARM_V __m512i quiet(__m512i bits) { return _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000)); }

template <Order, bool kClean>
REWARM_V void store(float* p, Vec a) {
  _mm512_storeu_ps(p, a.x);
}
REWARM_V void store_by_integers(Bfloat16* p, Vec a) {
  const __m512i u = _mm512_castps_si512(a.x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q);
  store_high_halves(p, _mm512_mask_mov_epi32(rounded, nan, quiet(u)));
}
template <Order, bool kClean>
REWARM_V void store(Bfloat16* p, Vec a) {
#if defined(__AVX512BF16__)
  // The instruction rounds as torch does but flushes subnormals, which hardly ever occur.
  constexpr int kSubnormal = 0x20;
  if (__builtin_expect(_mm512_fpclass_ps_mask(a.x, kSubnormal) == 0, 1)) {
    const __m256bh rounded = _mm512_cvtneps_pbh(a.x);
    __m256i bits;
    __builtin_memcpy(&bits, &rounded, sizeof(bits));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bits);
    return;
  }
#endif
  store_by_integers(p, a);
}
template <Order, bool kClean>
REWARM_V void store(Float16* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
template <Order, bool kClean>
REWARM_V void store_stochastic(Bfloat16* p, Vec a, const uint16_t* random) {
  const __m512i u = _mm512_castps_si512(a.x);
  const __m512i noise = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(random)));
  const __m512i exponent = _mm512_set1_epi32(0x7f800000);
  const __mmask16 special = _mm512_cmpeq_epi32_mask(_mm512_and_si512(u, exponent), exponent);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_mov_epi32(u, nan, quiet(u));
  store_high_halves(p, _mm512_mask_mov_epi32(_mm512_add_epi32(u, noise), special, kept));
}

// Sixteen 32-bit words, one of sixteen Philox blocks each.
struct Words {
  static constexpr int kLanes = 16;
  __m512i x;
  REWARM_V Words() : x(_mm512_setzero_si512()) {}
  REWARM_V explicit Words(__m512i value) : x(value) {}
  REWARM_V explicit Words(uint32_t value) : x(_mm512_set1_epi32(static_cast<int>(value))) {}
  REWARM_V static Words count_from(uint32_t first) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return Words(_mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)), lanes));
  }
};
constexpr int kRandomSets = 2;

REWARM_V Words operator^(Words a, Words b) { return Words(_mm512_xor_si512(a.x, b.x)); }
REWARM_V void multiply(Words a, uint32_t factor, Words* high, Words* low) {
  const __m512i f = _mm512_set1_epi32(static_cast<int>(factor));
  const __m512i even = _mm512_mul_epu32(a.x, f);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.x, 32), f);
  // A masked shuffle swaps the halves of the other product into the free lanes.
  *high = Words(_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_CDAB));
  *low = Words(_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CDAB));
}
// Transposes 4 x 16 words so that each block's four words lie together.
REWARM_V void store_blocks(uint16_t* out, Words a, Words b, Words c, Words d) {
  const __m512i ab0 = _mm512_unpacklo_epi32(a.x, b.x), ab1 = _mm512_unpackhi_epi32(a.x, b.x);
  const __m512i cd0 = _mm512_unpacklo_epi32(c.x, d.x), cd1 = _mm512_unpackhi_epi32(c.x, d.x);
  const __m512i row[4] = {_mm512_unpacklo_epi64(ab0, cd0), _mm512_unpackhi_epi64(ab0, cd0), _mm512_unpacklo_epi64(ab1, cd1),
                          _mm512_unpackhi_epi64(ab1, cd1)};
  for (int i = 0; i < 4; ++i) {
    __m128i* o = reinterpret_cast<__m128i*>(out + 8 * i);
    _mm_storeu_si128(o, _mm512_extracti32x4_epi32(row[i], 0));
    _mm_storeu_si128(o + 4, _mm512_extracti32x4_epi32(row[i], 1));
    _mm_storeu_si128(o + 8, _mm512_extracti32x4_epi32(row[i], 2));
    _mm_storeu_si128(o + 12, _mm512_extracti32x4_epi32(row[i], 3));
  }
}

struct Sum {
  __m512d lane[4];
  REWARM_V Sum() {
    for (auto& l : lane) l = _mm512_setzero_pd();
  }
  template <class T>
  REWARM_V void add_squares(const T* g) {
    for (int j = 0; j < 2; ++j) {
      const __m512 x = load_sixteen(g + 16 * j).x;
      const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
      const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
      lane[2 * j] = _mm512_fmadd_pd(low, low, lane[2 * j]);
      lane[2 * j + 1] = _mm512_fmadd_pd(high, high, lane[2 * j + 1]);
    }
  }
  double total() {
    alignas(64) double all[32];
    for (int j = 0; j < 4; ++j) _mm512_store_pd(all + 8 * j, lane[j]);
    for (int width = 16; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) all[j] += all[j + width];
    return all[0];
  }
};
