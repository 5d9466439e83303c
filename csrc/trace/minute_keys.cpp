#include "trace/minute_keys.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "trace/derived.h"
#include "trace/dictionary.h"

namespace rewarm::trace {
namespace {

struct TimeField {
  const char* name;
  Type type;  // as in the other tables
  int32_t width, seconds, cycle;
};
constexpr TimeField kTimes[] = {{"day", Type::kInt16, 2, 86400, 0},
                                {"hour", Type::kInt32, 4, 3600, 0},
                                {"minute", Type::kInt32, 4, 60, 0},
                                {"hour_of_day", Type::kInt8, 1, 3600, 24}};

enum class Piece { kFuncName, kUserId, kPoolName, kCpuLimit, kMemoryLimit, kSize, kPoolClass, kRuntime, kTriggerGroup };
struct PieceField {
  const char* name;
  Piece piece;
  Type type;
  const char* unit;
};
constexpr PieceField kPieces[] = {{"funcName", Piece::kFuncName, Type::kInt32, ""},
                                  {"userID", Piece::kUserId, Type::kInt32, ""},
                                  {"poolName", Piece::kPoolName, Type::kDictionary, ""},
                                  {"cpu_limit", Piece::kCpuLimit, Type::kInt32, "millicores"},
                                  {"memory_limit", Piece::kMemoryLimit, Type::kInt32, "MB"},
                                  {"size", Piece::kSize, Type::kDictionary, ""},
                                  {"pool_class", Piece::kPoolClass, Type::kDictionary, ""},
                                  {"runtime", Piece::kRuntime, Type::kDictionary, ""},
                                  {"trigger_group", Piece::kTriggerGroup, Type::kDictionary, ""}};

std::optional<int32_t> whole_number(std::string_view digits) {
  int32_t value = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || stop != digits.data() + digits.size()) return std::nullopt;
  return value;
}

struct FuncIdParts {
  std::string_view function, user, pool;
};

// Three hyphens part a funcID; the pool's name is what is left and may hold hyphens. The header's reader has seen both marks.
FuncIdParts parts_of(std::string_view name) {
  const size_t user = name.find("---") + 3;
  const size_t pool = name.find("---", user) + 3;
  return {name.substr(0, user - 3), name.substr(user, pool - 3 - user), name.substr(pool)};
}

template <class T>
void fill(int32_t seconds, int32_t cycle, const Column& time, int64_t rows, Column* out) {
  const int32_t* const from = time.data<int32_t>();
  T* const to = reinterpret_cast<T*>(out->values->data());
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t rest = from[r] % seconds;
    int32_t count = from[r] / seconds - (rest < 0 ? 1 : 0);
    if (cycle != 0) count = (count % cycle + cycle) % cycle;
    to[r] = static_cast<T>(count);
  }
}

Column sized_column(const OutputField& field, int64_t rows) {
  Column column;
  column.type = field.type;
  column.width = field.width;
  column.values = std::make_shared<Buffer>(static_cast<size_t>(rows * field.width));
  column.values->resize(static_cast<size_t>(rows * field.width));
  return column;
}

}  // namespace

MinuteKeys::MinuteKeys(std::vector<OutputField> fields, const std::vector<std::string>& by, const Dictionary& regions,
                       const Dictionary& functions, const FunctionTable* runtime)
    : fields_(std::move(fields)), given_(fields_.size()) {
  for (const std::string& name : by) add(name, regions, functions, runtime);
}

size_t MinuteKeys::column(const std::string& name) const {
  for (size_t i = 0; i < given_; ++i)
    if (fields_[i].name == name) return i;
  throw Error(ErrorKind::kInvalidArgument, "aggregate: the column " + name + " is not among those that are read");
}

void MinuteKeys::add(const std::string& name, const Dictionary& regions, const Dictionary& functions,
                     const FunctionTable* runtime) {
  Made key;
  for (const TimeField& field : kTimes) {
    if (name != field.name) continue;
    time_ = column("time");
    fields_.push_back({name, field.type, field.width, ""});
    key.seconds = field.seconds;
    key.cycle = field.cycle;
    made_.push_back(std::move(key));
    return;
  }
  const auto* const field = std::find_if(std::begin(kPieces), std::end(kPieces), [&](const auto& f) { return name == f.name; });
  if (field == std::end(kPieces)) return;  // a column of the batches
  function_ = column("funcID");
  fields_.push_back({name, field->type, 4, field->unit});
  const bool joined = field->piece == Piece::kRuntime || field->piece == Piece::kTriggerGroup;
  if (joined) {
    // Functions are numbered per region.
    region_ = column("region");
    key.regions = static_cast<int64_t>(regions.words.size()) + 1;
  }
  key.functions = static_cast<int64_t>(functions.words.size());
  SharedDictionary words;
  for (int64_t region = 0; region < key.regions; ++region) {
    const OptionalText name =
        region + 1 == key.regions ? OptionalText() : OptionalText(regions.words[static_cast<size_t>(region)]);
    const RegionFunctions* const table = joined && runtime != nullptr ? runtime->functions_of(name) : nullptr;
    for (const std::string& function : functions.words) {
      const FuncIdParts parts = parts_of(function);
      const PoolLimits limits = pool_limits(parts.pool);
      const JoinedFunction known = table == nullptr ? JoinedFunction() : table->find(function);
      int32_t value = kNone;
      switch (field->piece) {
        case Piece::kFuncName: value = whole_number(parts.function).value_or(kNone); break;
        case Piece::kUserId: value = whole_number(parts.user).value_or(kNone); break;
        case Piece::kPoolName: value = words.code(parts.pool); break;
        case Piece::kCpuLimit: value = limits.cpu; break;
        case Piece::kMemoryLimit: value = limits.memory; break;
        case Piece::kSize:
          if (limits.cpu >= 0) value = words.code(std::to_string(limits.cpu) + "-" + std::to_string(limits.memory));
          break;
        case Piece::kPoolClass: value = pool_class(limits); break;
        case Piece::kRuntime: value = known.runtime; break;
        case Piece::kTriggerGroup: value = known.trigger_group; break;
      }
      const bool number = field->piece == Piece::kFuncName || field->piece == Piece::kUserId;
      key.values.push_back(number || value >= 0 ? value : kNone);  // of the others -1 says that there is none
    }
  }
  if (field->piece == Piece::kPoolClass) {
    key.dictionary = pool_classes();
  } else if (joined && runtime != nullptr) {
    key.dictionary = field->piece == Piece::kRuntime ? runtime->runtimes() : runtime->trigger_groups();
  } else if (field->type == Type::kDictionary) {
    key.dictionary = words.snapshot();
  }
  made_.push_back(std::move(key));
}

Column MinuteKeys::time_column(const OutputField& field, const Made& key, const Batch& batch) const {
  const Column& time = batch.columns[time_];
  Column column = sized_column(field, batch.rows);
  column.validity = time.validity;
  column.null_count = time.null_count;
  switch (field.type) {
    case Type::kInt8: fill<int8_t>(key.seconds, key.cycle, time, batch.rows, &column); break;
    case Type::kInt16: fill<int16_t>(key.seconds, key.cycle, time, batch.rows, &column); break;
    default: fill<int32_t>(key.seconds, key.cycle, time, batch.rows, &column);
  }
  return column;
}

Column MinuteKeys::function_column(const OutputField& field, const Made& key, const Batch& batch) const {
  const int32_t* const function = batch.columns[function_].data<int32_t>();
  const Column& region = batch.columns[region_];
  Column column = sized_column(field, batch.rows);
  column.dictionary = key.dictionary;
  int32_t* const out = reinterpret_cast<int32_t*>(column.values->data());
  for (int64_t r = 0; r < batch.rows; ++r) {
    int64_t at = function[r];
    if (key.regions > 1) at += key.functions * (region.valid(r) ? region.data<int32_t>()[r] : key.regions - 1);
    out[r] = key.values[static_cast<size_t>(at)];
    column.null_count += out[r] == kNone ? 1 : 0;
  }
  if (column.null_count == 0) return column;
  const size_t bytes = static_cast<size_t>((batch.rows + 7) / 8);
  column.validity = std::make_shared<Buffer>(bytes);
  column.validity->resize(bytes);
  std::fill_n(column.validity->data(), bytes, uint8_t{0xff});
  for (int64_t r = 0; r < batch.rows; ++r) {
    if (out[r] != kNone) continue;
    out[r] = 0;
    column.validity->data()[r >> 3] &= static_cast<uint8_t>(~(1u << (r & 7)));
  }
  return column;
}

Batch MinuteKeys::widened(const Batch& batch) const {
  Batch out = batch;  // a few shared buffers
  for (size_t i = 0; i < made_.size(); ++i) {
    const OutputField& field = fields_[given_ + i];
    out.columns.push_back(made_[i].seconds > 0 ? time_column(field, made_[i], batch) : function_column(field, made_[i], batch));
  }
  return out;
}

}  // namespace rewarm::trace
