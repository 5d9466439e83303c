#include "trace/builder.h"

#include <algorithm>
#include <cstring>

namespace rewarm::trace {
namespace {

size_t padded(int64_t bytes) { return (static_cast<size_t>(bytes) + 2 * kSlack + 63) / 64 * 64; }

bool is_text(const Output& output) { return output.field.type == Type::kUtf8; }

}  // namespace

size_t BatchBuilder::lay_out(int64_t rows, int64_t chars, uint8_t* base, std::vector<Column>* columns) const {
  size_t at = kSlack;
  const auto place = [&](int64_t bytes) {
    uint8_t* where = base == nullptr ? nullptr : base + at;
    at += padded(bytes);
    return where;
  };
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const Output& output = plan_.outputs[i];
    Column placed = (*columns)[i];
    placed.values = place(is_text(output) ? chars : rows * output.field.width);
    placed.validity = place((rows + 7) / 8);
    if (is_text(output)) placed.offsets = reinterpret_cast<int32_t*>(place((rows + 1) * 4));
    if (base != nullptr) (*columns)[i] = placed;
  }
  return at;
}

void BatchBuilder::begin(int64_t rows, int64_t chars) {
  columns_.assign(columns_.size(), Column());
  rows_ = 0;
  capacity_ = rows;
  chars_capacity_ = chars;
  arena_ = pool_->acquire(lay_out(rows, chars, nullptr, &columns_));
  lay_out(rows, chars, arena_->base, &columns_);
  for (Column& column : columns_)
    if (column.offsets != nullptr) column.offsets[0] = 0;
}

void BatchBuilder::ensure(int64_t rows, int64_t chars) {
  int64_t most_chars = 0;
  for (const Column& column : columns_) most_chars = std::max(most_chars, column.chars);
  const bool more_chars = most_chars + chars > chars_capacity_;
  if (rows_ + rows <= capacity_ && !more_chars) return;
  grow(std::max(capacity_, (rows_ + rows) * 5 / 4), std::max(chars_capacity_, more_chars ? (most_chars + chars) * 5 / 4 : 0));
}

void BatchBuilder::grow(int64_t rows, int64_t chars) {
  const std::shared_ptr<Arena> before = std::move(arena_);
  const std::vector<Column> old = columns_;
  capacity_ = rows;
  chars_capacity_ = chars;
  arena_ = pool_->acquire(lay_out(rows, chars, nullptr, &columns_));
  lay_out(rows, chars, arena_->base, &columns_);
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Output& output = plan_.outputs[i];
    Column& column = columns_[i];
    std::memcpy(column.values, old[i].values, static_cast<size_t>(is_text(output) ? column.chars : rows_ * output.field.width));
    if (is_text(output)) std::memcpy(column.offsets, old[i].offsets, static_cast<size_t>(rows_ + 1) * 4);
    if (column.nulls > 0) {
      std::memset(column.validity, 0xff, static_cast<size_t>(capacity_ + 7) / 8);
      std::memcpy(column.validity, old[i].validity, static_cast<size_t>(rows_ + 7) / 8);
    }
  }
}

void BatchBuilder::set_null(size_t output, const uint64_t* nulls, int64_t rows) {
  Column& column = columns_[output];
  for (int64_t word = 0; word * 64 < rows; ++word) {
    for (uint64_t bits = nulls[word]; bits != 0; bits &= bits - 1) {
      if (column.nulls++ == 0) std::memset(column.validity, 0xff, static_cast<size_t>(capacity_ + 7) / 8);
      const int64_t row = rows_ + word * 64 + __builtin_ctzll(bits);
      column.validity[row >> 3] = static_cast<uint8_t>(column.validity[row >> 3] & ~(1u << (row & 7)));
    }
  }
}

std::shared_ptr<Batch> BatchBuilder::finish() {
  auto batch = std::make_shared<Batch>();
  batch->rows = rows_;
  batch->columns.resize(columns_.size());
  std::vector<Buffer>& views = arena_->views;
  views.clear();
  views.reserve(3 * columns_.size());  // pointers into it are handed out
  const auto view = [&](void* data, int64_t bytes) {
    views.emplace_back(static_cast<uint8_t*>(data), static_cast<size_t>(bytes));
    return std::shared_ptr<Buffer>(arena_, &views.back());
  };
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Output& output = plan_.outputs[i];
    const Column& from = columns_[i];
    trace::Column& to = batch->columns[i];
    to.type = output.field.type;
    to.width = output.field.width;
    to.values = view(from.values, is_text(output) ? from.chars : rows_ * output.field.width);
    if (is_text(output)) to.offsets = view(from.offsets, (rows_ + 1) * 4);
    if (from.nulls > 0) to.validity = view(from.validity, (rows_ + 7) / 8);
    to.null_count = from.nulls;
  }
  arena_.reset();
  rows_ = 0;
  return batch;
}

}  // namespace rewarm::trace
