// Reads files of one table into batches: work units, threads, filters, errors. What a table's columns are is data (schema.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "trace/batch.h"
#include "trace/function_table.h"
#include "trace/schema.h"
#include "trace/source.h"

namespace rewarm::trace {

enum class OnError : int32_t { kRaise, kNull, kSkip };

// The place of a field or row that could not be read. line counts from 1, the header included; byte is the offset of the
// field's first character in the (decoded) file. text is as it stands there: bytes, not always UTF-8.
struct Reject {
  int64_t file;
  int64_t line;
  int64_t byte;
  std::string column;  // empty: the whole row
  std::string text;    // at most kShownBytes
  std::string expected;
  std::string action;  // "raised", "null", "row skipped"
};

// So many rejects are kept, the first in row order; the count is exact.
constexpr size_t kMostRejects = 10000;

struct ReadOptions {
  std::string table;                 // "cold_start", "request"
  std::vector<std::string> columns;  // output, by name; derived ones included; empty: the published ones that the files have
  bool text_ids = false;             // ids="text"
  bool ignore_unknown = false;       // unknown_columns="ignore"
  OnError on_error = OnError::kRaise;
  int threads = 1;
  int64_t block_bytes = int64_t{8} << 20;                        // of text a batch
  int64_t unit_bytes = 0;                                        // of text that a worker takes at once; 0: a batch
  int32_t id_bytes = 0;                                          // of a requestID; 0: the first data row decides
  double time_begin = std::numeric_limits<double>::quiet_NaN();  // half open; NaN = open
  double time_end = std::numeric_limits<double>::quiet_NaN();
  std::vector<int16_t> clusters;       // empty = all
  std::vector<std::string> functions;  // funcIDs; empty = all
  std::shared_ptr<const FunctionTable> runtime;
  std::vector<std::string> regions;  // the region dictionary that SourceFile::region indexes
};

// Counters that another thread may read while the work goes on. Bytes are those on the disk: of a stream, once it has ended.
struct Progress {
  std::atomic<int64_t> bytes{0}, rows{0}, files{0};
  std::atomic<bool> cancel{false};  // workers stop at the edge of a sub-block
};

// Called on the caller's thread every 50 ms at most; what it throws ends the read.
using Poll = std::function<void()>;

// Calls sink.consume for every batch of every file from up to options.threads workers (numbered from 0); returns when all is
// read or throws the first error in row order. Dictionary codes are the same in all batches of one call; a batch's memory is
// used again after consume unless the sink keeps a column's buffer.
void read_into(const std::vector<SourceFile>& files, const ReadOptions& options, BatchSink& sink, Progress& progress,
               std::vector<Reject>* rejects, int64_t* rejected, const Poll& poll = {});

// What the batches of such a read look like; throws what read_into would throw about columns and options.
std::vector<OutputField> output_fields(const std::vector<SourceFile>& files, const ReadOptions& options);

// The batches in (file, row) order, pulled one by one while workers read ahead by a few. One consumer at a time.
class OrderedReader {
 public:
  // recycle: a batch's memory is used again once nobody holds the batch or one of its buffers.
  OrderedReader(std::vector<SourceFile> files, ReadOptions options, bool recycle);
  ~OrderedReader();
  OrderedReader(const OrderedReader&) = delete;
  OrderedReader& operator=(const OrderedReader&) = delete;

  enum class Next { kBatch, kEnd, kWait };
  // Waits at most so long for the next batch. Throws the first error in row order once the batches before it are delivered.
  Next next(int milliseconds, std::shared_ptr<const Batch>* batch);
  // Ends the workers; next() says kEnd from then on.
  void stop();

  const std::vector<OutputField>& fields() const;
  Progress& progress();
  // Of what was delivered; lines are resolved.
  std::vector<Reject> rejects(int64_t* count) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rewarm::trace
