#include <immintrin.h>

#include "trace/minute_scan.h"

namespace rewarm::trace {
namespace avx2 {
namespace {

inline __attribute__((always_inline)) uint64_t equal_bytes(__m256i low, __m256i high, char c) {
  const __m256i wanted = _mm256_set1_epi8(c);
  const uint32_t first = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted)));
  const uint32_t second = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted)));
  return first | static_cast<uint64_t>(second) << 32;
}

inline __attribute__((always_inline)) void classify(const char* at, uint64_t* commas, uint64_t* feeds) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
  *commas = equal_bytes(low, high, ',');
  *feeds = equal_bytes(low, high, '\n');
}

#include "trace/minute_loop.h"

}  // namespace
}  // namespace avx2

const char* scan_cells_avx2(const char* at, const char* limit, CellScan* scan) { return avx2::scan_loop(at, limit, scan); }

}  // namespace rewarm::trace
