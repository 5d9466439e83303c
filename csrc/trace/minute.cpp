#include "trace/minute.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "common/isa.h"
#include "trace/minute_unit.h"
#include "trace/read_ahead.h"
#include "trace/trace_error.h"

namespace rewarm::trace {
namespace {

bool is_funcid(const std::string& name) {
  const size_t user = name.find("---");
  if (user == 0 || user == std::string::npos) return false;
  const size_t pool = name.find("---", user + 3);
  return pool != std::string::npos && pool > user + 3 && pool + 3 < name.size();
}

std::vector<MinuteUnit> cut_units(const std::vector<MinuteFile>& files, size_t first_file, size_t end_file,
                                  int64_t block_bytes) {
  std::vector<MinuteUnit> units;
  for (size_t f = first_file; f < end_file; ++f) {
    const SourceFile& source = files[f].source;
    const int64_t first = source.header_bytes;
    // A stream has no middle: one unit, cut into batches as it comes.
    const int64_t step = source.open ? std::numeric_limits<int64_t>::max() : block_bytes;
    const int64_t end = source.open ? first + 1 : source.size;
    for (int64_t begin = first; begin < end;) {
      const bool last = end - begin <= step;
      units.push_back({static_cast<int64_t>(f), begin, last ? std::numeric_limits<int64_t>::max() : begin + step});
      if (last) break;
      begin += step;
    }
  }
  return units;
}

// What the workers of one call share.
class Work {
 public:
  Work(const std::vector<MinuteFile>& files, size_t first_file, size_t end_file, const MinuteOptions& options,
       Progress& progress)
      : files_(files),
        options_(options),
        progress_(progress),
        units_(cut_units(files, first_file, end_file, options.block_bytes)),
        results_(units_.size()) {}

  void run(const Poll& poll) {
    const size_t wanted = static_cast<size_t>(std::max(1, options_.threads));
    const size_t width = std::max<size_t>(1, std::min(wanted, units_.size()));
    std::vector<std::thread> threads;
    running_ = width;
    try {
      for (size_t w = 0; w < width; ++w) threads.emplace_back([this] { work(); });
      wait(poll);
    } catch (...) {
      progress_.cancel = true;
      for (std::thread& thread : threads) thread.join();
      throw;
    }
    for (std::thread& thread : threads) thread.join();
    if (error_) fail();
  }

  // Whether run threw an error of the files, not of the caller's poll.
  bool failed() const { return error_ != nullptr; }

  // In row order, up to the first error.
  void collect(std::deque<std::shared_ptr<const Batch>>* batches, std::vector<Reject>* rejects, int64_t* rejected) {
    int64_t lines = 1;  // the header
    for (size_t u = 0; u < units_.size() && u <= first_error_; ++u) {
      MinuteResult& result = results_[u];
      if (u == 0 || units_[u].file != units_[u - 1].file) lines = 1;
      for (auto& batch : result.batches) batches->push_back(std::move(batch));
      *rejected += result.rejected;
      for (Reject& reject : result.rejects) {
        if (rejects->size() >= kMostRejects) break;
        reject.line += lines;
        rejects->push_back(std::move(reject));
      }
      lines += result.lines;
    }
  }

 private:
  void work() {
    std::unique_ptr<UnitReader> reader;
    for (;;) {
      const size_t u = next_++;
      if (u >= units_.size() || u > first_error_ || progress_.cancel) break;
      try {
        if (reader == nullptr) reader = std::make_unique<UnitReader>(files_, options_, progress_);
        const int64_t parsing = std::min<int64_t>(options_.threads, static_cast<int64_t>(units_.size() - u));
        reader->read(units_[u], &results_[u], worth_reading_ahead(parsing),
                     [&] { return progress_.cancel || u > first_error_; });
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error_ || u < first_error_) {
          error_ = std::current_exception();
          first_error_ = u;
        }
      }
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--running_ == 0) done_.notify_all();
  }

  void wait(const Poll& poll) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (running_ > 0) {
      done_.wait_for(lock, std::chrono::milliseconds(50));
      if (!poll || running_ == 0) continue;
      lock.unlock();
      poll();
      lock.lock();
    }
  }

  // All units before the failed one are complete, so its line number is known.
  [[noreturn]] void fail() {
    const size_t u = first_error_;
    if (!results_[u].failed) std::rethrow_exception(error_);
    int64_t lines = 1;
    for (size_t before = 0; before < u; ++before)
      if (units_[before].file == units_[u].file) lines += results_[before].lines;
    const Reject& reject = results_[u].failure;
    const Place place{files_[static_cast<size_t>(reject.file)].source.name,
                      reject.line + lines,
                      reject.byte,
                      reject.column,
                      reject.text,
                      reject.expected};
    throw TraceFailure(message_of(place), place);
  }

  const std::vector<MinuteFile>& files_;
  const MinuteOptions& options_;
  Progress& progress_;
  const std::vector<MinuteUnit> units_;
  std::vector<MinuteResult> results_;
  std::atomic<size_t> next_{0};
  std::atomic<size_t> first_error_{std::numeric_limits<size_t>::max()};
  std::mutex mutex_;
  std::condition_variable done_;
  std::exception_ptr error_;
  size_t running_ = 0;
};

}  // namespace

ScanCells scan_cells() {
#if defined(REWARM_X86)
  const bool bits = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  if (active_isa() >= Isa::kAvx2 && bits) return scan_cells_avx2;
#endif
  return scan_cells_portable;
}

std::shared_ptr<const MinuteHeader> make_minute_header(const std::string& file, std::vector<std::string> names,
                                                       const std::vector<std::string>& wanted, bool ignore_unknown,
                                                       Dictionary* functions) {
  auto header = std::make_shared<MinuteHeader>();
  const std::unordered_set<std::string> kept(wanted.begin(), wanted.end());
  std::unordered_map<std::string, int32_t> known;
  for (size_t i = 0; i < functions->words.size(); ++i) known.emplace(functions->words[i], static_cast<int32_t>(i));
  bool time = false;
  for (const std::string& name : names) {
    int32_t code = kUnwantedColumn;
    if (name == "day") {
      code = kDayColumn;
    } else if (name == "time") {
      code = kTimeColumn;
      time = true;
    } else if (!is_funcid(name)) {
      if (!ignore_unknown) {
        const Place place{file, 1, -1, name, name, "day, time or a funcID (funcName---userID---poolName)"};
        throw TraceFailure(message_of(place) + "; unknown_columns=\"ignore\" passes over it", place);
      }
    } else if (kept.empty() || kept.count(name) != 0) {
      const auto [place, fresh] = known.emplace(name, static_cast<int32_t>(functions->words.size()));
      if (fresh) functions->words.push_back(name);
      code = place->second;
    }
    header->codes.push_back(code);
    header->no_codes.push_back(std::min(code, kUnwantedColumn));
  }
  if (!time) {
    const Place place{file, 1, -1, "time", "", "a column time"};
    throw TraceFailure(file + ":1: expected a column time, got none", place);
  }
  header->names = std::move(names);
  return header;
}

std::vector<OutputField> minute_fields(const std::vector<std::string>& columns) {
  static const OutputField kFields[] = {{"region", Type::kDictionary, 4, ""}, {"metric", Type::kDictionary, 4, ""},
                                        {"stat", Type::kDictionary, 4, ""},   {"funcID", Type::kDictionary, 4, ""},
                                        {"time", Type::kInt32, 4, "s"},       {"value", Type::kFloat64, 8, ""}};
  std::vector<OutputField> fields;
  for (const std::string& name : columns) {
    const auto known =
        std::find_if(std::begin(kFields), std::end(kFields), [&](const OutputField& f) { return f.name == name; });
    if (known == std::end(kFields))
      throw Error(ErrorKind::kInvalidArgument,
                  "columns: the minute table has region, metric, stat, funcID, time and value; got \"" + name + "\"");
    fields.push_back(*known);
  }
  return fields;
}

MinuteReader::MinuteReader(std::vector<MinuteFile> files, MinuteOptions options)
    : files_(std::move(files)), options_(std::move(options)) {}

std::shared_ptr<const Batch> MinuteReader::next(const Poll& poll) {
  if (progress_.cancel) throw Error(ErrorKind::kTrace, "the read was interrupted");
  while (ready_.empty()) {
    if (error_) {
      stop();
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
    if (next_file_ >= files_.size()) return nullptr;
    read_some(poll);
  }
  std::shared_ptr<const Batch> batch = std::move(ready_.front());
  ready_.pop_front();
  return batch;
}

std::vector<SourceFile> MinuteReader::sources() const {
  std::vector<SourceFile> sources;
  for (const MinuteFile& file : files_) sources.push_back(file.source);
  return sources;
}

void MinuteReader::read_some(const Poll& poll) {
  // Packed text is longer than its file; each file counts as one block at least.
  int64_t blocks = 0;
  const size_t begin = next_file_;
  while (next_file_ < files_.size() && (next_file_ == begin || blocks < 2 * options_.threads))
    blocks += files_[next_file_++].source.size / options_.block_bytes + 1;

  Work work(files_, begin, next_file_, options_, progress_);
  try {
    work.run(poll);
  } catch (...) {
    if (!work.failed()) throw;
    error_ = std::current_exception();
  }
  work.collect(&ready_, &rejects_, &rejected_);
}

}  // namespace rewarm::trace
