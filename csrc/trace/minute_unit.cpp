#include "trace/minute_unit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rewarm::trace {
namespace {

// Characters of a quoted field, which holds a number.
constexpr int64_t kLongestQuoted = 4096;

// Thrown to leave a unit; Work::fail makes the error from MinuteResult::failure, when the line number is known.
struct RaisedField {};

const char* line_end(const char* at, const char* limit) {
  return static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(limit - at)));
}

}  // namespace

UnitReader::UnitReader(const std::vector<MinuteFile>& files, const MinuteOptions& options, Progress& progress)
    : files_(files), options_(options), progress_(progress), scan_cells_(scan_cells()) {}

void UnitReader::read(const MinuteUnit& unit, MinuteResult* result, bool ahead, const std::function<bool()>& stop) {
  unit_ = unit;
  result_ = result;
  file_ = &files_[static_cast<size_t>(unit.file)];
  scan_.columns = static_cast<int32_t>(file_->header->names.size());
  scan_.cells = 0;
  functions_ = values_ = times_ = nullptr;
  null_values_.clear();
  null_times_.clear();

  const bool aligned = unit.begin == file_->source.header_bytes;
  window_.open(file_->source, aligned ? unit.begin : unit.begin - 1, ahead);
  // A row that begins before the unit belongs to the one before it. The byte before is looked at, so that a row that begins
  // exactly here is ours.
  for (bool found = aligned; !found;) {
    if (window_.size() == 0) {
      window_.fill();
      if (window_.size() == 0) return;
    }
    const char* feed = line_end(window_.data(), window_.data() + window_.size());
    found = feed != nullptr;
    window_.consume(found ? static_cast<size_t>(feed + 1 - window_.data()) : window_.size());
  }
  if (window_.offset() >= unit.end) return;

  batch_begin_ = unit.begin;
  batch_end_ = batch_edge(unit.begin);
  bool in_row = false;
  int64_t counted = window_.offset();
  for (bool more = true; more;) {
    if (stop()) return;
    // A row's first bytes are kept for its error, so a row is begun only when they are there.
    if (window_.size() == 0 || (!in_row && window_.size() < kShownBytes && !window_.ended())) window_.fill();
    if (window_.size() == 0 && window_.ended()) {
      // A last line that ends in a comma: it was consumed before anybody knew that nothing follows.
      if (in_row) end_row(window_.offset());
      break;
    }
    const char* at = window_.data();
    const char* const all = at + window_.size();
    reserve(window_.size());
    // Fields are taken whole: what follows the last delimiter waits for more text.
    const char* limit = all;
    while (limit > at && limit[-1] != ',' && limit[-1] != '\n') --limit;
    bool needs_text = at == limit;
    while (at < limit && !needs_text) {
      if (!in_row) {
        more = offset_of(at) < unit.end;
        needs_text = static_cast<size_t>(all - at) < kShownBytes && !window_.ended();
        if (!more || needs_text) break;
        begin_row(at);
        in_row = true;
      }
      if (row_lost_) {
        const char* feed = line_end(at, all);
        at = feed != nullptr ? feed : all;
        if (feed == nullptr) break;
      } else {
        at = scan_cells_(at, limit, &scan_);
        if (at < limit && *at != '\n') {
          const Field field = take_field(&at);
          needs_text = field == Field::kNeedsText;
          // Its delimiter comes next.
          if (field == Field::kDone && *at == ',') {
            ++at;
            ++scan_.column;
          }
          if (field != Field::kDone || at == limit || *at != '\n') continue;
        }
      }
      if (at < limit) {
        end_row(offset_of(at));
        ++at;
        in_row = false;
        if (offset_of(at) >= batch_end_) end_batch(offset_of(at));
      }
    }
    window_.consume(static_cast<size_t>(at - window_.data()));
    progress_.bytes += window_.offset() - counted;
    counted = window_.offset();
    if (!more || !(needs_text || (in_row && window_.size() > 0))) continue;
    if (window_.size() >= kSubBlock) {
      if (!in_row) begin_row(window_.data());
      in_row = true;
      lose_row("a comma or a line feed within " + std::to_string(kSubBlock) + " bytes");
      window_.consume(window_.size());
    } else {
      window_.fill();
    }
  }
  end_batch(window_.offset());
  if (unit.end == std::numeric_limits<int64_t>::max()) ++progress_.files;
}

int64_t UnitReader::batch_edge(int64_t row) const {
  const int64_t first = file_->source.header_bytes;
  return first + ((row - first) / options_.block_bytes + 1) * options_.block_bytes;
}

void UnitReader::begin_row(const char* at) {
  row_begin_ = offset_of(at);
  row_text_size_ = std::min(kShownBytes, window_.size() - static_cast<size_t>(at - window_.data()));
  std::memcpy(row_text_, at, row_text_size_);
  row_cells_ = scan_.cells;
  row_null_values_ = null_values_.size();
  row_lost_ = row_filtered_ = row_skipped_ = row_bad_time_ = has_time_ = false;
  row_rejects_.clear();
  scan_.column = 0;
  scan_.codes = file_->header->codes.data();
}

// The row cannot be cut into fields: one error stands for all of it.
void UnitReader::lose_row(const std::string& expected) {
  const void* feed = std::memchr(row_text_, '\n', row_text_size_);
  const char* end = feed != nullptr ? static_cast<const char*>(feed) : row_text_ + row_text_size_;
  if (end > row_text_ && end[-1] == '\r') --end;
  row_rejects_.clear();
  reject(row_begin_, "", row_text_, end, expected, "row skipped");
  row_lost_ = true;
}

// `end`: where its line feed stands in the file; scan_.column is the column of its last field.
void UnitReader::end_row(int64_t end) {
  const int64_t length = end - row_begin_;
  const bool blank = length == 0 || (length == 1 && row_text_[0] == '\r');
  if (!blank && !row_lost_ && scan_.column + 1 != scan_.columns)
    lose_row(std::to_string(scan_.columns) + " fields (this row has " + std::to_string(scan_.column + 1) + ")");
  const int64_t line = ++result_->lines;
  const bool bounded = !std::isnan(options_.time_begin) || !std::isnan(options_.time_end);
  row_filtered_ = row_filtered_ || (bounded && !has_time_);
  // A bad time is an error whatever the filter; what else is wrong in a row that is left out is not looked at.
  if (blank || (row_filtered_ && !row_bad_time_ && !row_lost_)) row_rejects_.clear();
  const bool keep = !blank && !row_lost_ && !row_filtered_ && !row_skipped_;

  if (!row_rejects_.empty()) {
    result_->rejected += static_cast<int64_t>(row_rejects_.size());
    for (Reject& one : row_rejects_) {
      one.line = line;
      if (options_.on_error == OnError::kRaise) {
        one.action = "raised";
        result_->failed = true;
        result_->failure = one;
        throw RaisedField();
      }
      if (result_->rejects.size() < kMostRejects) result_->rejects.push_back(std::move(one));
    }
    row_rejects_.clear();
  }
  if (!keep) {
    scan_.cells = row_cells_;
    null_values_.resize(row_null_values_);
    return;
  }
  int32_t* times = reinterpret_cast<int32_t*>(times_->data());
  std::fill(times + row_cells_, times + scan_.cells, has_time_ ? time_ : 0);
  if (!has_time_)
    for (int64_t cell = row_cells_; cell < scan_.cells; ++cell) null_times_.push_back(cell);
  progress_.rows += scan_.cells - row_cells_;
}

// The field at *at, which the scan left to us; afterwards *at is its delimiter, unless the field goes on behind the window.
UnitReader::Field UnitReader::take_field(const char** at) {
  const char* begin = *at;
  const char* all = window_.data() + window_.size();
  const char* end = begin;
  if (*begin == '"') {
    // No number is that long: a quote that is still open is not waited for.
    const char* stop = all - begin > kLongestQuoted ? begin + kLongestQuoted : all;
    const char* feed = line_end(begin, stop);
    const bool cut = feed == nullptr && stop == all;
    if (feed != nullptr) stop = feed;
    for (++end;; ++end) {
      const char* quote = static_cast<const char*>(std::memchr(end, '"', static_cast<size_t>(stop - end)));
      if (quote == nullptr || quote + 1 == all) return cut ? Field::kNeedsText : lost_quote();
      end = quote + 1;
      if (*end != '"') break;
      if (end + 1 >= stop) return cut ? Field::kNeedsText : lost_quote();
    }
    const char* after = end;
    if (*after == '\r') {
      if (++after == all) return Field::kNeedsText;
      if (*after != '\n') return lost_quote();
    }
    if (*after != ',' && *after != '\n') return lost_quote();
    *at = after;
  } else {
    while (*end != ',' && *end != '\n') ++end;
    *at = end;
    if (*end == '\n' && end > begin && end[-1] == '\r') --end;
  }
  if (scan_.column < scan_.columns) take_value(begin, end);
  return Field::kDone;
}

UnitReader::Field UnitReader::lost_quote() {
  lose_row("a closing quote before the end of the line, followed by a comma or the line's end");
  return Field::kLost;
}

void UnitReader::take_value(const char* begin, const char* end) {
  const int64_t byte = offset_of(begin);
  const int32_t code = scan_.codes[scan_.column];
  if (code == kUnwantedColumn || is_null_field(begin, end)) return;
  const FieldText text = unquoted(begin, end, &scratch_);
  const bool skip = options_.on_error == OnError::kSkip;
  if (code == kDayColumn) {
    int32_t day;
    if (parse_int32(text.begin, text.end, &day) == Parsed::kOk) return;
    bad_field(begin, end, byte, "a whole number of days");
    row_skipped_ = row_skipped_ || skip;
  } else if (code == kTimeColumn) {
    if (parse_int32(text.begin, text.end, &time_) != Parsed::kOk) {
      bad_field(begin, end, byte, "a whole number of seconds since the trace began");
      row_bad_time_ = true;
      row_skipped_ = row_skipped_ || skip;
      return;
    }
    has_time_ = true;
    // NaN, an open end, compares false.
    row_filtered_ = time_ < options_.time_begin || time_ >= options_.time_end;
    if (row_filtered_) scan_.codes = file_->header->no_codes.data();
  } else {
    double value = 0;
    if (parse_float64(text.begin, text.end, &value) != Parsed::kOk) {
      bad_field(begin, end, byte, "a decimal number");
      if (skip) return;
      null_values_.push_back(scan_.cells);
      value = std::numeric_limits<double>::quiet_NaN();
    }
    scan_.functions[scan_.cells] = code;
    scan_.values[scan_.cells] = value;
    ++scan_.cells;
  }
}

void UnitReader::bad_field(const char* begin, const char* end, int64_t byte, const char* expected) {
  const bool skip = options_.on_error == OnError::kSkip;
  reject(byte, file_->header->names[static_cast<size_t>(scan_.column)], begin, end, expected, skip ? "row skipped" : "null");
}

void UnitReader::reject(int64_t byte, const std::string& column, const char* begin, const char* end,
                        const std::string& expected, const char* action) {
  const std::string text(begin, std::min(kShownBytes, static_cast<size_t>(end - begin)));
  row_rejects_.push_back({unit_.file, result_->lines + 1, byte, column, text, expected, action});
}

// Room for the cells of so much more text, one in two bytes at most.
void UnitReader::reserve(size_t text_bytes) {
  const size_t cells = static_cast<size_t>(scan_.cells) + text_bytes / 2 + 1;
  if (functions_ == nullptr) {
    functions_ = std::make_shared<Buffer>();
    values_ = std::make_shared<Buffer>();
    times_ = std::make_shared<Buffer>();
  }
  if (cells * sizeof(double) > values_->capacity()) {
    const size_t room = std::max(cells, values_->capacity() / sizeof(double) * 2);
    functions_->resize(static_cast<size_t>(scan_.cells) * sizeof(int32_t));
    values_->resize(static_cast<size_t>(scan_.cells) * sizeof(double));
    times_->resize(static_cast<size_t>(scan_.cells) * sizeof(int32_t));
    functions_->reserve(room * sizeof(int32_t));
    values_->reserve(room * sizeof(double));
    times_->reserve(room * sizeof(int32_t));
  }
  scan_.functions = reinterpret_cast<int32_t*>(functions_->data());
  scan_.values = reinterpret_cast<double*>(values_->data());
}

namespace {

std::shared_ptr<Buffer> bitmap_without(const std::vector<int64_t>& nulls, int64_t rows) {
  if (nulls.empty()) return nullptr;
  auto bits = std::make_shared<Buffer>(static_cast<size_t>(rows + 7) / 8);
  bits->resize(static_cast<size_t>(rows + 7) / 8);
  std::memset(bits->data(), 0xff, bits->size());
  for (const int64_t row : nulls) bits->data()[row >> 3] &= static_cast<uint8_t>(~(1 << (row & 7)));
  return bits;
}

// A column that says the same in every row of a file.
Column constant_column(int32_t code, std::shared_ptr<const Dictionary> words, int64_t rows) {
  Column column;
  column.type = Type::kDictionary;
  column.width = sizeof(int32_t);
  column.values = std::make_shared<Buffer>(static_cast<size_t>(rows) * sizeof(int32_t));
  column.values->resize(static_cast<size_t>(rows) * sizeof(int32_t));
  std::fill_n(reinterpret_cast<int32_t*>(column.values->data()), rows, std::max(code, 0));
  if (code < 0) {
    column.validity = std::make_shared<Buffer>(static_cast<size_t>(rows + 7) / 8);
    column.validity->resize(static_cast<size_t>(rows + 7) / 8);
    std::memset(column.validity->data(), 0, column.validity->size());
    column.null_count = rows;
  }
  column.dictionary = std::move(words);
  return column;
}

}  // namespace

void UnitReader::end_batch(int64_t next_begin) {
  const int64_t rows = scan_.cells;
  if (rows > 0) {
    functions_->resize(static_cast<size_t>(rows) * sizeof(int32_t));
    values_->resize(static_cast<size_t>(rows) * sizeof(double));
    times_->resize(static_cast<size_t>(rows) * sizeof(int32_t));
    auto built = std::make_shared<Batch>();
    Batch& batch = *built;
    batch.rows = rows;
    batch.file = unit_.file;
    batch.first_byte = batch_begin_;
    batch.bytes = next_begin - batch_begin_;
    for (const std::string& name : options_.columns) {
      Column column;
      if (name == "region") {
        column = constant_column(file_->source.region, options_.regions, rows);
      } else if (name == "metric") {
        column = constant_column(file_->metric, options_.metrics, rows);
      } else if (name == "stat") {
        column = constant_column(file_->stat, options_.stats, rows);
      } else if (name == "funcID") {
        column.type = Type::kDictionary;
        column.width = sizeof(int32_t);
        column.values = functions_;
        column.dictionary = options_.functions;
      } else if (name == "time") {
        column.type = Type::kInt32;
        column.width = sizeof(int32_t);
        column.values = times_;
        column.validity = bitmap_without(null_times_, rows);
        column.null_count = static_cast<int64_t>(null_times_.size());
      } else {
        column.type = Type::kFloat64;
        column.values = values_;
        column.validity = bitmap_without(null_values_, rows);
        column.null_count = static_cast<int64_t>(null_values_.size());
      }
      batch.columns.push_back(std::move(column));
    }
    result_->batches.push_back(std::move(built));
    functions_ = values_ = times_ = nullptr;
  }
  null_values_.clear();
  null_times_.clear();
  scan_.cells = 0;
  batch_begin_ = next_begin;
  batch_end_ = batch_edge(next_begin);
  // The text that follows in this window is still to be read into it.
  reserve(window_.size());
}

}  // namespace rewarm::trace
