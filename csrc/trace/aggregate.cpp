#include "trace/aggregate.h"

#include <algorithm>
#include <tuple>

#include "trace/for_each.h"

namespace rewarm::trace {
namespace {

// A key of all parts together, as a field of an order-preserving packed form: value - lowest, null behind all values.
struct OrderedField {
  int64_t lowest = 0;
  uint64_t null = 0;
  int32_t word = 0;
  int32_t shift = 0;
  std::vector<std::string> words;           // of a dictionary: those used, ascending
  std::vector<std::vector<int64_t>> ranks;  // [parts][code of the part] -> index of words
};

int32_t bits_of(uint64_t value) { return value == 0 ? 1 : 64 - __builtin_clzll(value); }

// Dictionary codes mean nothing across parts: words that occur get ranks in the order of their bytes.
void rank_words(const std::vector<const AggregatePart*>& parts, size_t k, OrderedField* field) {
  field->ranks.resize(parts.size());
  for (size_t p = 0; p < parts.size(); ++p) {
    const std::vector<std::string>& words = parts[p]->words(k);
    std::vector<int64_t>& ranks = field->ranks[p];
    ranks.assign(words.size(), -1);
    for (int64_t g = 0; g < parts[p]->group_count(); ++g) {
      const int64_t code = parts[p]->key(g, k);
      if (code == kNullKey || ranks[static_cast<size_t>(code)] == 0) continue;
      ranks[static_cast<size_t>(code)] = 0;
      field->words.push_back(words[static_cast<size_t>(code)]);
    }
  }
  std::sort(field->words.begin(), field->words.end());
  field->words.erase(std::unique(field->words.begin(), field->words.end()), field->words.end());
  for (size_t p = 0; p < parts.size(); ++p) {
    const std::vector<std::string>& words = parts[p]->words(k);
    for (size_t code = 0; code < words.size(); ++code) {
      if (field->ranks[p][code] < 0) continue;
      field->ranks[p][code] = std::lower_bound(field->words.begin(), field->words.end(), words[code]) - field->words.begin();
    }
  }
}

class KeyOrder {
 public:
  KeyOrder(const AggregateSpec& spec, const std::vector<const AggregatePart*>& parts) : parts_(parts) {
    int32_t left = 0;
    for (size_t k = 0; k < spec.keys.size(); ++k) {
      OrderedField field;
      if (spec.keys[k].type == Type::kDictionary) {
        rank_words(parts, k, &field);
        field.null = field.words.size();
      } else {
        int64_t lowest = std::numeric_limits<int64_t>::max(), highest = std::numeric_limits<int64_t>::min();
        for (const AggregatePart* part : parts) {
          for (int64_t g = 0; g < part->group_count(); ++g) {
            const int64_t value = part->key(g, k);
            if (value == kNullKey) continue;
            lowest = std::min(lowest, value);
            highest = std::max(highest, value);
          }
        }
        if (lowest <= highest) {
          field.lowest = lowest;
          field.null = static_cast<uint64_t>(highest - lowest) + 1;
        }
      }
      const int32_t bits = bits_of(field.null);
      if (bits > left) {
        ++words_;
        left = 64;
      }
      left -= bits;
      field.word = words_ - 1;
      field.shift = left;
      fields_.push_back(std::move(field));
    }
  }

  int32_t words() const { return words_; }

  void pack(size_t part, int64_t group, uint64_t* out) const {
    for (size_t k = 0; k < fields_.size(); ++k) {
      const OrderedField& f = fields_[k];
      const int64_t key = parts_[part]->key(group, k);
      uint64_t value = f.null;
      if (key != kNullKey)
        value = f.ranks.empty() ? static_cast<uint64_t>(key - f.lowest)
                                : static_cast<uint64_t>(f.ranks[part][static_cast<size_t>(key)]);
      out[f.word] |= value << f.shift;
    }
  }

  // The value of key k in the combined aggregate.
  int64_t combined(size_t part, int64_t group, size_t k) const {
    const int64_t key = parts_[part]->key(group, k);
    return key == kNullKey || fields_[k].ranks.empty() ? key : fields_[k].ranks[part][static_cast<size_t>(key)];
  }

  std::vector<std::string> take_words(size_t k) { return std::move(fields_[k].words); }

 private:
  const std::vector<const AggregatePart*>& parts_;
  std::vector<OrderedField> fields_;
  int32_t words_ = 0;
};

struct Entry {
  uint64_t first;
  const uint64_t* key;  // [words]
  uint32_t part;
  uint32_t group;
};

struct Before {
  int32_t words;
  bool operator()(const Entry& a, const Entry& b) const {
    if (a.first != b.first) return a.first < b.first;
    for (int32_t w = 1; w < words; ++w)
      if (a.key[w] != b.key[w]) return a.key[w] < b.key[w];
    return false;
  }
};

// The groups of all parts by key, equal ones side by side in the order of their parts.
std::vector<Entry> sorted_entries(const KeyOrder& order, const std::vector<const AggregatePart*>& parts,
                                  std::vector<std::vector<uint64_t>>* keys, int threads) {
  std::vector<int64_t> begin(parts.size() + 1, 0);
  for (size_t p = 0; p < parts.size(); ++p) begin[p + 1] = begin[p] + parts[p]->group_count();
  std::vector<Entry> entries(static_cast<size_t>(begin.back()));
  keys->resize(parts.size());
  const Before before = {order.words()};
  const size_t words = static_cast<size_t>(std::max(order.words(), 1));
  for_each(static_cast<int64_t>(parts.size()), threads, [&](int64_t i) {
    const size_t p = static_cast<size_t>(i);
    const int64_t groups = begin[p + 1] - begin[p];
    std::vector<uint64_t>& packed = (*keys)[p];
    packed.assign(static_cast<size_t>(groups) * words, 0);
    const auto own = entries.begin() + begin[p];
    for (int64_t g = 0; g < groups; ++g) {
      uint64_t* key = packed.data() + static_cast<size_t>(g) * words;
      order.pack(p, g, key);
      own[g] = {key[0], key, static_cast<uint32_t>(p), static_cast<uint32_t>(g)};
    }
    if (!std::is_sorted(own, own + groups, before)) std::sort(own, own + groups, before);
  });
  // inplace_merge is stable, so the parts stay in order.
  for (size_t width = 1; width < parts.size(); width *= 2) {
    for (size_t p = 0; p + width < parts.size(); p += 2 * width) {
      const size_t end = std::min(p + 2 * width, parts.size());
      std::inplace_merge(entries.begin() + begin[p], entries.begin() + begin[p + width], entries.begin() + begin[end], before);
    }
  }
  return entries;
}

bool same_place(const FileRange& a, const FileRange& b) { return a.region == b.region && a.name == b.name; }

std::string describe(const FileRange& r) {
  const std::string file = (r.region.empty() ? "" : r.region + " ") + r.name;
  if (r.end < 0) return file;
  return file + " bytes " + std::to_string(r.begin) + " to " + std::to_string(r.end);
}

}  // namespace

void Aggregate::drain_bins(int64_t group, size_t value, BinCounter* out) const {
  const BinsView view = bins_of(group, value);
  for (int64_t i = 0; i < view.size; ++i) out->add(view.codes[i], view.counts[i]);
}

Aggregate combine(const AggregateSpec& spec, const std::vector<const AggregatePart*>& parts, int threads) {
  KeyOrder order(spec, parts);
  std::vector<std::vector<uint64_t>> keys;
  const std::vector<Entry> entries = sorted_entries(order, parts, &keys, threads);
  const Before before = {order.words()};
  std::vector<int64_t> starts;
  for (size_t i = 0; i < entries.size(); ++i)
    if (i == 0 || before(entries[i - 1], entries[i])) starts.push_back(static_cast<int64_t>(i));
  if (spec.keys.empty() && starts.empty()) starts.push_back(0);
  const int64_t groups = static_cast<int64_t>(starts.size());
  starts.push_back(static_cast<int64_t>(entries.size()));
  if (groups > spec.max_groups)
    throw Error(ErrorKind::kInvalidArgument, "aggregate: " + std::to_string(groups) +
                                                 " groups, more than max_groups=" + std::to_string(spec.max_groups) +
                                                 ": group by fewer or coarser keys, or raise max_groups");

  const int64_t blocks = (groups + kGroupsABlock - 1) / kGroupsABlock;
  const size_t values = spec.values.size();
  Aggregate out;
  out.spec = spec;
  out.keys.resize(spec.keys.size());
  for (KeyColumn& column : out.keys) column.values.resize(static_cast<size_t>(groups));
  out.rows.assign(static_cast<size_t>(groups), 0);
  out.stats.assign(values, std::vector<Stats>(static_cast<size_t>(groups)));
  if (spec.histograms) out.bins.assign(values, std::vector<BinsBlock>(static_cast<size_t>(blocks)));
  for_each(blocks, threads, [&](int64_t block) {
    BinCounter counter;
    const int64_t end = std::min((block + 1) * kGroupsABlock, groups);
    for (int64_t g = block * kGroupsABlock; g < end; ++g) {
      const size_t at = static_cast<size_t>(g);
      const Entry* first = entries.data() + starts[at];
      const Entry* last = entries.data() + starts[at + 1];
      for (size_t k = 0; k < out.keys.size(); ++k) out.keys[k].values[at] = order.combined(first->part, first->group, k);
      for (const Entry* e = first; e < last; ++e) out.rows[at] += parts[e->part]->row_count(e->group);
      for (size_t v = 0; v < values; ++v) {
        Stats& stats = out.stats[v][at];
        for (const Entry* e = first; e < last; ++e) stats.add(parts[e->part]->stats_of(e->group, v));
        if (!spec.histograms) continue;
        for (const Entry* e = first; e < last; ++e) parts[e->part]->drain_bins(e->group, v, &counter);
        BinsBlock& bins = out.bins[v][static_cast<size_t>(block)];
        counter.drain(&bins.codes, &bins.counts);
        bins.ends.push_back(static_cast<int64_t>(bins.codes.size()));
      }
    }
  });
  for (size_t k = 0; k < out.keys.size(); ++k) out.keys[k].words = order.take_words(k);
  return out;
}

bool rejected_before(const AggregateReject& a, const AggregateReject& b) {
  return std::tie(a.file, a.region, a.line) < std::tie(b.file, b.region, b.line);
}

std::vector<FileRange> join_ranges(std::vector<FileRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const FileRange& a, const FileRange& b) {
    return std::tie(a.region, a.name, a.begin, a.end) < std::tie(b.region, b.name, b.begin, b.end);
  });
  std::vector<FileRange> joined;
  for (const FileRange& range : ranges) {
    if (joined.empty() || !same_place(joined.back(), range)) {
      joined.push_back(range);
      continue;
    }
    FileRange& before = joined.back();
    if (before.end < 0 || range.end < 0 || range.begin < before.end)
      throw Error(ErrorKind::kInvalidArgument, "aggregate: the same rows would count twice: " + describe(before) + " and " +
                                                   describe(range) + "; each range of a file may be in one aggregate only");
    if (range.begin == before.end) {
      before.end = range.end;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

std::vector<AggregateReject> first_rejects(std::vector<AggregateReject> rejects) {
  std::stable_sort(rejects.begin(), rejects.end(), rejected_before);
  if (rejects.size() > kMostRejects) rejects.resize(kMostRejects);
  return rejects;
}

Aggregate merge(const std::vector<const Aggregate*>& aggregates, int threads) {
  AggregateSpec spec = aggregates.front()->spec;
  spec.max_groups = std::numeric_limits<int64_t>::max();  // a limit for a scan; what was scanned may be added up
  std::vector<const AggregatePart*> parts;
  std::vector<FileRange> files;
  std::vector<AggregateReject> rejects;
  int64_t rejected = 0;
  for (const Aggregate* a : aggregates) {
    bool same = a->spec.text == spec.text && a->spec.values == spec.values && a->spec.histograms == spec.histograms &&
                a->spec.keys.size() == spec.keys.size();
    for (size_t k = 0; same && k < spec.keys.size(); ++k)
      same = a->spec.keys[k].name == spec.keys[k].name && a->spec.keys[k].type == spec.keys[k].type;
    if (!same)
      throw Error(ErrorKind::kInvalidArgument,
                  "aggregate: merge: expected aggregates of one question, got " + spec.text + " and " + a->spec.text);
    parts.push_back(a);
    files.insert(files.end(), a->files.begin(), a->files.end());
    rejects.insert(rejects.end(), a->rejects.begin(), a->rejects.end());
    rejected += a->rejected;
  }
  files = join_ranges(std::move(files));
  Aggregate out = combine(spec, parts, threads);
  out.files = std::move(files);
  out.rejected = rejected;
  out.rejects = first_rejects(std::move(rejects));
  return out;
}

}  // namespace rewarm::trace
