// The trace's kernels for any processor: words of eight bytes, one row at a time.
#include "trace/kernels.h"

namespace rewarm::trace {
namespace portable {

#include "trace/kernels_swar.h"

// Bit 7 of every byte that is zero, exactly.
REWARM_V uint64_t zero_bytes(uint64_t word) {
  constexpr uint64_t kLow = kEveryByte * 0x7f;
  return ~(((word & kLow) + kLow) | word | kLow);
}

Found find(const char* text, uint32_t n, uint16_t* ends) {
  Found found = {0, 0, false, false};
  uint64_t quotes = 0, carriages = 0;
  for (uint32_t i = 0; i < n; i += 8) {
    const uint64_t word = load_word(text + i);
    const uint64_t inside = n - i >= 8 ? ~uint64_t{0} : ~(~uint64_t{0} << 8 * (n - i));
    const uint64_t lines = zero_bytes(word ^ kEveryByte * '\n') & inside;
    uint64_t delimiters = (zero_bytes(word ^ kEveryByte * ',') & inside) | lines;
    quotes |= zero_bytes(word ^ kEveryByte * '"') & inside;
    carriages |= zero_bytes(word ^ kEveryByte * '\r') & inside;
    found.lines += static_cast<uint32_t>(__builtin_popcountll(lines));
    for (; delimiters != 0; delimiters &= delimiters - 1)
      ends[found.delimiters++] = static_cast<uint16_t>(i + static_cast<uint32_t>(__builtin_ctzll(delimiters) >> 3));
  }
  found.quote = quotes != 0;
  found.carriage = carriages != 0;
  return found;
}

bool is_grid(const char* text, const uint16_t* ends, int64_t rows, int32_t columns) {
  int wrong = 0;
  for (int64_t row = 1; row <= rows; ++row) wrong |= text[ends[row * columns - 1]] ^ '\n';
  return wrong == 0;
}

void float64(const FieldColumn& f, Hint*, double* out, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  for (int64_t r = 0; r < f.rows; ++r) rows.mark(r, !float_field(f.text + f.begin(r), f.text + f.end(r), out + r));
}

template <class Int>
void integer(const FieldColumn& f, Int* out, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  for (int64_t r = 0; r < f.rows; ++r) rows.mark(r, !integer_field(f.text + f.begin(r), f.text + f.end(r), out + r));
}

void hex(const FieldColumn& f, int32_t bytes, uint8_t* out, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  for (int64_t r = 0; r < f.rows; ++r) rows.mark(r, !hex_field(f.text + f.begin(r), f.text + f.end(r), bytes, out + r * bytes));
}

void pod_serial(const FieldColumn& f, int64_t* serial, uint64_t* odd) {
  OddRows rows{odd};
  rows.clear(f.rows);
  for (int64_t r = 0; r < f.rows; ++r) rows.mark(r, !pod_field(f.text + f.begin(r), f.text + f.end(r), serial + r));
}

}  // namespace portable

const Kernels kPortableKernels = {"portable",
                                  portable::find,
                                  portable::is_grid,
                                  portable::float64,
                                  portable::integer<int64_t>,
                                  portable::integer<int32_t>,
                                  portable::integer<int16_t>,
                                  portable::hex,
                                  portable::pod_serial};

}  // namespace rewarm::trace
