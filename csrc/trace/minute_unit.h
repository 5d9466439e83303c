// One work unit of the minute tables: the rows of a file that begin in a byte range, read by one worker.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trace/minute.h"
#include "trace/minute_scan.h"
#include "trace/number.h"
#include "trace/text.h"
#include "trace/trace_error.h"

namespace rewarm::trace {

struct MinuteUnit {
  int64_t file;
  int64_t begin;  // rows that begin in [begin, end) of the decoded file
  int64_t end;
};

// Lines count from the unit's first row.
struct MinuteResult {
  int64_t lines = 0;
  std::vector<std::shared_ptr<const Batch>> batches;  // those that have rows
  int64_t rejected = 0;
  std::vector<Reject> rejects;  // at most kMostRejects
  bool failed = false;          // by `failure`, a field or row that cannot be read
  Reject failure;
};

// Belongs to one worker, which reads many units with it.
class UnitReader {
 public:
  UnitReader(const std::vector<MinuteFile>& files, const MinuteOptions& options, Progress& progress);

  // stop() is asked for each window of text; when it says so, what is read stays incomplete. ahead: as in TextWindow::open.
  void read(const MinuteUnit& unit, MinuteResult* result, bool ahead, const std::function<bool()>& stop);

 private:
  enum class Field { kDone, kNeedsText, kLost };

  void begin_row(const char* at);
  void end_row(int64_t end);
  void lose_row(const std::string& expected);
  Field take_field(const char** at);
  Field lost_quote();
  void take_value(const char* begin, const char* end);
  void reject(int64_t byte, const std::string& column, const char* begin, const char* end, const std::string& expected,
              const char* action);
  void bad_field(const char* begin, const char* end, int64_t byte, const char* expected);
  void reserve(size_t text_bytes);
  void end_batch(int64_t next_begin);
  int64_t offset_of(const char* at) const { return window_.offset() + (at - window_.data()); }
  int64_t batch_edge(int64_t row) const;

  const std::vector<MinuteFile>& files_;
  const MinuteOptions& options_;
  Progress& progress_;
  const ScanCells scan_cells_;
  TextWindow window_;

  MinuteUnit unit_{};
  MinuteResult* result_ = nullptr;
  const MinuteFile* file_ = nullptr;

  // The batch under way.
  std::shared_ptr<Buffer> functions_, values_, times_;
  std::vector<int64_t> null_values_, null_times_;  // rows of the batch
  CellScan scan_{};
  int64_t batch_begin_ = 0, batch_end_ = 0;

  // The row under way.
  int64_t row_begin_ = 0, row_cells_ = 0;
  size_t row_null_values_ = 0;
  bool row_lost_ = false;      // cannot be cut into fields
  bool row_filtered_ = false;  // left out by the time filter
  bool row_skipped_ = false;   // left out because day or time is bad
  bool row_bad_time_ = false;
  bool has_time_ = false;
  int32_t time_ = 0;
  char row_text_[kShownBytes];
  size_t row_text_size_ = 0;
  std::vector<Reject> row_rejects_;
  std::string scratch_;
};

}  // namespace rewarm::trace
