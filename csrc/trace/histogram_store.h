// The histograms of a million groups while rows arrive: most groups are small, and few large ones get most rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "trace/histogram.h"

namespace rewarm::trace {

// A small group keeps its codes as a list, four bytes a row; a large one has
// counters for the octaves that it touched. Counters are 32 bits wide: one store takes fewer than 2^32 rows.
class HistogramStore {
 public:
  HistogramStore() { std::fill(column_of_, column_of_ + kOctaves, int16_t{-1}); }

  void resize(size_t groups) {
    if (groups > groups_.size()) groups_.resize(groups);
  }

  void add(uint32_t group, uint32_t code) {
    Histogram& h = groups_[group];
    if (h.size < h.capacity) {
      h.list[h.size++] = code;
    } else {
      add_slowly(h, code);
    }
  }

  void drain_into(uint32_t group, BinCounter* out) const {
    const Histogram& h = groups_[group];
    if (!h.paged()) {
      for (uint32_t i = 0; i < h.size; ++i) out->add(h.list[i], 1);
      return;
    }
    for (uint32_t column = 0; column < h.columns; ++column) {
      if (h.pages[column] == nullptr) continue;
      for (uint32_t bin = 0; bin < kBinsAnOctave; ++bin)
        if (h.pages[column][bin] != 0) out->add(octaves_[column] * kBinsAnOctave + bin, h.pages[column][bin]);
    }
  }

 private:
  // Where counters take less room than the list would: measured on cold starts, which span about 20 octaves in a large group.
  static constexpr uint32_t kLongestList = 256;
  static constexpr uint32_t kFirstList = 8;
  static constexpr uint32_t kPaged = 0xffffffff;
  static constexpr size_t kArenaBytes = size_t{256} << 10;

  struct Histogram {
    union {
      uint32_t* list = nullptr;
      uint32_t** pages;  // by column, null = octave not touched
    };
    uint32_t size = 0;  // of the list, or kPaged
    union {
      uint32_t capacity = 0;
      uint32_t columns;  // length of pages
    };
    bool paged() const { return size == kPaged; }
  };

  void add_slowly(Histogram& h, uint32_t code) {
    if (h.paged()) {
      count(h, code);
    } else if (h.capacity < kLongestList) {
      const uint32_t wider = h.capacity == 0 ? kFirstList : 2 * h.capacity;
      uint32_t* list = take(wider);
      if (h.size > 0) std::memcpy(list, h.list, h.size * sizeof(uint32_t));
      give_back(h.list, h.capacity);
      h.list = list;
      h.capacity = wider;
      h.list[h.size++] = code;
    } else {
      uint32_t* list = h.list;
      const uint32_t n = h.size;
      h.size = kPaged;
      h.pages = nullptr;
      h.columns = 0;
      for (uint32_t i = 0; i < n; ++i) count(h, list[i]);
      count(h, code);
      give_back(list, n);
    }
  }

  void count(Histogram& h, uint32_t code) {
    const uint32_t octave = code / kBinsAnOctave;
    if (column_of_[octave] < 0) {
      column_of_[octave] = static_cast<int16_t>(octaves_.size());
      octaves_.push_back(octave);
    }
    const uint32_t column = static_cast<uint32_t>(column_of_[octave]);
    if (column >= h.columns) {
      const uint32_t wider = std::max(2 * h.columns, (column + 8) / 8 * 8);
      uint32_t** pages = static_cast<uint32_t**>(allocate(wider * sizeof(uint32_t*)));
      if (h.columns > 0) std::memcpy(pages, h.pages, h.columns * sizeof(uint32_t*));
      std::fill(pages + h.columns, pages + wider, nullptr);
      h.pages = pages;
      h.columns = wider;
    }
    if (h.pages[column] == nullptr) {
      h.pages[column] = take(kBinsAnOctave);
      std::fill(h.pages[column], h.pages[column] + kBinsAnOctave, 0u);
    }
    ++h.pages[column][code % kBinsAnOctave];
  }

  // Lists that were outgrown are used again: their sizes are powers of two, and a page is as long as a list of 64.
  uint32_t* take(uint32_t n) {
    std::vector<uint32_t*>& spare = spare_[__builtin_ctz(n)];
    if (spare.empty()) return static_cast<uint32_t*>(allocate(n * sizeof(uint32_t)));
    uint32_t* list = spare.back();
    spare.pop_back();
    return list;
  }
  void give_back(uint32_t* list, uint32_t n) {
    if (n > 0) spare_[__builtin_ctz(n)].push_back(list);
  }
  void* allocate(size_t bytes) {
    if (bytes > left_) {
      left_ = std::max(bytes, kArenaBytes);
      arenas_.emplace_back(new uint64_t[left_ / sizeof(uint64_t) + 1]);
      next_ = reinterpret_cast<char*>(arenas_.back().get());
    }
    char* at = next_;
    next_ += bytes;
    left_ -= bytes;
    return at;
  }

  std::vector<Histogram> groups_;
  int16_t column_of_[kOctaves];    // octave -> column of every directory in this store
  std::vector<uint32_t> octaves_;  // column -> octave
  std::vector<std::unique_ptr<uint64_t[]>> arenas_;
  std::vector<uint32_t*> spare_[9];  // by the logarithm of the length
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace rewarm::trace
