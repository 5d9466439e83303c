#include "trace/decoder.h"

#include <algorithm>
#include <cstring>

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
  if (plan_.joins_functions || plan_.filters_functions) functions_.set_region(source.region);
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
  grid.ends = split_.empty() ? ends : split_.data();  // never null: a column's place is reckoned from it even without rows
  grid.rows = static_cast<int64_t>(split_.size()) / (columns_ + 1);
  return grid;
}

// Characters of each text column in so many rows like these. Close: a column that outgrows its guess is copied, and memory that
// is never written still costs the first touch of the huge page it lies in.
void Decoder::guess_text(const Grid& grid, int64_t rows) {
  text_guess_.assign(plan_.outputs.size(), 0);
  for (const Task& task : tasks_) {
    const bool request = task.kind == FieldKind::kRequestId;
    if (!request && task.kind != FieldKind::kPodId) continue;
    const int32_t output = plan_.output_of(request ? OutputKind::kRequestText : OutputKind::kPodText);
    if (output < 0) continue;
    const FieldColumn field = grid.column(task.column);
    int64_t chars = 0;
    for (int64_t row = 0; row < grid.rows; ++row) chars += field.end(row) - field.begin(row);
    text_guess_[static_cast<size_t>(output)] = chars * rows / grid.rows + kSubBlock;
  }
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
    const int64_t rows = guess + guess / 32 + 64;
    guess_text(grid, rows);
    out->begin(rows, text_guess_);
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
  int64_t kept = 0;
  for (int64_t r = 0; r < grid->rows; ++r) {
    bool pass = !test(bad_, r);
    for (const Task& task : filter_tasks_) pass = pass && !is_null(task.published, r);
    // An open end is NaN, which no time is below.
    if (pass && by_time) pass = !(time[r] < options_.time_begin) && !(time[r] >= options_.time_end);
    if (pass && !options_.clusters.empty())
      pass = std::find(options_.clusters.begin(), options_.clusters.end(), cluster[r]) != options_.clusters.end();
    if (pass && plan_.filters_functions)
      pass = functions_.find(function[r], user[r], pool_codes_[static_cast<size_t>(r)], pools_).wanted;
    uint64_t& word = keep[static_cast<size_t>(r >> 6)];
    const uint64_t bit = uint64_t{1} << (r & 63);
    word = pass ? word | bit : word & ~bit;
    kept += pass;
  }
  if (kept < grid->rows) *grid = gather(*grid, keep.data(), &gathered_);
}

}  // namespace rewarm::trace
