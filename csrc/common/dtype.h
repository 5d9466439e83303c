// Storage formats of parameters, gradients and moments, and their exact conversions to and from float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace rewarm {

enum class Dtype : int32_t { kFloat32 = 0, kBfloat16 = 1, kFloat16 = 2 };

inline const char* dtype_name(Dtype d) {
  return d == Dtype::kFloat32 ? "torch.float32" : d == Dtype::kBfloat16 ? "torch.bfloat16" : "torch.float16";
}
REWARM_HD int64_t dtype_size(Dtype d) { return d == Dtype::kFloat32 ? 4 : 2; }

// Storage-only 16-bit types: arithmetic is always float32.
struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

REWARM_HD uint32_t float_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}
REWARM_HD float bits_float(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}

REWARM_HD float to_float(float x) { return x; }
REWARM_HD float to_float(Bfloat16 x) { return bits_float(static_cast<uint32_t>(x.bits) << 16); }
REWARM_HD float to_float(Float16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return bits_float(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  // A half is magnitude * 2^112 when its bits are read as a float shifted by 13; exact, subnormals included.
  return bits_float(sign | float_bits(bits_float(magnitude << 13) * bits_float(0x77800000u)));
}

REWARM_HD uint16_t quiet_nan_bf16(uint32_t u) { return static_cast<uint16_t>((u >> 16) | 0x40u); }
REWARM_HD bool is_nan_bits(uint32_t u) { return (u & 0x7fffffffu) > 0x7f800000u; }

template <class T>
REWARM_HD T from_float(float x);

template <>
REWARM_HD float from_float<float>(float x) {
  return x;
}

// Round to nearest, ties to even, as torch does.
template <>
REWARM_HD Bfloat16 from_float<Bfloat16>(float x) {
  const uint32_t u = float_bits(x);
  if (is_nan_bits(u)) return {quiet_nan_bf16(u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

// Stochastic rounding: 16 random bits are added below the kept ones. Infinities and NaN pass unchanged.
REWARM_HD Bfloat16 round_stochastic(float x, uint32_t random16) {
  const uint32_t u = float_bits(x);
  if ((u & 0x7f800000u) == 0x7f800000u)
    return is_nan_bits(u) ? Bfloat16{quiet_nan_bf16(u)} : Bfloat16{static_cast<uint16_t>(u >> 16)};
  return {static_cast<uint16_t>((u + random16) >> 16)};
}

template <>
REWARM_HD Float16 from_float<Float16>(float x) {
  const uint32_t u = float_bits(x);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u | ((a >> 13) & 0x3ffu))};
  if (a >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to 2^16 or beyond
  if (a < 0x38800000u) {
    // Subnormal result: adding 0.5 aligns the last kept bit with the last bit of a float, which rounds to nearest even.
    const float aligned = bits_float(a) + 0.5f;
    return {static_cast<uint16_t>(sign | (float_bits(aligned) - 0x3f000000u))};
  }
  const uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace rewarm
