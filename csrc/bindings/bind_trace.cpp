// Python face of the trace reader: options, an ordered reader, batches and tables. rewarm.trace.table makes them pleasant.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "bindings/bind.h"
#include "bindings/reader_face.h"
#include "trace/trace_error.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::Batch;
using trace::Column;
using trace::OrderedReader;
using trace::ReadOptions;
using trace::Type;

void translate_trace_failures() {
  py::register_local_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const trace::TraceFailure& failure) {
      const trace::Place& place = failure.place();
      const auto text = [](const std::string& s) { return s.empty() ? py::object(py::none()) : py::object(shown(s)); };
      const auto number = [](int64_t n) { return n < 0 ? py::object(py::none()) : py::object(py::int_(n)); };
      const py::object cls = py::module_::import("rewarm.errors").attr("TraceError");
      // An empty text of a place with a column is a text: the field is empty.
      const py::object found = place.expected.empty() ? text(place.text) : py::object(shown(place.text));
      const py::object error =
          cls(shown(failure.what()), py::arg("file") = text(place.file), py::arg("line") = number(place.line),
              py::arg("byte") = number(place.byte), py::arg("column") = text(place.column), py::arg("text") = found,
              py::arg("expected") = text(place.expected));
      PyErr_SetObject(cls.ptr(), error.ptr());
    }
  });
}

// Waits in slices, so that Ctrl-C ends a read within one of them.
constexpr int kSliceMilliseconds = 50;

class TraceReader : public StreamFailure {
 public:
  TraceReader(const py::sequence& sources, const ReadOptions& options, bool recycle, const std::string& version)
      : reader_(make(cast_sources(sources, options.regions), options, recycle)),
        fields_{reader_->fields(), options.table, version} {}
  ~TraceReader() {
    // Workers may wait for the GIL, and are waited for.
    py::gil_scoped_release release;
    reader_.reset();
  }

  // Called with or without the GIL.
  std::shared_ptr<const Batch> next(const trace::Poll& poll) {
    for (;;) {
      std::shared_ptr<const Batch> batch;
      const OrderedReader::Next what = reader_->next(kSliceMilliseconds, &batch);
      if (what == OrderedReader::Next::kBatch) return batch;
      if (what == OrderedReader::Next::kEnd) return nullptr;
      poll();
    }
  }

  // Codes are the same in all batches, so the longest dictionary serves them all.
  void table_made(TraceTable* table) const {
    for (size_t c = 0; c < fields_.fields.size() && !table->batches.empty(); ++c) {
      if (fields_.fields[c].type != Type::kDictionary) continue;
      std::shared_ptr<const trace::Dictionary> longest = table->batches.front()->columns[c].dictionary;
      for (const auto& batch : table->batches)
        if (batch->columns[c].dictionary->words.size() > longest->words.size()) longest = batch->columns[c].dictionary;
      for (const auto& batch : table->batches) std::const_pointer_cast<Batch>(batch)->columns[c].dictionary = longest;
    }
  }

  std::vector<trace::Reject> rejects(int64_t* count) const { return reader_->rejects(count); }
  trace::Progress& progress() { return reader_->progress(); }
  void stop() { reader_->stop(); }
  const trace::ArrowFields& fields() const { return fields_; }

 private:
  static std::unique_ptr<OrderedReader> make(std::vector<trace::SourceFile> files, const ReadOptions& options, bool recycle) {
    py::gil_scoped_release release;  // the first ids may come from a Python decoder
    return std::make_unique<OrderedReader>(std::move(files), options, recycle);
  }

  std::unique_ptr<OrderedReader> reader_;
  trace::ArrowFields fields_;
};

// ---- numpy ---------------------------------------------------------------------------------------------------------------

template <class T>
py::array numbers(const std::vector<std::shared_ptr<const Batch>>& batches, size_t c, int64_t rows) {
  bool nulls = false;
  for (const auto& batch : batches) nulls = nulls || batch->columns[c].null_count > 0;
  if (!nulls || std::is_same_v<T, double>) {  // a null of a float column holds NaN
    py::array_t<T> out(rows);
    T* to = out.mutable_data();
    py::gil_scoped_release release;
    for (const auto& batch : batches) to = std::copy_n(batch->columns[c].template data<T>(), batch->rows, to);
    return out;
  }
  py::array_t<double> out(rows);
  double* to = out.mutable_data();
  py::gil_scoped_release release;
  for (const auto& batch : batches) {
    const Column& column = batch->columns[c];
    for (int64_t r = 0; r < batch->rows; ++r)
      *to++ = column.valid(r) ? static_cast<double>(column.template data<T>()[r]) : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

py::array ids(const std::vector<std::shared_ptr<const Batch>>& batches, size_t c, int64_t rows, int32_t width) {
  py::array_t<uint8_t> out({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(width)});
  uint8_t* to = out.mutable_data();
  py::gil_scoped_release release;
  for (const auto& batch : batches) to = std::copy_n(batch->columns[c].values->data(), batch->rows * width, to);
  return out;
}

// Codes, -1 for null, and the words.
py::tuple words(const std::vector<std::shared_ptr<const Batch>>& batches, size_t c, int64_t rows) {
  py::array_t<int32_t> codes(rows);
  int32_t* to = codes.mutable_data();
  std::shared_ptr<const trace::Dictionary> longest;
  for (const auto& batch : batches) {
    const Column& column = batch->columns[c];
    if (longest == nullptr || column.dictionary->words.size() > longest->words.size()) longest = column.dictionary;
    for (int64_t r = 0; r < batch->rows; ++r) *to++ = column.valid(r) ? column.data<int32_t>()[r] : -1;
  }
  return py::make_tuple(codes, longest == nullptr ? std::vector<std::string>() : longest->words);
}

py::list texts(const std::vector<std::shared_ptr<const Batch>>& batches, size_t c) {
  py::list out;
  for (const auto& batch : batches) {
    const Column& column = batch->columns[c];
    const int32_t* offsets = reinterpret_cast<const int32_t*>(column.offsets->data());
    const char* chars = reinterpret_cast<const char*>(column.values->data());
    for (int64_t r = 0; r < batch->rows; ++r)
      out.append(column.valid(r) ? py::object(py::str(chars + offsets[r], static_cast<size_t>(offsets[r + 1] - offsets[r])))
                                 : py::object(py::none()));
  }
  return out;
}

py::list lists(const std::vector<std::shared_ptr<const Batch>>& batches, size_t c) {
  py::list out;
  for (const auto& batch : batches) {
    const Column& column = batch->columns[c];
    const int32_t* begins = reinterpret_cast<const int32_t*>(column.offsets->data());
    const int32_t* offsets = reinterpret_cast<const int32_t*>(column.child->offsets->data());
    const char* chars = reinterpret_cast<const char*>(column.child->values->data());
    for (int64_t r = 0; r < batch->rows; ++r) {
      py::list items;
      for (int32_t i = begins[r]; i < begins[r + 1]; ++i)
        items.append(py::str(chars + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i])));
      out.append(column.valid(r) ? py::object(items) : py::object(py::none()));
    }
  }
  return out;
}

py::object column_values(const trace::ArrowFields& fields, const std::vector<std::shared_ptr<const Batch>>& batches, size_t c) {
  int64_t rows = 0;
  for (const auto& batch : batches) rows += batch->rows;
  const trace::OutputField& field = fields.fields.at(c);
  switch (field.type) {
    case Type::kInt8: return numbers<int8_t>(batches, c, rows);
    case Type::kInt16: return numbers<int16_t>(batches, c, rows);
    case Type::kInt32: return numbers<int32_t>(batches, c, rows);
    case Type::kInt64: return numbers<int64_t>(batches, c, rows);
    case Type::kFloat64: return numbers<double>(batches, c, rows);
    case Type::kFixedBinary: return ids(batches, c, rows, field.width);
    case Type::kDictionary: return words(batches, c, rows);
    case Type::kUtf8: return texts(batches, c);
    case Type::kUtf8List: return lists(batches, c);
  }
  throw Error(ErrorKind::kInvalidArgument, "column " + field.name + " has no numpy form");
}

ReadOptions read_options(const std::string& table, std::vector<std::string> columns, bool text_ids, bool ignore_unknown,
                         const std::string& on_error, int threads, int64_t block_bytes, int64_t unit_bytes, int32_t id_bytes,
                         std::optional<double> time_begin, std::optional<double> time_end, std::vector<int16_t> clusters,
                         std::vector<std::string> functions, std::shared_ptr<const trace::FunctionTable> runtime,
                         std::vector<std::string> regions) {
  if (threads < 1) throw Error(ErrorKind::kInvalidArgument, "threads: expected 1 or more, got " + std::to_string(threads));
  if (block_bytes < 1 || block_bytes > (int64_t{1} << 30))
    throw Error(ErrorKind::kInvalidArgument, "block_bytes: expected 1 to 1 GiB, got " + std::to_string(block_bytes));
  ReadOptions options;
  options.table = table;
  options.columns = std::move(columns);
  options.text_ids = text_ids;
  options.ignore_unknown = ignore_unknown;
  options.on_error = on_error_of(on_error);
  options.threads = threads;
  options.block_bytes = block_bytes;
  options.unit_bytes = unit_bytes;
  options.id_bytes = id_bytes;
  if (time_begin) options.time_begin = *time_begin;
  if (time_end) options.time_end = *time_end;
  options.clusters = std::move(clusters);
  options.functions = std::move(functions);
  options.runtime = std::move(runtime);
  options.regions = std::move(regions);
  return options;
}

}  // namespace

void bind_trace(py::module_& m) {
  translate_trace_failures();
  m.attr("MOST_REJECTS") = trace::kMostRejects;

  py::class_<ReadOptions>(m, "TraceOptions")
      .def(py::init(&read_options), py::kw_only(), py::arg("table"), py::arg("columns"), py::arg("text_ids"),
           py::arg("ignore_unknown"), py::arg("on_error"), py::arg("threads"), py::arg("block_bytes"), py::arg("unit_bytes"),
           py::arg("id_bytes"), py::arg("time_begin"), py::arg("time_end"), py::arg("clusters"), py::arg("functions"),
           py::arg("runtime"), py::arg("regions"));

  py::class_<TraceReader, std::shared_ptr<TraceReader>> reader(m, "TraceReader");
  reader.def(py::init<const py::sequence&, const ReadOptions&, bool, const std::string&>(), py::arg("sources"),
             py::arg("options"), py::arg("recycle"), py::arg("version"));
  bind_reader(reader);

  py::class_<TraceBatch>(m, "TraceBatch")
      .def_property_readonly("num_rows", [](const TraceBatch& b) { return b.batch->rows; })
      .def_property_readonly("fields", [](const TraceBatch& b) { return field_list(b.fields); })
      .def_property_readonly("file", [](const TraceBatch& b) { return b.batch->file; })
      .def(
          "column", [](const TraceBatch& b, size_t index) { return column_values(b.fields, {b.batch}, index); },
          py::arg("index"))
      .def("schema_capsule", [](const TraceBatch& b) { return schema_capsule(b.fields); })
      .def("array_capsule", [](const TraceBatch& b) { return array_capsule(b.fields, b.batch); })
      .def("stream_capsule", [](const TraceBatch& b) { return table_stream({b.fields, {b.batch}}); });

  py::class_<TraceTable>(m, "TraceTable")
      .def_property_readonly("num_rows", &TraceTable::rows)
      .def_property_readonly("num_batches", [](const TraceTable& t) { return t.batches.size(); })
      .def_property_readonly("fields", [](const TraceTable& t) { return field_list(t.fields); })
      .def(
          "column", [](const TraceTable& t, size_t index) { return column_values(t.fields, t.batches, index); },
          py::arg("index"))
      .def("schema_capsule", [](const TraceTable& t) { return schema_capsule(t.fields); })
      .def("array_capsule", [](const TraceTable& t) { return array_capsule(t.fields, t.batches.at(0)); })  // of one batch
      .def("stream_capsule", &table_stream);
}

}  // namespace rewarm
