#include "trace/dictionary.h"

#include <charconv>

namespace rewarm::trace {

int32_t SharedDictionary::code(std::string_view word) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [entry, fresh] = codes_.try_emplace(std::string(word), static_cast<int32_t>(words_.size()));
  if (fresh) words_.emplace_back(word);
  return entry->second;
}

std::shared_ptr<const Dictionary> SharedDictionary::snapshot() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (snapshot_ == nullptr || snapshot_->words.size() != words_.size())
    snapshot_ = std::make_shared<const Dictionary>(Dictionary{words_});
  return snapshot_;
}

std::string SharedDictionary::word(int32_t code) {
  std::lock_guard<std::mutex> lock(mutex_);
  return words_[static_cast<size_t>(code)];
}

PoolLimits pool_limits(std::string_view name) {
  PoolLimits limits;
  int32_t* parts[] = {&limits.memory, &limits.cpu};
  for (int i = 0; i < 2; ++i) {
    const size_t hyphen = name.rfind('-');
    // A name of the two numbers alone has no label, and no hyphen before the first.
    if (hyphen == std::string_view::npos && i == 0) return {};
    const std::string_view digits = hyphen == std::string_view::npos ? name : name.substr(hyphen + 1);
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *parts[i]);
    if (digits.empty() || digits.front() == '-' || error != std::errc() || stop != digits.data() + digits.size()) return {};
    name = name.substr(0, hyphen == std::string_view::npos ? 0 : hyphen);
  }
  return limits;
}

bool is_utf8(const char* begin, const char* end) {
  const auto byte = [&](const char* p) { return static_cast<uint8_t>(*p); };
  for (const char* p = begin; p != end;) {
    const uint8_t lead = byte(p);
    if (lead < 0x80) {
      ++p;
      continue;
    }
    const int more = lead >= 0xc2 && lead <= 0xdf ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
    if (more == 0 || end - p <= more) return false;
    for (int i = 1; i <= more; ++i)
      if ((byte(p + i) & 0xc0) != 0x80) return false;
    const uint8_t second = byte(p + 1);
    // Overlong forms, surrogates, and what lies past U+10FFFF.
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second > 0x8f))
      return false;
    p += more + 1;
  }
  return true;
}

int32_t PoolCache::miss(const char* begin, const char* end, uint64_t head, uint64_t tail) {
  if (!is_utf8(begin, end)) return -1;
  const std::string name(begin, end);
  const int32_t code = shared_->code(name);
  if (2 * (used_ + 1) > slots_.size()) {
    std::vector<Slot> before(2 * slots_.size());
    before.swap(slots_);
    for (const Slot& slot : before)
      if (slot.code >= 0) insert(slot);
  }
  const size_t codes = static_cast<size_t>(code) + 1;
  if (name_of_.size() < codes) {
    name_of_.resize(codes, 0);
    limits_.resize(codes);
  }
  name_of_[codes - 1] = static_cast<int32_t>(names_.size());
  limits_[codes - 1] = pool_limits(name);
  insert({head, tail, static_cast<uint64_t>(name.size()), code, static_cast<int32_t>(names_.size())});
  names_.push_back(name);
  ++used_;
  return code;
}

void PoolCache::insert(const Slot& slot) {
  uint64_t i = hash_of(slot.head, slot.tail, slot.length);
  while (slots_[i & (slots_.size() - 1)].code >= 0) ++i;
  slots_[i & (slots_.size() - 1)] = slot;
}

}  // namespace rewarm::trace
