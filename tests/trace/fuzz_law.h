// The readers' law a second time, for the fuzzer only: what csv_reference.py and cold_start_reference.py say, in C++ that knows
// nothing of csrc/trace. One string for every cell, so that two readings compare as text.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace fuzz {

enum class Kind { kInt16, kInt32, kInt64, kFloat64, kRequestId, kPodId };

struct LawColumn {
  const char* name;
  Kind kind;
};

inline const std::vector<LawColumn>& law_columns(bool request) {
  static const std::vector<LawColumn> cold_start = {
      {"day", Kind::kInt16},
      {"time", Kind::kFloat64},
      {"clusterName", Kind::kInt16},
      {"funcName", Kind::kInt32},
      {"userID", Kind::kInt32},
      {"requestID", Kind::kRequestId},
      {"totalCost_cold_start", Kind::kFloat64},
      {"podAllocationCost", Kind::kFloat64},
      {"deployCodeCost", Kind::kFloat64},
      {"deployDependencyCost", Kind::kFloat64},
      {"schedulingCost", Kind::kFloat64},
      {"podID", Kind::kPodId},
  };
  static const std::vector<LawColumn> requests = {
      {"time_worker", Kind::kFloat64},
      {"time_frontend", Kind::kFloat64},
      {"requestID", Kind::kRequestId},
      {"clusterName", Kind::kInt16},
      {"funcName", Kind::kInt32},
      {"podID", Kind::kPodId},
      {"userID", Kind::kInt32},
      {"totalCost_worker", Kind::kFloat64},
      {"workerCost", Kind::kFloat64},
      {"runtimeCost", Kind::kFloat64},
      {"totalCost_frontend", Kind::kFloat64},
      {"frontendCost", Kind::kFloat64},
      {"busCost", Kind::kFloat64},
      {"readBodyCost", Kind::kFloat64},
      {"writeRspCost", Kind::kFloat64},
      {"cpu_usage", Kind::kFloat64},
      {"memory_usage", Kind::kFloat64},
      {"requestBodySize", Kind::kInt64},
  };
  return request ? requests : cold_start;
}

enum class Policy { kRaise, kNull, kSkip };

// Rows of cells, and the places of what was refused as "line:byte:column".
struct Reading {
  std::vector<std::string> rows;
  std::vector<std::string> refused;
  bool operator==(const Reading& other) const { return rows == other.rows && refused == other.refused; }
};

inline const char* null_cell() { return "\x01null"; }

inline std::string bits_of(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  char text[32];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(bits));
  return text;
}

inline bool digit(char c) { return c >= '0' && c <= '9'; }

inline bool law_float(const std::string& text, std::string* cell) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && digit(text[at])) ++at;
    return at > begin;
  };
  if (at < text.size() && text[at] == '-') ++at;
  if (!digits()) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (!digits()) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return false;
  }
  if (at != text.size()) return false;
  const double value = std::strtod(text.c_str(), nullptr);
  if (std::isinf(value)) return false;
  *cell = bits_of(value);
  return true;
}

inline bool law_integer(const std::string& text, int bits, std::string* cell) {
  size_t at = !text.empty() && text[0] == '-' ? 1 : 0;
  const size_t first = at;
  while (at < text.size() && digit(text[at])) ++at;
  if (at == first) return false;
  const std::string whole = text.substr(first, at - first);
  if (at < text.size()) {
    if (text[at] != '.' || at + 1 == text.size()) return false;
    for (++at; at < text.size(); ++at)
      if (text[at] != '0') return false;
  }
  const size_t zeros = whole.find_first_not_of('0');
  const std::string significant = zeros == std::string::npos ? "" : whole.substr(zeros);
  if (significant.size() > 19) return false;
  const unsigned long long magnitude = significant.empty() ? 0 : std::strtoull(significant.c_str(), nullptr, 10);
  const bool negative = text[0] == '-';
  const unsigned long long limit = 1ULL << (bits - 1);
  if (negative ? magnitude > limit : magnitude >= limit) return false;
  *cell = (negative && magnitude != 0 ? "-" : "") + std::to_string(magnitude);
  return true;
}

inline bool is_utf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    const unsigned c = byte(0);
    const auto tail = [&](size_t k) { return (byte(k) & 0xC0) == 0x80; };
    if (c < 0x80) {
      i += 1;
    } else if (c >= 0xC2 && c <= 0xDF && tail(1)) {
      i += 2;
    } else if (c >= 0xE0 && c <= 0xEF && tail(1) && tail(2) && !(c == 0xE0 && byte(1) < 0xA0) &&
               !(c == 0xED && byte(1) > 0x9F)) {
      i += 3;
    } else if (c >= 0xF0 && c <= 0xF4 && tail(1) && tail(2) && tail(3) && !(c == 0xF0 && byte(1) < 0x90) &&
               !(c == 0xF4 && byte(1) > 0x8F)) {
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

inline bool is_hex(const std::string& text) {
  for (const char c : text)
    if (!digit(c) && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F')) return false;
  return true;
}

inline bool law_pod(const std::string& text, std::string* pool, std::string* serial) {
  if (text.size() < 12 || text[text.size() - 11] != '-') return false;
  for (size_t i = text.size() - 10; i < text.size(); ++i)
    if (!digit(text[i])) return false;
  *pool = text.substr(0, text.size() - 11);
  if (!is_utf8(*pool)) return false;
  *serial = std::to_string(std::strtoll(text.c_str() + text.size() - 10, nullptr, 10));
  return true;
}

struct LawField {
  std::string text;
  size_t byte;
};

// False: a quote is to blame.
inline bool law_fields(const std::string& line, size_t first_byte, std::vector<LawField>* fields) {
  fields->clear();
  size_t at = 0;
  for (;;) {
    const size_t begin = at;
    std::string value;
    if (at < line.size() && line[at] == '"') {
      ++at;
      for (;;) {
        const size_t close = line.find('"', at);
        if (close == std::string::npos) return false;
        value += line.substr(at, close - at);
        at = close + 1;
        if (at >= line.size() || line[at] != '"') break;
        value += '"';
        ++at;
      }
      if (at < line.size() && line[at] != ',') return false;
    } else {
      const size_t comma = line.find(',', at);
      at = comma == std::string::npos ? line.size() : comma;
      value = line.substr(begin, at - begin);
    }
    fields->push_back({value, first_byte + begin});
    if (at >= line.size()) return true;
    ++at;
  }
}

// The data lines of `text` from byte `begin` on, read with the default columns; `order` says which column each field is.
inline Reading law(const std::string& text, size_t begin, bool request, const std::vector<int>& order, bool text_ids,
                   Policy policy) {
  Reading reading;
  const auto& columns = law_columns(request);
  size_t id_digits = 0;
  long line_number = 1;
  for (size_t at = begin; at < text.size();) {
    ++line_number;
    const size_t feed = text.find('\n', at);
    const size_t first = at;
    size_t end = feed == std::string::npos ? text.size() : feed;
    at = end + 1;
    if (end > first && text[end - 1] == '\r') --end;
    if (end == first) continue;
    const std::string line = text.substr(first, end - first);
    std::vector<LawField> fields;
    const bool good = law_fields(line, first, &fields) && fields.size() == order.size();
    if (id_digits == 0) {  // the first data row decides
      id_digits = 64;
      for (size_t i = 0; good && i < order.size(); ++i)
        if (columns[static_cast<size_t>(order[i])].kind == Kind::kRequestId && fields[i].text.size() == 32 &&
            is_hex(fields[i].text))
          id_digits = 32;
    }
    if (!good) {
      reading.refused.push_back(std::to_string(line_number) + ":" + std::to_string(first) + ":");
      if (policy == Policy::kRaise) return reading;
      continue;
    }
    std::vector<std::string> cells(columns.size());
    bool skip = false;
    for (size_t i = 0; i < order.size() && !skip; ++i) {
      const LawColumn& column = columns[static_cast<size_t>(order[i])];
      const std::string& field = fields[i].text;
      std::string& cell = cells[static_cast<size_t>(order[i])];
      bool ok = true;
      if (field.empty() || field == "NaN" || field == "null") {
        cell = column.kind == Kind::kPodId && !text_ids ? std::string(null_cell()) + "|" + null_cell() : null_cell();
        continue;
      }
      switch (column.kind) {
        case Kind::kInt16: ok = law_integer(field, 16, &cell); break;
        case Kind::kInt32: ok = law_integer(field, 32, &cell); break;
        case Kind::kInt64: ok = law_integer(field, 64, &cell); break;
        case Kind::kFloat64: ok = law_float(field, &cell); break;
        case Kind::kRequestId:
          ok = text_ids ? is_utf8(field) : field.size() == id_digits && is_hex(field);
          cell = field;
          if (!text_ids)
            for (char& c : cell)
              if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
          break;
        case Kind::kPodId: {
          std::string pool, serial;
          ok = text_ids ? is_utf8(field) : law_pod(field, &pool, &serial);
          cell = text_ids ? field : pool + "|" + serial;
          break;
        }
      }
      if (ok) continue;
      reading.refused.push_back(std::to_string(line_number) + ":" + std::to_string(fields[i].byte) + ":" + column.name);
      if (policy == Policy::kRaise) return reading;
      skip = policy == Policy::kSkip;
      cell = column.kind == Kind::kPodId && !text_ids ? std::string(null_cell()) + "|" + null_cell() : null_cell();
    }
    if (skip) continue;
    std::string row;
    for (const std::string& cell : cells) row += cell + "|";
    reading.rows.push_back(row);
  }
  return reading;
}

}  // namespace fuzz
