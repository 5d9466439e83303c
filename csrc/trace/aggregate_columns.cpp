#include "trace/aggregate_columns.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "trace/for_each.h"

namespace rewarm::trace {
namespace {

constexpr int64_t kRowsABlock = 512;

std::shared_ptr<Buffer> buffer_of(int64_t bytes) {
  auto buffer = std::make_shared<Buffer>();
  buffer->resize(static_cast<size_t>(bytes));
  return buffer;
}

Column empty_column(Type type, int32_t width, int64_t rows) {
  Column column;
  column.type = type;
  column.width = width;
  column.values = buffer_of(rows * width);
  return column;
}

template <class T>
T* writable(Column& column) {
  return reinterpret_cast<T*>(column.values->data());
}

// Marks as null the rows for which present(row) is false.
template <class Present>
void set_validity(int64_t rows, const Present& present, Column* column) {
  auto bits = buffer_of((rows + 7) / 8);
  std::fill(bits->data(), bits->data() + (rows + 7) / 8, uint8_t{0});
  for (int64_t r = 0; r < rows; ++r) {
    if (present(r)) {
      bits->data()[r >> 3] = static_cast<uint8_t>(bits->data()[r >> 3] | 1u << (r & 7));
    } else {
      ++column->null_count;
    }
  }
  if (column->null_count > 0) column->validity = std::move(bits);
}

template <class T>
Column key_column_of(Type type, const KeyColumn& key) {
  const int64_t rows = static_cast<int64_t>(key.values.size());
  Column column = empty_column(type, sizeof(T), rows);
  T* out = writable<T>(column);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t value = key.values[static_cast<size_t>(r)];
    out[r] = value == kNullKey ? T{0} : static_cast<T>(value);
  }
  set_validity(rows, [&](int64_t r) { return key.values[static_cast<size_t>(r)] != kNullKey; }, &column);
  return column;
}

Column key_column(Type type, const KeyColumn& key) {
  if (type == Type::kInt8) return key_column_of<int8_t>(type, key);
  if (type == Type::kInt16) return key_column_of<int16_t>(type, key);
  Column column = key_column_of<int32_t>(type, key);
  if (type == Type::kDictionary) column.dictionary = std::make_shared<Dictionary>(Dictionary{key.words});
  return column;
}

}  // namespace

AggregateTable table_of(const Aggregate& a, const std::vector<QuantileSpec>& quantiles, int threads) {
  AggregateTable table;
  const int64_t groups = a.group_count();
  table.batch.rows = groups;
  const auto append = [&](std::string name, Column column) {
    table.fields.push_back({std::move(name), column.type, column.width, ""});
    table.batch.columns.push_back(std::move(column));
  };
  for (size_t k = 0; k < a.keys.size(); ++k) append(a.spec.keys[k].name, key_column(a.spec.keys[k].type, a.keys[k]));
  Column rows = empty_column(Type::kInt64, 8, groups);
  std::copy(a.rows.begin(), a.rows.end(), writable<int64_t>(rows));
  append("rows", std::move(rows));

  for (size_t v = 0; v < a.spec.values.size(); ++v) {
    const std::vector<Stats>& stats = a.stats[v];
    Column count = empty_column(Type::kInt64, 8, groups);
    std::vector<Column> reals;  // sum, mean, min, max, quantiles
    for (size_t i = 0; i < 4 + quantiles.size(); ++i) reals.push_back(empty_column(Type::kFloat64, 8, groups));
    for_each((groups + kRowsABlock - 1) / kRowsABlock, threads, [&](int64_t block) {
      const int64_t end = std::min((block + 1) * kRowsABlock, groups);
      for (int64_t g = block * kRowsABlock; g < end; ++g) {
        const Stats& s = stats[static_cast<size_t>(g)];
        const bool some = s.count > 0;
        writable<int64_t>(count)[g] = s.count;
        writable<double>(reals[0])[g] = some ? s.sum.value() : 0.0;
        writable<double>(reals[1])[g] = some ? s.sum.over(s.count) : 0.0;
        writable<double>(reals[2])[g] = some ? s.min : 0.0;
        writable<double>(reals[3])[g] = some ? s.max : 0.0;
        for (size_t i = 0; i < quantiles.size(); ++i)
          writable<double>(reals[4 + i])[g] = some ? a.quantile(g, v, quantiles[i].q) : 0.0;
      }
    });
    for (size_t i = 1; i < reals.size(); ++i)
      set_validity(groups, [&](int64_t g) { return stats[static_cast<size_t>(g)].count > 0; }, &reals[i]);
    const std::string& name = a.spec.values[v];
    append(name + "_count", std::move(count));
    const char* const suffixes[4] = {"_sum", "_mean", "_min", "_max"};
    for (size_t i = 0; i < 4; ++i) append(name + suffixes[i], std::move(reals[i]));
    for (size_t i = 0; i < quantiles.size(); ++i) append(name + "_" + quantiles[i].suffix, std::move(reals[4 + i]));
  }
  return table;
}

}  // namespace rewarm::trace
