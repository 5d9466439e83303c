// Sums that do not depend on the order: every value becomes a whole number of 2^-60, and whole numbers add exactly.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

namespace rewarm::trace {

constexpr int kFractionBits = 60;
constexpr double kSumLimit = 0x1p62;  // |x| must be below; the fixed-point form then fits 128 bits

// round(x * 2^60), ties to even. The whole part is cut off first: without a branch on the size of x, and both parts convert by
// one instruction each.
inline __int128 fixed_point(double x) {
  const int64_t whole = static_cast<int64_t>(x);
  const double fraction = x - static_cast<double>(whole);  // exact: its bits are bits of x
  return static_cast<__int128>(whole) * (int64_t{1} << kFractionBits) + std::llrint(fraction * 0x1p60);
}

template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
__int128 fixed_point(T x) {
  return static_cast<__int128>(x) * (int64_t{1} << kFractionBits);
}

// high * 2^128 + low. 192 bits: 2^63 values below 2^62 cannot overflow them, so no grouping of the additions can either, and
// the form is unique.
struct ExactSum {
  __int128 low = 0;
  int64_t high = 0;

  void add(__int128 x) {
    if (__builtin_add_overflow(low, x, &low)) high += x < 0 ? -1 : 1;
  }
  void add(const ExactSum& other) {
    add(other.low);
    high += other.high;
  }

  // The sum over `count`, count >= 1, rounded once to the nearest double, ties to even.
  double over(int64_t count) const;
  double value() const { return over(1); }
};

inline double ExactSum::over(int64_t count) const {
  const bool negative = high < 0 || (high == 0 && low < 0);
  // The magnitude as limbs, most significant first. The sign of low borrows from high; two limbs of zeros behind give the
  // quotient at least 64 bits, so that what is left over only matters as "something".
  unsigned __int128 low_bits = static_cast<unsigned __int128>(low);
  uint64_t high_bits = static_cast<uint64_t>(high) - (low < 0 ? 1 : 0);
  if (negative) {
    low_bits = ~low_bits + 1;
    high_bits = ~high_bits + (low_bits == 0 ? 1 : 0);
  }
  uint64_t limbs[5] = {high_bits, static_cast<uint64_t>(low_bits >> 64), static_cast<uint64_t>(low_bits), 0, 0};
  const uint64_t divisor = static_cast<uint64_t>(count);
  uint64_t rest = 0;
  for (uint64_t& limb : limbs) {
    if (rest == 0 && limb < divisor) {  // most limbs of most sums
      rest = limb;
      limb = 0;
      continue;
    }
    const unsigned __int128 part = static_cast<unsigned __int128>(rest) << 64 | limb;
    limb = static_cast<uint64_t>(part / divisor);
    rest = static_cast<uint64_t>(part % divisor);
  }
  int top = 0;
  while (top < 5 && limbs[top] == 0) ++top;
  if (top == 5) return 0.0;
  // The 64 leading bits, the lowest of which also stands for all that follows.
  const int shift = __builtin_clzll(limbs[top]);
  uint64_t lead = limbs[top] << shift;
  bool more = rest != 0;
  if (top < 4) {
    if (shift > 0) lead |= limbs[top + 1] >> (64 - shift);
    more |= shift > 0 ? (limbs[top + 1] << shift) != 0 : limbs[top + 1] != 0;
    for (int i = top + 2; i < 5; ++i) more |= limbs[i] != 0;
  }
  uint64_t mantissa = lead >> 11;
  const uint64_t tail = (lead & 0x7ff) << 1 | (more ? 1 : 0);
  if (tail > 0x800 || (tail == 0x800 && (mantissa & 1) != 0)) ++mantissa;
  const double size = std::ldexp(static_cast<double>(mantissa), (4 - top) * 64 - shift + 11 - 128 - kFractionBits);
  return negative ? -size : size;
}

}  // namespace rewarm::trace
