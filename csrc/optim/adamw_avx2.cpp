// Chunk functions in AVX2, FMA and F16C: 8 elements a vector.
#include <immintrin.h>

#include "optim/kernels.h"

namespace rewarm::optim {
namespace avx2 {

#define REWARM_V inline __attribute__((always_inline))

struct Vec {
  static constexpr int kWidth = 8;
  __m256 x;
  REWARM_V explicit Vec(__m256 value) : x(value) {}
  REWARM_V explicit Vec(float value) : x(_mm256_set1_ps(value)) {}
};

REWARM_V Vec operator+(Vec a, Vec b) { return Vec(_mm256_add_ps(a.x, b.x)); }
REWARM_V Vec operator-(Vec a, Vec b) { return Vec(_mm256_sub_ps(a.x, b.x)); }
REWARM_V Vec operator*(Vec a, Vec b) { return Vec(_mm256_mul_ps(a.x, b.x)); }
REWARM_V Vec operator/(Vec a, Vec b) { return Vec(_mm256_div_ps(a.x, b.x)); }
REWARM_V Vec fused_multiply_add(Vec a, Vec b, Vec c) { return Vec(_mm256_fmadd_ps(a.x, b.x, c.x)); }
REWARM_V Vec square_root(Vec a) { return Vec(_mm256_sqrt_ps(a.x)); }
REWARM_V Vec fused_multiply_subtract(Vec a, Vec b, Vec c) { return Vec(_mm256_fmsub_ps(a.x, b.x, c.x)); }
REWARM_V Vec finite(Vec a) {
  const __m256 most = _mm256_set1_ps(3.402823466e+38f);
  return Vec(_mm256_max_ps(_mm256_min_ps(a.x, most), _mm256_sub_ps(_mm256_setzero_ps(), most)));
}
REWARM_V Vec larger_or_nan(Vec a, Vec b) {
  return Vec(_mm256_blendv_ps(_mm256_max_ps(a.x, b.x), a.x, _mm256_cmp_ps(a.x, a.x, _CMP_UNORD_Q)));
}

REWARM_V Vec load(const float* p) { return Vec(_mm256_loadu_ps(p)); }
REWARM_V Vec load(const Bfloat16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return Vec(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)));
}
REWARM_V Vec load(const Float16* p) { return Vec(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }

REWARM_V void store_high_halves(Bfloat16* p, __m256i bits) {
  const __m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(bits, 16), _mm256_setzero_si256());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}
REWARM_V __m256i quiet(__m256i bits) { return _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000)); }

REWARM_V void store(float* p, Vec a) { _mm256_storeu_ps(p, a.x); }
REWARM_V void store(Bfloat16* p, Vec a) {
  const __m256i u = _mm256_castps_si256(a.x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.x, a.x, _CMP_UNORD_Q));
  store_high_halves(p, _mm256_blendv_epi8(rounded, quiet(u), nan));
}
REWARM_V void store(Float16* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
REWARM_V void store_stochastic(Bfloat16* p, Vec a, const uint16_t* random) {
  const __m256i u = _mm256_castps_si256(a.x);
  const __m256i noise = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(random)));
  const __m256i exponent = _mm256_set1_epi32(0x7f800000);
  const __m256i special = _mm256_cmpeq_epi32(_mm256_and_si256(u, exponent), exponent);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.x, a.x, _CMP_UNORD_Q));
  const __m256i kept = _mm256_blendv_epi8(u, quiet(u), nan);
  store_high_halves(p, _mm256_blendv_epi8(_mm256_add_epi32(u, noise), kept, special));
}

// Eight 32-bit words, one of eight Philox blocks each.
struct Words {
  static constexpr int kLanes = 8;
  __m256i x;
  REWARM_V Words() : x(_mm256_setzero_si256()) {}
  REWARM_V explicit Words(__m256i value) : x(value) {}
  REWARM_V explicit Words(uint32_t value) : x(_mm256_set1_epi32(static_cast<int>(value))) {}
  REWARM_V static Words count_from(uint32_t first) {
    return Words(_mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
  }
};
REWARM_V Words operator^(Words a, Words b) { return Words(_mm256_xor_si256(a.x, b.x)); }
REWARM_V void multiply(Words a, uint32_t factor, Words* high, Words* low) {
  const __m256i f = _mm256_set1_epi32(static_cast<int>(factor));
  const __m256i even = _mm256_mul_epu32(a.x, f);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.x, 32), f);
  *high = Words(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA));
  *low = Words(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA));
}
// Transposes 4 x 8 words so that each block's four words lie together.
REWARM_V void store_blocks(uint16_t* out, Words a, Words b, Words c, Words d) {
  const __m256i ab0 = _mm256_unpacklo_epi32(a.x, b.x), ab1 = _mm256_unpackhi_epi32(a.x, b.x);
  const __m256i cd0 = _mm256_unpacklo_epi32(c.x, d.x), cd1 = _mm256_unpackhi_epi32(c.x, d.x);
  const __m256i row[4] = {_mm256_unpacklo_epi64(ab0, cd0), _mm256_unpackhi_epi64(ab0, cd0), _mm256_unpacklo_epi64(ab1, cd1),
                          _mm256_unpackhi_epi64(ab1, cd1)};
  for (int i = 0; i < 4; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8 * i), _mm256_castsi256_si128(row[i]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8 * (i + 4)), _mm256_extracti128_si256(row[i], 1));
  }
}

struct Sum {
  __m256d lane[8];
  REWARM_V Sum() {
    for (auto& l : lane) l = _mm256_setzero_pd();
  }
  template <class T>
  REWARM_V void add_squares(const T* g) {
    for (int j = 0; j < 4; ++j) {
      const __m256 x = load(g + 8 * j).x;
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

#include "optim/adamw_loop.h"

}  // namespace avx2

const Kernels kAvx2Kernels = {avx2::pick_update, avx2::pick_sum_squares};

}  // namespace rewarm::optim
