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
};

// 64 bytes of plain data, the same in device memory, in numpy (schedule.SEGMENT_DTYPE) and here.
struct Segment {
  int64_t kind;
  int64_t start;         // counter value at which the segment begins
  int64_t length;        // in counter units; 0 = the segment is at its end from its start on
  double from;           // value at start
  double to;             // value at start + length and afterwards
  double power;          // exponent, tau, or the fraction of the half cosine that is travelled (kLegacyCosine)
  double lo;             // clamp from below; -inf for none
  int64_t knots_offset;  // reserved for table segments: first index into the shared knots array
};
static_assert(sizeof(Segment) == 64, "Segment is an exchange format");

// Value of one segment at counter t. r is formed after an exact int64 subtraction, so that a token counter of 15e12 loses
// nothing; r = 0 and r = 1 return the end values themselves, not a rounded cosine.
REWARM_HD double segment_value(const Segment& s, int64_t t) {
  const int64_t x = t - s.start;
  double r = 1.0;
  if (x < s.length) r = x <= 0 ? 0.0 : static_cast<double>(x) / static_cast<double>(s.length);
  const double kPi = 3.14159265358979323846;
  double value = s.from;
  if (s.kind == kLegacyCosine) {
    value = 0.5 * s.from * (1.0 + cos(kPi * (r * s.power)));
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
      default: break;  // kConstant
    }
  }
  return value < s.lo ? s.lo : value;
}

// Value of a schedule, segments [count] ordered by start, the first starting at 0.
REWARM_HD double value_at(const Segment* segments, int64_t count, int64_t t) {
  int64_t i = 0;
  while (i + 1 < count && segments[i + 1].start <= t) ++i;
  return segment_value(segments[i], t);
}

}  // namespace rewarm::schedule
