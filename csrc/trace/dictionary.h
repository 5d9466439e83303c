// Words and their codes: shared by all workers of one call, with a cache in each worker so that the lock is hardly ever taken.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trace/batch.h"

namespace rewarm::trace {

// Append-only. Threads may use it at the same time.
class SharedDictionary {
 public:
  int32_t code(std::string_view word);
  // The words so far; the same object as long as there are no new ones.
  std::shared_ptr<const Dictionary> snapshot();
  std::string word(int32_t code);

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, int32_t> codes_;
  std::vector<std::string> words_;
  std::shared_ptr<const Dictionary> snapshot_;
};

// What a pool's name says: <label>-<millicores>-<MB>, read from the right because a label may hold hyphens.
struct PoolLimits {
  int32_t cpu = -1;  // -1: the name does not say
  int32_t memory = -1;
};
PoolLimits pool_limits(std::string_view name);

bool is_utf8(const char* begin, const char* end);

// One worker's view of the pools' dictionary.
class PoolCache {
 public:
  explicit PoolCache(SharedDictionary* shared) : shared_(shared), slots_(kFirstSlots) {}

  // -1: not UTF-8. Reads 8 bytes from `begin` and before `end`: the text has slack.
  int32_t code(const char* begin, const char* end) {
    const uint64_t length = static_cast<uint64_t>(end - begin);
    uint64_t head, tail;
    std::memcpy(&head, begin, 8);
    std::memcpy(&tail, end - 8, 8);
    if (length < 8) {
      head &= (uint64_t{1} << (8 * length)) - 1;
      tail = 0;
    }
    const uint64_t hash = hash_of(head, tail, length);
    for (uint64_t i = hash;; ++i) {
      const Slot& slot = slots_[i & (slots_.size() - 1)];
      if (slot.code < 0) return miss(begin, end, head, tail);
      if (slot.head == head && slot.tail == tail && slot.length == length &&
          (length <= 16 || std::memcmp(names_[static_cast<size_t>(slot.name)].data(), begin, length) == 0))
        return slot.code;
    }
  }

  // Of a code that code() gave.
  const PoolLimits& limits(int32_t code) const { return limits_[static_cast<size_t>(code)]; }
  const std::string& name(int32_t code) const { return names_[static_cast<size_t>(name_of_[static_cast<size_t>(code)])]; }

 private:
  struct Slot {
    uint64_t head = 0, tail = 0, length = 0;
    int32_t code = -1;
    int32_t name = 0;  // index in names_
  };
  static constexpr size_t kFirstSlots = 256;

  static uint64_t hash_of(uint64_t head, uint64_t tail, uint64_t length) {
    const uint64_t mixed = (head ^ (tail * 0x9e3779b97f4a7c15u) ^ length) * 0xd6e8feb86659fd93u;
    return mixed >> 32;
  }
  int32_t miss(const char* begin, const char* end, uint64_t head, uint64_t tail);
  void insert(const Slot& slot);

  SharedDictionary* shared_;
  std::vector<Slot> slots_;
  size_t used_ = 0;
  std::vector<std::string> names_;
  std::vector<int32_t> name_of_;  // by code
  std::vector<PoolLimits> limits_;
};

}  // namespace rewarm::trace
