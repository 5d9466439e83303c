// Keys of the minute tables that are made of their time: whole days, hours and minutes since the trace began.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "trace/batch.h"

namespace rewarm::trace {

struct TimeKey {
  Type type;  // as in the other tables
  int32_t width;
  int32_t seconds;  // of one unit
  int32_t cycle;    // 0: counts on
};

// None for a name that is no key of time.
std::optional<TimeKey> time_key_of(const std::string& name);

// time: int32 seconds. What is null there is null here.
Column time_key_column(const TimeKey& key, const Column& time, int64_t rows);

}  // namespace rewarm::trace
