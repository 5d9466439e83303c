// The inner loop of the minute reader: finds the fields that are not empty among runs of commas. Each instruction set has a
// copy of its own (minute_<isa>.cpp); all stop at the same places with the same output.
#pragma once

#include <cstdint>

// Nothing of the standard library's is included here or by minute_<isa>.cpp: an inline function of it, compiled for one
// instruction set, could be linked into all.

namespace rewarm::trace {

// Codes of a header's columns that are no function.
constexpr int32_t kUnwantedColumn = -1, kDayColumn = -2, kTimeColumn = -3;

// What a scan needs and where it stands.
struct CellScan {
  const int32_t*
      codes;  // by column: a function's code, or negative: kUnwantedColumn is passed over unless quoted, others stop the scan
  int32_t columns;
  int32_t column;  // of the field at the position; counts on where a row has too many fields
  int64_t cells;   // written so far
  int32_t* functions;
  double* values;
};

// Reads from `at`, the first character of a field, to at most `limit`, which stands behind a delimiter; 64 bytes behind it are
// readable. Stops at a line feed, at a field that is not [-]digits[.digits] with few digits, or in a column that asks for it:
// at that field's first character, with `column` set. Returns where it stopped. Outputs have room for a cell in two bytes of
// text.
using ScanCells = const char* (*)(const char* at, const char* limit, CellScan* scan);

const char* scan_cells_portable(const char* at, const char* limit, CellScan* scan);
#if defined(REWARM_X86)
const char* scan_cells_avx2(const char* at, const char* limit, CellScan* scan);  // AVX2, BMI1, BMI2, POPCNT
#endif

// Of the level in use: REWARM_ISA may lower it.
ScanCells scan_cells();

}  // namespace rewarm::trace
