// The trace's kernels in AVX2 with BMI1, BMI2 and POPCNT: two rows of 16 bytes a register.
#include <immintrin.h>

#include <type_traits>

#include "trace/kernels.h"

namespace rewarm::trace {
namespace avx2 {

#include "trace/kernels_swar.h"

// ---- find ----------------------------------------------------------------------------------------------------------------

REWARM_V __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
REWARM_V uint32_t bits_of(__m256i bytes) { return static_cast<uint32_t>(_mm256_movemask_epi8(bytes)); }

struct Scan {
  __m256i quotes = _mm256_setzero_si256(), carriages = _mm256_setzero_si256();
  __m256i some_lines = _mm256_setzero_si256(), lines = _mm256_setzero_si256();
  uint32_t delimiters = 0;

  REWARM_V void read(__m256i low, __m256i high, uint32_t position, uint16_t* ends) {
    const __m256i comma = _mm256_set1_epi8(','), line = _mm256_set1_epi8('\n');
    const __m256i quote = _mm256_set1_epi8('"'), carriage = _mm256_set1_epi8('\r');
    const __m256i low_line = _mm256_cmpeq_epi8(low, line), high_line = _mm256_cmpeq_epi8(high, line);
    some_lines = _mm256_sub_epi8(some_lines, _mm256_add_epi8(low_line, high_line));
    quotes = _mm256_or_si256(quotes, _mm256_or_si256(_mm256_cmpeq_epi8(low, quote), _mm256_cmpeq_epi8(high, quote)));
    carriages =
        _mm256_or_si256(carriages, _mm256_or_si256(_mm256_cmpeq_epi8(low, carriage), _mm256_cmpeq_epi8(high, carriage)));
    uint64_t at = bits_of(_mm256_or_si256(_mm256_cmpeq_epi8(low, comma), low_line)) |
                  static_cast<uint64_t>(bits_of(_mm256_or_si256(_mm256_cmpeq_epi8(high, comma), high_line))) << 32;
    uint16_t* out = ends + delimiters;
    const uint32_t count = static_cast<uint32_t>(__builtin_popcountll(at));
    delimiters += count;
    // kAlways without asking: of a request's 64 bytes five are delimiters, seldom ten. What is written too much is overwritten.
    for (int i = 0; i < kAlways; ++i, at = _blsr_u64(at)) out[i] = static_cast<uint16_t>(position + _tzcnt_u64(at));
    if (__builtin_expect(count > kAlways, 0))
      for (int i = kAlways; at != 0; ++i, at = _blsr_u64(at)) out[i] = static_cast<uint16_t>(position + _tzcnt_u64(at));
  }
  static constexpr int kAlways = 8;

  // Counters are bytes: at most two a turn.
  static constexpr uint32_t kTurns = 127;
  REWARM_V void sum_lines() {
    lines = _mm256_add_epi64(lines, _mm256_sad_epu8(some_lines, _mm256_setzero_si256()));
    some_lines = _mm256_setzero_si256();
  }
  REWARM_V uint32_t total_lines() const {
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(lines), _mm256_extracti128_si256(lines, 1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 2));
  }
};

Found find(const char* text, uint32_t n, uint16_t* ends) {
  Scan scan;
  uint32_t i = 0;
  while (i + 64 <= n) {
    const uint32_t stop = n - i < 64 * Scan::kTurns ? n : i + 64 * Scan::kTurns;
    for (; i + 64 <= stop; i += 64) scan.read(load(text + i), load(text + i + 32), i, ends);
    scan.sum_lines();
  }
  if (i < n) {
    // What lies past the end is no part of this block, whatever it is.
    alignas(32) char last[64] = {};
    for (uint32_t j = 0; i + j < n; ++j) last[j] = text[i + j];
    scan.read(load(last), load(last + 32), i, ends);
    scan.sum_lines();
  }
  return {scan.delimiters, scan.total_lines(), bits_of(scan.quotes) != 0, bits_of(scan.carriages) != 0};
}

bool is_grid(const char* text, const uint16_t* ends, int64_t rows, int32_t columns) {
  int wrong = 0;
  for (int64_t row = 1; row <= rows; ++row) wrong |= text[ends[row * columns - 1]] ^ '\n';
  return wrong == 0;
}

// ---- four rows of 16 bytes -------------------------------------------------------------------------------------------------

struct Rows {
  __m256i even, odd;  // rows 0 and 2, 1 and 3: packing them puts the rows in order
};
struct Pattern {
  __m256i x;
};
struct Bits {
  uint32_t even, odd;
};

REWARM_V __m256i two(const void* low, const void* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(low))),
                                 _mm_loadu_si128(static_cast<const __m128i*>(high)), 1);
}
REWARM_V Rows gather(const void* p0, const void* p1, const void* p2, const void* p3) { return {two(p0, p2), two(p1, p3)}; }
REWARM_V Pattern pattern(const uint8_t* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
REWARM_V Rows operator-(Rows t, Pattern p) { return {_mm256_sub_epi8(t.even, p.x), _mm256_sub_epi8(t.odd, p.x)}; }
REWARM_V Rows operator+(Rows t, Pattern p) { return {_mm256_add_epi8(t.even, p.x), _mm256_add_epi8(t.odd, p.x)}; }
REWARM_V Rows operator&(Rows t, Rows u) { return {_mm256_and_si256(t.even, u.even), _mm256_and_si256(t.odd, u.odd)}; }
REWARM_V Rows operator&(Rows t, Pattern p) { return {_mm256_and_si256(t.even, p.x), _mm256_and_si256(t.odd, p.x)}; }
REWARM_V Rows shuffle(Rows t, Pattern p) { return {_mm256_shuffle_epi8(t.even, p.x), _mm256_shuffle_epi8(t.odd, p.x)}; }
REWARM_V Rows shuffle(Rows t, Rows u) { return {_mm256_shuffle_epi8(t.even, u.even), _mm256_shuffle_epi8(t.odd, u.odd)}; }
REWARM_V Bits equal(Rows t, Pattern p) {
  return {bits_of(_mm256_cmpeq_epi8(t.even, p.x)), bits_of(_mm256_cmpeq_epi8(t.odd, p.x))};
}
// Bytes behind the first that is set, in each row; the last byte counts as set.
REWARM_V void bytes_behind_first(Bits bits, uint32_t* behind) {
  const uint32_t even = bits.even | 0x80008000u, odd = bits.odd | 0x80008000u;
  behind[0] = 15 ^ _tzcnt_u32(even);
  behind[1] = 15 ^ _tzcnt_u32(odd);
  behind[2] = 15 ^ _tzcnt_u32(even >> 16);
  behind[3] = 15 ^ _tzcnt_u32(odd >> 16);
}
REWARM_V bool any_in_byte_14(Bits bits) { return ((bits.even | bits.odd) & 0x40004000u) != 0; }
// The shapes (ShapeTable) of rows of digit values.
struct Marks {
  __m256i lower = _mm256_set1_epi8(0x20), e = _mm256_set1_epi8('e' - '0');
  __m256i point = _mm256_set1_epi8('.' - '0'), minus = _mm256_set1_epi8('-' - '0');
  uint32_t es = 0;  // not 0 when an e was seen

  // Without a word gcc 12 makes the four constants anew for every four rows (Zen 3 did not mind).
  REWARM_V Marks() { asm("" : "+x"(lower), "+x"(e), "+x"(point), "+x"(minus)); }
  // False unless every e, and nothing else, has a minus behind it.
  REWARM_V bool find(Rows t, uint64_t* shape) {
    const __m256i wrong = _mm256_or_si256(find_two(t.even, shape), find_two(t.odd, shape + 1));
    return _mm256_testz_si256(wrong, wrong) != 0;
  }
  REWARM_V __m256i find_two(__m256i row, uint64_t* shape) {
    const __m256i an_e = _mm256_cmpeq_epi8(_mm256_or_si256(row, lower), e);
    const uint32_t marks = bits_of(_mm256_or_si256(an_e, _mm256_cmpeq_epi8(row, point))), e_bits = bits_of(an_e);
    es |= e_bits;
    shape[0] = 8 * _tzcnt_u32(marks | 0x10000u) + (e_bits >> 11 & 6);
    shape[2] = 8 * _tzcnt_u32(marks >> 16 | 0x10000u) + (e_bits >> 27 & 6);
    return _mm256_xor_si256(_mm256_slli_si256(an_e, 1), _mm256_cmpeq_epi8(row, minus));
  }
};
REWARM_V bool any_over(Rows t, Pattern limit) {
  const __m256i any = _mm256_or_si256(_mm256_subs_epu8(t.even, limit.x), _mm256_subs_epu8(t.odd, limit.x));
  return _mm256_testz_si256(any, any) == 0;
}

REWARM_V __m256i pairs(__m256i digits) { return _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a)); }
REWARM_V __m256i fours(__m256i digits) { return _mm256_madd_epi16(pairs(digits), _mm256_set1_epi32(0x00010064)); }
REWARM_V __m256i eights(__m256i first, __m256i second) {
  return _mm256_madd_epi16(_mm256_packus_epi32(fours(first), fours(second)), _mm256_set1_epi32(0x00012710));
}
REWARM_V __m256i numbers(Rows digits) {
  const __m256i halves = eights(digits.even, digits.odd);  // of each row: the first eight digits, then the last
  return _mm256_add_epi64(_mm256_mul_epu32(halves, _mm256_set1_epi64x(100000000)), _mm256_srli_epi64(halves, 32));
}
// The same of the last 14 digits; what the first two make, cut to four bits, is an exponent.
REWARM_V __m256i numbers_and_exponents(Rows digits, int64_t* exponents) {
  const __m256i even = pairs(digits.even), odd = pairs(digits.odd);
  _mm256_store_si256(reinterpret_cast<__m256i*>(exponents),
                     _mm256_and_si256(_mm256_unpacklo_epi64(even, odd), _mm256_set1_epi64x(15)));
  const __m256i weights =
      _mm256_set_epi32(0x00010064, 0x00010064, 0x00010064, 0x00010000, 0x00010064, 0x00010064, 0x00010064, 0x00010000);
  const __m256i halves = _mm256_madd_epi16(
      _mm256_packus_epi32(_mm256_madd_epi16(even, weights), _mm256_madd_epi16(odd, weights)), _mm256_set1_epi32(0x00012710));
  return _mm256_add_epi64(_mm256_mul_epu32(halves, _mm256_set1_epi64x(100000000)), _mm256_srli_epi64(halves, 32));
}

// ---- eight rows of eight bytes ---------------------------------------------------------------------------------------------

REWARM_V __m128i pair(const void* low, const void* high) {
  return _mm_castpd_si128(_mm_loadh_pd(_mm_load_sd(static_cast<const double*>(low)), static_cast<const double*>(high)));
}
template <class Eight>
REWARM_V bool eight_numbers(const Eight& x, __m256i* out) {
  alignas(16) static constexpr uint64_t kKeepWord[9] = {0,
                                                        ~uint64_t{0} << 56,
                                                        ~uint64_t{0} << 48,
                                                        ~uint64_t{0} << 40,
                                                        ~uint64_t{0} << 32,
                                                        ~uint64_t{0} << 24,
                                                        ~uint64_t{0} << 16,
                                                        ~uint64_t{0} << 8,
                                                        ~uint64_t{0}};
  __m128i digits[4];
  for (int i = 0; i < 4; ++i)
    digits[i] = _mm_and_si128(_mm_sub_epi8(pair(x.end[2 * i] - 8, x.end[2 * i + 1] - 8), _mm_set1_epi8('0')),
                              pair(kKeepWord + x.length[2 * i], kKeepWord + x.length[2 * i + 1]));
  // Rows 0, 1, 4, 5 and 2, 3, 6, 7: packing them puts the rows in order.
  const __m256i first = _mm256_inserti128_si256(_mm256_castsi128_si256(digits[0]), digits[2], 1);
  const __m256i second = _mm256_inserti128_si256(_mm256_castsi128_si256(digits[1]), digits[3], 1);
  *out = eights(first, second);
  const __m256i most = _mm256_set1_epi8(9);
  const __m256i more = _mm256_or_si256(_mm256_subs_epu8(first, most), _mm256_subs_epu8(second, most));
  return _mm256_testz_si256(more, more) != 0;
}

// ---- hex -----------------------------------------------------------------------------------------------------------------

// 0 to 15, more than 15 for what is no hex digit. Saturation keeps each of the two readings past 15 where it does not apply.
REWARM_V __m256i hex_values(__m256i c) {
  const __m256i digit = _mm256_sub_epi8(
      _mm256_subs_epu8(_mm256_add_epi8(c, _mm256_set1_epi8(static_cast<char>(0xff - '9'))), _mm256_set1_epi8(6)),
      _mm256_set1_epi8(static_cast<char>(0xf0)));
  const __m256i upper = _mm256_and_si256(c, _mm256_set1_epi8(static_cast<char>(0xdf)));
  const __m256i letter = _mm256_adds_epu8(_mm256_sub_epi8(upper, _mm256_set1_epi8('A')), _mm256_set1_epi8(10));
  return _mm256_min_epu8(digit, letter);
}
REWARM_V bool all_hex(__m256i values) { return _mm256_testz_si256(values, _mm256_set1_epi8(static_cast<char>(0xf0))) != 0; }
REWARM_V __m256i hex_pairs(__m256i values) { return _mm256_maddubs_epi16(values, _mm256_set1_epi16(0x0110)); }

template <int kBytes>
REWARM_V bool hex_row(const char* p, uint8_t* out) {
  const __m256i first = hex_values(load(p));
  if constexpr (kBytes == 32) {
    const __m256i second = hex_values(load(p + 32));
    const __m256i packed = _mm256_packus_epi16(hex_pairs(first), hex_pairs(second));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(packed, 0xd8));
    return all_hex(_mm256_or_si256(first, second));
  } else {
    const __m256i pairs_of = hex_pairs(first);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_packus_epi16(_mm256_castsi256_si128(pairs_of), _mm256_extracti128_si256(pairs_of, 1)));
    return all_hex(first);
  }
}

#include "trace/kernels_loop.h"

#include "trace/kernels_float64.h"

}  // namespace avx2

const Kernels kAvx2Kernels = {"avx2",
                              avx2::find,
                              avx2::is_grid,
                              avx2::float64,
                              avx2::integer<int64_t>,
                              avx2::integer<int32_t>,
                              avx2::integer<int16_t>,
                              avx2::hex,
                              avx2::pod_serial};

}  // namespace rewarm::trace
