#include "trace/minute_scan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace rewarm::trace {
namespace portable {
namespace {

#if defined(__SSE2__)
// Every x86-64 processor has SSE2.
inline void classify(const char* at, uint64_t* commas, uint64_t* feeds) {
  *commas = *feeds = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * i));
    const uint32_t comma = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(','))));
    const uint32_t feed = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('\n'))));
    *commas |= static_cast<uint64_t>(comma) << (16 * i);
    *feeds |= static_cast<uint64_t>(feed) << (16 * i);
  }
}
#else
// Bit i of the result: whether character i of eight is `c`. The high bits of the bytes that are zero after the difference are
// exact (no borrow runs between bytes), and one multiplication gathers them.
inline uint64_t equal_bytes(const char* at, char c) {
  uint64_t word;
  __builtin_memcpy(&word, at, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7fu;
  word ^= 0x0101010101010101u * static_cast<uint8_t>(c);
  const uint64_t zero = ~(((word & kLow) + kLow) | word | kLow);
  return (zero >> 7) * 0x0102040810204080u >> 56;
}

inline void classify(const char* at, uint64_t* commas, uint64_t* feeds) {
  *commas = *feeds = 0;
  for (int i = 0; i < 8; ++i) {
    *commas |= equal_bytes(at + 8 * i, ',') << (8 * i);
    *feeds |= equal_bytes(at + 8 * i, '\n') << (8 * i);
  }
}
#endif

#include "trace/minute_loop.h"

}  // namespace
}  // namespace portable

const char* scan_cells_portable(const char* at, const char* limit, CellScan* scan) {
  return portable::scan_loop(at, limit, scan);
}

}  // namespace rewarm::trace
