// The two stages of reading text, find and interpret, as one table of functions for each instruction set. All sets give the
// same output. (simdjson's two stages over the regular grid of a CSV without quotes.)
//
// Measured on one core of a shared Zen 3 with gcc 12, best of five passes over a request table of 218 bytes a row, the text in
// cache; the AVX2 figures from one run at the machine's faster clock, which other runs did not all reach, and from before the
// short exponent kernel: find 8.8 GB/s (portable 1.2);
// a field of the same number of decimals in all rows 2.5 ns, plain numbers of any length 4.6, with exponents 7.5 (portable 14,
// the law of number.h 24); an integer 1.7 (8), 64 hex digits 3.7 (71), a podID 1.6 (6). Both stages, all 18 columns: 2.9 GB/s,
// 1.9 with repr's exponents, 0.47 portable.
#pragma once

#include <cstdint>

namespace rewarm::trace {

// Delimiters fit uint16_t: a sub-block of text is at most this long, cut at a line's end. Text, delimiters and the column in
// work should stay in the first two caches; shorter ones pay more calls (Zen 3, request table, both stages: 32 KiB and 24 KiB
// alike, 12 KiB 15 % slower, 8 KiB 30 %, in one noisy pass).
constexpr uint32_t kSubBlock = 32768;

struct Found {
  uint32_t delimiters;  // commas and line feeds, in order
  uint32_t lines;       // line feeds among them
  bool quote;           // a '"' somewhere
  bool carriage;        // a '\r' somewhere
};

// One column of a regular grid: field `column` of row r lies in text[begin(r), end(r)).
struct FieldColumn {
  const char* text;      // kSlack readable bytes before and after
  const uint16_t* ends;  // delimiter positions; ends[-1] stands for the delimiter before the first field: 0xffff
  int64_t rows;
  int32_t stride;  // columns of the file
  int32_t column;  // which one
  int32_t trim;    // bytes to leave out before the delimiter: 1 for the last column of CRLF lines, where the caller knows that
                   // they are '\r'

  // Inlined always: a copy compiled for one instruction set must not stand for all. Positions are below 2^15, so the delimiter
  // before the first field reads as -1.
  __attribute__((always_inline)) int32_t begin(int64_t row) const {
    return static_cast<int16_t>(ends[row * stride + column - 1]) + 1;
  }
  __attribute__((always_inline)) int32_t end(int64_t row) const { return ends[row * stride + column] - trim; }
};

// How the floats of a column were spelled so far, to predict the next ones. One per worker, file and column, zeroed before the
// first row; a wrong prediction costs time, never exactness.
struct Hint {
  enum Spelling : uint32_t { kFixed, kVaried };
  uint32_t spelling = kFixed;  // decimals the same in all rows; any
  uint32_t decimals = 0;       // of kFixed
};

// Row kernels set bit r % 64 of odd[r / 64] where a field is empty, quoted, of another spelling or wrong, and leave its output
// undefined: the caller reads such a field with the scalar functions of number.h, which are the law. Every other output is
// exact. `odd` holds (rows + 63) / 64 words, all written by the kernel. Outputs have kSlack writable bytes after their end.
struct Kernels {
  const char* name;  // "portable", "avx2", "avx512"
  // Positions of the commas and line feeds of text[0, n), n <= kSubBlock.
  Found (*find)(const char* text, uint32_t n, uint16_t* ends);  // ends: room for n + 64
  // The grid check for rows * columns delimiters of which `rows` are line feeds (as find counted them): whether the last of
  // every row is one.
  bool (*is_grid)(const char* text, const uint16_t* ends, int64_t rows, int32_t columns);
  void (*float64)(const FieldColumn& f, Hint* hint, double* out, uint64_t* odd);
  void (*int64)(const FieldColumn& f, int64_t* out, uint64_t* odd);  // [-]digits, also with ".0"
  void (*int32)(const FieldColumn& f, int32_t* out, uint64_t* odd);
  void (*int16)(const FieldColumn& f, int16_t* out, uint64_t* odd);
  void (*hex)(const FieldColumn& f, int32_t bytes, uint8_t* out, uint64_t* odd);  // 2 * bytes digits; bytes is 32 or 16
  // podID: the ten digits after the last hyphen -> serial; [begin, end - 11) is the pool's name.
  void (*pod_serial)(const FieldColumn& f, int64_t* serial, uint64_t* odd);
};

extern const Kernels kPortableKernels;
#if defined(REWARM_X86)
extern const Kernels kAvx2Kernels;    // AVX2, BMI1, BMI2, POPCNT
extern const Kernels kAvx512Kernels;  // also AVX-512 F, BW, VL, DQ, VBMI, VBMI2: Ice Lake, Zen 4
#endif
extern const Kernels kEmulatedKernels;  // kAvx512Kernels for any processor, slow; only in a build with REWARM_SIMDE

// Of the level in use: REWARM_ISA may lower it, as for every room.
const Kernels& kernels();

// Its name, for `rewarm env`.
inline const char* level_name() { return kernels().name; }

// The table of that name, or null where this build lacks it or this processor cannot run it.
const Kernels* find_kernels(const char* name);

}  // namespace rewarm::trace
