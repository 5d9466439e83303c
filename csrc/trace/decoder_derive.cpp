// The decoder's last step: columns that are made of published ones.
#include <algorithm>
#include <cmath>

#include "trace/decoder.h"

namespace rewarm::trace {

void Decoder::derive(int64_t rows, BatchBuilder* out) {
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const Output& output = plan_.outputs[i];
    switch (output.kind) {
      case OutputKind::kField:
      case OutputKind::kRequestText:
      case OutputKind::kPodText:
      case OutputKind::kPodSerial: break;
      case OutputKind::kRegion: {
        const int32_t region = shared_.files[static_cast<size_t>(file_)].region;
        std::fill_n(out->next<int32_t>(i), rows, std::max(region, 0));
        if (region < 0) {
          std::fill_n(odd_.begin(), words_of(rows), ~uint64_t{0});
          if (rows % 64 != 0) odd_[words_of(rows) - 1] = (uint64_t{1} << (rows % 64)) - 1;
          out->set_null(i, odd_.data(), rows);
        }
        break;
      }
      case OutputKind::kDay:
      case OutputKind::kHour:
      case OutputKind::kMinute:
      case OutputKind::kHourOfDay: derive_time(output.kind, i, rows, out); break;
      case OutputKind::kFuncId:
      case OutputKind::kRuntime:
      case OutputKind::kTriggerGroup: derive_function(output.kind, i, rows, out); break;
      default: derive_pool(output.kind, i, rows, out);
    }
    if (output.published >= 0) {
      const Scratch& s = scratch_[static_cast<size_t>(output.published)];
      if (s.any_null) out->set_null(i, s.nulls.data(), rows);
    }
  }
}

void Decoder::derive_pool(OutputKind kind, size_t output, int64_t rows, BatchBuilder* out) {
  int32_t* to = out->next<int32_t>(output);
  if (kind == OutputKind::kPoolName) {
    std::copy_n(pool_codes_.data(), rows, to);
    return;
  }
  std::fill_n(odd_.begin(), words_of(rows), 0);
  bool unknown = false;
  for (int64_t row = 0; row < rows; ++row) {
    if (is_null(plan_.pod, row)) {
      to[row] = 0;
      continue;
    }
    const int32_t pool = pool_codes_[static_cast<size_t>(row)];
    const PoolLimits& limits = pools_.limits(pool);
    int32_t value = limits.cpu;
    if (kind == OutputKind::kMemoryLimit) value = limits.memory;
    if (kind == OutputKind::kPoolClass) value = pool_class(limits);
    if (kind == OutputKind::kSize && limits.cpu >= 0) {
      if (size_codes_.size() <= static_cast<size_t>(pool)) size_codes_.resize(static_cast<size_t>(pool) + 1, -1);
      int32_t& code = size_codes_[static_cast<size_t>(pool)];
      if (code < 0) code = shared_.words.sizes.code(std::to_string(limits.cpu) + "-" + std::to_string(limits.memory));
      value = code;
    }
    to[row] = std::max(value, 0);
    if (value < 0) set(&odd_, row), unknown = true;
  }
  if (unknown) out->set_null(output, odd_.data(), rows);
}

void Decoder::derive_time(OutputKind kind, size_t output, int64_t rows, BatchBuilder* out) {
  const TimeUnit unit = time_unit(kind);
  const double* time = static_cast<const double*>(scratch_[static_cast<size_t>(plan_.table->time)].values);
  const auto each = [&](auto* to, const auto& value) {
    for (int64_t row = 0; row < rows; ++row) {
      // The value under a null is NaN, and no integer. Others fit: check_times saw to that.
      const double units = time[row] == time[row] ? time[row] / unit.seconds : 0.0;
      const int32_t whole = static_cast<int32_t>(units);
      to[row] = value(whole - (units < static_cast<double>(whole) ? 1 : 0));
    }
  };
  if (kind == OutputKind::kDay) {
    each(out->next<int16_t>(output), [](int32_t count) { return static_cast<int16_t>(count); });
  } else if (kind == OutputKind::kHourOfDay) {
    each(out->next<int8_t>(output), [](int32_t count) { return static_cast<int8_t>((count % 24 + 24) % 24); });
  } else {
    each(out->next<int32_t>(output), [](int32_t count) { return count; });
  }
}

void Decoder::derive_function(OutputKind kind, size_t output, int64_t rows, BatchBuilder* out) {
  const auto code_of = [&](const FunctionFacts& facts) {
    return kind == OutputKind::kFuncId    ? facts.code
           : kind == OutputKind::kRuntime ? facts.joined.runtime
                                          : facts.joined.trigger_group;
  };
  const int32_t* function = static_cast<const int32_t*>(scratch_[static_cast<size_t>(plan_.function)].values);
  const int32_t* user = static_cast<const int32_t*>(scratch_[static_cast<size_t>(plan_.user)].values);
  const bool nulls = scratch_[static_cast<size_t>(plan_.function)].any_null ||
                     scratch_[static_cast<size_t>(plan_.user)].any_null || scratch_[static_cast<size_t>(plan_.pod)].any_null;
  int32_t* to = out->next<int32_t>(output);
  int32_t lowest = 0;
  for (int64_t row = 0; row < rows; ++row) {
    // A function with a null in it is none: it must not get a code.
    const bool none = nulls && (is_null(plan_.function, row) || is_null(plan_.user, row) || is_null(plan_.pod, row));
    const int32_t code =
        none ? -1 : code_of(functions_.find(function[row], user[row], pool_codes_[static_cast<size_t>(row)], pools_));
    to[row] = code;
    lowest = std::min(lowest, code);
  }
  if (lowest == 0) return;
  std::fill_n(odd_.begin(), words_of(rows), 0);
  for (int64_t row = 0; row < rows; ++row) {
    if (to[row] >= 0) continue;
    to[row] = 0;
    set(&odd_, row);
  }
  out->set_null(output, odd_.data(), rows);
}

void Decoder::add_dictionaries(Batch* batch) const {
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    std::shared_ptr<const Dictionary>& dictionary = batch->columns[i].dictionary;
    switch (plan_.outputs[i].kind) {
      case OutputKind::kPoolName: dictionary = shared_.words.pools.snapshot(); break;
      case OutputKind::kSize: dictionary = shared_.words.sizes.snapshot(); break;
      case OutputKind::kPoolClass: dictionary = pool_classes(); break;
      case OutputKind::kFuncId: dictionary = shared_.words.functions.snapshot(); break;
      case OutputKind::kRuntime: dictionary = options_.runtime->runtimes(); break;
      case OutputKind::kTriggerGroup: dictionary = options_.runtime->trigger_groups(); break;
      case OutputKind::kRegion: dictionary = shared_.words.regions; break;
      default: break;
    }
  }
}

}  // namespace rewarm::trace
