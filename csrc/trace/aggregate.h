// What a scan leaves behind: groups in the order of their keys with exact sums and histograms. The same rows give the same
// bits, however they were split over files, ranges, threads, machines and merges.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "trace/batch.h"
#include "trace/exact_sum.h"
#include "trace/group_table.h"
#include "trace/histogram.h"
#include "trace/reader.h"

namespace rewarm::trace {

struct KeySpec {
  std::string name;
  Type type;  // an integer of up to 32 bits, or kDictionary
};

struct AggregateSpec {
  std::vector<KeySpec> keys;
  std::vector<std::string> values;
  bool histograms = false;
  int64_t max_groups = 10'000'000;
  std::string text;  // what else must be equal for two aggregates to be added: table, filters, ...
};

// Of the values of one column in one group; nulls are not counted.
struct Stats {
  ExactSum sum;
  int64_t count = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();

  // -0.0 counts as 0.0: which of the two a minimum finds would depend on the order.
  void add(double x, __int128 fixed) {
    const double value = x + 0.0;
    sum.add(fixed);
    ++count;
    min = value < min ? value : min;
    max = value > max ? value : max;
  }
  void add(const Stats& other) {
    sum.add(other.sum);
    count += other.count;
    min = other.min < min ? other.min : min;
    max = other.max > max ? other.max : max;
  }
};

// Bytes [begin, end) of a file; end = -1: all of a file that is read from front to back.
struct FileRange {
  std::string region;  // empty: null
  std::string name;
  int64_t begin;
  int64_t end;
};

// A field or row that was left out: trace/reader.h's Reject with the file's name, because indices mean nothing elsewhere.
struct AggregateReject {
  std::string region;  // empty: null
  std::string file;
  int64_t line;
  int64_t byte;
  std::string column;  // empty: the whole row
  std::string text;
  std::string expected;
  std::string action;
};

struct KeyColumn {
  std::vector<int64_t> values;     // [groups] numbers, or indices of words; kNullKey
  std::vector<std::string> words;  // ascending, each one used
};

// The histograms of one value column in a block of groups.
struct BinsBlock {
  std::vector<uint32_t> codes;
  std::vector<int64_t> counts;
  std::vector<int64_t> ends;  // [groups of the block], into codes
};

constexpr int64_t kGroupsABlock = 512;

// What groups are combined from.
class AggregatePart {
 public:
  virtual ~AggregatePart() = default;
  virtual int64_t group_count() const = 0;
  virtual int64_t key(int64_t group, size_t k) const = 0;
  virtual const std::vector<std::string>& words(size_t k) const = 0;
  virtual int64_t row_count(int64_t group) const = 0;
  virtual const Stats& stats_of(int64_t group, size_t value) const = 0;
  virtual void drain_bins(int64_t group, size_t value, BinCounter* out) const = 0;
};

class Aggregate : public AggregatePart {
 public:
  AggregateSpec spec;
  std::vector<KeyColumn> keys;               // [by]
  std::vector<int64_t> rows;                 // [groups]
  std::vector<std::vector<Stats>> stats;     // [values][groups]
  std::vector<std::vector<BinsBlock>> bins;  // [values][blocks], empty without histograms
  std::vector<FileRange> files;              // sorted, neighbours joined
  int64_t rejected = 0;
  std::vector<AggregateReject> rejects;  // the first kMostRejects by file, region and line; of one row as they were found

  BinsView bins_of(int64_t group, size_t value) const {
    const BinsBlock& block = bins[value][static_cast<size_t>(group / kGroupsABlock)];
    const size_t in_block = static_cast<size_t>(group % kGroupsABlock);
    const int64_t begin = in_block == 0 ? 0 : block.ends[in_block - 1];
    return {block.codes.data() + begin, block.counts.data() + begin, block.ends[in_block] - begin};
  }
  // NaN where no value is.
  double quantile(int64_t group, size_t value, double q) const {
    const Stats& s = stats[value][static_cast<size_t>(group)];
    if (s.count == 0) return std::numeric_limits<double>::quiet_NaN();
    return quantile_of(bins_of(group, value), s.count, q, s.min, s.max);
  }

  int64_t group_count() const override { return static_cast<int64_t>(rows.size()); }
  int64_t key(int64_t group, size_t k) const override { return keys[k].values[static_cast<size_t>(group)]; }
  const std::vector<std::string>& words(size_t k) const override { return keys[k].words; }
  int64_t row_count(int64_t group) const override { return rows[static_cast<size_t>(group)]; }
  const Stats& stats_of(int64_t group, size_t value) const override { return stats[value][static_cast<size_t>(group)]; }
  void drain_bins(int64_t group, size_t value, BinCounter* out) const override;
};

// One aggregate out of parts of the same spec. Without keys it has exactly one group, even of no rows.
Aggregate combine(const AggregateSpec& spec, const std::vector<const AggregatePart*>& parts, int threads);

// Sorted, neighbours joined. Throws where two ranges of a file overlap: their rows would count twice.
std::vector<FileRange> join_ranges(std::vector<FileRange> ranges);

// The order of rejects: those of one row are equal.
bool rejected_before(const AggregateReject& a, const AggregateReject& b);
// What of a set's rejects is kept: the same ones for any split of the set, if each part holds its own first ones.
std::vector<AggregateReject> first_rejects(std::vector<AggregateReject> rejects);

// The sum of aggregates of one spec. Throws where specs differ or a range of a file is in two of them.
Aggregate merge(const std::vector<const Aggregate*>& aggregates, int threads);

}  // namespace rewarm::trace
