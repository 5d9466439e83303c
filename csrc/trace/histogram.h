// Mergeable quantiles: a histogram over the leading bits of a double, 64 bins an octave (within 1/128 = 0.782 % of any normal
// number), without a logarithm, so that every machine chooses the same bin. After the idea of DDSketch (Masson et al., VLDB
// 2019) with the bins of HdrHistogram.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace rewarm::trace {

// Bin codes ascend with the value: negative ones, zero (exact, an octave of its own), positive ones.
constexpr uint32_t kBinsAnOctave = 64;
constexpr uint32_t kZeroBin = 1u << 17;
constexpr uint32_t kFirstPositiveBin = kZeroBin + kBinsAnOctave;
constexpr uint32_t kBins = kFirstPositiveBin + (1u << 17);
constexpr uint32_t kOctaves = kBins / kBinsAnOctave;

inline uint32_t bin_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint32_t size = static_cast<uint32_t>(bits >> 46) & 0x1ffff;
  const uint32_t code = bits >> 63 != 0 ? kZeroBin - 1 - size : kFirstPositiveBin + size;
  return x == 0.0 ? kZeroBin : code;
}

inline double bin_midpoint(uint32_t code) {
  if (code == kZeroBin) return 0.0;
  const bool negative = code < kZeroBin;
  const uint64_t size = negative ? kZeroBin - 1 - code : code - kFirstPositiveBin;
  const uint64_t edges[2] = {size << 46, (size + 1) << 46};
  double low, high;
  std::memcpy(&low, &edges[0], sizeof(low));
  std::memcpy(&high, &edges[1], sizeof(high));
  const double middle = low + (high - low) / 2;
  return negative ? -middle : middle;
}

// The non-empty bins of one histogram, codes ascending.
struct BinsView {
  const uint32_t* codes;
  const int64_t* counts;
  int64_t size;
};

// The bin's midpoint at the 0-based rank floor(q * (n - 1)), within [min, max].
inline double quantile_of(const BinsView& bins, int64_t n, double q, double min, double max) {
  const int64_t rank = std::min(static_cast<int64_t>(q * static_cast<double>(n - 1)), n - 1);
  int64_t before = 0;
  int64_t i = 0;
  while (i + 1 < bins.size && before + bins.counts[i] <= rank) before += bins.counts[i++];
  return std::clamp(bin_midpoint(bins.codes[i]), min, max);
}

// Adds up one histogram from pieces and gives its bins in order, without sorting: counters for the octaves seen, a bit for each
// that is not zero.
class BinCounter {
 public:
  BinCounter() { row_of_.fill(-1); }

  void add(uint32_t code, int64_t count) {
    int16_t row = row_of_[code / kBinsAnOctave];
    if (row < 0) row = new_row(code / kBinsAnOctave);
    rows_[static_cast<size_t>(row)].counts[code % kBinsAnOctave] += count;
    rows_[static_cast<size_t>(row)].touched |= uint64_t{1} << code % kBinsAnOctave;
  }

  // Appends the bins and starts again from nothing.
  void drain(std::vector<uint32_t>* codes, std::vector<int64_t>* counts) {
    for (const uint32_t octave : octaves_) {
      Row& row = rows_[static_cast<size_t>(row_of_[octave])];
      for (; row.touched != 0; row.touched &= row.touched - 1) {
        const uint32_t bin = static_cast<uint32_t>(__builtin_ctzll(row.touched));
        codes->push_back(octave * kBinsAnOctave + bin);
        counts->push_back(row.counts[bin]);
        row.counts[bin] = 0;
      }
    }
  }

 private:
  struct Row {
    uint64_t touched = 0;
    int64_t counts[kBinsAnOctave] = {};
  };
  struct RowOf {
    void fill(int16_t value) { std::fill(at, at + kOctaves, value); }
    int16_t& operator[](size_t octave) { return at[octave]; }
    int16_t at[kOctaves];
  };

  int16_t new_row(uint32_t octave) {
    row_of_[octave] = static_cast<int16_t>(rows_.size());
    rows_.emplace_back();
    octaves_.insert(std::lower_bound(octaves_.begin(), octaves_.end(), octave), octave);
    return row_of_[octave];
  }

  RowOf row_of_;
  std::vector<Row> rows_;
  std::vector<uint32_t> octaves_;  // those seen, ascending
};

}  // namespace rewarm::trace
