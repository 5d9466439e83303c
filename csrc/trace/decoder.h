// One worker's way from the text of a sub-block to rows of a batch: find, filter, interpret, derive.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/builder.h"
#include "trace/derived.h"
#include "trace/dictionary.h"
#include "trace/kernels.h"
#include "trace/plan.h"
#include "trace/rejects.h"
#include "trace/rows.h"
#include "trace/text.h"

namespace rewarm::trace {

// Sets of rows, as the kernels write them: bit r % 64 of word r / 64.
inline size_t words_of(int64_t rows) { return static_cast<size_t>(rows + 63) / 64; }

inline bool test(const std::vector<uint64_t>& bits, int64_t row) {
  return bits[static_cast<size_t>(row >> 6)] >> (row & 63) & 1;
}
inline void set(std::vector<uint64_t>* bits, int64_t row) {
  (*bits)[static_cast<size_t>(row >> 6)] |= uint64_t{1} << (row & 63);
}

// What all workers of one call share.
struct Shared {
  const std::vector<SourceFile>& files;
  const ReadOptions& options;
  Plan plan;
  SharedWords words;
};

// Thrown with the first error in row order of the unit: on_error="raise".
struct RaisedReject {
  LocalReject reject;
};

class Decoder {
 public:
  explicit Decoder(Shared* shared);

  void begin_file(int64_t file);
  // Rows of text[0, n), n <= kSubBlock, the last of them ended by a line feed. `offset` is the byte of text[0] in the file and
  // `line` its line in the unit. Returns the lines.
  int64_t decode(const char* text, uint32_t n, int64_t offset, int64_t line, int64_t unit_bytes_left, BatchBuilder* out,
                 UnitRejects* rejects);
  // Of a row that is longer than a sub-block.
  void refuse_long_row(const char* text, int64_t offset, int64_t line, UnitRejects* rejects);
  // Dictionaries as they are now, for a batch that is finished.
  void add_dictionaries(Batch* batch) const;

 private:
  struct Task {
    int32_t published;
    int32_t column;  // of the file
    FieldKind kind;
  };
  // A published column's values in the current sub-block, and which of them are null.
  struct Scratch {
    std::vector<uint64_t> nulls;
    bool any_null = false;
    void* values = nullptr;  // in the batch or in `memory`
    Buffer memory;
  };

  Grid find_rows(const char* text, uint32_t n, int64_t* lines);
  void select_rows(Grid* grid);
  void guess_text(const Grid& grid, int64_t rows);
  void interpret(const Grid& grid, const std::vector<Task>& tasks, bool filtering, BatchBuilder* out);
  template <class T, class Kernel, class Law>
  void numbers(const Grid& grid, const Task& task, int32_t order, T* out, T null, const char* expected, Kernel kernel, Law law);
  void ids(const Grid& grid, const Task& task, int32_t order, uint8_t* out);
  void pods(const Grid& grid, const Task& task, int32_t order);
  void text_column(const Grid& grid, const Task& task, int32_t order, size_t output, BatchBuilder* out);
  int64_t odd_text(const Grid& grid, const Task& task, int64_t row, int32_t order, char* to);
  void check_times(const Grid& grid);
  void derive(int64_t rows, BatchBuilder* out);
  void derive_pool(OutputKind kind, size_t output, int64_t rows, BatchBuilder* out);
  void derive_time(OutputKind kind, size_t output, int64_t rows, BatchBuilder* out);
  void derive_function(OutputKind kind, size_t output, int64_t rows, BatchBuilder* out);

  void* scratch(int32_t published, int64_t bytes);
  void set_null(int32_t published, int64_t row);
  bool is_null(int32_t published, int64_t row) const;
  void bad_field(const Grid& grid, const Task& task, int64_t row, int32_t order, const FieldText& text,
                 const std::string& expected);
  void note(int64_t row_begin, int64_t at, int32_t order, const char* column, const char* begin, const char* end,
            const char* action, const std::string& expected);
  void settle(UnitRejects* rejects);

  Shared& shared_;
  const Plan& plan_;
  const ReadOptions& options_;
  const Kernels& kernels_;
  PoolCache pools_;
  FunctionCache functions_;
  std::vector<int32_t> size_codes_;  // by pool code, -1 = not looked up

  int64_t file_ = -1;
  int32_t columns_ = 0;
  std::vector<Task> filter_tasks_, tasks_;
  std::vector<Hint> hints_;  // by published column

  // The sub-block at hand.
  const char* text_ = nullptr;
  int64_t offset_ = 0, line_ = 0;
  std::vector<uint16_t> found_, split_, gathered_, gathered_again_;
  std::vector<BadRow> bad_rows_;
  std::vector<Scratch> scratch_;  // by published column
  std::vector<uint64_t> odd_, bad_;
  std::vector<int32_t> pool_codes_;
  std::vector<int64_t> text_guess_;  // by output
  bool any_bad_ = false, quiet_ = false;
  std::vector<LocalReject> noted_;
  std::string unquoted_;
};

}  // namespace rewarm::trace
