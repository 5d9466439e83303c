// Python face of trace/aggregate: a sink that can be fed by hand, and the aggregate that a scan (bind_trace_scan) or a merge
// gives.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "bindings/trace_read.h"
#include "trace/aggregate_bytes.h"
#include "trace/aggregate_columns.h"
#include "trace/aggregate_sink.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::Aggregate;
using trace::AggregateSink;
using trace::AggregateSpec;
using trace::Batch;
using trace::Column;
using trace::FileRange;
using trace::Type;

constexpr std::pair<const char*, Type> kKeyTypes[] = {
    {"int8", Type::kInt8}, {"int16", Type::kInt16}, {"int32", Type::kInt32}, {"dictionary", Type::kDictionary}};

Type key_type(const std::string& name) {
  for (const auto& [text, type] : kKeyTypes)
    if (name == text) return type;
  throw Error(ErrorKind::kInvalidArgument, "aggregate: a key's type: expected int8, int16, int32 or dictionary, got " + name);
}

using Keys = std::vector<std::pair<std::string, std::string>>;  // name, type
using Files = std::vector<std::tuple<std::optional<std::string>, std::string, int64_t, int64_t>>;

AggregateSpec make_spec(const Keys& keys, std::vector<std::string> values, bool histograms, int64_t max_groups,
                        std::string text) {
  AggregateSpec spec;
  for (const auto& [name, type] : keys) spec.keys.push_back({name, key_type(type)});
  spec.values = std::move(values);
  spec.histograms = histograms;
  spec.max_groups = max_groups;
  spec.text = std::move(text);
  return spec;
}

// A column of a hand-made batch: a numpy array, or (array, mask of nulls or None), or (codes, mask or None, words).
Column column_of(const py::handle& given) {
  py::array array;
  py::object mask = py::none(), words = py::none();
  if (py::isinstance<py::tuple>(given)) {
    const auto parts = py::reinterpret_borrow<py::tuple>(given);
    array = py::cast<py::array>(parts[0]);
    mask = parts[1];
    if (parts.size() > 2) words = parts[2];
  } else {
    array = py::cast<py::array>(given);
  }
  array = py::array::ensure(array, py::array::c_style);
  Column column;
  const char kind = array.dtype().kind();
  const int64_t width = array.itemsize();
  if (!words.is_none() && kind == 'i' && width == 4) {
    column.type = Type::kDictionary;
    column.dictionary = std::make_shared<trace::Dictionary>(trace::Dictionary{words.cast<std::vector<std::string>>()});
  } else if (kind == 'f' && width == 8) {
    column.type = Type::kFloat64;
  } else if (kind == 'i') {
    column.type = width == 1 ? Type::kInt8 : width == 2 ? Type::kInt16 : width == 4 ? Type::kInt32 : Type::kInt64;
  } else {
    throw Error(ErrorKind::kInvalidArgument, "aggregate: feed: expected signed integers or float64, got " +
                                                 py::str(py::object(array.dtype())).cast<std::string>());
  }
  column.width = static_cast<int32_t>(width);
  column.values = std::make_shared<trace::Buffer>();
  column.values->resize(static_cast<size_t>(array.nbytes()));
  std::memcpy(column.values->data(), array.data(), static_cast<size_t>(array.nbytes()));
  if (!mask.is_none()) {
    const auto nulls = mask.cast<py::array_t<bool, py::array::c_style | py::array::forcecast>>();
    if (nulls.size() != array.size())
      throw Error(ErrorKind::kInvalidArgument, "aggregate: feed: mask and values differ in length");
    column.validity = std::make_shared<trace::Buffer>();
    column.validity->resize(static_cast<size_t>((nulls.size() + 7) / 8));
    std::memset(column.validity->data(), 0, column.validity->size());
    for (int64_t r = 0; r < nulls.size(); ++r) {
      if (nulls.data()[r]) {
        ++column.null_count;
      } else {
        column.validity->data()[r >> 3] = static_cast<uint8_t>(column.validity->data()[r >> 3] | 1u << (r & 7));
      }
    }
  }
  return column;
}

// Columns in memory through the sink of a scan: keys first, then values.
class ColumnSink {
 public:
  ColumnSink(const Keys& keys, const std::vector<std::string>& values, bool histograms, int64_t max_groups, std::string text,
             int workers, int64_t rows_a_partial)
      : columns_(keys.size() + values.size()),
        sink_(make_spec(keys, values, histograms, max_groups, std::move(text)), range(0, keys.size()),
              range(keys.size(), columns_), workers, rows_a_partial) {}

  void feed(int worker, int64_t rows, const py::list& columns) {
    if (columns.size() != columns_)
      throw Error(ErrorKind::kInvalidArgument,
                  "aggregate: feed: expected " + std::to_string(columns_) + " columns, got " + std::to_string(columns.size()));
    Batch batch;
    batch.rows = rows;
    for (const py::handle& column : columns) {
      batch.columns.push_back(column_of(column));
      const Column& last = batch.columns.back();
      if (static_cast<int64_t>(last.values->size()) != rows * last.width)
        throw Error(ErrorKind::kInvalidArgument, "aggregate: feed: a column of another length than rows");
    }
    py::gil_scoped_release release;
    sink_.consume(worker, batch);
  }

  // (row in its batch, value column, number) of the first value that is too large for an exact sum.
  py::object too_large() const {
    const auto found = sink_.too_large();
    if (!found) return py::none();
    return py::make_tuple(found->row, found->value, found->number);
  }

  std::shared_ptr<Aggregate> finish(int threads) const {
    py::gil_scoped_release release;
    return std::make_shared<Aggregate>(sink_.finish(threads));
  }

 private:
  static std::vector<size_t> range(size_t begin, size_t end) {
    std::vector<size_t> indices;
    for (size_t i = begin; i < end; ++i) indices.push_back(i);
    return indices;
  }

  size_t columns_;
  AggregateSink sink_;
};

// region, file, line, byte, column, text, expected, action
using Rejects = std::vector<std::tuple<std::optional<std::string>, std::string, int64_t, int64_t, std::optional<std::string>,
                                       std::string, std::string, std::string>>;

void set_files(Aggregate& a, const Files& files, int64_t rejected, const Rejects& rejects) {
  std::vector<FileRange> ranges;
  for (const auto& [region, name, begin, end] : files) ranges.push_back({region.value_or(""), name, begin, end});
  std::vector<trace::AggregateReject> kept;
  for (const auto& [region, file, line, byte, column, text, expected, action] : rejects)
    kept.push_back({region.value_or(""), file, line, byte, column.value_or(""), text, expected, action});
  a.files = trace::join_ranges(std::move(ranges));
  a.rejects = trace::first_rejects(std::move(kept));
  a.rejected = rejected;
}

// Without the region: the columns of rewarm.trace.rejects.Reject.
py::list rejects_of(const Aggregate& a) {
  py::list list;
  for (const trace::AggregateReject& r : a.rejects) {
    const py::object column = r.column.empty() ? py::object(py::none()) : py::object(shown(r.column));
    list.append(py::make_tuple(shown(r.file), r.line, r.byte, column, shown(r.text), shown(r.expected), shown(r.action)));
  }
  return list;
}

py::list files_of(const Aggregate& a) {
  py::list files;
  for (const FileRange& f : a.files)
    files.append(py::make_tuple(f.region.empty() ? py::object(py::none()) : py::cast(f.region), f.name, f.begin, f.end));
  return files;
}

std::shared_ptr<Aggregate> merge(const std::vector<std::shared_ptr<Aggregate>>& aggregates, int threads) {
  if (aggregates.empty()) throw Error(ErrorKind::kInvalidArgument, "aggregate: merge: expected at least one aggregate");
  std::vector<const Aggregate*> parts;
  for (const auto& a : aggregates) parts.push_back(a.get());
  py::gil_scoped_release release;
  return std::make_shared<Aggregate>(trace::merge(parts, threads));
}

py::bytes to_bytes(const Aggregate& a) {
  std::string out;
  {
    py::gil_scoped_release release;
    out = trace::to_bytes(a);
  }
  return py::bytes(out);
}

std::shared_ptr<Aggregate> from_bytes(const py::bytes& data) {
  char* begin = nullptr;
  py::ssize_t size = 0;
  if (PyBytes_AsStringAndSize(data.ptr(), &begin, &size) != 0) throw py::error_already_set();
  py::gil_scoped_release release;
  return std::make_shared<Aggregate>(trace::from_bytes(begin, static_cast<size_t>(size)));
}

std::unique_ptr<trace::AggregateTable> make_table(const Aggregate& a,
                                                  const std::vector<std::pair<std::string, double>>& quantiles, int threads) {
  std::vector<trace::QuantileSpec> specs;
  for (const auto& [suffix, q] : quantiles) specs.push_back({suffix, q});
  py::gil_scoped_release release;
  return std::make_unique<trace::AggregateTable>(trace::table_of(a, specs, threads));
}

// [(name, values, null mask or None, words or None)]; the arrays look into the table and keep it alive.
py::list columns_of(const Aggregate& a, const std::vector<std::pair<std::string, double>>& quantiles, int threads) {
  const std::shared_ptr<trace::AggregateTable> table = make_table(a, quantiles, threads);
  const int64_t rows = table->batch.rows;
  const py::capsule owner(new std::shared_ptr<trace::AggregateTable>(table),
                          [](void* p) { delete static_cast<std::shared_ptr<trace::AggregateTable>*>(p); });
  py::list out;
  for (size_t i = 0; i < table->fields.size(); ++i) {
    const Column& c = table->batch.columns[i];
    const py::dtype dtype(c.type == Type::kFloat64 ? "f8" : "i" + std::to_string(c.width));
    py::object nulls = py::none(), words = py::none();
    if (c.validity != nullptr) {
      py::array_t<bool> mask(rows);
      for (int64_t r = 0; r < rows; ++r) mask.mutable_data()[r] = !c.valid(r);
      nulls = std::move(mask);
    }
    if (c.dictionary != nullptr) words = py::cast(c.dictionary->words);
    out.append(py::make_tuple(table->fields[i].name, py::array(dtype, {rows}, c.values->data(), owner), nulls, words));
  }
  return out;
}

TraceTable arrow_table(const Aggregate& a, const std::string& table_name, const std::string& version,
                       const std::vector<std::pair<std::string, double>>& quantiles, int threads) {
  const std::shared_ptr<trace::AggregateTable> table = make_table(a, quantiles, threads);
  return {{table->fields, table_name, version}, {std::shared_ptr<const Batch>(table, &table->batch)}};
}

py::array_t<double> quantile(const Aggregate& a, size_t value, double q) {
  if (!a.spec.histograms || value >= a.spec.values.size())
    throw Error(ErrorKind::kInvalidArgument, "aggregate: quantile: no histogram was kept");
  py::array_t<double> out(a.group_count());
  for (int64_t g = 0; g < a.group_count(); ++g) out.mutable_data()[g] = a.quantile(g, value, q);
  return out;
}

// The non-empty bins of one group: codes, counts.
py::tuple bins(const Aggregate& a, int64_t group, size_t value) {
  if (!a.spec.histograms || value >= a.spec.values.size() || group < 0 || group >= a.group_count())
    throw Error(ErrorKind::kInvalidArgument, "aggregate: bins: no such histogram");
  const trace::BinsView view = a.bins_of(group, value);
  return py::make_tuple(py::array_t<uint32_t>(view.size, view.codes), py::array_t<int64_t>(view.size, view.counts));
}

// The sum as a whole number of 2^-60.
py::object exact_sum(const Aggregate& a, int64_t group, size_t value) {
  const trace::ExactSum& sum = a.stats.at(value).at(static_cast<size_t>(group)).sum;
  unsigned char bytes[24];
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<unsigned char>(static_cast<unsigned __int128>(sum.low) >> (8 * i));
  // low is signed: what it borrowed comes off the upper word.
  const uint64_t high = static_cast<uint64_t>(sum.high) - (sum.low < 0 ? 1 : 0);
  for (int i = 0; i < 8; ++i) bytes[16 + i] = static_cast<unsigned char>(high >> (8 * i));
  const py::bytes raw(reinterpret_cast<const char*>(bytes), sizeof(bytes));
  return py::module_::import("builtins").attr("int").attr("from_bytes")(raw, "little", py::arg("signed") = true);
}

}  // namespace

void bind_trace_aggregate(py::module_& m) {
  m.def("trace_bin_of", &trace::bin_of, py::arg("x"));
  m.def("trace_bin_midpoint", &trace::bin_midpoint, py::arg("code"));
  py::class_<Aggregate, std::shared_ptr<Aggregate>>(m, "TraceAggregate")
      .def_property_readonly("groups", &Aggregate::group_count)
      .def_property_readonly("total_rows",
                             [](const Aggregate& a) { return std::accumulate(a.rows.begin(), a.rows.end(), int64_t{0}); })
      .def_property_readonly("text", [](const Aggregate& a) { return a.spec.text; })
      .def_readonly("rejected", &Aggregate::rejected)
      .def_property_readonly("files", &files_of)
      .def_property_readonly("rejects", &rejects_of)
      .def("set_files", &set_files, py::arg("files"), py::arg("rejected"), py::arg("rejects") = Rejects())
      .def("to_bytes", &to_bytes)
      .def_static("from_bytes", &from_bytes, py::arg("data"))
      .def_static("merge", &merge, py::arg("aggregates"), py::arg("threads"))
      .def("columns", &columns_of, py::arg("quantiles"), py::arg("threads"))
      .def(
          "fields",
          [](const Aggregate& a, const std::vector<std::pair<std::string, double>>& quantiles) {
            return field_list({make_table(a, quantiles, 1)->fields, "", ""});
          },
          py::arg("quantiles"))
      .def(
          "arrow_schema",
          [](const Aggregate& a, const std::string& table, const std::string& version,
             const std::vector<std::pair<std::string, double>>& quantiles) {
            return schema_capsule(arrow_table(a, table, version, quantiles, 1).fields);
          },
          py::arg("table"), py::arg("version"), py::arg("quantiles"))
      .def(
          "arrow_stream",
          [](const Aggregate& a, const std::string& table, const std::string& version,
             const std::vector<std::pair<std::string, double>>& quantiles,
             int threads) { return table_stream(arrow_table(a, table, version, quantiles, threads)); },
          py::arg("table"), py::arg("version"), py::arg("quantiles"), py::arg("threads"))
      .def("quantile", &quantile, py::arg("value"), py::arg("q"))
      .def("bins", &bins, py::arg("group"), py::arg("value"))
      .def("exact_sum", &exact_sum, py::arg("group"), py::arg("value"));
  py::class_<ColumnSink>(m, "TraceColumnSink")
      .def(py::init<const Keys&, const std::vector<std::string>&, bool, int64_t, std::string, int, int64_t>(), py::arg("keys"),
           py::arg("values"), py::arg("histograms"), py::arg("max_groups"), py::arg("text"), py::arg("workers"),
           py::arg("rows_a_partial") = int64_t{1} << 31)
      .def("feed", &ColumnSink::feed, py::arg("worker"), py::arg("rows"), py::arg("columns"))
      .def("too_large", &ColumnSink::too_large)
      .def("finish", &ColumnSink::finish, py::arg("threads"));
}

}  // namespace rewarm
