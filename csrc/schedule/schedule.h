// Schedules as data: a list of segments and a pure function of an int64 counter, for host and device.
//
// Convention: `step` counts the updates already applied, so the first update uses value_at(0); with units of tokens it is the
// number of tokens consumed before the update. A schedule holds its last value after its end. The Triton twin is
// python/rewarm/schedule/schedule_triton.py, the float64 reference schedule_reference.py; a test pins all three together.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace rewarm::schedule {

enum Kind : int64_t {
  kConstant = 0,
  kLinear = 1,
  kCosine = 2,
  kLegacyCosine = 3,  // GPT-NeoX before its PRs 1008 and 1011: a half cosine to zero, clamped from below by `lo`
  kInverseSqrt = 4,   // power = tau; Ibrahim et al. 2024 (arXiv 2403.08763), cooldown "inverse square root"
  kOneMinusSqrt = 5,  // Haegele et al. 2024 (arXiv 2405.18392)
  kPolynomial = 6,    // power = exponent of (1 - r)
  kExponential = 7,
  kPower = 8,        // from (t / to)^power beyond t = to, t counted from `offset` before the start; arXiv 2408.13359
  kTable = 9,        // straight lines between `power` knots, the first at `offset` of the shared array
  kHarmonic = 10,    // 1 / value runs along a line: lingua's WSD decay
  kHalving = 11,     // 2 * 0.5^r - 1 of the way is left: Megatron-LM's WSD decay "exponential"
  kCosineTail = 12,  // the half cosine of which `offset` counts had passed before the start
};

// 64 bytes of plain data, the same in device memory, in numpy (schedule.SEGMENT_DTYPE) and here.
struct Segment {
  int64_t kind;
  int64_t start;   // counter value at which the segment begins
  int64_t length;  // in counter units; 0 = the segment is at its end from its start on
  double from;     // value at start; of kPower and kCosineTail the value that they come down from
  double to;       // value at start + length and afterwards; of kPower the count up to which `from` holds
  double power;    // exponent, tau, the fraction of the half cosine that is travelled (kLegacyCosine), or knots (kTable)
  double lo;       // clamp from below; -inf for none
  int64_t offset;  // counts that had passed before start (kPower, kCosineTail), or index of the first knot (kTable)
};
static_assert(sizeof(Segment) == 64, "Segment is an exchange format");

// A point of a table; all tables of an optimizer share one array of them.
struct Knot {
  int64_t at;  // counts from the start of its segment; the first is 0, the last the segment's length
  double value;
};
static_assert(sizeof(Knot) == 16, "Knot is an exchange format");

constexpr int64_t kMaxSegments = 64;  // of one schedule
constexpr int64_t kMaxKnots = 4096;   // of one schedule, and of one optimizer

// Value x counts after the start of a table, 0 < x < the last knot.
REWARM_HD double table_value(const Knot* knots, int64_t count, int64_t x) {
  int64_t low = 0, high = count - 1;  // knots[low].at <= x < knots[high].at
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (knots[middle].at <= x)
      low = middle;
    else
      high = middle;
  }
  const Knot a = knots[low], b = knots[high];
  return a.value + (b.value - a.value) * (static_cast<double>(x - a.at) / static_cast<double>(b.at - a.at));
}

// Value of one segment at counter t. r is formed after an exact int64 subtraction, so that a token counter of 15e12 loses
// nothing; r = 0 and r = 1 return the end values themselves, not a rounded cosine.
// `knots` is read by kTable only and may be null without one.
REWARM_HD double segment_value(const Segment& s, const Knot* knots, int64_t t) {
  const int64_t x = t - s.start;
  double r = 1.0;
  if (x < s.length) r = x <= 0 ? 0.0 : static_cast<double>(x) / static_cast<double>(s.length);
  const double kPi = 3.14159265358979323846;
  double value = s.from;
  if (s.kind == kLegacyCosine) {
    value = 0.5 * s.from * (1.0 + cos(kPi * (r * s.power)));
  } else if (s.kind == kPower) {
    // The one kind that may fall for ever: length -1 is no end, not "at its end".
    // The sum is one of doubles because it may pass 2^63; below 2^53 it is exact.
    const double passed = static_cast<double>(s.offset) + static_cast<double>(s.length >= 0 && x > s.length ? s.length : x);
    if (passed > s.to) value = s.from * pow(passed / s.to, s.power);
  } else if (s.kind == kCosineTail) {
    if (r >= 1.0)
      value = s.to;
    else if (x + s.offset > 0)
      value =
          s.to + (s.from - s.to) *
                     (0.5 * (1.0 + cos(kPi * (static_cast<double>(x + s.offset) / static_cast<double>(s.length + s.offset)))));
  } else if (r >= 1.0) {
    value = s.kind == kConstant ? s.from : s.to;
  } else if (r > 0.0) {
    switch (s.kind) {
      case kLinear: value = s.from + (s.to - s.from) * r; break;
      case kCosine: value = s.to + (s.from - s.to) * (0.5 * (1.0 + cos(kPi * r))); break;
      case kInverseSqrt:
        value = s.from + (s.to - s.from) * ((1.0 / sqrt(1.0 + s.power * r) - 1.0) / (1.0 / sqrt(1.0 + s.power) - 1.0));
        break;
      case kOneMinusSqrt: value = s.to + (s.from - s.to) * (1.0 - sqrt(r)); break;
      case kPolynomial: value = s.to + (s.from - s.to) * pow(1.0 - r, s.power); break;
      case kExponential: value = s.from * pow(s.to / s.from, r); break;
      case kTable: value = table_value(knots + s.offset, static_cast<int64_t>(s.power), x); break;
      case kHarmonic: value = 1.0 / ((1.0 - r) / s.from + r / s.to); break;
      case kHalving: value = s.to + (s.from - s.to) * (2.0 * pow(0.5, r) - 1.0); break;
      default: break;  // kConstant
    }
  }
  return value < s.lo ? s.lo : value;
}

// Value of a schedule, segments [count] ordered by start, the first starting at 0; knots: the array that its tables index.
REWARM_HD double value_at(const Segment* segments, int64_t count, const Knot* knots, int64_t t) {
  int64_t i = 0;
  while (i + 1 < count && segments[i + 1].start <= t) ++i;
  return segment_value(segments[i], knots, t);
}

}  // namespace rewarm::schedule
