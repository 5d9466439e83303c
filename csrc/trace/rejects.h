// What could not be read in one work unit, and all of it in row order.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "trace/reader.h"

namespace rewarm::trace {

// Within a unit: `line` counts from the unit's first row, `row` is the byte at which its row begins. Of one row, errors come
// in the order in which its fields are looked at.
struct LocalReject {
  int64_t row;
  int32_t order;
  int64_t line;
  int64_t byte;
  std::string column;
  std::string text;
  const char* action;
  std::string expected;

  bool operator<(const LocalReject& other) const { return row != other.row ? row < other.row : order < other.order; }
};

// Orders of a row's errors: the row itself, fields that filters look at, other fields from left to right, what is derived.
constexpr int32_t kRowOrder = -1, kFieldOrder = 64, kDerivedOrder = 1 << 30;

struct UnitRejects {
  std::vector<LocalReject> kept;  // at most kMostRejects, in row order
  int64_t count = 0;
};

}  // namespace rewarm::trace
