// Python face of trace/aggregate: a sink that can be fed by hand, and the aggregate that a scan or a merge gives.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
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
#include "trace/for_each.h"
#include "trace/minute.h"
#include "trace/minute_keys.h"
#include "trace/trace_error.h"

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
using Files = std::vector<std::tuple<py::object, std::string, int64_t, int64_t>>;

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

void set_files(Aggregate& a, const Files& files, int64_t rejected) {
  std::vector<FileRange> ranges;
  for (const auto& [region, name, begin, end] : files)
    ranges.push_back({region.is_none() ? "" : region.cast<std::string>(), name, begin, end});
  a.files = trace::join_ranges(std::move(ranges));
  a.rejected = rejected;
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

// ---- a scan ------------------------------------------------------------------------------------------------------------

size_t index_of(const std::vector<trace::OutputField>& fields, const std::string& name) {
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == name) return i;
  throw Error(ErrorKind::kInvalidArgument, "aggregate: " + name + " is not among the columns that are read");
}

bool numeric(Type type) { return type <= Type::kFloat64; }

// Key types and the values' kind, from the columns that the read will give.
AggregateSpec spec_of(const std::vector<trace::OutputField>& fields, const std::vector<std::string>& by,
                      const std::vector<std::string>& values, bool histograms, int64_t max_groups, std::string text) {
  AggregateSpec spec;
  for (const std::string& name : by) spec.keys.push_back({name, fields[index_of(fields, name)].type});
  for (const std::string& name : values) {
    if (!numeric(fields[index_of(fields, name)].type))
      throw Error(ErrorKind::kInvalidArgument,
                  "aggregate: values: expected columns of numbers; " + name + " holds text or ids");
    spec.values.push_back(name);
  }
  spec.histograms = histograms;
  spec.max_groups = max_groups;
  spec.text = std::move(text);
  return spec;
}

FileRange range_of(const trace::SourceFile& file, const std::vector<std::string>& regions) {
  const std::string region = file.region < 0 ? "" : regions[static_cast<size_t>(file.region)];
  if (file.open) return {region, file.name, 0, -1};
  return {region, file.name, file.range_begin, std::min(file.range_end, file.size)};
}

// The rows that were taken are gone: the place is the text of their batch.
[[noreturn]] void throw_too_large(const trace::TooLarge& found, const trace::SourceFile& file, const std::string& column) {
  const std::string number = py::repr(py::float_(found.number)).cast<std::string>();
  const char* expected = "a number below 2**62 in size, so that its sum is exact";
  throw trace::TraceFailure(file.name + ", in the " + std::to_string(found.bytes) + " bytes from byte " +
                                std::to_string(found.first_byte) + ", column " + column + ": expected " + expected + ", got " +
                                number,
                            {file.name, -1, found.first_byte, column, number, expected});
}

// (aggregate, rejects)
py::tuple scan(const py::sequence& sources, const trace::ReadOptions& options, const std::vector<std::string>& by,
               const std::vector<std::string>& values, bool histograms, int64_t max_groups, std::string text,
               const py::object& progress) {
  const std::vector<trace::SourceFile> files = cast_sources(sources, options.regions);
  trace::Progress counters;
  std::vector<trace::Reject> rejects;
  std::shared_ptr<Aggregate> aggregate;
  const auto tell = [&] {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(counters.bytes.load(), counters.rows.load());
  };
  std::optional<trace::TooLarge> too_large;
  {
    py::gil_scoped_release release;
    std::vector<FileRange> ranges;
    for (const trace::SourceFile& file : files) ranges.push_back(range_of(file, options.regions));
    ranges = trace::join_ranges(std::move(ranges));
    const std::vector<trace::OutputField> fields = trace::output_fields(files, options);
    std::vector<size_t> key_columns, value_columns;
    for (const std::string& name : by) key_columns.push_back(index_of(fields, name));
    for (const std::string& name : values) value_columns.push_back(index_of(fields, name));
    AggregateSink sink(spec_of(fields, by, values, histograms, max_groups, std::move(text)), std::move(key_columns),
                       std::move(value_columns), options.threads);
    int64_t rejected = 0;
    trace::read_into(files, options, sink, counters, &rejects, &rejected, tell);
    too_large = sink.too_large();
    if (!too_large) {
      aggregate = std::make_shared<Aggregate>(sink.finish(options.threads));
      aggregate->files = std::move(ranges);
      aggregate->rejected = rejected;
    }
  }
  if (too_large) throw_too_large(*too_large, files[static_cast<size_t>(too_large->file)], values[too_large->value]);
  if (!progress.is_none()) tell();
  return py::make_tuple(aggregate, reject_list(rejects));
}

// ---- batches that somebody else reads --------------------------------------------------------------------------------------

// Batches with the columns `fields` through the sink of a scan. Time keys that are not among the fields are made of the column
// time, in whole seconds.
class MinuteSink {
 public:
  MinuteSink(const std::vector<trace::OutputField>& fields, const std::vector<std::string>& by,
             const std::vector<std::string>& values, bool histograms, int64_t max_groups, std::string text, int workers)
      : fields_(with_time_keys(fields, by)), given_(fields.size()), workers_(workers) {
    std::vector<size_t> key_columns, value_columns;
    for (const std::string& name : by) key_columns.push_back(index_of(fields_, name));
    for (const std::string& name : values) value_columns.push_back(index_of(fields_, name));
    if (given_ < fields_.size()) time_ = index_of(fields_, "time");
    sink_ = std::make_unique<AggregateSink>(spec_of(fields_, by, values, histograms, max_groups, std::move(text)),
                                            std::move(key_columns), std::move(value_columns), workers);
  }

  // Each worker takes its share; what a batch is added to decides nothing.
  void consume(const std::vector<std::shared_ptr<const Batch>>& batches) {
    std::vector<std::exception_ptr> errors(static_cast<size_t>(workers_));
    trace::for_each(workers_, workers_, [&](int64_t worker) {
      try {
        for (size_t b = static_cast<size_t>(worker); b < batches.size(); b += static_cast<size_t>(workers_))
          sink_->consume(static_cast<int>(worker), widened(*batches[b]));
      } catch (...) {
        errors[static_cast<size_t>(worker)] = std::current_exception();
      }
    });
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
  }

  std::shared_ptr<Aggregate> finish() const { return std::make_shared<Aggregate>(sink_->finish(workers_)); }
  std::optional<trace::TooLarge> too_large() const { return sink_->too_large(); }

 private:
  static std::vector<trace::OutputField> with_time_keys(std::vector<trace::OutputField> fields,
                                                        const std::vector<std::string>& by) {
    for (const std::string& name : by)
      if (const auto key = trace::time_key_of(name)) fields.push_back({name, key->type, key->width, ""});
    return fields;
  }

  // A batch is a few shared buffers, so the copy is cheap.
  Batch widened(const Batch& batch) const {
    Batch out = batch;
    for (size_t i = given_; i < fields_.size(); ++i)
      out.columns.push_back(trace::time_key_column(*trace::time_key_of(fields_[i].name), batch.columns[time_], batch.rows));
    return out;
  }

  std::vector<trace::OutputField> fields_;
  size_t given_;  // fields that the batches have
  size_t time_ = 0;
  int workers_;
  std::unique_ptr<AggregateSink> sink_;
};

// The aggregate of what a reader of minute tables gives; its files and rejects are for the caller to add.
std::shared_ptr<Aggregate> scan_minutes(const py::object& reader, const std::vector<std::string>& by,
                                        const std::vector<std::string>& values, bool histograms, int64_t max_groups,
                                        const std::string& text, int workers, const py::sequence& sources,
                                        const py::object& progress) {
  std::optional<MinuteSink> sink;
  std::vector<std::shared_ptr<const Batch>> batches;
  const py::object next = reader.attr("next");
  for (bool more = true; more;) {
    batches.clear();
    while (batches.size() < static_cast<size_t>(2 * workers)) {
      const py::object found = next();
      more = !found.is_none();
      if (!more) break;
      batches.push_back(found.cast<const TraceBatch&>().batch);
    }
    if (!sink) {
      const std::vector<std::string> columns = reader.attr("columns").cast<std::vector<std::string>>();
      sink.emplace(trace::minute_fields(columns), by, values, histograms, max_groups, text, workers);
    }
    {
      py::gil_scoped_release release;
      sink->consume(batches);
    }
    if (!progress.is_none()) {
      const auto counters = reader.attr("counters")().cast<py::tuple>();
      progress(counters[0], counters[1]);
    }
  }
  if (const auto found = sink->too_large()) {
    trace::SourceFile file;
    file.name = sources[static_cast<size_t>(found->file)].attr("name").cast<std::string>();
    throw_too_large(*found, file, values[found->value]);
  }
  py::gil_scoped_release release;
  return sink->finish();
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
      .def("set_files", &set_files, py::arg("files"), py::arg("rejected"))
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
  m.def("trace_scan", &scan, py::arg("sources"), py::arg("options"), py::arg("by"), py::arg("values"), py::arg("histograms"),
        py::arg("max_groups"), py::arg("text"), py::arg("progress"));
  m.def("trace_scan_minutes", &scan_minutes, py::arg("reader"), py::arg("by"), py::arg("values"), py::arg("histograms"),
        py::arg("max_groups"), py::arg("text"), py::arg("workers"), py::arg("sources"), py::arg("progress"));
}

}  // namespace rewarm
