#include "trace/synthetic.h"

#include <charconv>
#include <cstring>

namespace rewarm::trace {
namespace {

constexpr int kMaxNumber = 40;  // bytes of the longest number or exponent form

constexpr uint64_t kPower10[19] = {1ull,
                                   10ull,
                                   100ull,
                                   1000ull,
                                   10000ull,
                                   100000ull,
                                   1000000ull,
                                   10000000ull,
                                   100000000ull,
                                   1000000000ull,
                                   10000000000ull,
                                   100000000000ull,
                                   1000000000000ull,
                                   10000000000000ull,
                                   100000000000000ull,
                                   1000000000000000ull,
                                   10000000000000000ull,
                                   100000000000000000ull,
                                   1000000000000000000ull};

struct Pairs {
  char digits[200];
  constexpr Pairs() : digits() {
    for (int i = 0; i < 100; ++i) {
      digits[2 * i] = static_cast<char>('0' + i / 10);
      digits[2 * i + 1] = static_cast<char>('0' + i % 10);
    }
  }
};
constexpr Pairs kPairs;

// Exactly n digits, leading zeros included.
char* put_digits(char* at, uint64_t value, int n) {
  char* p = at + n;
  while (p - at >= 2) {
    p -= 2;
    std::memcpy(p, kPairs.digits + 2 * (value % 100), 2);
    value /= 100;
  }
  if (p > at) *at = static_cast<char>('0' + value % 10);
  return at + n;
}

char* put_integer(char* at, uint64_t value) { return std::to_chars(at, at + kMaxNumber, value).ptr; }

char* put_sign(char* at, int64_t value, uint64_t* magnitude) {
  *magnitude = static_cast<uint64_t>(value);
  if (value >= 0) return at;
  *magnitude = 0 - *magnitude;
  *at = '-';
  return at + 1;
}

char* put_decimal(char* at, int64_t value, int scale, int min_decimals) {
  uint64_t magnitude;
  at = put_sign(at, value, &magnitude);
  const uint64_t one = kPower10[scale];
  at = put_integer(at, magnitude / one);
  uint64_t fraction = magnitude % one;
  int decimals = scale;
  while (decimals > min_decimals && fraction % 10 == 0) {
    fraction /= 10;
    --decimals;
  }
  const int padding = min_decimals > decimals ? min_decimals - decimals : 0;  // 1018 as 1018.0
  if (decimals + padding == 0) return at;
  *at++ = '.';
  at = put_digits(at, fraction, decimals);
  std::memset(at, '0', static_cast<size_t>(padding));
  return at + padding;
}

// d.ddd and a power of ten. The digits of a decimal of at most 15 of them are also the shortest that read back to its double,
// which is what Java and Python promise to print.
char* put_exponent(char* at, uint64_t magnitude, int scale, bool java) {
  char digits[kMaxNumber];
  int n = static_cast<int>(put_integer(digits, magnitude) - digits);
  const int exponent = n - 1 - scale;
  while (n > 1 && digits[n - 1] == '0') --n;
  *at++ = digits[0];
  if (n > 1 || java) *at++ = '.';
  if (n > 1) {
    std::memcpy(at, digits + 1, static_cast<size_t>(n - 1));
    at += n - 1;
  } else if (java) {
    *at++ = '0';
  }
  *at++ = java ? 'E' : 'e';
  if (exponent < 0) *at++ = '-';
  const uint64_t size = static_cast<uint64_t>(exponent < 0 ? -exponent : exponent);
  if (!java && size < 10) *at++ = '0';
  return put_integer(at, size);
}

char* put_java(char* at, int64_t value, int scale, int min_decimals) {
  const uint64_t magnitude = static_cast<uint64_t>(value < 0 ? -value : value);
  const bool tiny = magnitude != 0 && scale >= 3 && magnitude < kPower10[scale - 3];
  const bool huge = scale <= 11 && magnitude >= kPower10[scale + 7];
  if (!tiny && !huge) return put_decimal(at, value, scale, min_decimals);
  if (value < 0) *at++ = '-';
  return put_exponent(at, magnitude, scale, true);
}

char* put_python(char* at, int64_t value, int scale, int min_decimals) {
  const uint64_t magnitude = static_cast<uint64_t>(value < 0 ? -value : value);
  const bool tiny = magnitude != 0 && scale >= 4 && magnitude < kPower10[scale - 4];
  if (!tiny) return put_decimal(at, value, scale, min_decimals);
  if (value < 0) *at++ = '-';
  return put_exponent(at, magnitude, scale, false);
}

char* put_float64(char* at, double value) {
  char* end = std::to_chars(at, at + kMaxNumber, value).ptr;
  for (const char* p = at; p < end; ++p)
    if (*p < '0' && *p != '-' && *p != '+')
      return end;  // has a dot
    else if (*p > '9')
      return end;  // has an exponent
  *end++ = '.';
  *end++ = '0';
  return end;
}

char* put_hex(char* at, const uint8_t* bytes, int n) {
  static constexpr char kHexDigits[] = "0123456789abcdef";
  for (int i = 0; i < n; ++i) {
    *at++ = kHexDigits[bytes[i] >> 4];
    *at++ = kHexDigits[bytes[i] & 15];
  }
  return at;
}

char* put_word(char* at, const std::string& word) {
  std::memcpy(at, word.data(), word.size());
  return at + word.size();
}

char* put_value(char* at, const TextColumn& c, int64_t row) {
  switch (c.spelling) {
    case Spelling::kInteger: {
      uint64_t magnitude;
      at = put_sign(at, static_cast<const int64_t*>(c.values)[row], &magnitude);
      return put_integer(at, magnitude);
    }
    case Spelling::kDecimal: return put_decimal(at, static_cast<const int64_t*>(c.values)[row], c.scale, c.min_decimals);
    case Spelling::kJava: return put_java(at, static_cast<const int64_t*>(c.values)[row], c.scale, c.min_decimals);
    case Spelling::kPython: return put_python(at, static_cast<const int64_t*>(c.values)[row], c.scale, c.min_decimals);
    case Spelling::kFloat64: return put_float64(at, static_cast<const double*>(c.values)[row]);
    case Spelling::kHex: return put_hex(at, static_cast<const uint8_t*>(c.values) + row * c.width, c.width);
    case Spelling::kWord:
    case Spelling::kPod:
      at = put_word(at, (*c.words)[static_cast<size_t>(static_cast<const int32_t*>(c.values)[row])]);
      if (c.spelling == Spelling::kWord) return at;
      *at++ = '-';
      return put_digits(at, static_cast<uint64_t>(c.serials[row]), 10);
  }
  return at;
}

size_t longest_row(const std::vector<TextColumn>& columns, const TextStyle& style) {
  size_t bytes = kMaxNumber + 4;
  for (const TextColumn& c : columns) {
    size_t word = 0;
    if (c.words != nullptr)
      for (const std::string& w : *c.words) word = w.size() > word ? w.size() : word;
    bytes += word + 2 * static_cast<size_t>(c.width) + kMaxNumber + style.missing.size() + 3;
  }
  return bytes;
}

// Grows a string by pieces of at most `piece` bytes that are written through a pointer.
class Writer {
 public:
  Writer(std::string* out, size_t piece) : out_(out), piece_(piece), used_(out->size()) {}
  ~Writer() { out_->resize(used_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  char* room() {
    if (out_->size() < used_ + piece_) out_->resize((used_ + piece_) * 3 / 2);
    return out_->data() + used_;
  }
  void wrote(const char* end) { used_ = static_cast<size_t>(end - out_->data()); }

 private:
  std::string* out_;
  size_t piece_;
  size_t used_;
};

}  // namespace

void format_rows(const std::vector<TextColumn>& columns, int64_t rows, const TextStyle& style, std::string* out) {
  Writer writer(out, longest_row(columns, style));
  for (int64_t row = 0; row < rows; ++row) {
    char* at = writer.room();
    if (style.first_index >= 0) {
      at = put_integer(at, static_cast<uint64_t>(style.first_index + row));
      *at++ = ',';
    }
    for (const TextColumn& c : columns) {
      if (style.quoted) *at++ = '"';
      if (c.missing != nullptr && c.missing[row] != 0)
        at = put_word(at, style.missing);
      else
        at = put_value(at, c, row);
      if (style.quoted) *at++ = '"';
      *at++ = ',';
    }
    --at;  // the comma behind the last column gives way to the line's end
    if (style.crlf) *at++ = '\r';
    *at++ = '\n';
    writer.wrote(at);
  }
}

void format_minutes(const MinuteText& table, const TextStyle& style, std::string* out) {
  // Fields between two entries are empty: only commas.
  Writer writer(out, static_cast<size_t>(table.functions) * (1 + kMaxNumber) + 2 * kMaxNumber);
  for (int64_t minute = 0; minute < table.minutes; ++minute) {
    char* at = writer.room();
    at = put_integer(at, static_cast<uint64_t>(table.day));
    *at++ = ',';
    at = put_integer(at, static_cast<uint64_t>(table.first_time + 60 * minute));
    int64_t comma = -1;  // the function behind the last comma written
    for (int64_t i = table.begins[minute]; i < table.begins[minute + 1]; ++i) {
      const int64_t gap = table.indices[i] - comma;
      std::memset(at, ',', static_cast<size_t>(gap));
      at = put_float64(at + gap, table.values[i]);
      comma = table.indices[i];
    }
    const int64_t gap = table.functions - 1 - comma;
    std::memset(at, ',', static_cast<size_t>(gap));
    at += gap;
    if (style.crlf) *at++ = '\r';
    *at++ = '\n';
    writer.wrote(at);
  }
}

}  // namespace rewarm::trace
