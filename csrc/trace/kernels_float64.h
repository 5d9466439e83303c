// Reals, written once for the vector levels; included after kernels_loop.h in the namespace of one instruction set.

// By the byte in which the point stands; 16 = no point.
struct PointTable {
  alignas(16) uint8_t zeros[17][16];    // '0', and the point itself
  alignas(16) uint8_t limit[17][16];    // of what remains: 9, and 0 for the point
  alignas(16) uint8_t without[17][16];  // shuffle that drops the point, a zero coming in from the left
  constexpr PointTable() : zeros(), limit(), without() {
    for (int point = 0; point <= 16; ++point)
      for (int i = 0; i < 16; ++i) {
        zeros[point][i] = i == point ? '.' : '0';
        limit[point][i] = i == point ? 0 : 9;
        const int from = point < 16 && i <= point ? i - 1 : i;
        without[point][i] = static_cast<uint8_t>(from < 0 ? 0x80 : from);
      }
  }
};
constexpr PointTable kPoint;

// A number with mantissa m is m * up / down, of which one is 1: a single rounding of exact operands. Powers that double does
// not hold exactly are NaN, so that a row which needs one is found by its value.
constexpr int kMostExponent = 40;  // wide enough that exponents cut to it are NaN whatever the decimals
struct PowerTable {
  alignas(64) double scale[15 + 2 * kMostExponent + 1][2];
  constexpr PowerTable() : scale() {
    for (int i = 0; i < 15 + 2 * kMostExponent + 1; ++i) {
      const int power = i - kMostExponent - 15;
      const bool exact = power >= -kExactPowers && power <= kExactPowers;
      scale[i][0] = !exact ? __builtin_nan("") : power > 0 ? kPowersOfTen[power] : 1.0;
      scale[i][1] = exact && power < 0 ? kPowersOfTen[-power] : 1.0;
    }
  }
};
constexpr PowerTable kPower;

REWARM_V bool has_exponent(const char* end, uint32_t length) {
  bool found = false;
  for (uint32_t i = 2; i <= 5; ++i) found = found || (i < length && (end[-static_cast<int32_t>(i)] | 0x20) == 'e');
  return found;
}

// Numbers that all have `decimals` digits behind the point, 0 = none has a point.
struct FixedPoint {
  Pattern zeros, limit, without;
  uint32_t shortest, range;
  __m256d scale;

  REWARM_V explicit FixedPoint(uint32_t decimals) {
    const uint32_t point = decimals == 0 ? 16 : 15 - decimals;
    zeros = pattern(kPoint.zeros[point]);
    limit = pattern(kPoint.limit[point]);
    without = pattern(kPoint.without[point]);
    shortest = decimals == 0 ? 1 : decimals + 2;
    range = (decimals == 0 ? 15 : 16) - shortest;
    scale = _mm256_set1_pd(kPowersOfTen[decimals]);
  }

  REWARM_V bool read(const Four& four, double* out) const {
    if (!four.lengths_in(shortest, range)) return false;
    const Rows digits = (text_of(four) - zeros) & keep_of(four);
    _mm256_storeu_pd(out, _mm256_div_pd(as_doubles(numbers(shuffle(digits, without))), scale));
    return !any_over(digits, limit);
  }

  // Integers below 2^52 by putting them into the mantissa of 2^52.
  static REWARM_V __m256d as_doubles(__m256i numbers) {
    const __m256d magic = _mm256_set1_pd(4503599627370496.0);
    return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(numbers, _mm256_castpd_si256(magic))), magic);
  }
};

// The last four bytes of four fields.
REWARM_V __m128i last_bytes(const Four& four) {
  uint32_t last[4];
  for (int i = 0; i < 4; ++i) __builtin_memcpy(&last[i], four.end[i] - 4, 4);
  return _mm_insert_epi32(
      _mm_insert_epi32(_mm_insert_epi32(_mm_cvtsi32_si128(static_cast<int>(last[0])), static_cast<int>(last[1]), 1),
                       static_cast<int>(last[2]), 2),
      static_cast<int>(last[3]), 3);
}

// How a number of at most 15 characters is put together, by its shape: eight times the byte of its first '.' or e (16 =
// neither), plus 2 for an e in byte 12 and 4 for one in byte 13, which a minus follows: "e-05" (C, Python), "E-5" (Java).
struct ShapeTable {
  // 16 bytes each, of two shape numbers: the mantissa's last 14 digits go to bytes 2 to 15, the exponent's last one to byte 1,
  // and a digit that must be 0 to byte 0. What has no such shape stays as it is, with what is no digit in it.
  alignas(64) uint8_t shuffle[17 * 8][8];
  uint8_t decimals[17 * 8];
  constexpr ShapeTable() : shuffle(), decimals() {
    for (int shape = 0; shape < 17 * 8; shape += 2) {
      const int mark = shape / 8, kind = shape % 8 / 2, e = kind == 0 ? 16 : 11 + kind;
      uint8_t from[16] = {};
      // A point is not the last character of a mantissa.
      const bool sound = kind != 3 && mark <= e && mark != e - 1;
      const int behind = sound && mark < e ? e - 1 - mark : 0;
      for (int i = 0; i < 16; ++i) {
        const int digit = 15 - i < behind ? e - 16 + i : mark - 16 + i + behind;
        from[i] = static_cast<uint8_t>(!sound ? i : digit < 0 ? 0x80 : digit);
      }
      if (sound) {
        from[1] = kind == 0 ? 0x80 : 15;
        from[0] = kind == 1 ? 14 : mark == 16 ? 1 : 0x80;
      }
      for (int i = 0; i < 16; ++i) shuffle[shape + i / 8][i % 8] = from[i];
      decimals[shape] = static_cast<uint8_t>(behind);
    }
  }
};
constexpr ShapeTable kShape;

alignas(16) constexpr uint8_t kShapedLimit[16] = {0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
// 10^i; past kExactPowers for digits that are none, which are not trusted.
struct DivisorTable {
  double value[14 + 15 + 1];
  constexpr DivisorTable() : value() {
    for (int i = 0; i < 14 + 15 + 1; ++i) value[i] = i <= kExactPowers ? kPowersOfTen[i] : __builtin_nan("");
  }
};
constexpr DivisorTable kDivisor;

// Numbers of at most 14 digits as programs write them: the point anywhere or nowhere, small ones with an exponent of down to
// -9. One look at where point and e stand tells how to move all digits to their places.
struct Shaped {
  Pattern zeros = pattern(kPoint.zeros[16]), limit = pattern(kShapedLimit);
  Marks marks;

  // False: out[0 .. 3] is not to be trusted.
  REWARM_V bool read(const Four& four, double* out) {
    if (__builtin_expect((four.length[0] | four.length[1] | four.length[2] | four.length[3]) > 15, 0)) return false;
    const Rows text = (text_of(four) - zeros) & keep_of(four);
    uint64_t shape[4];
    bool good = marks.find(text, shape);
    uint64_t outside = 0;  // negative when a number has no digit before its mark
    for (int i = 0; i < 4; ++i) outside |= shape[i] + 8 * uint64_t{four.length[i]} - 8 * 17;
    const Rows digits = shuffle(
        text, gather(kShape.shuffle[shape[0]], kShape.shuffle[shape[1]], kShape.shuffle[shape[2]], kShape.shuffle[shape[3]]));
    alignas(32) int64_t exponent[4];
    const __m256d value = FixedPoint::as_doubles(numbers_and_exponents(digits, exponent));
    const double* divisor[4];
    for (int i = 0; i < 4; ++i) divisor[i] = kDivisor.value + kShape.decimals[shape[i]] + exponent[i];
    const __m128d low = _mm_loadh_pd(_mm_load_sd(divisor[0]), divisor[1]);
    const __m128d high = _mm_loadh_pd(_mm_load_sd(divisor[2]), divisor[3]);
    _mm256_storeu_pd(out, _mm256_div_pd(value, _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1)));
    return good & (static_cast<int64_t>(outside) >= 0) & !any_over(digits, limit);
  }
};

// The exponents at the end of four fields.
struct AnySuffixes {
  uint32_t length[4];               // with the e, 0 = none
  alignas(16) int32_t exponent[4];  // cut to +-kMostExponent
  __m128i wrong;                    // lanes not zero: not an exponent after all

  REWARM_V explicit AnySuffixes(const Four& four) {
    const __m128i text = last_bytes(four);
    const __m128i zero = _mm_setzero_si128(), ones = _mm_set1_epi32(-1);
    // An e in the last byte has no digits; it stays in the mantissa and is found wrong there.
    const __m128i es =
        _mm_and_si128(_mm_cmpeq_epi8(_mm_or_si128(text, _mm_set1_epi8(0x20)), _mm_set1_epi8('e')), _mm_set1_epi32(0x00ffffff));
    constexpr uint8_t kLength[8] = {0, 4, 3, 4, 2, 4, 3, 4};  // by which of the first three bytes are an e; the first counts
    const uint32_t where = static_cast<uint32_t>(_mm_movemask_epi8(es));
    for (int i = 0; i < 4; ++i) length[i] = kLength[where >> 4 * i & 7];

    // With lowest = 1 << 8k for the e in byte k, and 0 without: the bytes behind it, and the one where a sign may stand.
    const __m128i lowest = _mm_and_si128(es, _mm_sub_epi32(zero, es));
    const __m128i behind = _mm_andnot_si128(_mm_add_epi32(_mm_slli_epi32(lowest, 8), ones), ones);
    const __m128i first = _mm_sub_epi32(_mm_slli_epi32(lowest, 16), _mm_slli_epi32(lowest, 8));
    const __m128i minus = _mm_and_si128(_mm_cmpeq_epi8(text, _mm_set1_epi8('-')), first);
    const __m128i sign = _mm_or_si128(_mm_and_si128(_mm_cmpeq_epi8(text, _mm_set1_epi8('+')), first), minus);
    const __m128i digits = _mm_andnot_si128(sign, _mm_and_si128(_mm_sub_epi8(text, _mm_set1_epi8('0')), behind));
    // The last byte is a digit, not the sign, and every other one behind the e is a digit too.
    wrong = _mm_or_si128(_mm_subs_epu8(digits, _mm_set1_epi8(9)), _mm_srli_epi32(sign, 24));
    __m128i value = _mm_madd_epi16(_mm_maddubs_epi16(digits, _mm_set1_epi32(0x010a6400)), _mm_set1_epi16(1));
    value = _mm_min_epi32(value, _mm_set1_epi32(kMostExponent));
    const __m128i plus = _mm_cmpeq_epi32(minus, zero);
    const __m128i negative = _mm_andnot_si128(plus, ones);
    _mm_store_si128(reinterpret_cast<__m128i*>(exponent), _mm_sub_epi32(_mm_xor_si128(value, negative), negative));
  }
};

// kUpTo + n: bytes that hold all but the last n of 16.
alignas(64) constexpr uint8_t kUpTo[32] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0xff, 0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0,    0,
                                           0,    0,    0,    0,    0,    0,    0,    0,    0,    0};
alignas(16) constexpr uint8_t kIndices[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
alignas(16) constexpr uint8_t kDots[16] = {0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe,
                                           0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe};
static_assert(static_cast<uint8_t>('.' - '0') == 0xfe);

// Numbers with the point anywhere or nowhere and, if kExponents, an exponent. The byte behind a field is read with it and
// stands for the point of a number that has none; where there is one, that byte becomes one more zero digit. So no number is a
// special case: a field of n characters is n digits, n <= 15, over a power of ten.
struct Varied {
  Pattern zeros = pattern(kPoint.zeros[16]), nines = pattern(kPoint.limit[16]), dots = pattern(kDots);
  Pattern inside = pattern(kUpTo + 1), indices = pattern(kIndices);
  uint32_t exponents = 0;  // not 0 when one was seen

  // False: out[0 .. 3] is not to be trusted.
  template <bool kExponents>
  REWARM_V bool read(Four four, double* out) {
    bool good = true;
    int32_t exponent[4] = {0, 0, 0, 0};
    if constexpr (kExponents) {
      const AnySuffixes suffixes(four);
      for (int i = 0; i < 4; ++i) {
        four.end[i] -= suffixes.length[i];
        four.length[i] -= suffixes.length[i];
        exponent[i] = suffixes.exponent[i];
        exponents |= suffixes.length[i];
      }
      good = _mm_testz_si128(suffixes.wrong, suffixes.wrong) != 0;
    }
    if (__builtin_expect((four.length[0] | four.length[1] | four.length[2] | four.length[3]) > 15, 0)) return false;
    const Rows text = gather(four.end[0] - 15, four.end[1] - 15, four.end[2] - 15, four.end[3] - 15);
    const Rows keep =
        gather(kKeep + 1 + four.length[0], kKeep + 1 + four.length[1], kKeep + 1 + four.length[2], kKeep + 1 + four.length[3]);
    const Rows digits = (text - zeros) & keep & inside;
    const Bits points = equal(digits, dots);
    uint32_t behind[4];  // how many bytes are behind the point
    bytes_behind_first(points, behind);
    // The point is not the first character (nor is an empty field's), and not the last.
    uint32_t before = ~uint32_t{0};
    for (int i = 0; i < 4; ++i) before &= behind[i] - four.length[i];
    good &= (static_cast<int32_t>(before) < 0) & !any_in_byte_14(points);
    const Rows up_to = gather(kUpTo + behind[0], kUpTo + behind[1], kUpTo + behind[2], kUpTo + behind[3]);
    const Rows whole = shuffle(digits, up_to + indices);  // everything up to the point moves over it
    __m256d value = FixedPoint::as_doubles(numbers(whole));
    if constexpr (kExponents) {
      const double* scale[4];
      for (int i = 0; i < 4; ++i) scale[i] = kPower.scale[exponent[i] - static_cast<int32_t>(behind[i]) + kMostExponent + 15];
      // Rows 0 and 2 in one register and 1 and 3 in the other unpack into row order.
      const __m256d even = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(scale[0])), _mm_load_pd(scale[2]), 1);
      const __m256d odd = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(scale[1])), _mm_load_pd(scale[3]), 1);
      value = _mm256_mul_pd(_mm256_div_pd(value, _mm256_unpackhi_pd(even, odd)), _mm256_unpacklo_pd(even, odd));
      good &= _mm256_movemask_pd(_mm256_cmp_pd(value, value, _CMP_UNORD_Q)) == 0;
    } else {
      const __m128d low = _mm_loadh_pd(_mm_load_sd(kPowersOfTen + behind[0]), kPowersOfTen + behind[1]);
      const __m128d high = _mm_loadh_pd(_mm_load_sd(kPowersOfTen + behind[2]), kPowersOfTen + behind[3]);
      value = _mm256_div_pd(value, _mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1));
    }
    _mm256_storeu_pd(out, value);
    return good & !any_over(whole, nines);
  }
};

// Rows that the vectors left over, one by one; true if any had an exponent.
inline REWARM_OUTLINE bool read_rows(const FieldColumn& f, int64_t row, int count, double* out, OddRows odd) {
  bool exponent = false;
  for (int64_t r = row; r < row + count; ++r) {
    const char *begin = f.text + f.begin(r), *end = f.text + f.end(r);
    odd.mark(r, !float_field(begin, end, out + r));
    exponent = exponent || (begin < end && has_exponent(end, static_cast<uint32_t>(end - begin)));
  }
  return exponent;
}

// Back to one number of decimals, when a whole block had it.
inline void predict(const FieldColumn& f, int64_t begin, int64_t end, Hint* hint) {
  int32_t point = 0;  // of the first field that is not empty: its distance from the end
  for (int64_t r = begin; r < end; ++r) {
    const char* last = f.text + f.end(r);
    const int32_t length = f.end(r) - f.begin(r);
    if (length == 0) continue;
    if (point == 0)
      while (point < 16 && last[-++point] != '.') continue;
    if (point == 16 || point >= length || last[-point] != '.') return;
  }
  if (point == 0) return;
  hint->spelling = Hint::kFixed;
  hint->decimals = static_cast<uint32_t>(point - 1);
}

// 64 rows a block: often enough to follow a column that changes its spelling, seldom enough to cost nothing.
constexpr int64_t kBlock = 64;

// The other half of a request is missing in runs: nothing to read, nothing to learn.
REWARM_V bool all_empty(const Four& four, int64_t row, OddRows odd) {
  if ((four.length[0] | four.length[1] | four.length[2] | four.length[3]) != 0) return false;
  for (int i = 0; i < 4; ++i) odd.mark(row + i, true);
  return true;
}

// The rows of a group that its prediction missed.
inline REWARM_OUTLINE void miss_fixed(const FieldColumn& f, int64_t row, double* out, OddRows odd, int* missed) {
  const Four four(Column(f), row);
  if (all_empty(four, row, odd)) return;
  ++*missed;
  if (!Varied().read<false>(four, out + row)) read_rows(f, row, 4, out, odd);
}

inline void fixed_block(const FieldColumn& f, int64_t begin, int64_t end, Hint* hint, double* out, OddRows odd) {
  const FixedPoint fixed(hint->decimals);
  const Column column(f);
  const int64_t rows = f.rows;
  int missed = 0;
  for_groups<4>(
      begin, end, rows,
      [&](int64_t r) REWARM_INLINE {
        if (__builtin_expect(!fixed.read(Four(column, r), out + r), 0)) miss_fixed(f, r, out, odd, &missed);
      },
      [&](int64_t r) { read_rows(f, r, 1, out, odd); });
  if (4 * 4 * missed > end - begin) hint->spelling = Hint::kVaried;
}

// True if there was an exponent.
inline REWARM_OUTLINE bool miss_varied(const FieldColumn& f, int64_t row, double* out, OddRows odd) {
  const Four four(Column(f), row);
  if (all_empty(four, row, odd)) return false;
  Varied varied;
  if (!varied.read<true>(four, out + row)) return read_rows(f, row, 4, out, odd);
  return varied.exponents != 0;
}

inline void varied_block(const FieldColumn& f, int64_t begin, int64_t end, Hint* hint, double* out, OddRows odd) {
  Shaped shaped;
  const Column column(f);
  bool exponents = false;
  for_groups<4>(
      begin, end, f.rows,
      [&](int64_t r) REWARM_INLINE {
        if (__builtin_expect(!shaped.read(Four(column, r), out + r), 0)) exponents |= miss_varied(f, r, out, odd);
      },
      [&](int64_t r) { exponents |= read_rows(f, r, 1, out, odd); });
  if (shaped.marks.es == 0 && !exponents) predict(f, begin, end, hint);
}

inline void float64(const FieldColumn& f, Hint* hint, double* out, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  for (int64_t begin = 0; begin < f.rows; begin += kBlock) {
    const int64_t end = begin + kBlock < f.rows ? begin + kBlock : f.rows;
    if (hint->spelling == Hint::kFixed) {
      fixed_block(f, begin, end, hint, out, rows);
    } else {
      varied_block(f, begin, end, hint, out, rows);
    }
  }
}
