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
  JoinedFunction joined;
  bool wanted = true;  // by the filter on funcID
};

class FunctionCache {
 public:
  FunctionCache(const Plan& plan, const ReadOptions& options, SharedWords* words);

  // -1: none. What `find` says until the next call.
  void set_region(int32_t region) { now_ = &regions_[static_cast<size_t>(region + 1)]; }

  // The facts stay where they are until the next call. Asked for every row: the first look nearly always meets the function's
  // slot, and all that is known stands in it.
  const FunctionFacts& find(int32_t function, int32_t user, int32_t pool, PoolCache& pools) {
    const uint64_t owner = static_cast<uint64_t>(static_cast<uint32_t>(function)) << 32 | static_cast<uint32_t>(user);
    for (size_t at = now_->first(owner, pool);; at = (at + 1) & (now_->slots.size() - 1)) {
      const Slot& slot = now_->slots[at];
      if (slot.owner == owner && slot.pool == pool) return slot.facts;
      if (slot.pool < 0) return insert(at, function, user, pool, pools);
    }
  }

 private:
  struct Slot {
    uint64_t owner = 0;  // funcName and userID
    int32_t pool = -1;   // its code; -1: the slot is empty
    FunctionFacts facts;
  };
  struct Region {
    const RegionFunctions* joined = nullptr;
    size_t used = 0;
    int bits = 10;
    std::vector<Slot> slots = std::vector<Slot>(size_t{1} << 10);

    size_t first(uint64_t owner, int32_t pool) const {
      const uint64_t mixed = owner * 0xd6e8feb86659fd93u ^ static_cast<uint32_t>(pool) * 0x9e3779b97f4a7c15u;
      return (mixed ^ mixed >> 29) * 0x9fb21c651e98df25u >> (64 - bits);
    }
  };
  const FunctionFacts& insert(size_t at, int32_t function, int32_t user, int32_t pool, PoolCache& pools);
  FunctionFacts look_up(int32_t function, int32_t user, const std::string& pool) const;

  const Plan& plan_;
  const ReadOptions& options_;
  SharedWords* words_;
  std::vector<Region> regions_;  // by code + 1
  Region* now_ = nullptr;
};

}  // namespace rewarm::trace
