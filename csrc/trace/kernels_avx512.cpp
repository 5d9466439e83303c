// The trace's kernels in AVX-512 with VBMI and VBMI2: four rows of 16 bytes a register. With REWARM_SIMDE the same source is
// compiled for any processor, for tests (kernels_emulated.cpp).
#if defined(REWARM_SIMDE)
#include "trace/simd_emulated.h"
#else
#include <immintrin.h>
#endif

#include <type_traits>

#include "trace/kernels.h"

#if defined(REWARM_SIMDE)
#define REWARM_LEVEL emulated
#else
#define REWARM_LEVEL avx512
#endif

namespace rewarm::trace {
namespace REWARM_LEVEL {

#include "trace/kernels_swar.h"

// ---- find ----------------------------------------------------------------------------------------------------------------

struct Scan {
  __m512i indices;
  uint64_t quotes = 0, carriages = 0;
  uint32_t delimiters = 0, lines = 0;

  REWARM_V Scan() {
    alignas(64) uint8_t index[64];
    for (int i = 0; i < 64; ++i) index[i] = static_cast<uint8_t>(i);
    indices = _mm512_loadu_si512(index);
  }

  REWARM_V void read(__m512i text, uint32_t position, uint16_t* ends) {
    const uint64_t at_line = _mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8('\n'));
    const uint64_t at = _mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8(',')) | at_line;
    quotes |= _mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8('"'));
    carriages |= _mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8('\r'));
    lines += static_cast<uint32_t>(__builtin_popcountll(at_line));
    uint16_t* out = ends + delimiters;
    const uint32_t count = static_cast<uint32_t>(__builtin_popcountll(at));
    delimiters += count;
    // To a register first: compressing straight into memory takes Zen 4 a hundred cycles.
    const __m512i found = _mm512_maskz_compress_epi8(at, indices);
    const __m512i base = _mm512_set1_epi16(static_cast<int16_t>(position));
    _mm512_storeu_si512(out, _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(found)), base));
    if (__builtin_expect(count > 32, 0))
      _mm512_storeu_si512(out + 32, _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(found, 1)), base));
  }
};

Found find(const char* text, uint32_t n, uint16_t* ends) {
  Scan scan;
  uint32_t i = 0;
  for (; i + 64 <= n; i += 64) scan.read(_mm512_loadu_si512(text + i), i, ends);
  // What lies past the end is no part of this block, whatever it is.
  if (i < n) scan.read(_mm512_maskz_mov_epi8(~(~uint64_t{0} << (n - i)), _mm512_loadu_si512(text + i)), i, ends);
  return {scan.delimiters, scan.lines, scan.quotes != 0, scan.carriages != 0};
}

bool is_grid(const char* text, const uint16_t* ends, int64_t rows, int32_t columns) {
  int wrong = 0;
  for (int64_t row = 1; row <= rows; ++row) wrong |= text[ends[row * columns - 1]] ^ '\n';
  return wrong == 0;
}

// ---- four rows of 16 bytes -----------------------------------------------------------------------------------------------

struct Rows {
  __m512i x;
};
struct Pattern {
  __m512i x;
};
using Bits = uint64_t;

REWARM_V __m256i two(const void* low, const void* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(low))),
                                 _mm_loadu_si128(static_cast<const __m128i*>(high)), 1);
}
REWARM_V Rows gather(const void* p0, const void* p1, const void* p2, const void* p3) {
  return {_mm512_inserti64x4(_mm512_castsi256_si512(two(p0, p1)), two(p2, p3), 1)};
}
REWARM_V Pattern pattern(const uint8_t* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
REWARM_V Rows operator-(Rows t, Pattern p) { return {_mm512_sub_epi8(t.x, p.x)}; }
REWARM_V Rows operator+(Rows t, Pattern p) { return {_mm512_add_epi8(t.x, p.x)}; }
REWARM_V Rows operator&(Rows t, Rows u) { return {_mm512_and_si512(t.x, u.x)}; }
REWARM_V Rows operator&(Rows t, Pattern p) { return {_mm512_and_si512(t.x, p.x)}; }
REWARM_V Rows shuffle(Rows t, Pattern p) { return {_mm512_shuffle_epi8(t.x, p.x)}; }
REWARM_V Rows shuffle(Rows t, Rows u) { return {_mm512_shuffle_epi8(t.x, u.x)}; }
REWARM_V Bits equal(Rows t, Pattern p) { return _mm512_cmpeq_epi8_mask(t.x, p.x); }
// Bytes behind the first that is set, in each row; the last byte counts as set.
REWARM_V void bytes_behind_first(Bits bits, uint32_t* behind) {
  bits |= 0x8000800080008000u;
  for (int i = 0; i < 4; ++i) behind[i] = 15 ^ static_cast<uint32_t>(__builtin_ctzll(bits >> 16 * i));
}
REWARM_V bool any_in_byte_14(Bits bits) { return (bits & 0x4000400040004000u) != 0; }
// The shapes (ShapeTable) of rows of digit values.
struct Marks {
  uint64_t es = 0;  // not 0 when an e was seen

  // False unless every e, and nothing else, has a minus behind it.
  REWARM_V bool find(Rows t, uint64_t* shape) {
    const __m512i lower = _mm512_or_si512(t.x, _mm512_set1_epi8(0x20));
    const uint64_t e = _mm512_cmpeq_epi8_mask(lower, _mm512_set1_epi8('e' - '0'));
    const uint64_t marks = e | _mm512_cmpeq_epi8_mask(t.x, _mm512_set1_epi8('.' - '0'));
    es |= e;
    for (int i = 0; i < 4; ++i)
      shape[i] = 8 * static_cast<uint64_t>(__builtin_ctzll(marks >> 16 * i | 0x10000u)) + (e >> 16 * i >> 11 & 6);
    return (e << 1 & 0xfffefffefffefffeu) == _mm512_cmpeq_epi8_mask(t.x, _mm512_set1_epi8('-' - '0'));
  }
};
REWARM_V bool any_over(Rows t, Pattern limit) { return _mm512_cmpgt_epu8_mask(t.x, limit.x) != 0; }

// Eight digits to a number of 32 bits, in the order of the text.
REWARM_V __m256i eights(__m512i digits) {
  const __m512i pairs = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(0x010a));
  const __m512i fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00010064));
  const __m512i eights = _mm512_madd_epi16(_mm512_packus_epi32(fours, fours), _mm512_set1_epi32(0x00012710));
  return _mm512_castsi512_si256(_mm512_permutexvar_epi64(_mm512_set_epi64(6, 4, 2, 0, 6, 4, 2, 0), eights));
}
REWARM_V __m256i numbers(Rows digits) {
  const __m256i halves = eights(digits.x);  // of each row: the first eight digits, then the last
  return _mm256_add_epi64(_mm256_mul_epu32(halves, _mm256_set1_epi64x(100000000)), _mm256_srli_epi64(halves, 32));
}
// The same of the last 14 digits; what the first two make, cut to four bits, is an exponent.
REWARM_V __m256i numbers_and_exponents(Rows digits, int64_t* exponents) {
  const __m512i pairs = _mm512_maddubs_epi16(digits.x, _mm512_set1_epi16(0x010a));
  const __m512i order = _mm512_set_epi64(6, 4, 2, 0, 6, 4, 2, 0);
  _mm256_store_si256(reinterpret_cast<__m256i*>(exponents),
                     _mm256_and_si256(_mm512_castsi512_si256(_mm512_permutexvar_epi64(order, pairs)), _mm256_set1_epi64x(15)));
  const __m512i weights = _mm512_mask_mov_epi32(_mm512_set1_epi32(0x00010064), 0x1111, _mm512_set1_epi32(0x00010000));
  const __m512i fours = _mm512_madd_epi16(pairs, weights);
  const __m512i eights = _mm512_madd_epi16(_mm512_packus_epi32(fours, fours), _mm512_set1_epi32(0x00012710));
  const __m256i halves = _mm512_castsi512_si256(_mm512_permutexvar_epi64(order, eights));
  return _mm256_add_epi64(_mm256_mul_epu32(halves, _mm256_set1_epi64x(100000000)), _mm256_srli_epi64(halves, 32));
}

// ---- eight rows of eight bytes -------------------------------------------------------------------------------------------

REWARM_V __m128i pair(const void* low, const void* high) {
  return _mm_castpd_si128(_mm_loadh_pd(_mm_load_sd(static_cast<const double*>(low)), static_cast<const double*>(high)));
}
REWARM_V __m256i four(const void* p0, const void* p1, const void* p2, const void* p3) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(pair(p0, p1)), pair(p2, p3), 1);
}
template <class Eight>
REWARM_V bool eight_numbers(const Eight& x, __m256i* out) {
  const char* p[8];
  uint64_t keep = 0;  // the last bytes of each eight
  for (int i = 0; i < 8; ++i) {
    p[i] = x.end[i] - 8;
    keep |= static_cast<uint64_t>(static_cast<uint8_t>(0xff00 >> x.length[i])) << 8 * i;
  }
  const __m512i text =
      _mm512_inserti64x4(_mm512_castsi256_si512(four(p[0], p[1], p[2], p[3])), four(p[4], p[5], p[6], p[7]), 1);
  const __m512i digits = _mm512_maskz_sub_epi8(keep, text, _mm512_set1_epi8('0'));
  *out = eights(digits);
  return _mm512_cmpgt_epu8_mask(digits, _mm512_set1_epi8(9)) == 0;
}

// ---- hex -----------------------------------------------------------------------------------------------------------------

// What each ASCII character is worth; the high bit marks what is no hex digit.
struct HexTable {
  alignas(64) uint8_t value[128];
  constexpr HexTable() : value() {
    for (int c = 0; c < 128; ++c) {
      const int lower = c | 0x20;
      value[c] = static_cast<uint8_t>(c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 0x80);
    }
  }
};
constexpr HexTable kHex;

template <int kBytes>
REWARM_V bool hex_row(const char* p, uint8_t* out) {
  // An id of 32 digits fills half of the register; the other half reads as zeros.
  const __m512i text =
      kBytes == 32 ? _mm512_loadu_si512(p)
                   : _mm512_inserti64x4(_mm512_set1_epi8('0'), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 0);
  const __m512i values = _mm512_permutex2var_epi8(_mm512_loadu_si512(kHex.value), text, _mm512_loadu_si512(kHex.value + 64));
  const __m256i bytes = _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(values, _mm512_set1_epi16(0x0110)));
  if constexpr (kBytes == 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(bytes));
  }
  // The lookup takes seven bits of a character: the eighth counts too.
  return _mm512_movepi8_mask(_mm512_or_si512(values, text)) == 0;
}

#include "trace/kernels_loop.h"

#include "trace/kernels_float64.h"

}  // namespace REWARM_LEVEL

#if defined(REWARM_SIMDE)
const Kernels kEmulatedKernels = {"avx512_emulated",
#else
const Kernels kAvx512Kernels = {"avx512",
#endif
                                  REWARM_LEVEL::find,
                                  REWARM_LEVEL::is_grid,
                                  REWARM_LEVEL::float64,
                                  REWARM_LEVEL::integer<int64_t>,
                                  REWARM_LEVEL::integer<int32_t>,
                                  REWARM_LEVEL::integer<int16_t>,
                                  REWARM_LEVEL::hex,
                                  REWARM_LEVEL::pod_serial};

}  // namespace rewarm::trace
