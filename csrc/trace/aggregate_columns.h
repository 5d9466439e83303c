// An Aggregate as a table: keys, rows, and of each value column v: v_count, v_sum, v_mean, v_min, v_max, then its quantiles.
#pragma once

#include <string>
#include <vector>

#include "trace/aggregate.h"
#include "trace/batch.h"
#include "trace/schema.h"

namespace rewarm::trace {

struct QuantileSpec {
  std::string suffix;  // "p99_9"
  double q;
};

struct AggregateTable {
  std::vector<OutputField> fields;
  Batch batch;
};

// Of a group without values the sum is 0 and the mean, minimum, maximum and quantiles are null.
AggregateTable table_of(const Aggregate& aggregate, const std::vector<QuantileSpec>& quantiles, int threads);

}  // namespace rewarm::trace
