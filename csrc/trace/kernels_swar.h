// One field at a time in 64-bit words, for every processor; each kernels_<isa>.cpp includes this in a namespace of its own, so
// that no function of one instruction set can be linked into another.
//
// A word of text holds eight characters, the first in its lowest byte (little endian).

#define REWARM_INLINE __attribute__((always_inline))
#define REWARM_OUTLINE __attribute__((noinline))
#define REWARM_V inline REWARM_INLINE

// The bits of the rows that a kernel leaves to the law.
struct OddRows {
  uint64_t* words;
  REWARM_V void clear(int64_t rows) {
    for (int64_t i = 0; i < (rows + 63) / 64; ++i) words[i] = 0;
  }
  REWARM_V void mark(int64_t row, bool odd) { words[row >> 6] |= static_cast<uint64_t>(odd) << (row & 63); }
};

REWARM_V uint64_t load_word(const char* p) {
  uint64_t word;
  __builtin_memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

constexpr uint64_t kEveryByte = 0x0101010101010101u;

// The last `count` (1 to 8) of eight characters as digit values, zeros before them.
REWARM_V uint64_t last_digits(uint64_t word, int count) {
  return (word ^ kEveryByte * '0') >> (64 - 8 * count) << (64 - 8 * count);
}
// A byte past 9 shows in its high bit: itself, or by adding 0x76.
REWARM_V bool all_digits(uint64_t digits) { return (((digits + kEveryByte * 0x76) | digits) & kEveryByte * 0x80) == 0; }
// Eight digit values, the first the most significant: pairs, fours, then all, in three multiplications.
REWARM_V uint32_t eight_digits(uint64_t digits) {
  digits = digits * 10 + (digits >> 8);
  constexpr uint64_t kPairs = 0x000000ff000000ffu;
  return static_cast<uint32_t>(
      ((digits & kPairs) * (100 + (uint64_t{1000000} << 32)) + (digits >> 16 & kPairs) * (1 + (uint64_t{10000} << 32))) >> 32);
}

// The number written in the `length` characters before `end`; false unless they are 1 to 19 digits.
REWARM_V bool unsigned_digits(const char* end, int64_t length, uint64_t* value) {
  if (length < 1 || length > 19) return false;
  if (length <= 8) {
    const uint64_t digits = last_digits(load_word(end - 8), static_cast<int>(length));
    *value = eight_digits(digits);
    return all_digits(digits);
  }
  const uint64_t low = load_word(end - 8) ^ kEveryByte * '0';
  uint64_t high = last_digits(load_word(end - 16), static_cast<int>(length < 16 ? length - 8 : 8));
  bool good = all_digits(low) && all_digits(high);
  *value = uint64_t{100000000} * eight_digits(high) + eight_digits(low);
  if (length > 16) {
    high = last_digits(load_word(end - 24), static_cast<int>(length - 16));
    good = good && all_digits(high);
    *value += eight_digits(high) * uint64_t{10000000000000000};
  }
  return good;
}

constexpr double kPowersOfTen[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr int kExactPowers = 22;                       // 10^22 is the last that double holds exactly
constexpr uint64_t kExactInteger = uint64_t{1} << 53;  // every integer up to here is a double

// Both operands are exact, so one multiplication or division rounds once, correctly (Clinger 1990): the bits of strtod.
REWARM_V bool float_field(const char* begin, const char* end, double* out) {
  if (end - begin < 1 || end - begin > 32) return false;
  const bool negative = *begin == '-';
  begin += negative;
  const char* p = begin;
  uint64_t mantissa = 0;
  int power = 0;
  while (p != end && static_cast<uint8_t>(*p - '0') <= 9) mantissa = mantissa * 10 + static_cast<uint8_t>(*p++ - '0');
  if (p == begin) return false;
  int64_t digits = p - begin;
  if (p != end && *p == '.') {
    const char* fraction = ++p;
    while (p != end && static_cast<uint8_t>(*p - '0') <= 9) mantissa = mantissa * 10 + static_cast<uint8_t>(*p++ - '0');
    if (p == fraction) return false;
    power = -static_cast<int>(p - fraction);
    digits += p - fraction;
  }
  if (digits > 19) return false;  // the mantissa may have wrapped
  if (p != end) {
    if ((*p | 0x20) != 'e') return false;
    ++p;
    const bool minus = p != end && *p == '-';
    p += p != end && (*p == '-' || *p == '+');
    if (end - p < 1 || end - p > 3) return false;
    int exponent = 0;
    for (; p != end; ++p) {
      if (static_cast<uint8_t>(*p - '0') > 9) return false;
      exponent = exponent * 10 + (*p - '0');
    }
    power += minus ? -exponent : exponent;
  }
  if (mantissa > kExactInteger || power < -kExactPowers || power > kExactPowers) return false;
  const double exact = static_cast<double>(static_cast<int64_t>(mantissa));
  const double value = power < 0 ? exact / kPowersOfTen[-power] : exact * kPowersOfTen[power];
  *out = negative ? -value : value;
  return true;
}

template <class Int>
REWARM_V bool integer_field(const char* begin, const char* end, Int* out) {
  if (end - begin < 1) return false;
  const bool negative = *begin == '-';
  begin += negative;
  if (end - begin > 2 && end[-1] == '0' && end[-2] == '.') end -= 2;
  uint64_t value;
  // 18 digits always fit int64_t; what the type cannot hold is for the law to name.
  if (end - begin > 18 || !unsigned_digits(end, end - begin, &value)) return false;
  const int64_t number = negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
  *out = static_cast<Int>(number);
  return *out == number;
}

// 0 to 15, more than 15 for what is no hex digit.
REWARM_V uint32_t hex_value(uint8_t c) {
  const uint32_t digit = static_cast<uint8_t>(c - '0'), letter = static_cast<uint8_t>((c | 0x20) - 'a');
  return digit <= 9 ? digit : letter < 6 ? letter + 10 : 0x80;
}

REWARM_V bool hex_field(const char* begin, const char* end, int32_t bytes, uint8_t* out) {
  if (end - begin != 2 * static_cast<int64_t>(bytes)) return false;
  uint32_t all = 0;
  for (int32_t i = 0; i < bytes; ++i) {
    const uint32_t high = hex_value(static_cast<uint8_t>(begin[2 * i])),
                   low = hex_value(static_cast<uint8_t>(begin[2 * i + 1]));
    all |= high | low;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return all <= 15;
}

REWARM_V bool pod_field(const char* begin, const char* end, int64_t* serial) {
  if (end - begin < 12 || end[-11] != '-') return false;
  uint64_t value = 0;
  const bool good = unsigned_digits(end, 10, &value);
  *serial = static_cast<int64_t>(value);
  return good;
}
