#include "trace/aggregate_bytes.h"

#include <algorithm>
#include <cstring>

namespace rewarm::trace {
namespace {

constexpr char kMagic[8] = {'r', 'w', 'a', 'g', 'g', '\r', '\n', '\0'};
constexpr size_t kHeader = sizeof(kMagic) + 4 + 8 + 8;

[[noreturn]] void refuse(const std::string& why) { throw Error(ErrorKind::kInvalidArgument, "aggregate: from_bytes: " + why); }

uint64_t fnv1a(const char* data, size_t size) {
  uint64_t h = 0xcbf29ce484222325;
  for (size_t i = 0; i < size; ++i) h = (h ^ static_cast<unsigned char>(data[i])) * 0x100000001b3;
  return h;
}

class Writer {
 public:
  void fixed(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  }
  void count(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
  }
  void number(int64_t value) { count(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63)); }
  void real(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    fixed(bits, 8);
  }
  void text(const std::string& value) {
    count(value.size());
    out += value;
  }

  std::string out;
};

class Reader {
 public:
  Reader(const char* data, size_t size) : at_(data), begin_(data), end_(data + size) {}

  uint64_t fixed(int bytes) {
    need(static_cast<uint64_t>(bytes));
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(*at_++)) << (8 * i);
    return value;
  }
  uint64_t count() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = fixed(1);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    wrong("a count of more than 64 bits");
  }
  // Of things of at least `bytes` bytes each: never more than can follow, so that no damage asks for all memory.
  size_t size(uint64_t bytes) {
    const uint64_t value = count();
    if (value > static_cast<uint64_t>(end_ - at_) / bytes) wrong("a count of more than follows");
    return static_cast<size_t>(value);
  }
  int64_t positive() {
    const uint64_t value = count();
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) wrong("a count of more than 63 bits");
    return static_cast<int64_t>(value);
  }
  int64_t number() {
    const uint64_t value = count();
    return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1));
  }
  double real() {
    const uint64_t bits = fixed(8);
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  std::string text() {
    const size_t n = size(1);
    at_ += n;
    return std::string(at_ - n, n);
  }
  bool done() const { return at_ == end_; }
  [[noreturn]] void wrong(const std::string& what) const {
    refuse("not a valid aggregate: " + what + " at byte " + std::to_string(kHeader + static_cast<size_t>(at_ - begin_)));
  }

 private:
  void need(uint64_t bytes) const {
    if (bytes > static_cast<uint64_t>(end_ - at_)) wrong("the end");
  }

  const char* at_;
  const char* begin_;
  const char* end_;
};

void write_stats(const Stats& s, Writer* w) {
  w->count(static_cast<uint64_t>(s.count));
  if (s.count == 0) return;
  const unsigned __int128 low = static_cast<unsigned __int128>(s.sum.low);
  w->fixed(static_cast<uint64_t>(low), 8);
  w->fixed(static_cast<uint64_t>(low >> 64), 8);
  w->number(s.sum.high);
  w->real(s.min);
  w->real(s.max);
}

Stats read_stats(int64_t rows, Reader* r) {
  Stats s;
  s.count = r->positive();
  if (s.count > rows) r->wrong("more values than rows");
  if (s.count == 0) return s;
  const uint64_t low = r->fixed(8);
  s.sum.low = static_cast<__int128>(static_cast<unsigned __int128>(r->fixed(8)) << 64 | low);
  s.sum.high = r->number();
  s.min = r->real();
  s.max = r->real();
  if (!(-kSumLimit < s.min && s.min <= s.max && s.max < kSumLimit)) r->wrong("a minimum above the maximum");
  return s;
}

void read_bins(int64_t count, BinsBlock* block, Reader* r) {
  const size_t n = r->size(2);
  uint64_t code = 0;
  int64_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t step = r->count();
    if (step >= kBins || (i > 0 && step == 0) || code + step >= kBins) r->wrong("bins out of order");
    code += step;
    const int64_t in_bin = r->positive();
    if (in_bin == 0 || in_bin > count - total) r->wrong("bins that do not add up to the count");
    total += in_bin;
    block->codes.push_back(static_cast<uint32_t>(code));
    block->counts.push_back(in_bin);
  }
  if (total != count) r->wrong("bins that do not add up to the count");
  block->ends.push_back(static_cast<int64_t>(block->codes.size()));
}

void write_body(const Aggregate& a, Writer* w) {
  w->text(a.spec.text);
  w->count(a.spec.keys.size());
  for (const KeySpec& key : a.spec.keys) {
    w->text(key.name);
    w->count(static_cast<uint64_t>(key.type));
  }
  w->count(a.spec.values.size());
  for (const std::string& value : a.spec.values) w->text(value);
  w->count(a.spec.histograms ? 1 : 0);
  w->number(a.rejected);
  w->count(a.files.size());
  for (const FileRange& f : a.files) {
    w->text(f.region);
    w->text(f.name);
    w->number(f.begin);
    w->number(f.end);
  }
  w->count(a.rejects.size());
  for (const AggregateReject& reject : a.rejects) {
    for (const std::string* text : {&reject.region, &reject.file}) w->text(*text);
    for (const int64_t place : {reject.line, reject.byte}) w->number(place);
    for (const std::string* text : {&reject.column, &reject.text, &reject.expected, &reject.action}) w->text(*text);
  }
  w->count(a.rows.size());
  for (const int64_t rows : a.rows) w->count(static_cast<uint64_t>(rows));
  for (const KeyColumn& column : a.keys) {
    w->count(column.words.size());
    for (const std::string& word : column.words) w->text(word);
    for (const int64_t value : column.values) w->number(value);
  }
  for (size_t v = 0; v < a.spec.values.size(); ++v) {
    for (const Stats& s : a.stats[v]) write_stats(s, w);
    if (!a.spec.histograms) continue;
    for (int64_t g = 0; g < a.group_count(); ++g) {
      const BinsView bins = a.bins_of(g, v);
      w->count(static_cast<uint64_t>(bins.size));
      for (int64_t i = 0; i < bins.size; ++i) {
        w->count(bins.codes[i] - (i == 0 ? 0 : bins.codes[i - 1]));
        w->count(static_cast<uint64_t>(bins.counts[i]));
      }
    }
  }
}

void read_rejects(Aggregate* a, Reader* r) {
  const size_t rejects = r->size(8);
  if (rejects > kMostRejects || static_cast<int64_t>(rejects) > a->rejected) r->wrong("more rejects than are counted or kept");
  for (size_t n = rejects; n > 0; --n) {
    AggregateReject reject;
    for (std::string* text : {&reject.region, &reject.file}) *text = r->text();
    for (int64_t* place : {&reject.line, &reject.byte}) *place = r->number();
    for (std::string* text : {&reject.column, &reject.text, &reject.expected, &reject.action}) *text = r->text();
    if (!a->rejects.empty() && rejected_before(reject, a->rejects.back())) r->wrong("rejects out of order");
    a->rejects.push_back(std::move(reject));
  }
}

void read_keys(Aggregate* a, Reader* r) {
  const size_t groups = a->rows.size();
  for (size_t k = 0; k < a->spec.keys.size(); ++k) {
    const KeyField field = key_field(a->spec.keys[k].type);
    const bool text = field.type == Type::kDictionary;
    KeyColumn column;
    const size_t words = r->size(1);
    if (words > 0 && !text) r->wrong("words of a key that has none");
    for (size_t i = 0; i < words; ++i) {
      column.words.push_back(r->text());
      if (i > 0 && !(column.words[i - 1] < column.words[i])) r->wrong("words out of order");
    }
    const int64_t highest = text ? static_cast<int64_t>(words) - 1 : -(field.lowest + 1);
    for (size_t g = 0; g < groups; ++g) {
      const int64_t value = r->number();
      if (value != kNullKey && (value < field.lowest || value > highest)) r->wrong("a key out of range");
      column.values.push_back(value);
    }
    a->keys.push_back(std::move(column));
  }
  // Nulls last: as unsigned numbers they come behind all others once the sign bit is flipped and 1 taken away.
  const auto place = [](int64_t key) { return (static_cast<uint64_t>(key) ^ (uint64_t{1} << 63)) - 1; };
  for (size_t g = 1; g < groups; ++g) {
    size_t k = 0;
    while (k < a->keys.size() && a->keys[k].values[g - 1] == a->keys[k].values[g]) ++k;
    if (k == a->keys.size() || place(a->keys[k].values[g - 1]) > place(a->keys[k].values[g])) r->wrong("groups out of order");
  }
}

void read_body(Reader* r, Aggregate* a) {
  a->spec.text = r->text();
  for (size_t n = r->size(2); n > 0; --n) {
    std::string name = r->text();
    const uint64_t type = r->count();
    if (type > static_cast<uint64_t>(Type::kInt32) && type != static_cast<uint64_t>(Type::kDictionary))
      r->wrong("a key of unknown type");
    a->spec.keys.push_back({std::move(name), static_cast<Type>(type)});
  }
  for (size_t n = r->size(1); n > 0; --n) a->spec.values.push_back(r->text());
  a->spec.histograms = r->count() != 0;
  a->rejected = r->number();
  for (size_t n = r->size(4); n > 0; --n) {
    FileRange f;
    f.region = r->text();
    f.name = r->text();
    f.begin = r->number();
    f.end = r->number();
    a->files.push_back(std::move(f));
  }
  read_rejects(a, r);
  const size_t groups = r->size(1);
  for (size_t g = 0; g < groups; ++g) a->rows.push_back(r->positive());
  if (a->spec.keys.empty() && groups != 1) r->wrong("more than one group without keys");
  read_keys(a, r);
  for (size_t v = 0; v < a->spec.values.size(); ++v) {
    std::vector<Stats> stats;
    for (size_t g = 0; g < groups; ++g) stats.push_back(read_stats(a->rows[g], r));
    if (a->spec.histograms) {
      std::vector<BinsBlock> blocks((groups + kGroupsABlock - 1) / kGroupsABlock);
      for (size_t g = 0; g < groups; ++g) read_bins(stats[g].count, &blocks[g / kGroupsABlock], r);
      a->bins.push_back(std::move(blocks));
    }
    a->stats.push_back(std::move(stats));
  }
  if (!r->done()) r->wrong("more bytes than belong to it");
}

}  // namespace

std::string to_bytes(const Aggregate& aggregate) {
  Writer body;
  write_body(aggregate, &body);
  Writer whole;
  whole.out.assign(kMagic, sizeof(kMagic));
  whole.fixed(kAggregateVersion, 4);
  whole.fixed(body.out.size(), 8);
  whole.fixed(fnv1a(body.out.data(), body.out.size()), 8);
  return whole.out + body.out;
}

Aggregate from_bytes(const char* data, size_t size) {
  if (size < sizeof(kMagic) || std::memcmp(data, kMagic, sizeof(kMagic)) != 0)
    refuse("not an aggregate: expected the bytes 'rwagg\\r\\n\\0' at the beginning");
  if (size < kHeader)
    refuse("cut off: expected a header of " + std::to_string(kHeader) + " bytes, got " + std::to_string(size) + " bytes");
  Reader header(data + sizeof(kMagic), kHeader - sizeof(kMagic));
  const uint64_t version = header.fixed(4);
  if (version != kAggregateVersion)
    refuse("version " + std::to_string(version) + " of the format; this build reads version " +
           std::to_string(kAggregateVersion));
  const uint64_t length = header.fixed(8);
  const uint64_t sum = header.fixed(8);
  if (length != size - kHeader)
    refuse((length > size - kHeader ? "cut off: expected " : "something follows: expected ") + std::to_string(length) +
           " bytes behind the header, got " + std::to_string(size - kHeader));
  if (fnv1a(data + kHeader, size - kHeader) != sum) refuse("damaged: the checksum does not fit");
  Reader body(data + kHeader, size - kHeader);
  Aggregate aggregate;
  read_body(&body, &aggregate);
  return aggregate;
}

}  // namespace rewarm::trace
