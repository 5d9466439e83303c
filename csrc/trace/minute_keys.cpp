#include "trace/minute_keys.h"

namespace rewarm::trace {
namespace {

template <class T>
void fill(const TimeKey& key, const int32_t* time, int64_t rows, T* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t rest = time[r] % key.seconds;
    int32_t count = time[r] / key.seconds - (rest < 0 ? 1 : 0);
    if (key.cycle != 0) count = (count % key.cycle + key.cycle) % key.cycle;
    out[r] = static_cast<T>(count);
  }
}

}  // namespace

std::optional<TimeKey> time_key_of(const std::string& name) {
  if (name == "day") return TimeKey{Type::kInt16, 2, 86400, 0};
  if (name == "hour") return TimeKey{Type::kInt32, 4, 3600, 0};
  if (name == "minute") return TimeKey{Type::kInt32, 4, 60, 0};
  if (name == "hour_of_day") return TimeKey{Type::kInt8, 1, 3600, 24};
  return std::nullopt;
}

Column time_key_column(const TimeKey& key, const Column& time, int64_t rows) {
  Column column;
  column.type = key.type;
  column.width = key.width;
  column.values = std::make_shared<Buffer>(static_cast<size_t>(rows * key.width));
  column.values->resize(static_cast<size_t>(rows * key.width));
  column.validity = time.validity;
  column.null_count = time.null_count;
  void* const out = column.values->data();
  switch (key.type) {
    case Type::kInt8: fill(key, time.data<int32_t>(), rows, static_cast<int8_t*>(out)); break;
    case Type::kInt16: fill(key, time.data<int32_t>(), rows, static_cast<int16_t*>(out)); break;
    default: fill(key, time.data<int32_t>(), rows, static_cast<int32_t*>(out));
  }
  return column;
}

}  // namespace rewarm::trace
