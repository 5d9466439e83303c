// Coverage-guided fuzzing of the CSV readers with libFuzzer: never a crash, and always what fuzz_law.h says.
//
//   tests/trace/fuzz_reader.sh [SECONDS] [CORPUS]
//
// The first byte of an input chooses table, kind of ids, policy, order of columns and repetition; the rest is a CSV file whose
// header is made here, because Python reads headers. Each input is read as a stream in small pieces on one thread and as a
// file in small blocks on two; both must agree with each other and with the law, in cells, rejects, and the first error.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "fuzz_law.h"
#include "trace/reader.h"
#include "trace/trace_error.h"

namespace {

using namespace rewarm::trace;  // NOLINT: a test

constexpr uint8_t kRequest = 1, kTextIds = 2, kPolicy = 12, kReversed = 16, kDerived = 32, kRepeated = 64, kCrlfHeader = 128;

constexpr size_t kRepeatedBytes = 70000;

class Memory : public ByteSource {
 public:
  Memory(const std::string* text, size_t piece) : text_(text), piece_(piece) {}
  size_t read(char* buffer, size_t n) override {
    n = std::min({n, piece_, text_->size() - at_});
    std::copy_n(text_->data() + at_, n, buffer);
    at_ += n;
    return n;
  }

 private:
  const std::string* text_;
  size_t piece_;
  size_t at_ = 0;
};

// Cells as fuzz_law.h spells them. A pod that was taken apart is one cell again.
std::string cell(const Column& column, int64_t row) {
  if (!column.valid(row)) return fuzz::null_cell();
  switch (column.type) {
    case Type::kInt8: return std::to_string(column.data<int8_t>()[row]);
    case Type::kInt16: return std::to_string(column.data<int16_t>()[row]);
    case Type::kInt32: return std::to_string(column.data<int32_t>()[row]);
    case Type::kInt64: return std::to_string(column.data<int64_t>()[row]);
    case Type::kFloat64: return fuzz::bits_of(column.data<double>()[row]);
    case Type::kDictionary: return column.dictionary->words.at(static_cast<size_t>(column.data<int32_t>()[row]));
    case Type::kUtf8: {
      const int32_t* offsets = reinterpret_cast<const int32_t*>(column.offsets->data());
      return std::string(column.data<char>() + offsets[row], static_cast<size_t>(offsets[row + 1] - offsets[row]));
    }
    case Type::kFixedBinary: {
      std::string text;
      for (int32_t i = 0; i < column.width; ++i) {
        char pair[3];
        std::snprintf(pair, sizeof pair, "%02x", column.values->data()[row * column.width + i]);
        text += pair;
      }
      return text;
    }
    case Type::kUtf8List: break;
  }
  return "?";
}

fuzz::Reading read_all(const SourceFile& file, const ReadOptions& options) {
  fuzz::Reading reading;
  OrderedReader reader({file}, options, true);
  try {
    for (;;) {
      std::shared_ptr<const Batch> batch;
      const OrderedReader::Next next = reader.next(1000, &batch);
      if (next == OrderedReader::Next::kEnd) break;
      if (next == OrderedReader::Next::kWait) continue;
      for (int64_t row = 0; row < batch->rows; ++row) {
        std::string text;
        for (const Column& column : batch->columns) text += cell(column, row) + "|";
        reading.rows.push_back(text);
      }
    }
  } catch (const TraceFailure& failure) {
    const Place& place = failure.place();
    reading.refused.push_back(std::to_string(place.line) + ":" + std::to_string(place.byte) + ":" + place.column);
    return reading;
  }
  int64_t count = 0;
  for (const Reject& reject : reader.rejects(&count))
    reading.refused.push_back(std::to_string(reject.line) + ":" + std::to_string(reject.byte) + ":" + reject.column);
  if (count != static_cast<int64_t>(reading.refused.size()) && count <= static_cast<int64_t>(kMostRejects)) std::abort();
  return reading;
}

[[noreturn]] void differ(const char* what, const fuzz::Reading& a, const fuzz::Reading& b) {
  std::fprintf(stderr, "%s: %zu rows and %zu refused, %zu rows and %zu refused\n", what, a.rows.size(), a.refused.size(),
               b.rows.size(), b.refused.size());
  for (size_t i = 0; i < std::max(a.rows.size(), b.rows.size()); ++i) {
    const std::string x = i < a.rows.size() ? a.rows[i] : "(none)", y = i < b.rows.size() ? b.rows[i] : "(none)";
    if (x == y) continue;
    std::fprintf(stderr, "row %zu:\n  %s\n  %s\n", i, x.c_str(), y.c_str());
    break;
  }
  for (size_t i = 0; i < std::max(a.refused.size(), b.refused.size()); ++i) {
    const std::string x = i < a.refused.size() ? a.refused[i] : "(none)", y = i < b.refused.size() ? b.refused[i] : "(none)";
    if (x == y) continue;
    std::fprintf(stderr, "refused %zu:\n  %s\n  %s\n", i, x.c_str(), y.c_str());
    break;
  }
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t choice = data[0];
  const bool request = (choice & kRequest) != 0;
  const fuzz::Policy policy = static_cast<fuzz::Policy>(std::min((choice & kPolicy) >> 2, 2));
  const auto& columns = fuzz::law_columns(request);
  std::vector<int> order(columns.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(choice & kReversed ? order.size() - 1 - i : i);

  SourceFile file;
  file.name = "fuzz.csv";
  std::string text;
  for (const int c : order) {
    file.header.push_back(columns[static_cast<size_t>(c)].name);
    text += (text.empty() ? "" : ",") + file.header.back();
  }
  file.crlf = (choice & kCrlfHeader) != 0;
  text += file.crlf ? "\r\n" : "\n";
  file.header_bytes = static_cast<int64_t>(text.size());
  const std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
  text += body;
  // Past the 32 KiB of a sub-block twice, in few steps; seldom, because it takes long.
  if (choice & kRepeated && size % 8 == 0 && body.size() < 4096)
    for (size_t n = kRepeatedBytes / body.size(); n > 0; --n) text += body;

  ReadOptions options;
  options.table = request ? "request" : "cold_start";
  options.text_ids = (choice & kTextIds) != 0;
  options.on_error = static_cast<OnError>(policy);
  options.regions = {"R1"};
  options.block_bytes = 200000;  // its memory is poisoned and checked: the usual 8 MiB would be most of the time
  file.region = 0;
  file.size = static_cast<int64_t>(text.size());
  SourceFile stream = file;
  const size_t piece = 1 + (size * 7919) % 70000;
  stream.open = [&] { return std::make_unique<Memory>(&text, piece); };

  // Without the region at the end of each row, which the law does not know.
  for (const fuzz::LawColumn& column : columns) {
    if (column.kind == fuzz::Kind::kPodId && !options.text_ids) {
      options.columns.push_back("poolName");
      options.columns.push_back("pod_serial");
    } else {
      options.columns.push_back(column.name);
    }
  }
  const fuzz::Reading as_stream = read_all(stream, options);
  fuzz::Reading expected = fuzz::law(text, static_cast<size_t>(file.header_bytes), request, order, options.text_ids, policy);
  if (policy == fuzz::Policy::kRaise && !expected.refused.empty()) {
    // How many of the rows before the error were delivered depends on where a batch ends.
    if (as_stream.rows.size() > expected.rows.size()) differ("rows after an error", as_stream, expected);
    expected.rows.resize(as_stream.rows.size());
  }
  if (expected.refused.size() > kMostRejects) expected.refused.resize(kMostRejects);
  if (!(as_stream == expected)) differ("a stream against the law", as_stream, expected);

  const int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
  if (descriptor < 0 || write(descriptor, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  file.path = "/proc/self/fd/" + std::to_string(descriptor);
  options.threads = 2;
  options.block_bytes = 1 + static_cast<int64_t>(size * 104729 % 30000);
  fuzz::Reading as_file = read_all(file, options);
  if (policy == fuzz::Policy::kRaise && !expected.refused.empty()) {
    const size_t both = std::min(as_file.rows.size(), expected.rows.size());
    as_file.rows.resize(both);
    expected.rows.resize(both);
  }
  if (!(as_file == expected)) differ("a file in blocks against the law", as_file, expected);

  if (choice & kDerived) {  // what the law does not have must at least not fall over, with filters on top
    options.columns = {"podID", "funcID", "size",        "pool_class", "cpu_limit",     "memory_limit", "day",
                       "hour",  "minute", "hour_of_day", "runtime",    "trigger_group", "region",       "requestID"};
    options.runtime = std::make_shared<FunctionTable>();
    options.time_begin = 0.0;
    options.time_end = 2678400.0;
    options.clusters = {1, 2, 3};
    read_all(stream, options);
    read_all(file, options);
  }
  close(descriptor);
  return 0;
}
