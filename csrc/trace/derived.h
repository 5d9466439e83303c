// Columns that are made of published ones: pieces of the time, of the pool's name, of the function and of the runtime table.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/dictionary.h"
#include "trace/plan.h"

namespace rewarm::trace {

// Dictionaries of one call, shared by its workers.
struct SharedWords {
  SharedDictionary pools, functions, sizes;
  std::shared_ptr<const Dictionary> regions;
};

// Pool classes of the paper (section 4.2): small pods have at most 400 millicores and at most 256 MB.
constexpr int32_t kSmall = 0, kLarge = 1;
inline int32_t pool_class(const PoolLimits& limits) {
  if (limits.cpu < 0) return -1;
  return limits.cpu <= 400 && limits.memory <= 256 ? kSmall : kLarge;
}

// The words behind its codes.
inline std::shared_ptr<const Dictionary> pool_classes() {
  static const auto classes = std::make_shared<const Dictionary>(Dictionary{{"small", "large"}});
  return classes;
}

// Seconds of one unit of a derived time, and the type that must hold the count.
struct TimeUnit {
  double seconds;
  double most;  // |count| below this
  const char* name;
};
inline TimeUnit time_unit(OutputKind kind) {
  switch (kind) {
    case OutputKind::kDay: return {86400.0, 32768.0, "day"};
    case OutputKind::kMinute: return {60.0, 2147483648.0, "minute"};
    case OutputKind::kHourOfDay: return {3600.0, 2147483648.0, "hour_of_day"};
    default: return {3600.0, 2147483648.0, "hour"};
  }
}
inline bool fits(const TimeUnit& unit, double time) {
  const double count = std::floor(time / unit.seconds);
  return count >= -unit.most && count < unit.most;
}

// What is known of a (region, funcName, userID, pool), looked up once by each worker.
struct FunctionFacts {
  int32_t code = -1;  // of funcID
  FunctionTable::Entry joined;
  bool wanted = true;  // by the filter on funcID
};

class FunctionCache {
 public:
  FunctionCache(const Plan& plan, const ReadOptions& options, SharedWords* words)
      : plan_(plan), options_(options), words_(words) {}

  // The facts stay where they are until the next call. Asked for every row, so the table is flat.
  const FunctionFacts& find(int32_t region, int32_t function, int32_t user, int32_t pool, PoolCache& pools) {
    const Key key = {static_cast<uint64_t>(static_cast<uint32_t>(function)) << 32 | static_cast<uint32_t>(user),
                     static_cast<uint64_t>(static_cast<uint32_t>(region)) << 32 | static_cast<uint32_t>(pool)};
    size_t at = hash(key) & (slots_.size() - 1);
    for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1)) {
      const Known& known = known_[slots_[at] - 1];
      if (known.key == key) return known.facts;
    }
    known_.push_back({key, look_up(region, function, user, pools.name(pool))});
    slots_[at] = static_cast<uint32_t>(known_.size());
    if (2 * known_.size() > slots_.size()) grow();
    return known_.back().facts;
  }

 private:
  struct Key {
    uint64_t function_user, region_pool;
    bool operator==(const Key& other) const { return function_user == other.function_user && region_pool == other.region_pool; }
  };
  struct Known {
    Key key;
    FunctionFacts facts;
  };
  static size_t hash(const Key& key) {
    const uint64_t mixed = (key.function_user ^ key.region_pool * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
    return mixed ^ mixed >> 32;
  }
  void grow() {
    slots_.assign(4 * slots_.size(), 0);
    for (size_t i = 0; i < known_.size(); ++i) {
      size_t at = hash(known_[i].key) & (slots_.size() - 1);
      while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = static_cast<uint32_t>(i + 1);
    }
  }
  FunctionFacts look_up(int32_t region, int32_t function, int32_t user, const std::string& pool) const;

  const Plan& plan_;
  const ReadOptions& options_;
  SharedWords* words_;
  std::vector<Known> known_;
  std::vector<uint32_t> slots_ = std::vector<uint32_t>(4096, 0);  // index into known_ + 1, 0 = empty; a power of two
};

}  // namespace rewarm::trace
