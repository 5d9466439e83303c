// Included by minute_<isa>.cpp in a namespace of its own, after classify(): 64 bytes of text -> where commas and line feeds
// are. See minute_scan.h.

#define REWARM_V inline __attribute__((always_inline))

// [-]digits[.digits] of at most 15 digits: both parts of the quotient are exact doubles, so one division rounds correctly.
REWARM_V bool simple_number(const char* p, const char* end, double* out) {
  static constexpr double kPowers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  const bool negative = *p == '-';
  p += negative;
  if (end - p > 16 || p == end) return false;
  uint64_t mantissa = 0;
  const char* first = p;
  for (; p != end; ++p) {
    const uint8_t digit = static_cast<uint8_t>(*p - '0');
    if (digit > 9) break;
    mantissa = mantissa * 10 + digit;
  }
  int64_t digits = p - first;
  int64_t decimals = 0;
  if (digits == 0) return false;
  if (p != end) {
    if (*p != '.') return false;
    const char* fraction = ++p;
    for (; p != end; ++p) {
      const uint8_t digit = static_cast<uint8_t>(*p - '0');
      if (digit > 9) return false;
      mantissa = mantissa * 10 + digit;
    }
    decimals = end - fraction;
    if (decimals == 0) return false;
    digits += decimals;
  }
  if (digits > 15) return false;
  const double value = static_cast<double>(mantissa) / kPowers[decimals];
  *out = negative ? -value : value;
  return true;
}

REWARM_V const char* scan_loop(const char* at, const char* limit, CellScan* scan) {
  const int32_t* codes = scan->codes;
  const int32_t columns = scan->columns;
  int32_t column = scan->column;
  int64_t cells = scan->cells;
  int32_t* functions = scan->functions;
  double* values = scan->values;

  while (at < limit) {
    uint64_t commas, feeds;
    classify(at, &commas, &feeds);
    if (limit - at < 64) {
      const uint64_t inside = (uint64_t{1} << (limit - at)) - 1;
      commas &= inside;
      feeds &= inside;
    } else if (commas == ~uint64_t{0}) {
      column += 64;
      at += 64;
      continue;
    }
    const uint64_t ends = commas | feeds;
    if (ends == 0) break;  // a field of 64 characters or more is none of ours
    // Only whole fields, and not past the row's end. The next round begins behind the last delimiter taken here, so that a
    // field is never cut.
    const uint64_t stop = feeds != 0 ? feeds & -feeds : uint64_t{1} << (63 - __builtin_clzll(ends));
    const uint64_t taken = stop | (stop - 1);
    const uint64_t content = ~ends & taken;
    uint64_t starts = content & ~(content << 1);
    while (starts != 0) {
      const int begin = __builtin_ctzll(starts);
      starts &= starts - 1;
      const int32_t c = column + __builtin_popcountll(commas & ((uint64_t{1} << begin) - 1));
      if (c >= columns) break;
      const int32_t code = codes[c];
      if (code == kUnwantedColumn && at[begin] != '"') continue;
      const char* end = at + begin + __builtin_ctzll(ends >> begin);
      if (code < 0 || !simple_number(at + begin, end, values + cells)) {
        scan->column = c;
        scan->cells = cells;
        return at + begin;
      }
      functions[cells++] = code;
    }
    const int taken_bytes = __builtin_ctzll(stop);
    if (feeds != 0) {
      column += __builtin_popcountll(commas & (stop - 1));
      at += taken_bytes;
      break;
    }
    column += __builtin_popcountll(commas & taken);
    at += taken_bytes + 1;
  }
  scan->column = column;
  scan->cells = cells;
  return at;
}
