#include "trace/derived.h"

#include <algorithm>

namespace rewarm::trace {

FunctionFacts FunctionCache::look_up(int32_t region, int32_t function, int32_t user, const std::string& pool) const {
  FunctionFacts facts;
  const std::string name = std::to_string(function) + "---" + std::to_string(user) + "---" + pool;
  if (plan_.filters_functions)
    facts.wanted = std::find(options_.functions.begin(), options_.functions.end(), name) != options_.functions.end();
  if (facts.wanted && plan_.output_of(OutputKind::kFuncId) >= 0) facts.code = words_->functions.code(name);
  if (options_.runtime != nullptr) facts.joined = options_.runtime->find(region, name);
  return facts;
}

void FunctionTable::add(int32_t region, const std::string& function, const std::string* runtime,
                        const std::string* trigger_group) {
  const auto code = [](Dictionary& dictionary, const std::string* word) {
    if (word == nullptr) return -1;
    std::vector<std::string>& words = dictionary.words;
    const auto found = std::find(words.begin(), words.end(), *word);
    if (found != words.end()) return static_cast<int32_t>(found - words.begin());
    words.push_back(*word);
    return static_cast<int32_t>(words.size()) - 1;
  };
  entries_[region][function] = {code(*runtimes_, runtime), code(*trigger_groups_, trigger_group)};
}

FunctionTable::Entry FunctionTable::find(int32_t region, const std::string& function) const {
  const auto own = entries_.find(region);
  if (own == entries_.end()) return Entry();
  const auto found = own->second.find(function);
  return found == own->second.end() ? Entry() : found->second;
}

}  // namespace rewarm::trace
