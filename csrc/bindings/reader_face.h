// The Python face that all of the engine's readers have, over the same few methods of each:
//
//   fields()        what batches look like
//   next(poll)      the next batch, null at the end; called with or without the GIL
//   table_made(t)   after all batches went into a table
//   rejects(count)  of what was delivered
//   progress()      counters;  stop()
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "bindings/trace_read.h"
#include "trace/trace_error.h"

namespace rewarm {

// The error that ended a stream: the stream's own interface passes on its text alone. A base of readers.
class StreamFailure {
 public:
  void keep(std::exception_ptr failure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = std::move(failure);
  }
  // Throws it, if there is one.
  void rethrow() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  mutable std::mutex mutex_;
  std::exception_ptr failure_;
};

// The rest of a reader as an Arrow stream.
template <class Reader>
class ReaderSource : public trace::BatchSource {
 public:
  explicit ReaderSource(std::shared_ptr<Reader> reader) : reader_(std::move(reader)) {}
  ~ReaderSource() override {
    pybind11::gil_scoped_acquire gil;
    reader_.reset();
  }
  const trace::ArrowFields& fields() const override { return reader_->fields(); }
  std::shared_ptr<const trace::Batch> next() override {
    // Whoever pulls may hold the GIL, and workers and decoders need it.
    std::optional<pybind11::gil_scoped_release> release;
    if (PyGILState_Check() != 0) release.emplace();
    try {
      return reader_->next([] { check_signals(); });
    } catch (const pybind11::error_already_set& error) {
      // The consumer gets the text, and Python its interrupt again.
      pybind11::gil_scoped_acquire gil;
      if (error.matches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();
      throw Error(ErrorKind::kTrace, error.what());
    } catch (const Error& error) {
      reader_->keep(std::current_exception());
      // It quotes the file, and consumers take it for UTF-8: polars panics where it is not.
      pybind11::gil_scoped_acquire gil;
      throw Error(ErrorKind::kTrace, shown(error.what()));
    }
  }

 private:
  std::shared_ptr<Reader> reader_;
};

template <class Reader>
std::unique_ptr<TraceTable> read_all(Reader& reader, const pybind11::object& progress) {
  auto table = std::make_unique<TraceTable>();
  table->fields = reader.fields();
  const auto tell = [&] {
    pybind11::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
    const trace::Progress& p = reader.progress();
    if (!progress.is_none()) progress(p.bytes.load(), p.rows.load());
  };
  pybind11::gil_scoped_release release;
  while (std::shared_ptr<const trace::Batch> batch = reader.next(tell)) table->batches.push_back(std::move(batch));
  reader.table_made(table.get());
  if (!progress.is_none()) tell();
  return table;
}

template <class Reader>
pybind11::object next_batch(Reader& reader) {
  std::shared_ptr<const trace::Batch> batch;
  {
    pybind11::gil_scoped_release release;
    batch = reader.next([] { check_signals(); });
  }
  return batch == nullptr ? pybind11::object(pybind11::none()) : pybind11::cast(TraceBatch{reader.fields(), std::move(batch)});
}

template <class Reader>
void bind_reader(pybind11::class_<Reader, std::shared_ptr<Reader>>& cls) {
  namespace py = pybind11;
  cls.def_property_readonly("fields", [](const Reader& r) { return field_list(r.fields()); })
      .def("next", &next_batch<Reader>)
      .def("read_all", &read_all<Reader>, py::arg("progress"))
      .def(
          "stop", [](Reader& r) { r.stop(); }, py::call_guard<py::gil_scoped_release>())
      .def("counters",
           [](Reader& r) {
             const trace::Progress& p = r.progress();
             return py::make_tuple(p.bytes.load(), p.rows.load(), p.files.load());
           })
      .def("rejects",
           [](Reader& r) {
             int64_t count = 0;
             std::vector<trace::Reject> found;
             {
               py::gil_scoped_release release;
               found = r.rejects(&count);
             }
             return py::make_tuple(count, reject_list(found));
           })
      .def("raise_failure", [](const Reader& r) { r.rethrow(); })
      .def("schema_capsule", [](const Reader& r) { return schema_capsule(r.fields()); })
      .def("stream_capsule",
           [](const std::shared_ptr<Reader>& r) { return stream_capsule(std::make_shared<ReaderSource<Reader>>(r)); });
}

}  // namespace rewarm
