// Rows to dense group numbers: the keys of a row are packed into one or a few 64-bit words and looked up in a hash table.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "common/error.h"
#include "trace/batch.h"

namespace rewarm::trace {

constexpr int64_t kNullKey = std::numeric_limits<int64_t>::min();

// One key within the packed words: value - lowest + 1, and 0 for null, which is a key value like any other.
struct KeyField {
  Type type;
  int32_t word;
  int32_t shift;
  int32_t bits;
  int64_t lowest;
};

inline KeyField key_field(Type type) {
  switch (type) {
    case Type::kInt8: return {type, 0, 0, 9, std::numeric_limits<int8_t>::min()};
    case Type::kInt16: return {type, 0, 0, 17, std::numeric_limits<int16_t>::min()};
    case Type::kInt32: return {type, 0, 0, 33, std::numeric_limits<int32_t>::min()};
    case Type::kDictionary: return {type, 0, 0, 32, 0};
    default: throw Error(ErrorKind::kInvalidArgument, "aggregate: a key is an integer of up to 32 bits or a dictionary column");
  }
}

class GroupTable {
 public:
  GroupTable(const std::vector<Type>& types, int64_t max_groups) : max_groups_(max_groups), slots_(kFirstSlots, 0) {
    int32_t used = 64;
    for (const Type type : types) {
      KeyField field = key_field(type);
      if (used + field.bits > 64) {
        ++words_;
        used = 0;
      }
      field.word = words_ - 1;
      field.shift = used;
      used += field.bits;
      fields_.push_back(field);
    }
  }

  int64_t groups() const { return groups_; }

  // The group of each row; new ones are numbered in order of appearance. keys: one column per type, in that order.
  void find(const std::vector<const Column*>& keys, int64_t rows, uint32_t* ids) {
    if (words_ == 0) {
      if (rows > 0) groups_ = 1;
      std::fill(ids, ids + rows, 0u);
      return;
    }
    if (packed_.size() < static_cast<size_t>(rows * words_)) packed_.resize(static_cast<size_t>(rows * words_));
    for (size_t k = 0; k < keys.size(); ++k) pack(fields_[k], *keys[k], rows);
    if (words_ == 1) {
      look_up<1>(rows, ids);
    } else if (words_ == 2) {
      look_up<2>(rows, ids);
    } else {
      look_up<0>(rows, ids);
    }
  }

  int64_t key(int64_t group, size_t k) const {
    const KeyField& f = fields_[k];
    const uint64_t mask = (uint64_t{1} << f.bits) - 1;
    const uint64_t value = known_[static_cast<size_t>(group * words_ + f.word)] >> f.shift & mask;
    return value == 0 ? kNullKey : static_cast<int64_t>(value - 1) + f.lowest;
  }

 private:
  static constexpr size_t kFirstSlots = 1024;

  // The first field of a word clears what the batch before left there.
  template <class T, bool kFirst>
  void pack_values(const KeyField& f, const Column& column, int64_t rows) {
    const T* values = column.data<T>();
    uint64_t* out = packed_.data() + f.word;
    const int64_t words = words_;
    const uint64_t bias = uint64_t{1} - static_cast<uint64_t>(f.lowest);
    const bool holes = column.validity != nullptr;
    for (int64_t r = 0; r < rows; ++r) {
      uint64_t value = (static_cast<uint64_t>(static_cast<int64_t>(values[r])) + bias) << f.shift;
      if (holes && !column.valid(r)) value = 0;
      out[r * words] = kFirst ? value : out[r * words] | value;
    }
  }
  template <class T>
  void pack_values(const KeyField& f, const Column& column, int64_t rows) {
    if (f.shift == 0) {
      pack_values<T, true>(f, column, rows);
    } else {
      pack_values<T, false>(f, column, rows);
    }
  }

  void pack(const KeyField& f, const Column& column, int64_t rows) {
    if (column.type != f.type) throw Error(ErrorKind::kInvalidArgument, "aggregate: a key column changed its type");
    switch (f.type) {
      case Type::kInt8: return pack_values<int8_t>(f, column, rows);
      case Type::kInt16: return pack_values<int16_t>(f, column, rows);
      default: return pack_values<int32_t>(f, column, rows);
    }
  }

  static uint64_t multiply_and_fold(uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  // Odd constants without structure: the golden ratio's digits and those of pi.
  template <int kWords>
  uint64_t hash(const uint64_t* key) const {
    constexpr uint64_t kA = 0x9e3779b97f4a7c15, kB = 0x243f6a8885a308d3;
    if (kWords == 1) return multiply_and_fold(key[0] ^ kA, kB);
    if (kWords == 2) return multiply_and_fold(multiply_and_fold(key[0] ^ kA, kB) ^ key[1], kA);
    uint64_t h = kB;
    for (int32_t w = 0; w < words_; ++w) h = multiply_and_fold(h ^ key[w], kA) + kB;
    return h;
  }

  template <int kWords>
  bool equal(const uint64_t* a, const uint64_t* b) const {
    const int32_t words = kWords == 0 ? words_ : kWords;
    for (int32_t w = 0; w < words; ++w)
      if (a[w] != b[w]) return false;
    return true;
  }

  // A slot holds the upper half of the hash and the group's number + 1; 0 is empty.
  template <int kWords>
  void look_up(int64_t rows, uint32_t* ids) {
    const int64_t words = kWords == 0 ? words_ : kWords;
    const uint64_t* key = packed_.data();
    for (int64_t r = 0; r < rows; ++r, key += words) {
      const uint64_t h = hash<kWords>(key);
      uint64_t at = h & (slots_.size() - 1);
      for (;; at = (at + 1) & (slots_.size() - 1)) {
        const uint64_t slot = slots_[at];
        if (slot == 0) {
          ids[r] = insert<kWords>(key, h, at);
          break;
        }
        const uint32_t group = static_cast<uint32_t>(slot) - 1;
        if ((slot ^ h) >> 32 == 0 && equal<kWords>(key, known_.data() + group * words)) {
          ids[r] = group;
          break;
        }
      }
    }
  }

  template <int kWords>
  uint32_t insert(const uint64_t* key, uint64_t h, uint64_t at) {
    if (groups_ >= max_groups_)
      throw Error(ErrorKind::kInvalidArgument, "aggregate: more than max_groups=" + std::to_string(max_groups_) +
                                                   " groups: group by fewer or coarser keys, or raise max_groups");
    known_.insert(known_.end(), key, key + words_);
    const uint32_t group = static_cast<uint32_t>(groups_++);
    slots_[at] = h >> 32 << 32 | (group + 1);
    if (2 * static_cast<size_t>(groups_) > slots_.size()) grow<kWords>();
    return group;
  }

  template <int kWords>
  void grow() {
    slots_.assign(4 * slots_.size(), 0);
    for (int64_t group = 0; group < groups_; ++group) {
      const uint64_t h = hash<kWords>(known_.data() + group * words_);
      uint64_t at = h & (slots_.size() - 1);
      while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = h >> 32 << 32 | static_cast<uint64_t>(group + 1);
    }
  }

  int64_t max_groups_;
  int32_t words_ = 0;
  int64_t groups_ = 0;
  std::vector<KeyField> fields_;
  std::vector<uint64_t> packed_;  // [rows, words] of the batch at hand
  std::vector<uint64_t> known_;   // [groups, words]
  std::vector<uint64_t> slots_;   // a power of two
};

}  // namespace rewarm::trace
