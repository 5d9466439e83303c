#include "trace/work.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "trace/trace_error.h"

namespace rewarm::trace {
namespace {

struct Stopped {};

std::vector<Unit> cut_units(const std::vector<SourceFile>& files, const ReadOptions& options) {
  const int64_t block_bytes = std::max<int64_t>(options.block_bytes, 1);
  const int64_t unit_bytes = block_bytes * std::max<int64_t>(options.unit_bytes / block_bytes, 1);
  std::vector<Unit> units;
  for (size_t f = 0; f < files.size(); ++f) {
    const SourceFile& file = files[f];
    const int64_t from = std::max(file.header_bytes, file.range_begin);
    if (file.open) {
      units.push_back({static_cast<int64_t>(f), from, file.range_end});
      continue;
    }
    const int64_t to = std::min(file.size, file.range_end);
    // Cuts are at fixed places of the file, so that batches do not depend on the range that is asked for.
    int64_t begin = from;
    while (begin < to) {
      const int64_t end = file.header_bytes + ((begin - file.header_bytes) / unit_bytes + 1) * unit_bytes;
      units.push_back({static_cast<int64_t>(f), begin, std::min(end, to)});
      begin = end;
    }
  }
  return units;
}

}  // namespace

Work::Work(const std::vector<SourceFile>& files, const ReadOptions& options, Progress& progress)
    : shared_{files, options, make_plan(files, options), {}},
      progress_(progress),
      units_(cut_units(files, options)),
      lines_(units_.size(), 0),
      failed_(std::numeric_limits<int64_t>::max()) {
  shared_.words.regions = std::make_shared<const Dictionary>(Dictionary{options.regions});
}

void Work::finish(int64_t index, int64_t lines, UnitRejects rejects) {
  lines_[static_cast<size_t>(index)] = lines;
  if (rejects.count > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    size_t before = 0;
    for (auto at = rejects_.begin(); at != rejects_.end() && at->first < index; ++at) before += at->second.kept.size();
    // Rejects that can no longer be among the first ones are counted, not kept.
    rejects.kept.resize(std::min(rejects.kept.size(), kMostRejects - std::min(before, kMostRejects)));
    rejects_[index] = std::move(rejects);
  }
  const Unit& unit = units_[static_cast<size_t>(index)];
  const SourceFile& file = shared_.files[static_cast<size_t>(unit.file)];
  if (file.open) progress_.bytes.fetch_add(file.size, std::memory_order_relaxed);  // what it takes on the disk
  if (file.open || unit.end >= std::min(file.size, file.range_end)) progress_.files.fetch_add(1, std::memory_order_relaxed);
}

void Work::fail(int64_t index, std::exception_ptr failure) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (index >= failed_.load(std::memory_order_relaxed)) return;
  failure_ = std::move(failure);
  failed_.store(index, std::memory_order_release);
}

int64_t Work::first_line(int64_t index) {
  const int64_t f = unit(index).file;
  const SourceFile& file = shared_.files[static_cast<size_t>(f)];
  int64_t line = 2;
  while (index > 0 && unit(index - 1).file == f) line += lines_[static_cast<size_t>(--index)];
  if (file.range_begin <= file.header_bytes) return line;
  const auto known = skipped_lines_.find(f);
  if (known != skipped_lines_.end()) return line + known->second;
  // Of what comes before the range, the reader saw only the end of the last line.
  int64_t skipped = 1;
  TextWindow window;
  window.open(file, file.header_bytes);
  while (window.offset() < file.range_begin - 1 && !window.ended()) {
    const int64_t n = std::min<int64_t>(static_cast<int64_t>(window.size()), file.range_begin - 1 - window.offset());
    skipped += std::count(window.data(), window.data() + n, '\n');
    window.consume(static_cast<size_t>(n));
    if (window.size() == 0) window.fill();
  }
  skipped_lines_[f] = skipped;
  return line + skipped;
}

void Work::rethrow() {
  const int64_t index = failed();
  try {
    std::rethrow_exception(failure_);
  } catch (const RaisedReject& raised) {
    const LocalReject& reject = raised.reject;
    const SourceFile& file = shared_.files[static_cast<size_t>(unit(index).file)];
    const Place place = {file.name, first_line(index) + reject.line, reject.byte, reject.column, reject.text, reject.expected};
    throw TraceFailure(message_of(place), place);
  }
}

std::vector<Reject> Work::rejects(int64_t units, int64_t* count) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Reject> all;
  *count = 0;
  for (const auto& [index, found] : rejects_) {
    if (index >= units) break;
    *count += found.count;
    if (all.size() >= kMostRejects) continue;
    const int64_t first = first_line(index);
    for (const LocalReject& r : found.kept) {
      if (all.size() >= kMostRejects) break;
      all.push_back({unit(index).file, first + r.line, r.byte, r.column, r.text, r.expected, r.action});
    }
  }
  return all;
}

// ---- one worker ----------------------------------------------------------------------------------------------------------

void Worker::run(int64_t index, const Deliver& deliver) {
  line_ = 0;
  rows_ = 0;
  rejects_ = UnitRejects();
  const SourceFile& file = work_.shared().files[static_cast<size_t>(work_.unit(index).file)];
  try {
    read_unit(index, deliver);
    work_.finish(index, line_, std::move(rejects_));
  } catch (const Stopped&) {
    if (builder_.started()) builder_.finish();
  } catch (const TraceFailure& failure) {
    if (builder_.started()) builder_.finish();
    if (!file.open) return work_.fail(index, std::current_exception());
    // A decoder that fails in the middle: whoever took the batches must know how much of the file they hold.
    const std::string told = std::string(failure.what()) + " (" + std::to_string(rows_) + " rows of it were delivered before)";
    work_.fail(index, std::make_exception_ptr(TraceFailure(told, failure.place())));
  } catch (...) {
    if (builder_.started()) builder_.finish();
    work_.fail(index, std::current_exception());
  }
}

void Worker::read_unit(int64_t index, const Deliver& deliver) {
  const Unit& unit = work_.unit(index);
  const SourceFile& file = work_.shared().files[static_cast<size_t>(unit.file)];
  const int64_t block = std::max<int64_t>(work_.shared().options.block_bytes, 1);
  decoder_.begin_file(unit.file);
  const bool within = unit.begin > file.header_bytes;
  window_.open(file, within ? unit.begin - 1 : file.header_bytes, unit.end);
  if (within) skip_line();
  for (int64_t begin = unit.begin; begin < unit.end;) {
    const int64_t next = file.header_bytes + ((begin - file.header_bytes) / block + 1) * block;
    const int64_t end = std::min(next, unit.end);
    const int64_t first_byte = window_.offset();
    const bool more = read_range(index, end);
    if (!flush(index, first_byte, deliver)) throw Stopped();
    if (!more) break;
    begin = end;
  }
}

// The row that the unit before this one owns.
void Worker::skip_line() {
  for (;;) {
    const void* feed = std::memchr(window_.data(), '\n', window_.size());
    if (feed != nullptr) {
      window_.consume(static_cast<size_t>(static_cast<const char*>(feed) - window_.data()) + 1);
      return;
    }
    window_.consume(window_.size());
    if (window_.ended()) return;
    window_.fill();
  }
}

// Rows that start before `end`. False: the file ends here.
bool Worker::read_range(int64_t index, int64_t end) {
  const SourceFile& file = work_.shared().files[static_cast<size_t>(work_.unit(index).file)];
  Progress& progress = work_.progress();
  while (window_.offset() < end) {
    if (work_.obsolete(index)) throw Stopped();
    const int64_t left = end - window_.offset();
    // The few rows at the window's end would cost nearly as much as a whole sub-block.
    if (window_.size() < static_cast<size_t>(std::min<int64_t>(left, kSubBlock)) && !window_.ended()) {
      window_.fill();
      continue;
    }
    const char* text = window_.data();
    size_t n = std::min<size_t>(window_.size(), kSubBlock);
    const char* last = n == 0 ? nullptr : static_cast<const char*>(::memrchr(text, '\n', n));
    if (last == nullptr) {
      if (n == kSubBlock) {
        decoder_.refuse_long_row(text, window_.offset(), line_, &rejects_);
        skip_line();
        ++line_;
      } else if (window_.ended()) {
        return false;
      } else {
        window_.fill();
      }
      continue;
    }
    n = static_cast<size_t>(last - text) + 1;
    if (static_cast<int64_t>(n) > left) {  // rows that start later are another unit's
      const char* from = text + left - 1;
      n = static_cast<size_t>(static_cast<const char*>(std::memchr(from, '\n', n - static_cast<size_t>(left - 1))) - text) + 1;
    }
    // For the first guess at the number of rows. A stream's length is not known.
    const int64_t remaining = file.open ? left : std::min(left, file.size - window_.offset());
    line_ += decoder_.decode(text, static_cast<uint32_t>(n), window_.offset(), line_, remaining, &builder_, &rejects_);
    window_.consume(n);
    if (!file.open) progress.bytes.fetch_add(static_cast<int64_t>(n), std::memory_order_relaxed);
  }
  return true;
}

bool Worker::flush(int64_t index, int64_t first_byte, const Deliver& deliver) {
  if (!builder_.started()) return true;
  std::shared_ptr<Batch> batch = builder_.finish();
  decoder_.add_dictionaries(batch.get());
  batch->file = work_.unit(index).file;
  batch->first_byte = first_byte;
  batch->bytes = window_.offset() - first_byte;
  rows_ += batch->rows;
  work_.progress().rows.fetch_add(batch->rows, std::memory_order_relaxed);
  return deliver(index, std::move(batch));
}

}  // namespace rewarm::trace
