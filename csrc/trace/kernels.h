// The two stages of reading text, find and interpret, as one table of functions for each instruction set. All sets give the
// same output. (simdjson's two stages over the regular grid of a CSV without quotes.)
#pragma once

#include <cstdint>

namespace rewarm::trace {

// Delimiters fit uint16_t: a sub-block of text is at most this long, cut at a line's end.
constexpr uint32_t kSubBlock = 32768;

struct Found {
  uint32_t delimiters;  // commas and line feeds, in order
  uint32_t lines;       // line feeds among them
  bool quote;           // a '"' somewhere
  bool carriage;        // a '\r' somewhere
};

// One column of a regular grid: field `c` of row r lies in text[begin(r), end(r)).
struct FieldColumn {
  const char* text;      // kSlack readable bytes before and after
  const uint16_t* ends;  // delimiter positions; ends[-1] stands for the delimiter before the first field (wraps to 0xffff)
  int64_t rows;
  int32_t stride;  // columns of the file
  int32_t column;  // which one
  int32_t trim;    // bytes to leave out before the delimiter: 1 for the last column of CRLF lines

  uint32_t begin(int64_t row) const { return static_cast<uint16_t>(ends[row * stride + column - 1] + 1); }
  uint32_t end(int64_t row) const { return ends[row * stride + column] - static_cast<uint32_t>(trim); }
};

// What a column's kernel learned from earlier rows, to predict the next ones. One per worker, file and column; a wrong
// prediction costs time, never exactness.
struct Hint {
  uint32_t dot = 0;
  uint32_t length = 0;
};

// Row kernels set bit r % 64 of odd[r / 64] where a field is empty, quoted, of another spelling or wrong, and leave its output
// undefined: the caller reads such a field with the scalar functions of number.h, which are the law. Every other output is
// exact. `odd` holds (rows + 63) / 64 words, zeroed by the kernel.
struct Kernels {
  const char* name;  // "portable", "avx2", "avx512"
  Found (*find)(const char* text, uint32_t n, uint16_t* ends);  // ends: room for n + 64
  // The grid check: whether ends holds rows x columns delimiters of which exactly each row's last is a line feed.
  bool (*is_grid)(const char* text, const uint16_t* ends, int64_t rows, int32_t columns);
  void (*float64)(const FieldColumn& f, Hint* hint, double* out, uint64_t* odd);
  void (*int64)(const FieldColumn& f, int64_t* out, uint64_t* odd);  // [-]digits, also with ".0"
  void (*int32)(const FieldColumn& f, int32_t* out, uint64_t* odd);
  void (*int16)(const FieldColumn& f, int16_t* out, uint64_t* odd);
  void (*hex)(const FieldColumn& f, int32_t bytes, uint8_t* out, uint64_t* odd);  // 2 * bytes digits -> bytes; 32 or 16
  // podID: the ten digits after the last hyphen -> serial; [begin, end - 11) is the pool's name.
  void (*pod_serial)(const FieldColumn& f, int64_t* serial, uint64_t* odd);
};

// Of the level in use: REWARM_ISA may lower it, as for every room.
const Kernels& kernels();

}  // namespace rewarm::trace
