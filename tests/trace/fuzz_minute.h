// The minute tables for the fuzzer: what minute_reference.py says, in C++ that knows nothing of csrc/trace.
#pragma once

#include <string>
#include <vector>

#include "fuzz_law.h"

namespace fuzz {

// Longer quoted fields are no numbers, and the reader does not wait for their end.
constexpr size_t kLongestQuoted = 4096;

inline std::vector<std::string> minute_names(int functions, bool reversed) {
  std::vector<std::string> names;
  for (int i = 0; i < functions; ++i) names.push_back(std::to_string(i) + "---7---pool22-300-128");
  names.insert(reversed ? names.end() : names.begin(), {"day", "time"});
  return names;
}

// A row is one cell of the file, "function|time|value|".
inline Reading minute_law(const std::string& text, size_t begin, const std::vector<std::string>& names, Policy policy) {
  Reading reading;
  long line_number = 1;
  for (size_t at = begin; at < text.size();) {
    ++line_number;
    const size_t feed = text.find('\n', at);
    const size_t first = at;
    size_t end = feed == std::string::npos ? text.size() : feed;
    at = end + 1;
    if (end > first && text[end - 1] == '\r') --end;
    if (end == first) continue;
    std::vector<LawField> fields;
    if (!law_fields(text.substr(first, end - first), first, &fields) || fields.size() != names.size()) {
      reading.refused.push_back(std::to_string(line_number) + ":" + std::to_string(first) + ":");
      if (policy == Policy::kRaise) return reading;
      continue;
    }
    std::string time = null_cell();
    bool skip = false;
    std::vector<std::string> functions, values;
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string& field = fields[i].text;
      if (field.empty() || field == "NaN" || field == "null") continue;
      const bool is_time = names[i] == "time", is_value = !is_time && names[i] != "day";
      std::string value;
      const bool ok = is_value ? law_float(field, &value) : law_integer(field, 32, &value);
      if (!ok) {
        reading.refused.push_back(std::to_string(line_number) + ":" + std::to_string(fields[i].byte) + ":" + names[i]);
        if (policy == Policy::kRaise) return reading;
        skip = skip || (!is_value && policy == Policy::kSkip);
        value = null_cell();
        if (policy == Policy::kSkip) continue;  // a row of the table is a cell of the file
      }
      if (is_time) time = value;
      if (!is_value) continue;
      functions.push_back(names[i]);
      values.push_back(value);
    }
    if (skip) continue;
    for (size_t i = 0; i < values.size(); ++i) reading.rows.push_back(functions[i] + "|" + time + "|" + values[i] + "|");
  }
  return reading;
}

}  // namespace fuzz
