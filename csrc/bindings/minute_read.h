// Reads minute tables for Python: what a list of sources says becomes the reader's files and options.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/reader_face.h"
#include "trace/minute.h"

namespace rewarm {

class MinuteTables : public StreamFailure {
 public:
  MinuteTables(const pybind11::sequence& sources, const std::vector<std::string>& columns,
               const std::vector<std::string>& regions, const std::vector<std::string>& functions,
               std::optional<double> time_begin, std::optional<double> time_end, const std::string& on_error,
               bool ignore_unknown, int threads, int64_t block_bytes, const std::string& version);

  std::shared_ptr<const trace::Batch> next(const trace::Poll& poll) { return reader_->next(poll); }
  void table_made(TraceTable*) const {}  // all batches have the same dictionaries
  std::vector<trace::Reject> rejects(int64_t* count) const {
    *count = reader_->rejected();
    return reader_->rejects();
  }
  trace::Progress& progress() { return reader_->progress(); }
  void stop() { reader_->stop(); }
  const trace::ArrowFields& fields() const { return fields_; }
  const trace::MinuteOptions& options() const { return reader_->options(); }
  std::vector<trace::SourceFile> files() const { return reader_->sources(); }

 private:
  trace::ArrowFields fields_;
  std::unique_ptr<trace::MinuteReader> reader_;
};

}  // namespace rewarm
