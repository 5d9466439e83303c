// Sixteen floats in one register of AVX-512. Included once, inside a namespace of its own, before gemm_loop.h.
#define REWARM_V inline __attribute__((always_inline))

struct Lanes {
  static constexpr int kWidth = 16;
  __m512 v;
};
// A tile of a product: rows, and registers a row.
constexpr int kTileRows = 6, kTileLanes = 4;

REWARM_V Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
REWARM_V void store(float* p, Lanes x) { _mm512_storeu_ps(p, x.v); }
REWARM_V Lanes broadcast(float x) { return {_mm512_set1_ps(x)}; }
REWARM_V Lanes operator+(Lanes x, Lanes y) { return {_mm512_add_ps(x.v, y.v)}; }
REWARM_V Lanes operator-(Lanes x, Lanes y) { return {_mm512_sub_ps(x.v, y.v)}; }
REWARM_V Lanes operator*(Lanes x, Lanes y) { return {_mm512_mul_ps(x.v, y.v)}; }
REWARM_V Lanes operator/(Lanes x, Lanes y) { return {_mm512_div_ps(x.v, y.v)}; }
REWARM_V Lanes square_root(Lanes x) { return {_mm512_sqrt_ps(x.v)}; }
REWARM_V Lanes multiply_add(Lanes x, Lanes y, Lanes z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
// The instruction returns its second operand when either is NaN.
REWARM_V Lanes relu(Lanes x) { return {_mm512_max_ps(_mm512_setzero_ps(), x.v)}; }
// x where y > 0 or y is NaN, else 0.
REWARM_V Lanes where_positive(Lanes x, Lanes y) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y.v, _mm512_setzero_ps(), _CMP_NLE_UQ), x.v)};
}
REWARM_V float sum(Lanes x) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x.v), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x.v), high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#include "common/transpose_avx2.h"
