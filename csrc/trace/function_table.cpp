#include "trace/function_table.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "trace/dictionary.h"

namespace rewarm::trace {
namespace {

constexpr int32_t kFunction = 0, kRuntime = 1, kTrigger = 2;
constexpr size_t kLooked = std::size(kPlainColumns);

inline uint64_t fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t hash_of(std::string_view text, uint64_t seed) {
  constexpr uint64_t kA = 0x9e3779b97f4a7c15, kB = 0x243f6a8885a308d3;
  uint64_t h = fold(seed ^ kA, text.size() ^ kB);
  for (; text.size() >= 8; text.remove_prefix(8)) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    h = fold(h ^ word, kA) + kB;
  }
  uint64_t word = 0;
  std::memcpy(&word, text.data(), text.size());
  return fold(h ^ word, kA) ^ h;
}

int32_t code_of(Dictionary* dictionary, const OptionalText& word) {
  if (!word) return -1;
  std::vector<std::string>& words = dictionary->words;  // a dozen
  const auto found = std::find(words.begin(), words.end(), *word);
  if (found != words.end()) return static_cast<int32_t>(found - words.begin());
  words.push_back(*word);
  return static_cast<int32_t>(words.size()) - 1;
}

// "<1 to 9 digits>---<1 to 9 digits>---<anything>"
bool is_small_funcid(std::string_view text) {
  for (int part = 0; part < 2; ++part) {
    size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
    if (digits < 1 || digits > 9 || text.substr(digits, 3) != "---") return false;
    text.remove_prefix(digits + 3);
  }
  return !text.empty();
}

// The different texts of one column and the codes of what they mean.
class WordCodes {
 public:
  WordCodes(int32_t column, Dictionary* dictionary, const FunctionTable::WordOf& word_of)
      : column_(column), dictionary_(dictionary), word_of_(word_of) {}

  // False: not accepted.
  bool code(std::string_view text, int32_t* code) {
    for (const Known& known : known_) {
      if (known.text != text) continue;
      *code = known.code;
      return true;
    }
    const FunctionTable::Word word = word_of_(column_, text);
    if (!word.accepted) return false;
    *code = dictionary_ == nullptr ? -1 : code_of(dictionary_, word.text);
    known_.push_back({std::string(text), *code});
    return true;
  }

 private:
  struct Known {
    std::string text;
    int32_t code;
  };
  int32_t column_;
  Dictionary* dictionary_;
  const FunctionTable::WordOf& word_of_;
  std::vector<Known> known_;  // a dozen, or a few dozen
};

}  // namespace

// ---- one region ----------------------------------------------------------------------------------------------------------

size_t RegionFunctions::slot_of(std::string_view function) const {
  size_t at = hash_of(function, 0) & (slots_.size() - 1);
  while (slots_[at] != 0 && name(rows_[slots_[at] - 1]) != function) at = (at + 1) & (slots_.size() - 1);
  return at;
}

RegionFunctions::Row& RegionFunctions::row_of(std::string_view function, bool* fresh) {
  const size_t at = slot_of(function);
  *fresh = slots_[at] == 0;
  if (!*fresh) return rows_[slots_[at] - 1];
  rows_.push_back({static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(function.size()), {}});
  text_ += function;
  slots_[at] = static_cast<uint32_t>(rows_.size());
  if (2 * rows_.size() > slots_.size()) grow();
  return rows_.back();
}

JoinedFunction RegionFunctions::find(std::string_view function) const {
  const uint32_t slot = slots_[slot_of(function)];
  return slot == 0 ? JoinedFunction() : rows_[slot - 1].joined;
}

void RegionFunctions::grow() {
  slots_.assign(4 * slots_.size(), 0);
  for (size_t i = 0; i < rows_.size(); ++i) slots_[slot_of(name(rows_[i]))] = static_cast<uint32_t>(i + 1);
}

// ---- all of them ---------------------------------------------------------------------------------------------------------

const RegionFunctions* FunctionTable::functions_of(const OptionalText& region) const {
  for (const auto& own : regions_)
    if (own->name == region) return &own->functions;
  return nullptr;
}

RegionFunctions& FunctionTable::own_functions(const OptionalText& region) {
  for (const auto& own : regions_)
    if (own->name == region) return own->functions;
  regions_.push_back(std::make_unique<Region>());
  regions_.back()->name = region;
  return regions_.back()->functions;
}

void FunctionTable::add(const OptionalText& region, std::string_view function, const OptionalText& runtime,
                        const OptionalText& trigger_group) {
  bool fresh;
  own_functions(region).row_of(function, &fresh).joined = {code_of(runtimes_.get(), runtime),
                                                           code_of(trigger_groups_.get(), trigger_group)};
}

bool FunctionTable::add_plain(const OptionalText& region, std::string_view text, const std::vector<std::string>& header,
                              const WordOf& word_of) {
  if (!is_utf8(text.data(), text.data() + text.size()) || text.find('"') != std::string_view::npos) return false;
  std::vector<int32_t> looked;  // by field: index in kPlainColumns, or -1
  for (const std::string& name : header) {
    const auto found = std::find(std::begin(kPlainColumns), std::end(kPlainColumns), name);
    looked.push_back(found == std::end(kPlainColumns) ? -1 : static_cast<int32_t>(found - std::begin(kPlainColumns)));
  }
  if (std::find(looked.begin(), looked.end(), kFunction) == looked.end()) return false;
  const bool runtimes = std::find(looked.begin(), looked.end(), kRuntime) != looked.end();
  WordCodes words[kLooked] = {{0, nullptr, word_of},
                              {kRuntime, runtimes_.get(), word_of},
                              {kTrigger, trigger_groups_.get(), word_of},
                              {3, nullptr, word_of}};
  RegionFunctions& functions = own_functions(region);
  while (!text.empty()) {
    const size_t feed = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, feed);
    text.remove_prefix(std::min(feed + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || line.find('\r') != std::string_view::npos) return false;
    std::string_view function;
    int32_t codes[kLooked] = {-1, -1, -1, -1};
    for (size_t c = 0; c < looked.size(); ++c) {
      const bool last = c + 1 == looked.size();
      const size_t comma = line.find(',');
      if ((comma == std::string_view::npos) != last) return false;
      const std::string_view field = line.substr(0, comma);
      if (!last) line.remove_prefix(comma + 1);
      const int32_t column = looked[c];
      if (column == kFunction) {
        if (!is_small_funcid(field)) return false;
        function = field;
      } else if (column >= 0 && !words[column].code(field, codes + column)) {
        return false;
      }
    }
    bool fresh;
    JoinedFunction& joined = functions.row_of(function, &fresh).joined;
    if (!fresh && runtimes && joined.runtime != codes[kRuntime]) return false;
    joined = {codes[kRuntime], codes[kTrigger]};
  }
  return true;
}

std::string FunctionTable::fingerprint() const {
  // A sum does not care for the order. Tables differ by accident or by an edit, so two folded products of 64 bits are enough.
  uint64_t sums[2] = {0, 0};
  const auto hashed = [](const std::vector<std::string>& words, int32_t code, uint64_t seed) {
    return code < 0 ? fold(seed, 0x13198a2e03707344) : hash_of(words[static_cast<size_t>(code)], seed);
  };
  for (const auto& region : regions_) {
    for (const RegionFunctions::Row& row : region->functions.rows()) {
      for (uint64_t i = 0; i < 2; ++i) {
        uint64_t h = region->name ? hash_of(*region->name, i + 1) : i + 3;
        h = hash_of(region->functions.name(row), h);
        h = hashed(runtimes_->words, row.joined.runtime, h);
        h = hashed(trigger_groups_->words, row.joined.trigger_group, h);
        sums[i] += h;
      }
    }
  }
  char digits[33];
  std::snprintf(digits, sizeof(digits), "%016llx%016llx", static_cast<unsigned long long>(sums[0]),
                static_cast<unsigned long long>(sums[1]));
  return digits;
}

}  // namespace rewarm::trace
