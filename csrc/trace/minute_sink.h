// The sink of a scan of minute tables: batches that somebody else reads, with the keys that are made of their columns.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trace/aggregate_sink.h"
#include "trace/minute_keys.h"

namespace rewarm::trace {

class MinuteSink {
 public:
  MinuteSink(MinuteKeys keys, const std::vector<std::string>& by, const std::vector<std::string>& values, bool histograms,
             int64_t max_groups, std::string text, int workers);

  // Each worker takes its share; what a batch is added to decides nothing.
  void consume(const std::vector<std::shared_ptr<const Batch>>& batches);
  Aggregate finish() const { return sink_->finish(workers_); }
  std::optional<TooLarge> too_large() const { return sink_->too_large(); }

 private:
  MinuteKeys keys_;
  int workers_;
  std::unique_ptr<AggregateSink> sink_;
};

}  // namespace rewarm::trace
