// Python face of one pass over files: their rows, or those of minute tables, added up into an Aggregate.
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "bindings/minute_read.h"
#include "bindings/trace_read.h"
#include "trace/minute_sink.h"
#include "trace/trace_error.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::Aggregate;
using trace::Batch;
using trace::FileRange;

constexpr std::chrono::milliseconds kTell{50};

std::string region_of(const trace::SourceFile& file, const std::vector<std::string>& regions) {
  return file.region < 0 ? "" : regions[static_cast<size_t>(file.region)];
}

std::vector<FileRange> ranges_of(const std::vector<trace::SourceFile>& files, const std::vector<std::string>& regions) {
  std::vector<FileRange> ranges;
  for (const trace::SourceFile& file : files) {
    if (file.open) {
      ranges.push_back({region_of(file, regions), file.name, 0, -1});  // read from front to back
    } else {
      ranges.push_back({region_of(file, regions), file.name, file.range_begin, std::min(file.range_end, file.size)});
    }
  }
  return ranges;
}

// What was read, and what of it was left out.
void tell_files(const std::vector<trace::SourceFile>& files, const std::vector<std::string>& regions,
                const std::vector<trace::Reject>& rejects, int64_t rejected, Aggregate* aggregate) {
  std::vector<trace::AggregateReject> kept;
  for (const trace::Reject& r : rejects) {
    const trace::SourceFile& file = files[static_cast<size_t>(r.file)];
    kept.push_back({region_of(file, regions), file.name, r.line, r.byte, r.column, r.text, r.expected, r.action});
  }
  aggregate->files = trace::join_ranges(ranges_of(files, regions));
  aggregate->rejects = trace::first_rejects(std::move(kept));
  aggregate->rejected = rejected;
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

std::shared_ptr<Aggregate> scan(const py::sequence& sources, const trace::ReadOptions& options,
                                const std::vector<std::string>& by, const std::vector<std::string>& values, bool histograms,
                                int64_t max_groups, std::string text, const py::object& progress) {
  const std::vector<trace::SourceFile> files = cast_sources(sources, options.regions);
  trace::Progress counters;
  std::shared_ptr<Aggregate> aggregate;
  const auto tell = [&] {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(counters.bytes.load(), counters.rows.load());
  };
  std::optional<trace::TooLarge> too_large;
  {
    py::gil_scoped_release release;
    trace::join_ranges(ranges_of(files, options.regions));  // before the work: no rows shall count twice
    const std::vector<trace::OutputField> fields = trace::output_fields(files, options);
    trace::AggregateSink sink(trace::scan_spec(fields, by, values, histograms, max_groups, std::move(text)),
                              trace::columns_of(fields, by), trace::columns_of(fields, values), options.threads);
    std::vector<trace::Reject> rejects;
    int64_t rejected = 0;
    trace::read_into(files, options, sink, counters, &rejects, &rejected, tell);
    too_large = sink.too_large();
    if (!too_large) {
      aggregate = std::make_shared<Aggregate>(sink.finish(options.threads));
      tell_files(files, options.regions, rejects, rejected, aggregate.get());
    }
  }
  if (too_large) throw_too_large(*too_large, files[static_cast<size_t>(too_large->file)], values[too_large->value]);
  if (!progress.is_none()) tell();
  return aggregate;
}

// What is left in a reader of minute tables.
std::shared_ptr<Aggregate> scan_minutes(MinuteTables& reader, const std::vector<std::string>& by,
                                        const std::vector<std::string>& values, bool histograms, int64_t max_groups,
                                        std::string text, const std::shared_ptr<const trace::FunctionTable>& runtime,
                                        int workers, const py::object& progress) {
  const trace::MinuteOptions& options = reader.options();
  const std::vector<trace::SourceFile> files = reader.files();
  auto told = std::chrono::steady_clock::now();
  const auto tell = [&] {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    told = std::chrono::steady_clock::now();
    const trace::Progress& counters = reader.progress();
    if (!progress.is_none()) progress(counters.bytes.load(), counters.rows.load());
  };
  std::optional<trace::TooLarge> too_large;
  std::shared_ptr<Aggregate> aggregate;
  {
    py::gil_scoped_release release;
    trace::join_ranges(ranges_of(files, options.regions->words));
    trace::MinuteKeys keys(reader.fields().fields, by, *options.regions, *options.functions, runtime.get());
    trace::MinuteSink sink(std::move(keys), by, values, histograms, max_groups, std::move(text), workers);
    std::vector<std::shared_ptr<const Batch>> batches;
    do {
      batches.clear();
      while (batches.size() < static_cast<size_t>(2 * workers)) {
        std::shared_ptr<const Batch> batch = reader.next(tell);
        if (batch == nullptr) break;
        batches.push_back(std::move(batch));
      }
      sink.consume(batches);
      if (std::chrono::steady_clock::now() - told >= kTell) tell();  // many files are read faster than the reader asks
    } while (!batches.empty());
    too_large = sink.too_large();
    if (!too_large) {
      aggregate = std::make_shared<Aggregate>(sink.finish());
      int64_t rejected = 0;
      const std::vector<trace::Reject> rejects = reader.rejects(&rejected);
      tell_files(files, options.regions->words, rejects, rejected, aggregate.get());
    }
  }
  if (too_large) throw_too_large(*too_large, files[static_cast<size_t>(too_large->file)], values[too_large->value]);
  if (!progress.is_none()) tell();
  return aggregate;
}

}  // namespace

void bind_trace_scan(py::module_& m) {
  m.def("trace_scan", &scan, py::arg("sources"), py::arg("options"), py::arg("by"), py::arg("values"), py::arg("histograms"),
        py::arg("max_groups"), py::arg("text"), py::arg("progress"));
  m.def("trace_scan_minutes", &scan_minutes, py::arg("reader"), py::arg("by"), py::arg("values"), py::arg("histograms"),
        py::arg("max_groups"), py::arg("text"), py::arg("runtime"), py::arg("workers"), py::arg("progress"));
}

}  // namespace rewarm
