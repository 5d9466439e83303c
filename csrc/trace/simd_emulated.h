// SIMDe's AVX-512 under the native names, and the few instructions that its releases lack or spell otherwise. For tests only.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cstdint>
#include <cstring>

namespace rewarm::trace::emulated {

inline simde__m512i compress_bytes(uint64_t mask, simde__m512i x) {
  uint8_t in[64], out[64] = {};
  std::memcpy(in, &x, 64);
  for (int i = 0, n = 0; i < 64; ++i)
    if (mask >> i & 1) out[n++] = in[i];
  std::memcpy(&x, out, 64);
  return x;
}

inline simde__m512i widen_bytes(simde__m256i x) {
  uint8_t in[32];
  uint16_t out[32];
  std::memcpy(in, &x, 32);
  for (int i = 0; i < 32; ++i) out[i] = in[i];
  simde__m512i wide;
  std::memcpy(&wide, out, 64);
  return wide;
}

inline simde__m512i add_products(simde__m512i a, simde__m512i b) {
  int16_t x[32], y[32];
  int32_t out[16];
  std::memcpy(x, &a, 64);
  std::memcpy(y, &b, 64);
  for (int i = 0; i < 16; ++i) out[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  std::memcpy(&a, out, 64);
  return a;
}

}  // namespace rewarm::trace::emulated

#undef _mm512_maskz_compress_epi8
#undef _mm512_cvtepu8_epi16
#undef _mm512_madd_epi16
#define _mm512_maskz_compress_epi8(mask, x) rewarm::trace::emulated::compress_bytes(mask, x)
#define _mm512_cvtepu8_epi16(x) rewarm::trace::emulated::widen_bytes(x)
#define _mm512_madd_epi16(a, b) rewarm::trace::emulated::add_products(a, b)
