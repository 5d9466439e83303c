// The minute tables: a column for each function, more than nine fields in ten empty. They become rows of (file, function, time,
// value), one for each field that is not empty, in the file's row and then column order.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "trace/batch.h"
#include "trace/minute_scan.h"
#include "trace/reader.h"
#include "trace/source.h"

namespace rewarm::trace {

// Shared by the files that have it: there are a few headers of thousands of names, and thousands of files.
struct MinuteHeader {
  std::vector<std::string> names;
  std::vector<int32_t> codes;     // by column: in the functions' dictionary, or negative (minute_scan.h)
  std::vector<int32_t> no_codes;  // the same with every function unwanted, for rows that a filter leaves out
};

struct MinuteFile {
  SourceFile source;  // its header stays empty
  std::shared_ptr<const MinuteHeader> header;
  int32_t metric = -1;  // codes; -1 = null
  int32_t stat = -1;
};

struct MinuteOptions {
  std::vector<std::string> columns;  // of region, metric, stat, funcID, time, value
  OnError on_error = OnError::kRaise;
  int threads = 1;
  int64_t block_bytes = int64_t{8} << 20;                        // of text a batch
  double time_begin = std::numeric_limits<double>::quiet_NaN();  // half open; NaN = open
  double time_end = std::numeric_limits<double>::quiet_NaN();
  std::shared_ptr<const Dictionary> regions, metrics, stats, functions;
};

// Gives the columns of a header their codes, and new functions a place in `functions`; wanted: funcIDs, empty = all. Throws for
// a column that is neither day nor time nor a funcID unless ignore_unknown is set, and for a file without time.
std::shared_ptr<const MinuteHeader> make_minute_header(const std::string& file, std::vector<std::string> names,
                                                       const std::vector<std::string>& wanted, bool ignore_unknown,
                                                       Dictionary* functions);

// What batches of these columns look like; throws for a name that is none of the table's.
std::vector<OutputField> minute_fields(const std::vector<std::string>& columns);

// The batches in (file, row) order. Files are read a few at a time, so memory does not grow with their number.
class MinuteReader {
 public:
  MinuteReader(std::vector<MinuteFile> files, MinuteOptions options);

  // Null at the end. Throws the first error in row order once the batches before it are delivered. `poll` is called every 50 ms
  // while it works; what it throws ends the work.
  std::shared_ptr<const Batch> next(const Poll& poll);
  void stop() { next_file_ = files_.size(); }

  Progress& progress() { return progress_; }
  std::vector<SourceFile> sources() const;
  const MinuteOptions& options() const { return options_; }
  // Of the files read so far: the first kMostRejects, and how many there were.
  const std::vector<Reject>& rejects() const { return rejects_; }
  int64_t rejected() const { return rejected_; }

 private:
  void read_some(const Poll& poll);

  const std::vector<MinuteFile> files_;
  const MinuteOptions options_;
  Progress progress_;
  size_t next_file_ = 0;
  std::deque<std::shared_ptr<const Batch>> ready_;
  std::exception_ptr error_;
  std::vector<Reject> rejects_;
  int64_t rejected_ = 0;
};

}  // namespace rewarm::trace
