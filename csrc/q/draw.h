// Random numbers of the Q room: Philox4x32-10 (common/philox.h) addressed by (seed, offset, stream, element), so that any part
// of a draw can be made alone, in any order, on any number of threads. Words, uniforms and indices have the same bits
// everywhere; normals the same bits wherever this header computes them (it asks nothing of libm), and within kNormalError * r
// of the exact ones.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/host_device.h"
#include "common/philox.h"

namespace rewarm::q {

// What each stream is drawn for. A stream is 8 bits wide; the offset of a seed counts the critic minibatches done.
enum Stream : uint32_t {
  kReplay = 0,
  kTargetAction = 1,
  kActor = 2,
  kAlpha = 3,
  kTargetSubset = 4,
  kCqlUniform = 5,
  kCqlCurrent = 6,
  kCqlNext = 7,
  kCqlSubset = 8,
  kAct = 9,
  kDropout = 10
};
constexpr uint32_t kStreams = 256;
constexpr uint64_t kMaxOffset = uint64_t{1} << 56;  // 24 bits of it share a counter word with the stream

// Which numbers: `offset` < kMaxOffset, `stream` < kStreams.
struct DrawAt {
  uint64_t seed, offset;
  uint32_t stream;
};

// The four words of elements 4*block .. 4*block + 3.
REWARM_HD Philox4 draw_block(DrawAt at, uint64_t block) {
  const Philox4 counter = {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(at.offset),
                            at.stream | static_cast<uint32_t>(at.offset >> 32) << 8}};
  return philox4x32_10(counter, static_cast<uint32_t>(at.seed), static_cast<uint32_t>(at.seed >> 32));
}

// [0, 1) in steps of 2^-24, exact.
REWARM_HD float uniform_of(uint32_t word) { return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f; }

// 0 .. n - 1; its bias is below n * 2^-32.
REWARM_HD int64_t index_of(uint32_t word, int64_t n) {
  return static_cast<int64_t>((static_cast<uint64_t>(word) * static_cast<uint64_t>(n)) >> 32);
}

// |normal - exact| <= kNormalError * r with r = sqrt(-2 ln u1) <= 5.77. In units of 2^-24: the logarithm is relatively right to
// 6 (sum, quotient and series 3, three times that where -ln 2 cancels half of it, last sum 1), the root halves that and adds 1,
// sine and cosine are absolutely right to 3 (angle: 2 of at most pi/4; last sum 1), the product adds 1; 1 covers the second
// order. Observed over all 2^24 values: logarithm 2.6, circle 1.7; normals 3.0.
constexpr double kNormalError = 9 * 0x1p-24;

// ln(k 2^-24), 1 <= k <= 2^24. With m in [sqrt(1/2), sqrt(2)) and s = (m - 1) / (m + 1): ln m = 2 (s + s^3/3 + s^5/5 + ...);
// what is left out after s^9 is below 2e-9 of the whole. Near 1 the exponent is 0, so small logarithms keep their digits.
REWARM_HD float log_of_steps(int32_t k) {
  constexpr int32_t kRootHalf = 0x3F3504F3;  // bits of sqrt(1/2)
  const float u = static_cast<float>(k) * 0x1p-24f;
  int32_t bits;
  memcpy(&bits, &u, sizeof bits);
  const int32_t e = (bits - kRootHalf) >> 23;
  bits -= e * (1 << 23);
  float m;
  memcpy(&m, &bits, sizeof m);
  const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  const float series = s * z * (0.666666667f + z * (0.4f + z * (0.285714286f + z * 0.222222222f)));
  constexpr float kLn2High = 0x1.62ep-1f,
                  kLn2Low = 0x1.0bfbe8p-15f;  // the high part has 12 bits: its products with e are exact
  const float exponent = static_cast<float>(e);
  return exponent * kLn2High + (2.0f * s + (series + exponent * kLn2Low));
}

// cos and sin of 2 pi k 2^-24, 0 <= k < 2^24: the angle is brought to [-pi/4, pi/4] in integers, exactly; Taylor to x^9 and
// x^10.
REWARM_HD void circle_point(int32_t k, float* cosine, float* sine) {
  const int32_t quadrant = (k + (1 << 21)) >> 22;
  const float x = static_cast<float>(k - quadrant * (1 << 22)) * 0x1.921fb6p-22f;  // 2 pi 2^-24
  const float z = x * x;
  const float s = x + x * z * (-0.166666667f + z * (0.00833333333f + z * (-0.000198412698f + z * 2.75573192e-6f)));
  const float tail = 0.0416666667f + z * (-0.00138888889f + z * (2.48015873e-5f - z * 2.75573192e-7f));
  const float c = 1.0f + z * (-0.5f + z * tail);
  const bool odd = (quadrant & 1) != 0;
  const float a = odd ? s : c, b = odd ? c : s;
  *cosine = ((quadrant + 1) & 2) != 0 ? -a : a;
  *sine = (quadrant & 2) != 0 ? -b : b;
}

// Box and Muller 1958: two independent normals of two words; u1 lies in (0, 1], so that its logarithm is finite.
REWARM_HD void normal_pair(uint32_t word0, uint32_t word1, float* first, float* second) {
  const float r = sqrtf(-2.0f * log_of_steps(static_cast<int32_t>(word0 >> 8) + 1));
  float cosine, sine;
  circle_point(static_cast<int32_t>(word1 >> 8), &cosine, &sine);
  *first = r * cosine;
  *second = r * sine;
}

// Elements first .. first + n - 1 of a draw.
void draw_words(DrawAt at, int64_t first, int64_t n, uint32_t* out);  // [n]
void draw_uniform(DrawAt at, int64_t first, int64_t n, float* out);   // [n], in [0, 1)
void draw_normal(DrawAt at, int64_t first, int64_t n, float* out);    // [n]

// `subset` of the critics 0 .. critics - 1. Without replacement the first `subset` places of a Fisher-Yates shuffle, where word
// i swaps place i with place i + index_of(word, critics - i); subset <= critics then.
void draw_subset(DrawAt at, int64_t critics, int64_t subset, bool replacement, int64_t* out);  // [subset]

}  // namespace rewarm::q
