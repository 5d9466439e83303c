// The scalar law: what one field means, whatever its spelling. The row kernels give the same values for the spellings that they
// read and leave the rest to these functions, so no file is read differently for having odd rows.
//
// Real numbers: [-]digits[.digits][e|E[+|-]digits] to the end of the field, correctly rounded: the bits of Python's float().
// Integers: [-]digits, also with a fraction of zeros (pandas writes 1018.0 in a column with holes).
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>

namespace rewarm::trace {

enum class Parsed : uint8_t {
  kOk,
  kEmpty,     // no character at all
  kSpelling,  // not a number of the grammar
  kFraction,  // an integer column holds a fraction other than zeros
  kRange,     // a number that the type cannot hold
};

// Fields that mean "no value" in every column. The words inf, nan, None and so on are errors, not values.
inline bool is_null_field(const char* begin, const char* end) {
  switch (end - begin) {
    case 0: return true;
    case 2: return std::memcmp(begin, "\"\"", 2) == 0;
    case 3: return std::memcmp(begin, "NaN", 3) == 0;
    case 4: return std::memcmp(begin, "null", 4) == 0;
    default: return false;
  }
}

inline bool is_digit(char c) { return static_cast<uint8_t>(c - '0') <= 9; }

inline const char* skip_digits(const char* p, const char* end) {
  while (p != end && is_digit(*p)) ++p;
  return p;
}

namespace number {

// Whether a number too far from 1 for double is too small rather than too large: its decimal exponent decides.
// [digits, fraction_end) holds at least one digit that is not 0; exponent is what follows the e, or empty.
inline bool is_tiny(const char* digits, const char* fraction_end, const char* exponent, const char* end) {
  int64_t magnitude = 0;  // decimal places from the first digit that counts up to the point, or down to it
  const char* p = digits;
  while (p != fraction_end && *p == '0') ++p;
  if (p != fraction_end && *p != '.') {
    magnitude = skip_digits(p, fraction_end) - p;
  } else {
    for (++p; p != fraction_end && *p == '0'; ++p) --magnitude;
  }
  int64_t power = 0;
  const bool negative = exponent != end && *exponent == '-';
  if (exponent != end && !is_digit(*exponent)) ++exponent;
  // A field is shorter than 2^31 bytes, so past this the exponent alone decides.
  for (; exponent != end && power < (int64_t{1} << 40); ++exponent) power = power * 10 + (*exponent - '0');
  return magnitude + (negative ? -power : power) < 0;
}

}  // namespace number

// Underflow gives a zero of the number's sign; overflow is kRange.
inline Parsed parse_float64(const char* begin, const char* end, double* out) {
  if (begin == end) return Parsed::kEmpty;
  // std::from_chars alone would take inf and nan, ".5" and "5.", and stop early without a word.
  const char* digits = begin + (*begin == '-');
  const char* p = skip_digits(digits, end);
  if (p == digits) return Parsed::kSpelling;
  if (p != end && *p == '.') {
    const char* fraction = ++p;
    p = skip_digits(p, end);
    if (p == fraction) return Parsed::kSpelling;
  }
  const char* mantissa_end = p;
  const char* exponent = end;
  if (p != end && (*p == 'e' || *p == 'E')) {
    exponent = ++p;
    if (p != end && (*p == '+' || *p == '-')) ++p;
    const char* power = p;
    p = skip_digits(p, end);
    if (p == power) return Parsed::kSpelling;
  }
  if (p != end) return Parsed::kSpelling;

  if (std::from_chars(begin, end, *out).ec == std::errc()) return Parsed::kOk;
  // Out of range, and the value is not written: zero times any power, too small, or too large.
  bool zero = true;
  for (const char* q = digits; q != mantissa_end; ++q) zero = zero && (*q == '0' || *q == '.');
  if (!zero && !number::is_tiny(digits, mantissa_end, exponent, end)) return Parsed::kRange;
  *out = *begin == '-' ? -0.0 : 0.0;
  return Parsed::kOk;
}

// Int is int8_t to int64_t.
template <class Int>
Parsed parse_integer(const char* begin, const char* end, Int* out) {
  if (begin == end) return Parsed::kEmpty;
  const char* digits = begin + (*begin == '-');
  const char* whole_end = skip_digits(digits, end);
  if (whole_end == digits) return Parsed::kSpelling;
  if (whole_end != end) {
    const char* fraction = whole_end + 1;
    if (*whole_end != '.' || fraction == end || skip_digits(fraction, end) != end) return Parsed::kSpelling;
    for (const char* q = fraction; q != end; ++q)
      if (*q != '0') return Parsed::kFraction;
  }
  Int value;
  if (std::from_chars(begin, whole_end, value).ec != std::errc()) return Parsed::kRange;
  *out = value;
  return Parsed::kOk;
}

inline Parsed parse_int64(const char* begin, const char* end, int64_t* out) { return parse_integer(begin, end, out); }
inline Parsed parse_int32(const char* begin, const char* end, int32_t* out) { return parse_integer(begin, end, out); }
inline Parsed parse_int16(const char* begin, const char* end, int16_t* out) { return parse_integer(begin, end, out); }

// 0 to 15, or -1.
inline int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const uint8_t letter = static_cast<uint8_t>((c | 0x20) - 'a');
  return letter < 6 ? letter + 10 : -1;
}

// An id of 2 * bytes hex digits; A to F mean the same as a to f.
inline Parsed parse_hex(const char* begin, const char* end, int32_t bytes, uint8_t* out) {
  if (begin == end) return Parsed::kEmpty;
  if (end - begin != 2 * static_cast<int64_t>(bytes)) return Parsed::kSpelling;
  for (int32_t i = 0; i < bytes; ++i) {
    const int high = hex_digit(begin[2 * i]), low = hex_digit(begin[2 * i + 1]);
    if (high < 0 || low < 0) return Parsed::kSpelling;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return Parsed::kOk;
}

// A podID: the pool's name, a hyphen and ten digits. The name, [begin, end - kSerialTail), is at least one character.
constexpr int kSerialTail = 11;

inline Parsed parse_pod_serial(const char* begin, const char* end, int64_t* serial) {
  if (begin == end) return Parsed::kEmpty;
  if (end - begin <= kSerialTail || end[-kSerialTail] != '-') return Parsed::kSpelling;
  int64_t value = 0;
  for (const char* p = end - kSerialTail + 1; p != end; ++p) {
    if (!is_digit(*p)) return Parsed::kSpelling;
    value = value * 10 + (*p - '0');
  }
  *serial = value;
  return Parsed::kOk;
}

}  // namespace rewarm::trace
