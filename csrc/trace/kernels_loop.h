// The row kernels of the vector levels, written once; each kernels_<isa>.cpp includes this in a namespace of its own after its
// vectors, so that no symbol of one instruction set can be linked into another.
//
// A field is read into 16 bytes that end where it ends: its last digit stands in byte 15 whatever its length. Four fields are
// worked on at once.
//
// Needs, beside kernels_swar.h: Rows (four rows of 16 bytes), Pattern (16 bytes for every row), Bits (a bit a byte) with
//   gather(p0, p1, p2, p3), pattern(p), rows - pattern, rows + pattern, rows & rows, rows & pattern, shuffle(rows, either),
//   equal(rows, pattern) -> bits, bytes_behind_first(bits, counts), any_in_byte_14(bits), any_over(rows, pattern);
//   numbers(rows) -> four int64 of 16 digit values each; eight_numbers(fields, out) for up to eight digits each;
//   hex_row<bytes>(digits, out).

// kKeep + n: bytes that keep the last n of 16.
alignas(64) constexpr uint8_t kKeep[32] = {0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
                                           0,    0,    0,    0,    0,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// A column's place in registers: a FieldColumn may be changed by any store, as far as the compiler knows.
struct Column {
  const char* text;
  const uint16_t* first;
  int64_t stride;
  uint32_t beside;  // bytes between two delimiters that are not the field's

  REWARM_V explicit Column(const FieldColumn& f)
      : text(f.text - f.trim), first(f.ends + f.column), stride(f.stride), beside(static_cast<uint32_t>(1 + f.trim)) {}
};

// Where some fields lie. A length that makes no sense (a '\r' expected and not there) wraps and is too long for every kernel.
template <int kRows>
struct Fields {
  const char* end[kRows];
  uint32_t length[kRows];

  REWARM_V Fields(const Column& column, int64_t row) {
    const uint16_t* p = column.first + row * column.stride;
    for (int i = 0; i < kRows; ++i, p += column.stride) {
      end[i] = column.text + p[0];
      length[i] = static_cast<uint32_t>(p[0] - static_cast<int16_t>(p[-1])) - column.beside;
    }
  }
  // All lengths in [shortest, shortest + range].
  REWARM_V bool lengths_in(uint32_t shortest, uint32_t range) const {
    bool in = true;
    for (int i = 0; i < kRows; ++i) in &= length[i] - shortest <= range;
    return in;
  }
};
using Four = Fields<4>;

REWARM_V Rows text_of(const Four& x) { return gather(x.end[0] - 16, x.end[1] - 16, x.end[2] - 16, x.end[3] - 16); }
REWARM_V Rows keep_of(const Four& x) {
  return gather(kKeep + x.length[0], kKeep + x.length[1], kKeep + x.length[2], kKeep + x.length[3]);
}

// Calls group(r) for kRows rows from r on; the last group overlaps its neighbour, and the few rows of a tiny block go one by
// one.
template <int kRows, class Group, class Field>
REWARM_V void for_groups(int64_t begin, int64_t end, int64_t rows, const Group& group, const Field& field) {
  if (rows < kRows) {
    for (int64_t r = begin; r < end; ++r) field(r);
  } else {
    for (int64_t r = begin; r < end; r += kRows) group(r + kRows <= rows ? r : rows - kRows);
  }
}

// ---- integers ------------------------------------------------------------------------------------------------------------

REWARM_V bool ends_in_point_zero(const char* end) { return end[-1] == '0' && end[-2] == '.'; }

// What the first field that is not empty looks like; all fields of a column are written by one program.
inline bool has_point_zero(const FieldColumn& f) {
  for (int64_t r = 0; r < f.rows; ++r)
    if (f.end(r) - f.begin(r) > 0) return f.end(r) - f.begin(r) > 2 && ends_in_point_zero(f.text + f.end(r));
  return false;
}

// Of eight numbers of at most eight digits; false where one does not fit.
REWARM_V bool store(int64_t* out, __m256i numbers) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_cvtepu32_epi64(_mm256_castsi256_si128(numbers)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 4), _mm256_cvtepu32_epi64(_mm256_extracti128_si256(numbers, 1)));
  return true;
}
REWARM_V bool store(int32_t* out, __m256i numbers) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), numbers);
  return true;
}
REWARM_V bool store(int16_t* out, __m256i numbers) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packs_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1)));
  return _mm256_testz_si256(numbers, _mm256_set1_epi32(~0x7fff)) != 0;
}

template <bool kPointZero, class Int>
REWARM_V void integer_rows(const FieldColumn& f, Int* out, OddRows odd) {
  constexpr uint32_t kSuffix = kPointZero ? 2 : 0;
  const Column column(f);
  const auto field = [&](int64_t r)
                         REWARM_OUTLINE { odd.mark(r, !integer_field(f.text + f.begin(r), f.text + f.end(r), out + r)); };
  for_groups<8>(
      0, f.rows, f.rows,
      [&](int64_t r) REWARM_INLINE {
        Fields<8> eight(column, r);
        bool good = eight.lengths_in(1 + kSuffix, 7);
        if (kPointZero) {
          for (int i = 0; i < 8; ++i) {
            good &= ends_in_point_zero(eight.end[i]);
            eight.end[i] -= kSuffix;
            eight.length[i] -= kSuffix;
          }
        }
        if (__builtin_expect(good, 1)) {
          __m256i numbers;
          good = eight_numbers(eight, &numbers) && store(out + r, numbers);
        }
        if (__builtin_expect(!good, 0))
          for (int i = 0; i < 8; ++i) field(r + i);
      },
      field);
}

template <class Int>
void integer(const FieldColumn& f, Int* out, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  if (has_point_zero(f)) {
    integer_rows<true>(f, out, rows);
  } else {
    integer_rows<false>(f, out, rows);
  }
}

// ---- ids -----------------------------------------------------------------------------------------------------------------

template <int kBytes>
REWARM_V void hex_rows(const FieldColumn& f, uint8_t* out, OddRows odd) {
  const Column column(f);
  for (int64_t r = 0, rows = f.rows; r < rows; ++r, out += kBytes) {
    const Fields<1> field(column, r);
    // A field of another length may stand too near the text's edge to be read as an id.
    const bool good = field.length[0] == 2 * kBytes && hex_row<kBytes>(field.end[0] - 2 * kBytes, out);
    if (__builtin_expect(!good, 0)) odd.mark(r, true);
  }
}

inline void hex(const FieldColumn& f, int32_t bytes, uint8_t* out, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  if (bytes == 32) {
    hex_rows<32>(f, out, rows);
  } else {
    hex_rows<16>(f, out, rows);
  }
}

// The last eleven bytes of a podID: '-' and ten digits.
inline void pod_serial(const FieldColumn& f, int64_t* serial, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  alignas(16) constexpr uint8_t kZeros[16] = {'0', '0', '0', '0', '0', '-', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'};
  alignas(16) constexpr uint8_t kLimit[16] = {0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
  const Pattern zeros = pattern(kZeros), limit = pattern(kLimit), tail = pattern(kKeep + 11);
  const Column column(f);
  const auto field = [&](int64_t r)
                         REWARM_OUTLINE { rows.mark(r, !pod_field(f.text + f.begin(r), f.text + f.end(r), serial + r)); };
  for_groups<4>(
      0, f.rows, f.rows,
      [&](int64_t r) REWARM_INLINE {
        const Four four(column, r);
        const Rows digits = (text_of(four) - zeros) & tail;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(serial + r), numbers(digits));
        const bool good = four.lengths_in(12, kSubBlock) & !any_over(digits, limit);
        if (__builtin_expect(!good, 0))
          for (int i = 0; i < 4; ++i) field(r + i);
      },
      field);
}
