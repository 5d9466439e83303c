// Takes decoded batches from worker threads and adds them up, one partial aggregate a worker.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trace/aggregate.h"
#include "trace/batch.h"
#include "trace/histogram_store.h"
#include "trace/schema.h"

namespace rewarm::trace {

// Where these columns stand among the fields; throws for one that does not.
std::vector<size_t> columns_of(const std::vector<OutputField>& fields, const std::vector<std::string>& names);
// Key types and the values' kind, from the columns that the read will give.
AggregateSpec scan_spec(const std::vector<OutputField>& fields, const std::vector<std::string>& by,
                        const std::vector<std::string>& values, bool histograms, int64_t max_groups, std::string text);

// A value whose fixed-point form does not fit.
struct TooLarge {
  int64_t file;
  int64_t first_byte;  // of the batch's text
  int64_t bytes;       // of it
  int64_t row;         // in the batch
  size_t value;        // index of the value column
  double number;
};

class Partial final : public AggregatePart {
 public:
  explicit Partial(const AggregateSpec& spec);

  // keys, values: indices of the batch's columns.
  void consume(const Batch& batch, const std::vector<size_t>& keys, const std::vector<size_t>& values);
  int64_t total_rows() const { return total_rows_; }
  const std::optional<TooLarge>& too_large() const { return too_large_; }

  int64_t group_count() const override { return table_.groups(); }
  int64_t key(int64_t group, size_t k) const override { return table_.key(group, k); }
  const std::vector<std::string>& words(size_t k) const override;
  int64_t row_count(int64_t group) const override { return rows_[static_cast<size_t>(group)]; }
  const Stats& stats_of(int64_t group, size_t value) const override { return stats_[value][static_cast<size_t>(group)]; }
  void drain_bins(int64_t group, size_t value, BinCounter* out) const override {
    bins_[value].drain_into(static_cast<uint32_t>(group), out);
  }

 private:
  template <class T, bool kHistograms>
  void add_values(const Batch& batch, const Column& column, size_t value);
  template <class T>
  void add_values(const Batch& batch, const Column& column, size_t value);
  void refuse(const Batch& batch, int64_t row, size_t value, double number);

  bool histograms_;
  GroupTable table_;
  std::vector<std::shared_ptr<const Dictionary>> dictionaries_;  // [keys], the longest seen
  std::vector<uint32_t> ids_;                                    // [rows] of the batch at hand
  std::vector<const Column*> columns_;
  std::vector<int64_t> rows_;
  std::vector<std::vector<Stats>> stats_;
  std::vector<HistogramStore> bins_;
  int64_t total_rows_ = 0;
  std::optional<TooLarge> too_large_;  // the first in row order
};

class AggregateSink final : public BatchSink {
 public:
  // keys, values: indices of the batch's columns. rows_a_partial: a worker begins a new partial after that many rows, because a
  // HistogramStore counts up to 2^32.
  AggregateSink(AggregateSpec spec, std::vector<size_t> keys, std::vector<size_t> values, int workers,
                int64_t rows_a_partial = int64_t{1} << 31);

  void consume(int worker, const Batch& batch) override;
  // The first in row order of all workers.
  std::optional<TooLarge> too_large() const;
  Aggregate finish(int threads) const;

 private:
  AggregateSpec spec_;
  std::vector<size_t> keys_, values_;
  int64_t rows_a_partial_;
  std::vector<std::vector<std::unique_ptr<Partial>>> partials_;  // [workers]
};

}  // namespace rewarm::trace
