// An error with a place in a trace file; bindings/ turns it into rewarm.errors.TraceError with the same fields.
#pragma once

#include <cstdint>
#include <string>

#include "common/error.h"

namespace rewarm::trace {

// Where something could not be read. Empty strings and -1 stand for "does not apply".
struct Place {
  std::string file;
  int64_t line = -1;     // from 1, the header included
  int64_t byte = -1;     // offset in the (decoded) file
  std::string column;    // empty: the whole row or file
  std::string text;      // what stands there, at most kShownBytes
  std::string expected;  // what is accepted
};

constexpr size_t kShownBytes = 80;

class TraceFailure : public Error {
 public:
  TraceFailure(const std::string& message, Place place) : Error(ErrorKind::kTrace, message), place_(std::move(place)) {}
  explicit TraceFailure(const std::string& message) : Error(ErrorKind::kTrace, message) {}
  const Place& place() const { return place_; }

 private:
  Place place_;
};

// `day_12.csv:884213 (byte 91823377), column podAllocationCost: expected a decimal number, got "0.03x"`
inline std::string message_of(const Place& place) {
  std::string message = place.file;
  if (place.line >= 0) message += ":" + std::to_string(place.line);
  if (place.byte >= 0) message += " (byte " + std::to_string(place.byte) + ")";
  if (!place.column.empty()) message += ", column " + place.column;
  message += ": expected " + place.expected + ", got \"";
  for (const char c : place.text) {  // a zero would end what() there
    if (c == '\0') {
      message += "\uFFFD";
    } else {
      message += c;
    }
  }
  return message + "\"";
}

}  // namespace rewarm::trace
