#include "trace/decoder.h"

#include <algorithm>
#include <cstring>

#include "trace/number.h"
#include "trace/text.h"
#include "trace/trace_error.h"

namespace rewarm::trace {
namespace {

constexpr int64_t kMostRows = kSubBlock / 2;  // a row is at least one character and its line end
constexpr size_t kRowWords = kMostRows / 64 + 1;

}  // namespace

Decoder::Decoder(Shared* shared)
    : shared_(*shared),
      plan_(shared->plan),
      options_(shared->options),
      kernels_(kernels()),
      pools_(&shared->words.pools),
      functions_(plan_, options_, &shared->words),
      hints_(plan_.table->columns.size()),
      found_(kSubBlock + 65),
      scratch_(plan_.table->columns.size()),
      odd_(kRowWords),
      bad_(kRowWords),
      pool_codes_(static_cast<size_t>(kMostRows)) {
  for (Scratch& s : scratch_) s.nulls.resize(kRowWords);
  found_[0] = 0xffff;
}

void Decoder::begin_file(int64_t file) {
  if (file == file_) return;
  file_ = file;
  const SourceFile& source = shared_.files[static_cast<size_t>(file)];
  const std::vector<int32_t> published = map_columns(source, plan_, options_.ignore_unknown);
  columns_ = static_cast<int32_t>(published.size());
  tasks_.clear();
  filter_tasks_.clear();
  const auto task = [&](size_t c) {
    return Task{published[c], static_cast<int32_t>(c), plan_.table->columns[static_cast<size_t>(published[c])].kind};
  };
  for (size_t c = 0; c < published.size(); ++c)
    if (published[c] >= 0 && plan_.needed[static_cast<size_t>(published[c])]) tasks_.push_back(task(c));
  // The function's three columns in the file's order, after time and cluster.
  for (const int32_t first : {plan_.table->time, plan_.cluster}) {
    if (std::find(plan_.filters.begin(), plan_.filters.end(), first) == plan_.filters.end()) continue;
    filter_tasks_.push_back(
        task(static_cast<size_t>(std::find(published.begin(), published.end(), first) - published.begin())));
  }
  for (size_t c = 0; plan_.filters_functions && c < published.size(); ++c)
    if (published[c] >= 0 && (published[c] == plan_.function || published[c] == plan_.user || published[c] == plan_.pod))
      filter_tasks_.push_back(task(c));
  std::fill(hints_.begin(), hints_.end(), Hint());
}

// ---- rejects -------------------------------------------------------------------------------------------------------------

void Decoder::note(int64_t row_begin, int64_t at, int32_t order, const char* column, const char* begin, const char* end,
                   const char* action, const std::string& expected) {
  const size_t shown = std::min(static_cast<size_t>(end - begin), kShownBytes);
  const int64_t line = line_ + std::count(text_, text_ + row_begin, '\n');
  noted_.push_back({offset_ + row_begin, order, line, offset_ + at, column, std::string(begin, shown), action, expected});
}

void Decoder::bad_field(const Grid& grid, const Task& task, int64_t row, int32_t order, const FieldText& text,
                        const std::string& expected) {
  const bool to_null = options_.on_error == OnError::kNull;
  if (to_null) {
    set_null(task.published, row);
  } else {
    set(&bad_, row);
    any_bad_ = true;
  }
  if (quiet_) return;
  note(grid.column(0).begin(row), grid.column(task.column).begin(row), order,
       plan_.table->columns[static_cast<size_t>(task.published)].name, text.begin, text.end, to_null ? "null" : "row skipped",
       expected);
}

void Decoder::settle(UnitRejects* rejects) {
  if (noted_.empty()) return;
  std::sort(noted_.begin(), noted_.end());
  if (options_.on_error == OnError::kRaise) {
    RaisedReject raised = {std::move(noted_.front())};
    noted_.clear();
    throw raised;
  }
  int64_t skipped_row = -1;
  for (LocalReject& reject : noted_) {
    // Of a row that is skipped, the first reason is enough.
    const bool skips = reject.action[0] == 'r';
    if (skips && reject.row == skipped_row) continue;
    if (skips) skipped_row = reject.row;
    ++rejects->count;
    if (rejects->kept.size() < kMostRejects) rejects->kept.push_back(std::move(reject));
  }
  noted_.clear();
}

void Decoder::refuse_long_row(const char* text, int64_t offset, int64_t line, UnitRejects* rejects) {
  text_ = text;
  offset_ = offset;
  line_ = line;
  note(0, 0, kRowOrder, "", text, text + kShownBytes, "row skipped",
       "a row of less than " + std::to_string(kSubBlock) + " bytes");
  settle(rejects);
}

// ---- find ----------------------------------------------------------------------------------------------------------------

Grid Decoder::find_rows(const char* text, uint32_t n, int64_t* lines) {
  uint16_t* ends = found_.data() + 1;
  const Found found = kernels_.find(text, n, ends);
  *lines = found.lines;
  Grid grid;
  grid.text = text;
  grid.columns = columns_;
  // A blank line in a file of one column would pass for an empty field.
  if (!found.quote && columns_ > 1 &&
      found.delimiters == static_cast<uint64_t>(found.lines) * static_cast<uint64_t>(columns_) &&
      kernels_.is_grid(text, ends, found.lines, columns_) && (!found.carriage || all_crlf(text, ends, found.lines, columns_))) {
    grid.ends = ends;
    grid.rows = found.lines;
    grid.trim = found.carriage ? 1 : 0;
    return grid;
  }
  split_rows(text, n, columns_, &split_, &bad_rows_);
  for (const BadRow& bad : bad_rows_) {
    const std::string expected =
        bad.expected != nullptr ? bad.expected : std::to_string(columns_) + " fields, got " + std::to_string(bad.fields);
    note(bad.begin, bad.begin, kRowOrder, "", text + bad.begin, text + bad.end, "row skipped", expected);
  }
  grid.shift = 1;
  grid.ends = split_.data();
  grid.rows = static_cast<int64_t>(split_.size()) / (columns_ + 1);
  return grid;
}

// Characters of the text column that has most of them here. A column that outgrows its guess is copied, and where batches are
// kept the memory of the first try stays in its slab.
int64_t Decoder::longest_text(const Grid& grid) const {
  int64_t most = 0;
  for (const Task& task : tasks_) {
    const FieldColumn field = grid.column(task.column);
    int64_t chars = 0;
    for (int64_t row = 0; row < grid.rows; ++row) chars += field.end(row) - field.begin(row);
    if (task.kind == FieldKind::kRequestId || task.kind == FieldKind::kPodId) most = std::max(most, chars);
  }
  return most;
}

int64_t Decoder::decode(const char* text, uint32_t n, int64_t offset, int64_t line, int64_t unit_bytes_left, BatchBuilder* out,
                        UnitRejects* rejects) {
  text_ = text;
  offset_ = offset;
  line_ = line;
  quiet_ = false;
  int64_t lines;
  Grid grid = find_rows(text, n, &lines);
  if (!filter_tasks_.empty()) select_rows(&grid);
  if (grid.rows == 0) {
    settle(rejects);
    return lines;
  }
  if (!out->started()) {
    // Rows are about as long as these; a filter may drop more of the later ones or fewer.
    const int64_t guess = grid.rows * (unit_bytes_left / n + 1);
    out->begin(guess + guess / 32 + 64, longest_text(grid) * (guess + guess / 32 + 64) / grid.rows + kSubBlock);
  }
  out->ensure(grid.rows, n);
  interpret(grid, tasks_, false, out);
  if (any_bad_) {
    if (options_.on_error == OnError::kRaise) settle(rejects);
    for (size_t i = 0; i < words_of(grid.rows); ++i) bad_[i] = ~bad_[i];
    if (grid.rows % 64 != 0) bad_[words_of(grid.rows) - 1] &= (uint64_t{1} << (grid.rows % 64)) - 1;
    grid = gather(grid, bad_.data(), &gathered_again_);
    quiet_ = true;
    for (size_t i = 0; i < plan_.outputs.size(); ++i)
      if (plan_.outputs[i].field.type == Type::kUtf8) out->forget_text(i);
    interpret(grid, tasks_, false, out);
  }
  settle(rejects);
  derive(grid.rows, out);
  out->advance(grid.rows);
  return lines;
}

// ---- filter --------------------------------------------------------------------------------------------------------------

void Decoder::select_rows(Grid* grid) {
  interpret(*grid, filter_tasks_, true, nullptr);
  std::vector<uint64_t>& keep = bad_;
  const double* time = static_cast<const double*>(scratch_[static_cast<size_t>(plan_.table->time)].values);
  const int16_t* cluster = static_cast<const int16_t*>(scratch_[static_cast<size_t>(plan_.cluster)].values);
  const int32_t* function = static_cast<const int32_t*>(scratch_[static_cast<size_t>(plan_.function)].values);
  const int32_t* user = static_cast<const int32_t*>(scratch_[static_cast<size_t>(plan_.user)].values);
  const bool by_time = filter_tasks_.front().published == plan_.table->time;
  const int32_t region = shared_.files[static_cast<size_t>(file_)].region;
  int64_t kept = 0;
  for (int64_t r = 0; r < grid->rows; ++r) {
    bool pass = !test(bad_, r);
    for (const Task& task : filter_tasks_) pass = pass && !is_null(task.published, r);
    // An open end is NaN, which no time is below.
    if (pass && by_time) pass = !(time[r] < options_.time_begin) && !(time[r] >= options_.time_end);
    if (pass && !options_.clusters.empty())
      pass = std::find(options_.clusters.begin(), options_.clusters.end(), cluster[r]) != options_.clusters.end();
    if (pass && plan_.filters_functions)
      pass = functions_.find(region, function[r], user[r], pool_codes_[static_cast<size_t>(r)], pools_).wanted;
    uint64_t& word = keep[static_cast<size_t>(r >> 6)];
    const uint64_t bit = uint64_t{1} << (r & 63);
    word = pass ? word | bit : word & ~bit;
    kept += pass;
  }
  if (kept < grid->rows) *grid = gather(*grid, keep.data(), &gathered_);
}

// ---- interpret -----------------------------------------------------------------------------------------------------------

void* Decoder::scratch(int32_t published, int64_t bytes) {
  Scratch& s = scratch_[static_cast<size_t>(published)];
  if (static_cast<int64_t>(s.memory.size()) < bytes) s.memory.resize(static_cast<size_t>(std::max(bytes, int64_t{4096}) * 2));
  return s.memory.data();
}

void Decoder::set_null(int32_t published, int64_t row) {
  Scratch& s = scratch_[static_cast<size_t>(published)];
  set(&s.nulls, row);
  s.any_null = true;
}

bool Decoder::is_null(int32_t published, int64_t row) const {
  const Scratch& s = scratch_[static_cast<size_t>(published)];
  return s.any_null && test(s.nulls, row);
}

template <class T, class Kernel, class Law>
void Decoder::numbers(const Grid& grid, const Task& task, int32_t order, T* out, T null, const char* expected, Kernel kernel,
                      Law law) {
  const FieldColumn field = grid.column(task.column);
  kernel(field, out, odd_.data());
  for (size_t word = 0; word < words_of(grid.rows); ++word) {
    for (uint64_t bits = odd_[word]; bits != 0; bits &= bits - 1) {
      const int64_t row = static_cast<int64_t>(word * 64) + __builtin_ctzll(bits);
      const char* begin = grid.text + field.begin(row);
      const char* end = grid.text + field.end(row);
      if (begin != end) {
        if (law(begin, end, out + row) == Parsed::kOk) continue;
        const FieldText text = unquoted(begin, end, &unquoted_);
        if (!is_null_field(text.begin, text.end)) {
          if (text.begin != begin && law(text.begin, text.end, out + row) == Parsed::kOk) continue;
          out[row] = null;
          bad_field(grid, task, row, order, text, expected);
          continue;
        }
      }
      out[row] = null;
      set_null(task.published, row);
    }
  }
}

void Decoder::ids(const Grid& grid, const Task& task, int32_t order, uint8_t* out) {
  const FieldColumn field = grid.column(task.column);
  const int32_t width = plan_.id_bytes;
  kernels_.hex(field, width, out, odd_.data());
  for (size_t word = 0; word < words_of(grid.rows); ++word) {
    for (uint64_t bits = odd_[word]; bits != 0; bits &= bits - 1) {
      const int64_t row = static_cast<int64_t>(word * 64) + __builtin_ctzll(bits);
      const FieldText text = unquoted(grid.text + field.begin(row), grid.text + field.end(row), &unquoted_);
      uint8_t* id = out + row * width;
      if (parse_hex(text.begin, text.end, width, id) == Parsed::kOk) continue;
      std::memset(id, 0, static_cast<size_t>(width));
      if (is_null_field(text.begin, text.end)) {
        set_null(task.published, row);
      } else {
        bad_field(grid, task, row, order, text, std::to_string(2 * width) + " hexadecimal digits; other ids: ids=\"text\"");
      }
    }
  }
}

// Serials to the column's values, codes of the pools to pool_codes_.
void Decoder::pods(const Grid& grid, const Task& task, int32_t order) {
  const FieldColumn field = grid.column(task.column);
  int64_t* serials = static_cast<int64_t*>(scratch_[static_cast<size_t>(task.published)].values);
  kernels_.pod_serial(field, serials, odd_.data());
  int32_t* codes = pool_codes_.data();
  for (int64_t row = 0; row < grid.rows; ++row) {
    const char* begin = grid.text + field.begin(row);
    const char* end = grid.text + field.end(row);
    if (!test(odd_, row)) {
      codes[row] = pools_.code(begin, end - kSerialTail);
      if (codes[row] >= 0) continue;
      bad_field(grid, task, row, order, {begin, end}, "UTF-8 text");
    } else {
      const FieldText text = unquoted(begin, end, &unquoted_);
      if (is_null_field(text.begin, text.end)) {
        set_null(task.published, row);
      } else if (parse_pod_serial(text.begin, text.end, serials + row) == Parsed::kOk) {
        // The cache's loads want slack around the name, which the unquoted text may not have.
        const std::string slack(8, ' ');
        const std::string name = slack + std::string(text.begin, text.end - kSerialTail) + slack;
        codes[row] = pools_.code(name.data() + 8, name.data() + name.size() - 8);
        if (codes[row] >= 0) continue;
        bad_field(grid, task, row, order, text, "UTF-8 text");
      } else {
        bad_field(grid, task, row, order, text, "a pool name, \"-\" and 10 digits");
      }
    }
    serials[row] = 0;
    codes[row] = 0;
  }
}

void Decoder::text_column(const Grid& grid, const Task& task, int32_t order, size_t output, BatchBuilder* out) {
  const FieldColumn field = grid.column(task.column);
  for (int64_t row = 0; row < grid.rows; ++row) {
    const char* begin = grid.text + field.begin(row);
    const char* end = grid.text + field.end(row);
    FieldText text = {begin, end};
    if (begin != end && *begin == '"') text = unquoted(begin, end, &unquoted_);
    int64_t length = text.end - text.begin;
    if (length <= 4 && is_null_field(text.begin, text.end)) {
      set_null(task.published, row);
      length = 0;
    } else if (is_null(task.published, row)) {  // refused before: the pod's grammar
      length = 0;
    }
    char* to = out->text_end(output);
    // In words: the text and the column have slack, and the words' high bits say whether it is ASCII.
    uint64_t high = 0;
    if (text.begin == begin || text.begin == begin + 1) {
      for (int64_t at = 0; at < length; at += 8) {
        uint64_t word;
        std::memcpy(&word, text.begin + at, 8);
        std::memcpy(to + at, &word, 8);
        if (length - at < 8) word &= (uint64_t{1} << (8 * (length - at))) - 1;
        high |= word;
      }
    } else {
      std::memcpy(to, text.begin, static_cast<size_t>(length));
      high = ~uint64_t{0};
    }
    if ((high & 0x8080808080808080u) != 0 && !is_utf8(text.begin, text.begin + length)) {
      bad_field(grid, task, row, order, text, "UTF-8 text");
      length = 0;
    }
    out->text_row(output, row, length);
  }
}

void Decoder::interpret(const Grid& grid, const std::vector<Task>& tasks, bool filtering, BatchBuilder* out) {
  const int64_t rows = grid.rows;
  any_bad_ = false;
  std::fill_n(bad_.begin(), words_of(rows), 0);
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task& task = tasks[i];
    const size_t p = static_cast<size_t>(task.published);
    Scratch& s = scratch_[p];
    std::fill_n(s.nulls.begin(), words_of(rows), 0);
    s.any_null = false;
    const int32_t target = filtering ? -1 : plan_.target[p];
    const int32_t order = filtering ? static_cast<int32_t>(i) : kFieldOrder + task.column;
    const auto place = [&](int32_t width) {
      s.values = target >= 0 ? out->next_id(static_cast<size_t>(target), width) : scratch(task.published, rows * width);
      return s.values;
    };
    switch (task.kind) {
      case FieldKind::kFloat64:
        numbers(
            grid, task, order, static_cast<double*>(place(8)), std::numeric_limits<double>::quiet_NaN(),
            "a finite decimal number",
            [&](const FieldColumn& f, double* to, uint64_t* odd) { kernels_.float64(f, &hints_[p], to, odd); }, parse_float64);
        break;
      case FieldKind::kInt16:
        numbers(grid, task, order, static_cast<int16_t*>(place(2)), int16_t{0}, "a whole number of 16 bits", kernels_.int16,
                parse_int16);
        break;
      case FieldKind::kInt32:
        numbers(grid, task, order, static_cast<int32_t*>(place(4)), int32_t{0}, "a whole number of 32 bits", kernels_.int32,
                parse_int32);
        break;
      case FieldKind::kInt64:
        numbers(grid, task, order, static_cast<int64_t*>(place(8)), int64_t{0}, "a whole number of 64 bits", kernels_.int64,
                parse_int64);
        break;
      case FieldKind::kRequestId:
        if (!options_.text_ids) {
          ids(grid, task, order, static_cast<uint8_t*>(place(plan_.id_bytes)));
        } else {
          text_column(grid, task, order, static_cast<size_t>(plan_.output_of(OutputKind::kRequestText)), out);
        }
        break;
      case FieldKind::kPodId: {
        if (filtering || plan_.pod_grammar) {
          const int32_t serial = filtering ? -1 : plan_.output_of(OutputKind::kPodSerial);
          s.values = serial >= 0 ? static_cast<void*>(out->next<int64_t>(static_cast<size_t>(serial)))
                                 : scratch(task.published, rows * 8);
          pods(grid, task, order);
        }
        const int32_t text = filtering ? -1 : plan_.output_of(OutputKind::kPodText);
        if (text >= 0) text_column(grid, task, order, static_cast<size_t>(text), out);
        break;
      }
    }
  }
  if (!filtering) check_times(grid);
}

// A time that counts more days than int16 holds is no time of this trace: the row is skipped whatever the policy.
void Decoder::check_times(const Grid& grid) {
  for (const Output& output : plan_.outputs) {
    if (output.kind < OutputKind::kDay || output.kind > OutputKind::kHourOfDay) continue;
    const TimeUnit unit = time_unit(output.kind);
    const double* time = static_cast<const double*>(scratch_[static_cast<size_t>(plan_.table->time)].values);
    for (int64_t row = 0; row < grid.rows; ++row) {
      if (fits(unit, time[row]) || is_null(plan_.table->time, row) || test(bad_, row)) continue;
      set(&bad_, row);
      any_bad_ = true;
      for (const Task& task : tasks_) {
        if (task.published != plan_.table->time) continue;
        const FieldColumn field = grid.column(task.column);
        const FieldText text = unquoted(grid.text + field.begin(row), grid.text + field.end(row), &unquoted_);
        note(grid.column(0).begin(row), field.begin(row), kDerivedOrder,
             plan_.table->columns[static_cast<size_t>(task.published)].name, text.begin, text.end, "row skipped",
             std::string("a time whose ") + unit.name + (output.kind == OutputKind::kDay ? " fits 16 bits" : " fits 32 bits"));
      }
    }
  }
}

}  // namespace rewarm::trace
