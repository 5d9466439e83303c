// Where bytes come from: a plain file by pread, or anything that can be read once from front to back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace rewarm::trace {

// Read from one thread at a time. Decoders (gzip, zstd, a ZIP member) stand behind it in bindings/.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Bytes where they were made, so that they are copied once, by whoever parses them.
  struct Chunk {
    const char* data = nullptr;
    size_t size = 0;
    std::shared_ptr<const void> owner;  // keeps them; null: the source does, until the next read
  };
  // Up to n bytes; none at the end. Throws rewarm::Error.
  virtual Chunk read(size_t n) = 0;
};

// One file of a table, or one member of an archive.
struct SourceFile {
  std::string name;                 // as errors show it: the relative path, with "!member" for a ZIP
  std::string path;                 // on disk
  int32_t region = -1;              // code in the region dictionary, -1 = null
  int64_t size = 0;                 // bytes on disk
  std::vector<std::string> header;  // its column names, unquoted
  int64_t header_bytes = 0;         // up to and with the header's line end, byte order mark included
  bool crlf = false;                // the header line ended in CRLF
  int64_t range_begin = 0;          // only rows that start in [range_begin, range_end) of the decoded file are read
  int64_t range_end = std::numeric_limits<int64_t>::max();
  std::function<std::unique_ptr<ByteSource>()> open;  // empty: a plain file, split by pread
};

}  // namespace rewarm::trace
