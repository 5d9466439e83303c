#include "trace/aggregate_sink.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace rewarm::trace {
namespace {

std::vector<Type> key_types(const AggregateSpec& spec) {
  std::vector<Type> types;
  for (const KeySpec& key : spec.keys) types.push_back(key.type);
  return types;
}

bool earlier(const TooLarge& a, const TooLarge& b) {
  return std::tie(a.file, a.first_byte, a.row, a.value) < std::tie(b.file, b.first_byte, b.row, b.value);
}

}  // namespace

std::vector<size_t> columns_of(const std::vector<OutputField>& fields, const std::vector<std::string>& names) {
  std::vector<size_t> columns;
  for (const std::string& name : names) {
    const auto found = std::find_if(fields.begin(), fields.end(), [&](const OutputField& f) { return f.name == name; });
    if (found == fields.end())
      throw Error(ErrorKind::kInvalidArgument, "aggregate: " + name + " is not among the columns that are read");
    columns.push_back(static_cast<size_t>(found - fields.begin()));
  }
  return columns;
}

AggregateSpec scan_spec(const std::vector<OutputField>& fields, const std::vector<std::string>& by,
                        const std::vector<std::string>& values, bool histograms, int64_t max_groups, std::string text) {
  AggregateSpec spec;
  for (const size_t key : columns_of(fields, by)) spec.keys.push_back({fields[key].name, fields[key].type});
  for (const size_t value : columns_of(fields, values)) {
    if (fields[value].type > Type::kFloat64)
      throw Error(ErrorKind::kInvalidArgument,
                  "aggregate: values: expected columns of numbers; " + fields[value].name + " holds text or ids");
    spec.values.push_back(fields[value].name);
  }
  spec.histograms = histograms;
  spec.max_groups = max_groups;
  spec.text = std::move(text);
  return spec;
}

Partial::Partial(const AggregateSpec& spec)
    : histograms_(spec.histograms),
      table_(key_types(spec), spec.max_groups),
      dictionaries_(spec.keys.size()),
      stats_(spec.values.size()),
      bins_(spec.histograms ? spec.values.size() : 0) {}

const std::vector<std::string>& Partial::words(size_t k) const {
  static const std::vector<std::string> none;
  return dictionaries_[k] == nullptr ? none : dictionaries_[k]->words;
}

void Partial::refuse(const Batch& batch, int64_t row, size_t value, double number) {
  if (std::isnan(number)) return;  // null
  const TooLarge found = {batch.file, batch.first_byte, batch.bytes, row, value, number};
  if (!too_large_ || earlier(found, *too_large_)) too_large_ = found;
}

template <class T, bool kHistograms>
void Partial::add_values(const Batch& batch, const Column& column, size_t value) {
  const T* x = column.data<T>();
  const bool holes = column.validity != nullptr;
  Stats* stats = stats_[value].data();
  for (int64_t r = 0; r < batch.rows; ++r) {
    if (holes && !column.valid(r)) continue;
    const double number = static_cast<double>(x[r]);
    if (!(std::fabs(number) < kSumLimit)) {
      refuse(batch, r, value, number);
      continue;
    }
    const uint32_t group = ids_[static_cast<size_t>(r)];
    stats[group].add(number, fixed_point(x[r]));
    if (kHistograms) bins_[value].add(group, bin_of(number));
  }
}

template <class T>
void Partial::add_values(const Batch& batch, const Column& column, size_t value) {
  if (histograms_) {
    add_values<T, true>(batch, column, value);
  } else {
    add_values<T, false>(batch, column, value);
  }
}

void Partial::consume(const Batch& batch, const std::vector<size_t>& keys, const std::vector<size_t>& values) {
  columns_.clear();
  for (size_t k = 0; k < keys.size(); ++k) {
    const Column& column = batch.columns[keys[k]];
    columns_.push_back(&column);
    const std::shared_ptr<const Dictionary>& d = column.dictionary;
    if (d != nullptr && (dictionaries_[k] == nullptr || d->words.size() > dictionaries_[k]->words.size())) dictionaries_[k] = d;
  }
  ids_.resize(static_cast<size_t>(batch.rows));
  table_.find(columns_, batch.rows, ids_.data());
  total_rows_ += batch.rows;

  const size_t groups = static_cast<size_t>(table_.groups());
  rows_.resize(groups);
  for (const uint32_t group : ids_) ++rows_[group];
  for (size_t v = 0; v < values.size(); ++v) {
    stats_[v].resize(groups);
    if (histograms_) bins_[v].resize(groups);
    const Column& column = batch.columns[values[v]];
    switch (column.type) {
      case Type::kInt8: add_values<int8_t>(batch, column, v); break;
      case Type::kInt16: add_values<int16_t>(batch, column, v); break;
      case Type::kInt32: add_values<int32_t>(batch, column, v); break;
      case Type::kInt64: add_values<int64_t>(batch, column, v); break;
      case Type::kFloat64: add_values<double>(batch, column, v); break;
      default: throw Error(ErrorKind::kInvalidArgument, "aggregate: a value column must be numeric");
    }
  }
}

AggregateSink::AggregateSink(AggregateSpec spec, std::vector<size_t> keys, std::vector<size_t> values, int workers,
                             int64_t rows_a_partial)
    : spec_(std::move(spec)),
      keys_(std::move(keys)),
      values_(std::move(values)),
      rows_a_partial_(rows_a_partial),
      partials_(static_cast<size_t>(workers)) {}

void AggregateSink::consume(int worker, const Batch& batch) {
  std::vector<std::unique_ptr<Partial>>& own = partials_[static_cast<size_t>(worker)];
  if (own.empty() || own.back()->total_rows() + batch.rows > rows_a_partial_) own.push_back(std::make_unique<Partial>(spec_));
  own.back()->consume(batch, keys_, values_);
}

std::optional<TooLarge> AggregateSink::too_large() const {
  std::optional<TooLarge> first;
  for (const auto& own : partials_)
    for (const auto& partial : own)
      if (partial->too_large() && (!first || earlier(*partial->too_large(), *first))) first = partial->too_large();
  return first;
}

Aggregate AggregateSink::finish(int threads) const {
  std::vector<const AggregatePart*> parts;
  for (const auto& own : partials_)
    for (const auto& partial : own) parts.push_back(partial.get());
  return combine(spec_, parts, threads);
}

}  // namespace rewarm::trace
