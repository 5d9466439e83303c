// What the columns of a table are, as data: a new column is a line in cold_start.cpp or request.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/batch.h"

namespace rewarm::trace {

// How the text of a published column is interpreted.
enum class FieldKind : int32_t { kInt16, kInt32, kInt64, kFloat64, kRequestId, kPodId };

struct PublishedColumn {
  const char* name;
  FieldKind kind;
  const char* unit;  // as published; "" where there is none
};

struct TableSpec {
  const char* name;
  std::vector<PublishedColumn> columns;  // in the published order
  int32_t time;                          // which of them is the time of a row, seconds since the trace began
};

const TableSpec& cold_start_table();
const TableSpec& request_table();
const TableSpec& table_spec(const std::string& name);  // throws for a table that this reader does not read

// One column of the output: its name and what Arrow calls it.
struct OutputField {
  std::string name;
  Type type = Type::kFloat64;
  int32_t width = 8;  // bytes of one value
  std::string unit;
};

}  // namespace rewarm::trace
