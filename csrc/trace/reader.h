// Reads files of one table into batches: work units, threads, filters, errors. What a table's columns are is data (schema.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trace/batch.h"
#include "trace/source.h"

namespace rewarm::trace {

enum class OnError : int32_t { kRaise, kNull, kSkip };

// The place of a field or row that could not be read. line counts from 1, the header included; byte is the offset of the
// field's first character in the (decoded) file.
struct Reject {
  int64_t file;
  int64_t line;
  int64_t byte;
  std::string column;  // empty: the whole row
  std::string text;    // at most 80 bytes
  std::string expected;
  std::string action;  // "raised", "null", "row skipped"
};

// (region, funcName, userID, pool) -> codes of the two columns that join the runtime table.
class FunctionTable;

struct ReadOptions {
  std::string table;                 // "cold_start", "request"
  std::vector<std::string> columns;  // output, by name; derived ones included
  bool text_ids = false;             // ids="text"
  bool ignore_unknown = false;       // unknown_columns="ignore"
  OnError on_error = OnError::kRaise;
  int threads = 1;
  int64_t block_bytes = int64_t{8} << 20;  // of text a batch
  double time_begin, time_end;             // half open; NaN = open
  std::vector<int16_t> clusters;           // empty = all
  std::vector<std::string> functions;      // funcIDs; empty = all
  std::shared_ptr<const FunctionTable> runtime;
  std::vector<std::string> regions;  // the region dictionary that SourceFile::region indexes
};

// Counters that another thread may read while the work goes on.
struct Progress {
  std::atomic<int64_t> bytes{0}, rows{0}, files{0};
  std::atomic<bool> cancel{false};  // workers stop at the edge of a block
};

// Calls sink.consume for every batch of every file from up to options.threads workers (numbered from 0); returns when all is
// read or throws the first error in row order. Dictionary codes are the same in all batches of one call.
void read_into(const std::vector<SourceFile>& files, const ReadOptions& options, BatchSink& sink, Progress& progress,
               std::vector<Reject>* rejects, int64_t* rejected);

}  // namespace rewarm::trace
