#include "trace/rows.h"

#include <cstring>

namespace rewarm::trace {
namespace {

constexpr const char* kOpenQuote = "a closing quote before the end of the line";
constexpr const char* kAfterQuote = "a comma or the end of the line after a closing quote";

}  // namespace

void split_rows(const char* text, uint32_t n, int32_t columns, std::vector<uint16_t>* ends, std::vector<BadRow>* bad) {
  ends->clear();
  bad->clear();
  for (uint32_t at = 0; at < n;) {
    const uint32_t begin = at;
    const uint32_t feed = static_cast<uint32_t>(static_cast<const char*>(std::memchr(text + at, '\n', n - at)) - text);
    at = feed + 1;
    const uint32_t end = feed > begin && text[feed - 1] == '\r' ? feed - 1 : feed;
    if (end == begin) continue;

    const size_t row = ends->size();
    ends->push_back(static_cast<uint16_t>(begin - 1));
    int32_t fields = 0;
    const char* expected = nullptr;
    for (uint32_t p = begin;; ++p) {
      if (p < end && text[p] == '"') {
        for (++p;; ++p) {
          const void* close = std::memchr(text + p, '"', end - p);
          if (close == nullptr) {
            expected = kOpenQuote;
            break;
          }
          p = static_cast<uint32_t>(static_cast<const char*>(close) - text) + 1;
          if (p == end || text[p] != '"') break;
        }
        if (expected == nullptr && p < end && text[p] != ',') expected = kAfterQuote;
        if (expected != nullptr) break;
      } else {
        const void* comma = std::memchr(text + p, ',', end - p);
        p = comma == nullptr ? end : static_cast<uint32_t>(static_cast<const char*>(comma) - text);
      }
      ++fields;
      if (fields <= columns) ends->push_back(static_cast<uint16_t>(p));
      if (p >= end) break;
    }
    if (expected != nullptr || fields != columns) {
      ends->resize(row);
      bad->push_back({begin, end, expected != nullptr ? -1 : fields, expected});
    }
  }
}

bool all_crlf(const char* text, const uint16_t* ends, int64_t rows, int32_t columns) {
  for (int64_t r = 1; r <= rows; ++r) {
    const uint16_t feed = ends[r * columns - 1];
    if (feed == 0 || text[feed - 1] != '\r') return false;
  }
  return true;
}

Grid gather(const Grid& grid, const uint64_t* keep, std::vector<uint16_t>* ends) {
  const int32_t stride = grid.columns + grid.shift;
  const size_t entries = static_cast<size_t>(grid.columns) + 1;
  ends->resize(static_cast<size_t>(grid.rows) * entries);
  uint16_t* out = ends->data();
  for (int64_t word = 0; word * 64 < grid.rows; ++word) {
    for (uint64_t bits = keep[word]; bits != 0; bits &= bits - 1) {
      const int64_t row = word * 64 + __builtin_ctzll(bits);
      std::memcpy(out, grid.ends + row * stride + grid.shift - 1, entries * sizeof(uint16_t));
      out[entries - 1] = static_cast<uint16_t>(out[entries - 1] - grid.trim);
      out += entries;
    }
  }
  Grid kept = grid;
  kept.ends = ends->data();
  kept.rows = (out - ends->data()) / static_cast<int64_t>(entries);
  kept.shift = 1;
  kept.trim = 0;
  return kept;
}

}  // namespace rewarm::trace
