#include "trace/derived.h"

#include <algorithm>

namespace rewarm::trace {

FunctionCache::FunctionCache(const Plan& plan, const ReadOptions& options, SharedWords* words)
    : plan_(plan), options_(options), words_(words) {
  if (!plan.joins_functions && !plan.filters_functions) return;
  regions_.resize(options.regions.size() + 1);
  if (options.runtime == nullptr) return;
  regions_[0].joined = options.runtime->functions_of(std::nullopt);
  for (size_t r = 0; r < options.regions.size(); ++r)
    regions_[r + 1].joined = options.runtime->functions_of(options.regions[r]);
}

const FunctionFacts& FunctionCache::insert(size_t at, int32_t function, int32_t user, int32_t pool, PoolCache& pools) {
  const uint64_t owner = static_cast<uint64_t>(static_cast<uint32_t>(function)) << 32 | static_cast<uint32_t>(user);
  std::vector<Slot>& slots = now_->slots;
  const auto free_slot = [&](const Slot& slot) {
    size_t i = now_->first(slot.owner, slot.pool);
    while (slots[i].pool >= 0) i = (i + 1) & (slots.size() - 1);
    return i;
  };
  const Slot fresh = {owner, pool, look_up(function, user, pools.name(pool))};
  if (2 * ++now_->used > slots.size()) {
    std::vector<Slot> before(2 * slots.size());
    before.swap(slots);
    ++now_->bits;
    for (const Slot& slot : before)
      if (slot.pool >= 0) slots[free_slot(slot)] = slot;
    at = free_slot(fresh);
  }
  slots[at] = fresh;
  return slots[at].facts;
}

FunctionFacts FunctionCache::look_up(int32_t function, int32_t user, const std::string& pool) const {
  FunctionFacts facts;
  const std::string name = std::to_string(function) + "---" + std::to_string(user) + "---" + pool;
  if (plan_.filters_functions)
    facts.wanted = std::find(options_.functions.begin(), options_.functions.end(), name) != options_.functions.end();
  if (facts.wanted && plan_.output_of(OutputKind::kFuncId) >= 0) facts.code = words_->functions.code(name);
  if (now_->joined != nullptr) facts.joined = now_->joined->find(name);
  return facts;
}

}  // namespace rewarm::trace
