// Writes columns as the text of a trace file: the numbers are exact decimals held as integers, spelled as the release spells
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rewarm::trace {

enum class Spelling : int32_t {
  kInteger,  // int64
  kDecimal,  // int64 value * 10^-scale, at least min_decimals decimals: 0.045, 2.0
  kJava,     // the same number as Double.toString writes it: 9.31E-4 below 1e-3, 1.2E7 from 1e7
  kPython,   // ... as repr(float) writes it: 9.3e-05 below 1e-4
  kFloat64,  // double, the shortest text that reads back to it, with .0 behind a whole number
  kHex,      // bytes, two lower-case digits each
  kWord,     // int32 code of a word
  kPod,      // int32 code of a pool's name, then -, then a serial of ten digits
};

struct TextColumn {
  Spelling spelling = Spelling::kInteger;
  const void* values = nullptr;                     // [rows] int64, double or int32; [rows, width] bytes for kHex
  const int64_t* serials = nullptr;                 // [rows], kPod
  const std::vector<std::string>* words = nullptr;  // kWord, kPod
  const uint8_t* missing = nullptr;                 // [rows], not 0 where the field is missing; may be null
  int32_t scale = 0;                                // decimals that the integer carries, at most 18
  int32_t min_decimals = 0;
  int32_t width = 0;  // bytes of one id, kHex
};

struct TextStyle {
  bool quoted = false;  // "" around every value
  bool crlf = false;
  int64_t first_index = -1;  // of a leading index column; -1 = none
  std::string missing;       // what stands for a missing value
};

// Appends `rows` lines to out. Codes must lie inside their words.
void format_rows(const std::vector<TextColumn>& columns, int64_t rows, const TextStyle& style, std::string* out);

// A minute table from sparse rows: `minutes` lines of day, time and one field a function, empty where no entry stands.
struct MinuteText {
  int64_t day = 0;
  int64_t first_time = 0;            // of the first line, seconds since the start of the trace
  int64_t functions = 0;             // columns behind day and time
  int64_t minutes = 0;               // lines
  const int64_t* begins = nullptr;   // [minutes + 1] into indices and values
  const int32_t* indices = nullptr;  // function of an entry, ascending within a line
  const double* values = nullptr;
};

void format_minutes(const MinuteText& table, const TextStyle& style, std::string* out);

}  // namespace rewarm::trace
