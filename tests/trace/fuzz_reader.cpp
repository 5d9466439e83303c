// Coverage-guided fuzzing of the CSV readers with libFuzzer: never a crash, and always what fuzz_law.h says.
//
//   tests/trace/fuzz_reader.sh [SECONDS] [CORPUS]
//
// The first byte of an input chooses table, kind of ids, policy, order of columns and repetition (where both bits of the policy
// are set, a minute table, and what else it says is below); the rest is a CSV file whose header is made here, because Python
// reads headers. Each input is read as a stream in small pieces on one thread and as a
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
#include "fuzz_minute.h"
#include "trace/kernels.h"
#include "trace/minute.h"
#include "trace/reader.h"
#include "trace/trace_error.h"

namespace {

using namespace rewarm::trace;  // NOLINT: a test

constexpr uint8_t kRequest = 1, kTextIds = 2, kPolicy = 12, kReversed = 16, kDerived = 32, kRepeated = 64, kCrlfHeader = 128;

// Of a minute table: many functions or few, repetition, policy.
constexpr uint8_t kMany = 1, kMinuteRepeated = 2;
constexpr int kMinutePolicyShift = 5;

constexpr size_t kRepeatedBytes = 70000;

class Memory : public ByteSource {
 public:
  Memory(const std::string* text, size_t piece) : text_(text), piece_(piece) {}
  Chunk read(size_t n) override {
    n = std::min({n, piece_, text_->size() - at_});
    at_ += n;
    return {text_->data() + at_ - n, n, nullptr};
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

// Until the first error, how many rows were delivered depends on where a batch ends.
void compare(const char* what, fuzz::Reading found, fuzz::Reading expected, fuzz::Policy policy) {
  if (policy == fuzz::Policy::kRaise && !expected.refused.empty()) {
    if (found.rows.size() > expected.rows.size()) differ("rows after an error", found, expected);
    expected.rows.resize(found.rows.size());
  }
  if (expected.refused.size() > kMostRejects) expected.refused.resize(kMostRejects);
  if (!(found == expected)) differ(what, found, expected);
}

int memory_file(const std::string& text) {
  const int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
  if (descriptor < 0 || write(descriptor, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  return descriptor;
}

fuzz::Reading read_minutes(const SourceFile& source, const std::shared_ptr<const MinuteHeader>& header,
                           const MinuteOptions& options) {
  fuzz::Reading reading;
  MinuteReader reader({{source, header, -1, -1}}, options);
  try {
    while (const std::shared_ptr<const Batch> batch = reader.next(Poll())) {
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
  for (const Reject& reject : reader.rejects())
    reading.refused.push_back(std::to_string(reject.line) + ":" + std::to_string(reject.byte) + ":" + reject.column);
  const int64_t kept = static_cast<int64_t>(reading.refused.size());
  if (reader.rejected() != kept && reader.rejected() <= static_cast<int64_t>(kMostRejects)) std::abort();
  return reading;
}

void fuzz_minutes(uint8_t choice, const std::string& body) {
  const fuzz::Policy policy = static_cast<fuzz::Policy>(std::min(choice >> kMinutePolicyShift & 3, 2));
  const std::vector<std::string> names = fuzz::minute_names(choice & kMany ? 90 : 3, (choice & kReversed) != 0);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ",") + name;
  SourceFile file;
  file.name = "fuzz.csv";
  file.crlf = (choice & kCrlfHeader) != 0;
  text += file.crlf ? "\r\n" : "\n";
  file.header_bytes = static_cast<int64_t>(text.size());
  text += body;
  // Short enough that no row or field grows past the reader's window, where it has a law of its own.
  if (choice & kMinuteRepeated && body.size() % 8 == 0 && !body.empty() && body.size() < fuzz::kLongestQuoted / 2 &&
      body.find('\n') != std::string::npos)
    for (size_t n = kRepeatedBytes / body.size(); n > 0; --n) text += body;
  file.size = static_cast<int64_t>(text.size());

  auto functions = std::make_shared<Dictionary>();
  const auto header = make_minute_header(file.name, names, {}, false, functions.get());
  MinuteOptions options;
  options.columns = {"funcID", "time", "value"};
  options.on_error = static_cast<OnError>(policy);
  options.block_bytes = 200000;
  options.functions = functions;
  options.regions = options.metrics = options.stats = std::make_shared<Dictionary>();
  const fuzz::Reading expected = fuzz::minute_law(text, static_cast<size_t>(file.header_bytes), names, policy);

  SourceFile stream = file;
  stream.open = [&] { return std::make_unique<Memory>(&text, 1 + (body.size() * 7919) % 70000); };
  compare("a stream of minutes against the law", read_minutes(stream, header, options), expected, policy);

  const int descriptor = memory_file(text);
  file.path = "/proc/self/fd/" + std::to_string(descriptor);
  options.threads = 2;
  options.block_bytes = 1 + static_cast<int64_t>(body.size() * 104729 % 30000);
  compare("a file of minutes in blocks against the law", read_minutes(file, header, options), expected, policy);
  close(descriptor);
}

}  // namespace

// Says once which kernels are tried.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::fprintf(stderr, "kernels: %s\n", kernels().name);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t choice = data[0];
  if ((choice & kPolicy) == kPolicy) {
    if (size <= fuzz::kLongestQuoted) fuzz_minutes(choice, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
    return 0;
  }
  const bool request = (choice & kRequest) != 0;
  const fuzz::Policy policy = static_cast<fuzz::Policy>((choice & kPolicy) >> 2);
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
  const fuzz::Reading expected =
      fuzz::law(text, static_cast<size_t>(file.header_bytes), request, order, options.text_ids, policy);
  compare("a stream against the law", read_all(stream, options), expected, policy);

  const int descriptor = memory_file(text);
  file.path = "/proc/self/fd/" + std::to_string(descriptor);
  options.threads = 2;
  options.block_bytes = 1 + static_cast<int64_t>(size * 104729 % 30000);
  compare("a file in blocks against the law", read_all(file, options), expected, policy);

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
