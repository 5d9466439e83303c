// A decoded batch: columns as Arrow lays them out, in buffers that are counted by reference and may be recycled.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/bytes.h"

namespace rewarm::trace {

enum class Type : int32_t { kInt8, kInt16, kInt32, kInt64, kFloat64, kFixedBinary, kDictionary, kUtf8, kUtf8List };

// The words behind int32 codes. A code keeps its word for the life of one stream; a later snapshot only has more of them.
struct Dictionary {
  std::vector<std::string> words;
};

struct Column {
  Type type = Type::kFloat64;
  int32_t width = 8;                             // bytes of one value; of one id for kFixedBinary
  std::shared_ptr<Buffer> values;                // [rows] numbers, ids or int32 codes; the characters of kUtf8
  std::shared_ptr<Buffer> offsets;               // kUtf8, kUtf8List: int32 [rows + 1]
  std::shared_ptr<Buffer> validity;              // bit r % 8 of byte r / 8, 1 = present; null when every row is
  int64_t null_count = 0;                        //
  std::shared_ptr<const Dictionary> dictionary;  // kDictionary
  std::shared_ptr<const Column> child;           // kUtf8List: all strings of all rows, a kUtf8 column
  int64_t child_rows = 0;                        // of it

  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(values->data());
  }
  bool valid(int64_t row) const { return validity == nullptr || (validity->data()[row >> 3] >> (row & 7) & 1) != 0; }
};

struct Batch {
  int64_t rows = 0;
  std::vector<Column> columns;  // as asked for, in that order
  int64_t file = 0;             // index of the file that all rows come from
  int64_t first_byte = 0;       // of the text that was read, within the file (decoded)
  int64_t bytes = 0;            // of that text
};

// Takes batches from worker threads: `consume` runs at the same time for different workers, in no order, without the GIL.
class BatchSink {
 public:
  virtual ~BatchSink() = default;
  virtual void consume(int worker, const Batch& batch) = 0;
};

}  // namespace rewarm::trace
