// Python face of the minute tables, and a table made of Python lists for the small runtime table.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <optional>

#include "bindings/bind.h"
#include "bindings/trace_read.h"
#include "common/error.h"
#include "trace/minute.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::Batch;
using trace::Dictionary;
using trace::MinuteFile;
using trace::MinuteHeader;
using trace::MinuteOptions;

trace::OnError on_error_of(const std::string& name) {
  if (name == "raise") return trace::OnError::kRaise;
  return name == "null" ? trace::OnError::kNull : trace::OnError::kSkip;
}

int32_t code_of(const py::object& word, Dictionary* dictionary) {
  if (word.is_none()) return -1;
  auto& words = dictionary->words;
  const std::string text = word.cast<std::string>();
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) return words.push_back(text), static_cast<int32_t>(words.size()) - 1;
  return static_cast<int32_t>(found - words.begin());
}

class PyMinuteReader {
 public:
  PyMinuteReader(const py::sequence& sources, const std::vector<std::string>& columns, const std::vector<std::string>& regions,
                 const std::vector<std::string>& functions, std::optional<double> time_begin, std::optional<double> time_end,
                 const std::string& on_error, bool ignore_unknown, int threads, int64_t block_bytes, const std::string& version)
      : fields_{trace::minute_fields(columns), "minute", version} {
    std::vector<trace::SourceFile> files = cast_sources(sources, regions, false);
    auto known_regions = std::make_shared<Dictionary>(), metrics = std::make_shared<Dictionary>(),
         stats = std::make_shared<Dictionary>(), known = std::make_shared<Dictionary>();
    known_regions->words = regions;
    // Files with equal headers share one tuple.
    std::map<PyObject*, std::shared_ptr<const MinuteHeader>> headers;
    std::vector<MinuteFile> minute_files;
    for (size_t f = 0; f < files.size(); ++f) {
      const py::object source = sources[f];
      const py::object names = source.attr("header");
      std::shared_ptr<const MinuteHeader>& header = headers[names.ptr()];
      if (header == nullptr)
        header = trace::make_minute_header(files[f].name, names.cast<std::vector<std::string>>(), functions, ignore_unknown,
                                           known.get());
      minute_files.push_back({std::move(files[f]), header, code_of(source.attr("metric"), metrics.get()),
                              code_of(source.attr("stat"), stats.get())});
    }
    MinuteOptions options;
    options.columns = columns;
    options.on_error = on_error_of(on_error);
    options.threads = threads;
    options.block_bytes = block_bytes;
    if (time_begin) options.time_begin = *time_begin;
    if (time_end) options.time_end = *time_end;
    options.regions = known_regions;
    options.metrics = metrics;
    options.stats = stats;
    options.functions = known;
    reader_ = std::make_unique<trace::MinuteReader>(std::move(minute_files), std::move(options));
  }

  // Called without the GIL.
  std::shared_ptr<const Batch> next(const trace::Poll& poll) { return reader_->next(poll); }
  trace::MinuteReader& reader() { return *reader_; }
  const trace::ArrowFields& fields() const { return fields_; }

 private:
  trace::ArrowFields fields_;
  std::unique_ptr<trace::MinuteReader> reader_;
};

// The rest of a reader as an Arrow stream.
class MinuteSource : public trace::BatchSource {
 public:
  explicit MinuteSource(std::shared_ptr<PyMinuteReader> reader) : reader_(std::move(reader)) {}
  ~MinuteSource() override {
    py::gil_scoped_acquire gil;
    reader_.reset();
  }
  const trace::ArrowFields& fields() const override { return reader_->fields(); }
  std::shared_ptr<const Batch> next() override {
    // Whoever pulls may hold the GIL, and decoders need it.
    std::optional<py::gil_scoped_release> release;
    if (PyGILState_Check() != 0) release.emplace();
    try {
      return reader_->next([] { check_signals(); });
    } catch (const py::error_already_set& error) {
      py::gil_scoped_acquire gil;
      if (error.matches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();
      throw Error(ErrorKind::kTrace, error.what());
    }
  }

 private:
  std::shared_ptr<PyMinuteReader> reader_;
};

std::unique_ptr<TraceTable> read_all(PyMinuteReader& reader, const py::object& progress) {
  auto table = std::make_unique<TraceTable>();
  table->fields = reader.fields();
  const auto tell = [&] {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    const trace::Progress& p = reader.reader().progress();
    if (!progress.is_none()) progress(p.bytes.load(), p.rows.load());
  };
  py::gil_scoped_release release;
  while (std::shared_ptr<const Batch> batch = reader.next(tell)) table->batches.push_back(std::move(batch));
  if (!progress.is_none()) tell();
  return table;
}

// ---- a table of Python lists ---------------------------------------------------------------------------------------------

std::shared_ptr<trace::Buffer> sized(size_t bytes) {
  auto buffer = std::make_shared<trace::Buffer>(bytes);
  buffer->resize(bytes);
  return buffer;
}

trace::Column text_column(const std::vector<std::optional<std::string>>& values) {
  trace::Column column;
  column.type = trace::Type::kUtf8;
  size_t chars = 0;
  for (const auto& value : values) chars += value ? value->size() : 0;
  column.values = sized(chars);
  column.offsets = sized(4 * (values.size() + 1));
  int32_t* offsets = reinterpret_cast<int32_t*>(column.offsets->data());
  char* to = reinterpret_cast<char*>(column.values->data());
  char* const first = to;
  for (size_t r = 0; r < values.size(); ++r) {
    offsets[r] = static_cast<int32_t>(to - first);
    if (values[r]) to = std::copy(values[r]->begin(), values[r]->end(), to);
  }
  offsets[values.size()] = static_cast<int32_t>(to - first);
  return column;
}

trace::Column column_of(trace::Type type, const py::list& values) {
  const size_t rows = values.size();
  trace::Column column;
  if (type == trace::Type::kUtf8) {
    column = text_column(values.cast<std::vector<std::optional<std::string>>>());
  } else if (type == trace::Type::kUtf8List) {
    std::vector<std::optional<std::string>> items;
    column.offsets = sized(4 * (rows + 1));
    int32_t* offsets = reinterpret_cast<int32_t*>(column.offsets->data());
    offsets[0] = 0;
    for (size_t r = 0; r < rows; ++r) {
      if (!values[r].is_none())
        for (auto& item : values[r].cast<std::vector<std::string>>()) items.emplace_back(std::move(item));
      offsets[r + 1] = static_cast<int32_t>(items.size());
    }
    column.child = std::make_shared<trace::Column>(text_column(items));
    column.child_rows = static_cast<int64_t>(items.size());
  } else {
    auto words = std::make_shared<Dictionary>();
    column.width = 4;
    column.values = sized(4 * rows);
    int32_t* to = reinterpret_cast<int32_t*>(column.values->data());
    for (size_t r = 0; r < rows; ++r) {
      const py::object value = values[r];
      if (type == trace::Type::kDictionary) {
        to[r] = std::max(code_of(value, words.get()), 0);
      } else {
        to[r] = value.is_none() ? 0 : value.cast<int32_t>();
      }
    }
    if (type == trace::Type::kDictionary) column.dictionary = words;
  }
  column.type = type;
  for (size_t r = 0; r < rows; ++r) {
    if (!values[r].is_none()) continue;
    if (column.validity == nullptr) {
      column.validity = sized((rows + 7) / 8);
      std::fill_n(column.validity->data(), column.validity->size(), uint8_t{0xff});
    }
    column.validity->data()[r >> 3] &= static_cast<uint8_t>(~(1u << (r & 7)));
    ++column.null_count;
  }
  return column;
}

using ListColumn = std::tuple<std::string, std::string, std::string, py::list>;

std::unique_ptr<TraceTable> table_of_lists(const std::string& table, const std::vector<ListColumn>& columns,
                                           const std::string& version) {
  auto made = std::make_unique<TraceTable>();
  made->fields.table = table;
  made->fields.version = version;
  auto batch = std::make_shared<Batch>();
  for (const auto& [name, type, unit, values] : columns) {
    const trace::Type kind = type == "int32"        ? trace::Type::kInt32
                             : type == "utf8"       ? trace::Type::kUtf8
                             : type == "list<utf8>" ? trace::Type::kUtf8List
                                                    : trace::Type::kDictionary;
    made->fields.fields.push_back({name, kind, 4, unit});
    batch->rows = static_cast<int64_t>(values.size());
    batch->columns.push_back(column_of(kind, values));
  }
  made->batches.push_back(std::move(batch));
  return made;
}

}  // namespace

void bind_trace_minute(py::module_& m) {
  py::class_<PyMinuteReader, std::shared_ptr<PyMinuteReader>>(m, "TraceMinuteReader")
      .def(py::init<const py::sequence&, const std::vector<std::string>&, const std::vector<std::string>&,
                    const std::vector<std::string>&, std::optional<double>, std::optional<double>, const std::string&, bool,
                    int, int64_t, const std::string&>(),
           py::kw_only(), py::arg("sources"), py::arg("columns"), py::arg("regions"), py::arg("functions"),
           py::arg("time_begin"), py::arg("time_end"), py::arg("on_error"), py::arg("ignore_unknown"), py::arg("threads"),
           py::arg("block_bytes"), py::arg("version"))
      .def_property_readonly("fields", [](const PyMinuteReader& r) { return field_list(r.fields()); })
      .def_property_readonly("columns", [](PyMinuteReader& r) { return r.reader().options().columns; })
      .def_property_readonly("functions", [](PyMinuteReader& r) { return r.reader().options().functions->words; })
      .def("next",
           [](PyMinuteReader& r) -> py::object {
             std::shared_ptr<const Batch> batch;
             {
               py::gil_scoped_release release;
               batch = r.next([] { check_signals(); });
             }
             return batch == nullptr ? py::object(py::none()) : py::cast(TraceBatch{r.fields(), std::move(batch)});
           })
      .def("read_all", &read_all, py::arg("progress"))
      .def("stop", [](PyMinuteReader& r) { r.reader().stop(); })
      .def("counters",
           [](PyMinuteReader& r) {
             const trace::Progress& p = r.reader().progress();
             return py::make_tuple(p.bytes.load(), p.rows.load(), p.files.load());
           })
      .def("rejects",
           [](PyMinuteReader& r) { return py::make_tuple(r.reader().rejected(), reject_list(r.reader().rejects())); })
      .def("schema_capsule", [](const PyMinuteReader& r) { return schema_capsule(r.fields()); })
      .def("stream_capsule",
           [](const std::shared_ptr<PyMinuteReader>& r) { return stream_capsule(std::make_shared<MinuteSource>(r)); });

  m.def("trace_minute_isa", [] { return trace::scan_cells() == trace::scan_cells_portable ? "portable" : "avx2"; });
  m.def("trace_table_of_lists", &table_of_lists, py::arg("table"), py::arg("columns"), py::arg("version"));
}

}  // namespace rewarm
