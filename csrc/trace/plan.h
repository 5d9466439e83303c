// What one call reads: the output columns, where each comes from, and the fields that must be interpreted for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/reader.h"
#include "trace/schema.h"

namespace rewarm::trace {

enum class OutputKind : int32_t {
  kField,  // a published number or a binary id
  kRequestText,
  kPodText,
  kPoolName,
  kPodSerial,
  kCpuLimit,
  kMemoryLimit,
  kSize,
  kPoolClass,
  kFuncId,
  kDay,
  kHour,
  kMinute,
  kHourOfDay,
  kRuntime,
  kTriggerGroup,
  kRegion
};

struct Output {
  OutputField field;
  OutputKind kind;
  int32_t published;  // where that column is null, so is this; -1: its nulls are its own
};

struct Plan {
  const TableSpec* table = nullptr;
  std::vector<Output> outputs;
  std::vector<int32_t> target;  // by published column: the kField output it goes to, -1: scratch
  std::vector<bool> needed;     // by published column
  // The columns that filters look at, in the order in which a row's errors are reported.
  std::vector<int32_t> filters;
  int32_t cluster = -1, function = -1, user = -1, pod = -1, request = -1;  // published columns by role
  bool pod_grammar = false;                                                // podID is taken apart, not only copied
  bool joins_functions = false;
  bool filters_functions = false;
  int32_t id_bytes = 32;

  int32_t output_of(OutputKind kind) const;
};

Plan make_plan(const std::vector<SourceFile>& files, const ReadOptions& options);

// The width of the ids in the first data row of the whole read, in bytes.
int32_t first_id_bytes(const std::vector<SourceFile>& files);

// Column c of the file is published column (result[c]), or -1: not read. Throws for unknown, repeated and missing columns.
std::vector<int32_t> map_columns(const SourceFile& file, const Plan& plan, bool ignore_unknown);

}  // namespace rewarm::trace
