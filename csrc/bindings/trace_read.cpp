#include "bindings/trace_read.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <string_view>

#include "trace/trace_error.h"

namespace py = pybind11;

namespace rewarm {

using trace::Place;
using trace::SourceFile;
using trace::TraceFailure;

namespace {

// A Python object that threads without the GIL may copy and drop.
std::shared_ptr<py::object> shared_object(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) {
            py::gil_scoped_acquire gil;
            delete held;
          }};
}

template <class T>
T optional(const py::object& value, T otherwise) {
  return value.is_none() ? otherwise : value.cast<T>();
}

// A TraceError of a Python decoder, as C++ throws them, so that what was delivered can be added to it.
[[noreturn]] void rethrow_trace_error(const py::error_already_set& error) {
  const py::object value = error.value();
  const auto text = [&](const char* name) { return optional<std::string>(value.attr(name), ""); };
  const auto number = [&](const char* name) { return optional<int64_t>(value.attr(name), -1); };
  throw TraceFailure(py::str(value).cast<std::string>(),
                     {text("file"), number("line"), number("byte"), text("column"), text("text"), text("expected")});
}

// A decoder of rewarm.trace.decoder: takes the GIL for each chunk.
class PythonSource : public trace::ByteSource {
 public:
  explicit PythonSource(std::shared_ptr<py::object> decoder) : decoder_(std::move(decoder)) {}
  ~PythonSource() override {
    py::gil_scoped_acquire gil;
    try {
      if (py::hasattr(*decoder_, "close")) decoder_->attr("close")();
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("closing a trace decoder");
    }
    decoder_.reset();
  }

  Chunk read(size_t n) override {
    py::gil_scoped_acquire gil;
    try {
      const py::bytes chunk = decoder_->attr("read")(n);
      const std::string_view text = chunk;
      if (text.size() > n) throw TraceFailure("a decoder gave more bytes than it was asked for");
      return {text.data(), text.size(), shared_object(chunk)};
    } catch (const py::error_already_set& error) {
      if (error.matches(py::module_::import("rewarm.errors").attr("TraceError"))) rethrow_trace_error(error);
      throw;
    }
  }

 private:
  std::shared_ptr<py::object> decoder_;
};

template <class T>
py::capsule owned_capsule(T* value, const char* name) {
  return py::capsule(value, name, [](PyObject* capsule) {
    T* held = static_cast<T*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)));
    if (held->release != nullptr) held->release(held);
    delete held;
  });
}

class TableSource : public trace::BatchSource {
 public:
  explicit TableSource(const TraceTable& table) : table_(table) {}
  const trace::ArrowFields& fields() const override { return table_.fields; }
  std::shared_ptr<const trace::Batch> next() override { return at_ < table_.batches.size() ? table_.batches[at_++] : nullptr; }

 private:
  TraceTable table_;  // shares the batches
  size_t at_ = 0;
};

}  // namespace

std::vector<SourceFile> cast_sources(const py::sequence& sources, const std::vector<std::string>& regions, bool headers) {
  std::vector<SourceFile> files;
  for (const py::handle source : sources) {
    SourceFile file;
    file.name = source.attr("name").cast<std::string>();
    file.path = source.attr("path").cast<std::string>();
    file.size = source.attr("size").cast<int64_t>();
    if (headers) file.header = source.attr("header").cast<std::vector<std::string>>();
    file.header_bytes = source.attr("header_bytes").cast<int64_t>();
    file.crlf = source.attr("crlf").cast<bool>();
    const py::object region = source.attr("region");
    if (!region.is_none()) {
      const auto found = std::find(regions.begin(), regions.end(), region.cast<std::string>());
      if (found == regions.end()) throw Error(ErrorKind::kInvalidArgument, "regions: they lack the region of " + file.name);
      file.region = static_cast<int32_t>(found - regions.begin());
    }
    if (!source.attr("compression").is_none()) {
      const auto held = shared_object(py::reinterpret_borrow<py::object>(source));
      file.open = [held]() -> std::unique_ptr<trace::ByteSource> {
        py::gil_scoped_acquire gil;
        try {
          return std::make_unique<PythonSource>(shared_object(held->attr("open")()));
        } catch (const py::error_already_set& error) {
          if (error.matches(py::module_::import("rewarm.errors").attr("TraceError"))) rethrow_trace_error(error);
          throw;
        }
      };
    }
    if (py::hasattr(source, "range_begin")) {
      file.range_begin = source.attr("range_begin").cast<int64_t>();
      file.range_end = source.attr("range_end").cast<int64_t>();
    }
    files.push_back(std::move(file));
  }
  return files;
}

trace::OnError on_error_of(const std::string& name) {
  if (name == "raise") return trace::OnError::kRaise;
  if (name == "null") return trace::OnError::kNull;
  if (name == "skip") return trace::OnError::kSkip;
  throw Error(ErrorKind::kInvalidArgument, "on_error: expected raise, null or skip, got \"" + name + "\"");
}

int32_t code_of(const py::object& word, trace::Dictionary* dictionary) {
  if (word.is_none()) return -1;
  auto& words = dictionary->words;
  const std::string text = word.cast<std::string>();
  const auto found = std::find(words.begin(), words.end(), text);
  if (found != words.end()) return static_cast<int32_t>(found - words.begin());
  words.push_back(text);
  return static_cast<int32_t>(words.size()) - 1;
}

py::str shown(const std::string& bytes) {
  PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<py::ssize_t>(bytes.size()), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::list reject_list(const std::vector<trace::Reject>& rejects) {
  py::list list;
  for (const trace::Reject& r : rejects) {
    const py::object column = r.column.empty() ? py::object(py::none()) : py::object(py::str(r.column));
    list.append(py::make_tuple(r.file, r.line, r.byte, column, shown(r.text), r.expected, r.action));
  }
  return list;
}

py::list field_list(const trace::ArrowFields& fields) {
  const auto type_of = [](const trace::OutputField& field) -> std::string {
    switch (field.type) {
      case trace::Type::kInt8: return "int8";
      case trace::Type::kInt16: return "int16";
      case trace::Type::kInt32: return "int32";
      case trace::Type::kInt64: return "int64";
      case trace::Type::kFloat64: return "float64";
      case trace::Type::kFixedBinary: return "fixed_size_binary(" + std::to_string(field.width) + ")";
      case trace::Type::kDictionary: return "dictionary<int32, utf8>";
      case trace::Type::kUtf8: return "utf8";
      case trace::Type::kUtf8List: return "list<utf8>";
    }
    return "";
  };
  py::list list;
  for (const trace::OutputField& field : fields.fields) list.append(py::make_tuple(field.name, type_of(field), field.unit));
  return list;
}

void check_signals() {
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

int64_t TraceTable::rows() const {
  int64_t rows = 0;
  for (const auto& batch : batches) rows += batch->rows;
  return rows;
}

py::capsule schema_capsule(const trace::ArrowFields& fields) {
  auto schema = std::make_unique<ArrowSchema>();
  trace::export_schema(fields, schema.get());
  return owned_capsule(schema.release(), "arrow_schema");
}

py::capsule stream_capsule(std::shared_ptr<trace::BatchSource> source) {
  auto stream = std::make_unique<ArrowArrayStream>();
  trace::export_stream(std::move(source), stream.get());
  return owned_capsule(stream.release(), "arrow_array_stream");
}

py::capsule array_capsule(const trace::ArrowFields& fields, const std::shared_ptr<const trace::Batch>& batch) {
  auto array = std::make_unique<ArrowArray>();
  trace::export_batch(fields, batch, array.get());
  return owned_capsule(array.release(), "arrow_array");
}

py::capsule table_stream(const TraceTable& table) { return stream_capsule(std::make_shared<TableSource>(table)); }

}  // namespace rewarm
