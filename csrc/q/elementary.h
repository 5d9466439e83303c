// exp, exp - 1 and log(1 + t) in float32, without branches, so that loops over them become vectors on every instruction set
// with the same bits, and without libm, whose bits change with its version. Errors are in units of 2^-24 of the result.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace rewarm::q {

REWARM_HD float float_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

REWARM_HD uint32_t bits_of_float(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

struct Exponential {
  float value, minus_one;  // e^x and e^x - 1
};

// e^x, right to 3: x is reduced to n ln 2 + r with |r| <= ln(2) / 2 and the series of e^r - 1 ends after r^7. For normal
// results, that is -87 < x < 88.7; below they go through the subnormals to 0, above to infinity. e^x - 1 is right to 3 for x <=
// 0, where it has no cancellation: near 0 it is the series itself. NaN stays.
REWARM_HD Exponential exponential(float x) {
  const float low = x < -104.0f ? -104.0f : x, c = low > 89.0f ? 89.0f : low;
  constexpr float kToInteger = 0x1.8p23f;  // adding it rounds to an integer, which then stands in the low bits
  const float shifted = c * 0x1.715476p0f + kToInteger, n = shifted - kToInteger;
  const float r = (c - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;
  const float p =
      r +
      r * r *
          (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (0.00833333333f + r * (0.00138888889f + r * 0.000198412698f)))));
  // Two factors, because 2^n alone may be subnormal or infinite where the result is not.
  const uint32_t exponent = bits_of_float(shifted) - 0x4B400000u;
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  const float scale0 = float_of_bits((half + 127u) << 23), scale1 = float_of_bits((exponent - half + 127u) << 23);
  const float value = ((1.0f + p) * scale0) * scale1;
  return {value, exponent == 0 ? p : value - 1.0f};
}

// ln(1 + t) for 0 <= t <= 1, right to 3: with s = t / (2 + t) <= 1/3 it is 2 (s + s^3/3 + s^5/5 + ...), here to s^15.
REWARM_HD float log_one_plus(float t) {
  const float s = t / (2.0f + t), z = s * s;
  const float series =
      z *
      (0.333333333f +
       z * (0.2f + z * (0.142857143f + z * (0.111111111f + z * (0.0909090909f + z * (0.0769230769f + z * 0.0666666667f))))));
  return 2.0f * (s + s * series);
}

}  // namespace rewarm::q
