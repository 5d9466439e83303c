#include "trace/builder.h"

#include <algorithm>
#include <cstring>

namespace rewarm::trace {
namespace {

size_t padded(int64_t bytes) { return (static_cast<size_t>(bytes) + 2 * kSlack + 63) / 64 * 64; }

bool is_text(const Output& output) { return output.field.type == Type::kUtf8; }

}  // namespace

size_t BatchBuilder::lay_out(int64_t rows, uint8_t* base, std::vector<Column>* columns) const {
  size_t at = kSlack;
  const auto place = [&](int64_t bytes) {
    uint8_t* where = base == nullptr ? nullptr : base + at;
    at += padded(bytes);
    return where;
  };
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const Output& output = plan_.outputs[i];
    Column placed = (*columns)[i];
    placed.values = place(is_text(output) ? placed.room : rows * output.field.width);
    placed.validity = place((rows + 7) / 8);
    if (is_text(output)) placed.offsets = reinterpret_cast<int32_t*>(place((rows + 1) * 4));
    if (base != nullptr) (*columns)[i] = placed;
  }
  return at;
}

void BatchBuilder::begin(int64_t rows, const std::vector<int64_t>& chars) {
  columns_.assign(columns_.size(), Column());
  for (size_t i = 0; i < columns_.size(); ++i) columns_[i].room = chars[i];
  rows_ = 0;
  capacity_ = rows;
  arena_ = pool_->acquire(lay_out(rows, nullptr, &columns_));
  lay_out(rows, arena_->base, &columns_);
  for (Column& column : columns_)
    if (column.offsets != nullptr) column.offsets[0] = 0;
}

void BatchBuilder::ensure(int64_t rows, int64_t chars) {
  bool fits = rows_ + rows <= capacity_;
  for (size_t i = 0; i < columns_.size(); ++i)
    fits = fits && (!is_text(plan_.outputs[i]) || columns_[i].chars + chars <= columns_[i].room);
  if (!fits) grow(rows, chars);
}

void BatchBuilder::grow(int64_t rows, int64_t chars) {
  const std::shared_ptr<Arena> before = std::move(arena_);
  const std::vector<Column> old = columns_;
  if (rows_ + rows > capacity_) capacity_ = (rows_ + rows) * 5 / 4;
  for (Column& column : columns_)
    if (column.chars + chars > column.room) column.room = (column.chars + chars) * 5 / 4;
  arena_ = pool_->acquire(lay_out(capacity_, nullptr, &columns_));
  lay_out(capacity_, arena_->base, &columns_);
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
  const int shift = static_cast<int>(rows_ & 7);
  for (int64_t word = 0; word * 64 < rows; ++word) {
    const uint64_t bits = nulls[word];
    if (bits == 0) continue;
    if (column.nulls == 0) std::memset(column.validity, 0xff, static_cast<size_t>(capacity_ + 7) / 8);
    column.nulls += __builtin_popcountll(bits);
    uint8_t* to = column.validity + (rows_ + word * 64) / 8;  // it has slack for the rows that are not there
    const uint64_t low = bits << shift;
    for (int i = 0; i < 8; ++i) to[i] = static_cast<uint8_t>(to[i] & ~(low >> 8 * i));
    if (shift != 0) to[8] = static_cast<uint8_t>(to[8] & ~(bits >> (64 - shift)));
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
