// Where the fields of a sub-block lie: a regular grid of delimiters, or rows gathered one by one into the same form.
#pragma once

#include <cstdint>
#include <vector>

#include "trace/kernels.h"

namespace rewarm::trace {

// A row's `shift` entries before its first field's delimiter make rows independent of their neighbours: 0 where they follow
// each other without a gap (ends[-1] stands before the first), 1 where each row brings its own.
struct Grid {
  const char* text = nullptr;
  const uint16_t* ends = nullptr;
  int64_t rows = 0;
  int32_t columns = 0;
  int32_t shift = 0;
  int32_t trim = 0;  // of the last column

  FieldColumn column(int32_t c) const { return {text, ends, rows, columns + shift, c + shift, c == columns - 1 ? trim : 0}; }
};

// A row that cannot be cut into fields: text[begin, end) without its line end.
struct BadRow {
  uint32_t begin;
  uint32_t end;
  int32_t fields;        // found; -1: a quote is to blame
  const char* expected;  // of the quote
};

// Cuts every line of text[0, n), the last one ended by a line feed, by the rules of RFC 4180 without line ends inside quotes;
// blank lines are no rows. ends: columns + 1 entries for each good row.
void split_rows(const char* text, uint32_t n, int32_t columns, std::vector<uint16_t>* ends, std::vector<BadRow>* bad);

// Whether every line feed that ends a row of the regular grid has a '\r' before it.
bool all_crlf(const char* text, const uint16_t* ends, int64_t rows, int32_t columns);

// The rows whose bit is set in keep, as a grid over *ends. The grid must not lie in *ends itself.
Grid gather(const Grid& grid, const uint64_t* keep, std::vector<uint16_t>* ends);

}  // namespace rewarm::trace
