// One batch while it grows: columns side by side in one arena, written by the kernels in place.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "trace/arena.h"
#include "trace/batch.h"
#include "trace/plan.h"

namespace rewarm::trace {

// A text column that is written on.
struct TextRows {
  char* chars;    // of the whole batch
  int32_t* ends;  // of the next rows, within chars
  int64_t used;   // characters that are there
};

class BatchBuilder {
 public:
  BatchBuilder(const Plan& plan, std::shared_ptr<ArenaPool> pool)
      : plan_(plan), pool_(std::move(pool)), columns_(plan.outputs.size()) {}

  bool started() const { return arena_ != nullptr; }
  int64_t rows() const { return rows_; }
  // Guesses: rows, and by output the characters of a text column.
  void begin(int64_t rows, const std::vector<int64_t>& chars);
  // Room for so many more, chars in each text column.
  void ensure(int64_t rows, int64_t chars);
  // Where the next rows' values of an output go.
  template <class T>
  T* next(size_t output) {
    Column& column = columns_[output];
    return reinterpret_cast<T*>(column.values) + rows_;
  }
  uint8_t* next_id(size_t output, int32_t width) { return columns_[output].values + rows_ * width; }
  // For the text of the next rows, which set_text_end ends.
  TextRows text_rows(size_t output) {
    const Column& column = columns_[output];
    return {reinterpret_cast<char*>(column.values), column.offsets + rows_ + 1, column.chars};
  }
  void set_text_end(size_t output, int64_t used) { columns_[output].chars = used; }
  // Takes the text of the next rows back, for rows that are decoded again.
  void forget_text(size_t output) { columns_[output].chars = columns_[output].offsets[rows_]; }
  // Of the next rows, those whose bit is set are null.
  void set_null(size_t output, const uint64_t* nulls, int64_t rows);
  void advance(int64_t rows) { rows_ += rows; }

  // The batch, without its dictionaries; the builder is empty afterwards.
  std::shared_ptr<Batch> finish();

 private:
  struct Column {
    uint8_t* values = nullptr;
    uint8_t* validity = nullptr;
    int32_t* offsets = nullptr;
    int64_t chars = 0;
    int64_t room = 0;  // for characters
    int64_t nulls = 0;
  };
  // Bytes of the whole layout; places the columns at `base` unless it is null.
  size_t lay_out(int64_t rows, uint8_t* base, std::vector<Column>* columns) const;
  void grow(int64_t rows, int64_t chars);

  const Plan& plan_;
  std::shared_ptr<ArenaPool> pool_;
  std::shared_ptr<Arena> arena_;
  std::vector<Column> columns_;
  int64_t rows_ = 0;
  int64_t capacity_ = 0;
};

}  // namespace rewarm::trace
