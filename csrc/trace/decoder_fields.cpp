// The decoder's second step: the fields of each column, by a kernel and, where it leaves one, by the law of number.h.
#include <algorithm>
#include <cstring>
#include <limits>

#include "trace/decoder.h"
#include "trace/number.h"
#include "trace/text.h"

namespace rewarm::trace {
namespace {

constexpr int64_t kLongestNull = 4;

// In words: the text and the column have slack. False: not ASCII, and the copy is not to be trusted.
inline bool copy_ascii(const char* from, int64_t length, char* to) {
  uint64_t high = 0;
  int64_t at = 0;
  for (; at + 32 <= length; at += 32) {
    uint64_t words[4];
    std::memcpy(words, from + at, 32);
    std::memcpy(to + at, words, 32);
    high |= words[0] | words[1] | words[2] | words[3];
  }
  for (; at < length; at += 8) {
    uint64_t word;
    std::memcpy(&word, from + at, 8);
    std::memcpy(to + at, &word, 8);
    if (length - at < 8) word &= (uint64_t{1} << (8 * (length - at))) - 1;
    high |= word;
  }
  return (high & 0x8080808080808080u) == 0;
}

}  // namespace

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
  Scratch& s = scratch_[static_cast<size_t>(task.published)];
  for (size_t word = 0; word < words_of(grid.rows); ++word) {
    uint64_t nulls = 0;
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
      nulls |= bits & -bits;
    }
    s.nulls[word] |= nulls;
    s.any_null = s.any_null || nulls != 0;
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
  const bool refused = scratch_[static_cast<size_t>(task.published)].any_null;  // some rows, for the pod's grammar
  const TextRows to = out->text_rows(output);
  int64_t used = to.used;
  for (int64_t row = 0; row < grid.rows; ++row) {
    const char* begin = grid.text + field.begin(row);
    int64_t length = field.end(row) - field.begin(row);
    const bool plain = length > kLongestNull && *begin != '"' && !refused && copy_ascii(begin, length, to.chars + used);
    if (!plain) length = odd_text(grid, task, row, order, to.chars + used);
    used += length;
    to.ends[row] = static_cast<int32_t>(used);
  }
  out->set_text_end(output, used);
}

// Its characters go to `to`; returns how many.
int64_t Decoder::odd_text(const Grid& grid, const Task& task, int64_t row, int32_t order, char* to) {
  const FieldColumn field = grid.column(task.column);
  const FieldText text = unquoted(grid.text + field.begin(row), grid.text + field.end(row), &unquoted_);
  if (is_null_field(text.begin, text.end)) {
    set_null(task.published, row);
  } else if (!is_null(task.published, row)) {
    if (is_utf8(text.begin, text.end)) {
      std::memcpy(to, text.begin, static_cast<size_t>(text.end - text.begin));
      return text.end - text.begin;
    }
    bad_field(grid, task, row, order, text, "UTF-8 text");
  }
  return 0;
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
    // Counts ascend with the time, and no comparison holds for the NaN of a null.
    double first = 0.0, last = 0.0;
    for (int64_t row = 0; row < grid.rows; ++row) {
      first = time[row] < first ? time[row] : first;
      last = time[row] > last ? time[row] : last;
    }
    if (fits(unit, first) && fits(unit, last)) continue;
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
