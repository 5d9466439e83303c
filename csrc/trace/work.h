// The work units of one call and what became of them: lines, rejects, the first failure in row order.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "trace/decoder.h"
#include "trace/rejects.h"
#include "trace/text.h"

namespace rewarm::trace {

// Rows that start in [begin, end) of a file: a block of a plain file, the whole of a stream.
struct Unit {
  int64_t file;
  int64_t begin;
  int64_t end;
};

class Work {
 public:
  Work(const std::vector<SourceFile>& files, const ReadOptions& options, Progress& progress);

  int64_t units() const { return static_cast<int64_t>(units_.size()); }
  Shared& shared() { return shared_; }
  Progress& progress() { return progress_; }

  // Nobody needs unit `index`: the read was cancelled, or an earlier unit failed.
  bool obsolete(int64_t index) const {
    return progress_.cancel.load(std::memory_order_relaxed) || index > failed_.load(std::memory_order_relaxed);
  }
  void finish(int64_t index, int64_t lines, UnitRejects rejects);
  void fail(int64_t index, std::exception_ptr failure);
  int64_t failed() const { return failed_.load(std::memory_order_acquire); }

  // To call when all units before the failed one are finished.
  [[noreturn]] void rethrow();
  // Of the units before `units`, which are finished.
  std::vector<Reject> rejects(int64_t units, int64_t* count);

  const Unit& unit(int64_t index) const { return units_[static_cast<size_t>(index)]; }

 private:
  int64_t first_line(int64_t index);  // of a unit's first row

  Shared shared_;
  Progress& progress_;
  std::vector<Unit> units_;
  std::vector<int64_t> lines_;  // by unit, once it is finished
  std::mutex mutex_;
  std::map<int64_t, UnitRejects> rejects_;  // units that have some
  std::atomic<int64_t> failed_;
  std::exception_ptr failure_;
  std::map<int64_t, int64_t> skipped_lines_;  // by file: before the range that is read
};

// What one thread needs to work on units.
class Worker {
 public:
  // Takes a batch of the unit; false: stop working on it.
  using Deliver = std::function<bool(int64_t unit, std::shared_ptr<Batch> batch)>;

  Worker(Work* work, std::shared_ptr<ArenaPool> pool)
      : work_(*work), decoder_(&work->shared()), builder_(work->shared().plan, std::move(pool)) {}
  // Reads the unit; failures go to Work.
  void run(int64_t index, const Deliver& deliver);

 private:
  void read_unit(int64_t index, const Deliver& deliver);
  bool read_range(int64_t index, int64_t end);
  bool flush(int64_t index, int64_t first_byte, const Deliver& deliver);
  void skip_line();

  Work& work_;
  Decoder decoder_;
  BatchBuilder builder_;
  TextWindow window_;
  int64_t line_ = 0;
  int64_t rows_ = 0;  // of this unit, delivered
  UnitRejects rejects_;
};

}  // namespace rewarm::trace
