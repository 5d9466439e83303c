// The text of one file, a window at a time, with slack around it for vector loads.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "trace/bytes.h"
#include "trace/kernels.h"
#include "trace/source.h"

namespace rewarm::trace {

// One file or stream from front to back. The text that is handed out ends with a line feed even where the file's last line
// does not.
class TextWindow {
 public:
  TextWindow() : buffer_(kChunk + 2 * kSubBlock + kPage) {}
  TextWindow(const TextWindow&) = delete;
  TextWindow& operator=(const TextWindow&) = delete;
  ~TextWindow() { close(); }

  // At byte `offset` of the decoded file. A stream is read up to there. Rows that start at `end` or later are not wanted: of
  // what lies behind it a plain file is read in small pieces.
  void open(const SourceFile& file, int64_t offset, int64_t end = std::numeric_limits<int64_t>::max());
  void close();

  const char* data() const { return reinterpret_cast<const char*>(buffer_.data()) + begin_; }
  size_t size() const { return end_ - begin_; }
  int64_t offset() const { return offset_; }  // of data() in the decoded file
  bool ended() const { return ended_; }       // nothing comes after what is there
  void consume(size_t n) {
    begin_ += n;
    offset_ += static_cast<int64_t>(n);
  }
  // Reads on; what was not consumed stays, and must be less than kSubBlock.
  void fill();

 private:
  // Of a read: large enough that the call costs nothing, small enough that the text is still in the second-level cache when
  // it is parsed.
  static constexpr size_t kChunk = size_t{256} << 10;
  static constexpr size_t kPage = 4096;

  size_t read(char* to, size_t n);

  Buffer buffer_;
  const SourceFile* file_ = nullptr;
  std::unique_ptr<ByteSource> source_;
  int descriptor_ = -1;
  const SourceFile* opened_ = nullptr;  // whose descriptor it is
  size_t begin_ = 0, end_ = 0;
  int64_t offset_ = 0;
  int64_t next_ = 0;  // where the next read begins
  int64_t wanted_ = 0;
  bool ended_ = true;
};

struct FieldText {
  const char* begin;
  const char* end;
};

// The field without its quotes; two quotes inside are one, which needs `scratch`.
FieldText unquoted(const char* begin, const char* end, std::string* scratch);

}  // namespace rewarm::trace
