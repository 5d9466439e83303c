// Batches as Arrow: the C data and stream interfaces, without any Arrow library. Zero copy: an export holds the batch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/batch.h"
#include "trace/schema.h"

// The binary interface of the Arrow specification, under the guards that it prescribes so that other headers may declare it
// too.
extern "C" {

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};

#endif  // ARROW_C_DATA_INTERFACE

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
  int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
  const char* (*get_last_error)(struct ArrowArrayStream*);
  void (*release)(struct ArrowArrayStream*);
  void* private_data;
};

#endif  // ARROW_C_STREAM_INTERFACE
}

namespace rewarm::trace {

struct ArrowFields {
  std::vector<OutputField> fields;
  std::string table;                // schema metadata rewarm.table
  std::string version;              // and rewarm.version
  std::string assumed_region = "";  // and, unless it is empty, rewarm.assumed_region: of files whose path tells none
};

// A struct of all fields, each nullable, with its unit as metadata.
void export_schema(const ArrowFields& fields, ArrowSchema* out);
// A struct array. Its release, and those of children that were moved out of it, may be called on any thread.
void export_batch(const ArrowFields& fields, const std::shared_ptr<const Batch>& batch, ArrowArray* out);

// What a stream gives, batch by batch.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual const ArrowFields& fields() const = 0;
  // Null at the end. Called on any thread, from one at a time. What it throws becomes the stream's last error.
  virtual std::shared_ptr<const Batch> next() = 0;
};
void export_stream(std::shared_ptr<BatchSource> source, ArrowArrayStream* out);

}  // namespace rewarm::trace
