// An Aggregate as bytes: the same aggregate is always the same bytes, on every machine.
//
//   "rwagg\r\n\0"  u32 version  u64 length of the body  u64 FNV-1a of the body  body
//
// The line end in the first word shows transfers that rewrite text. The body is little-endian; counts are LEB128. Keys are
// sorted and carry their text, bins are sparse and ascending (differences), sums are 192-bit whole numbers of 2^-60.
#pragma once

#include <string>

#include "trace/aggregate.h"

namespace rewarm::trace {

constexpr uint32_t kAggregateVersion = 2;

std::string to_bytes(const Aggregate& aggregate);

// Throws where the bytes are cut off, damaged, of another version or not an aggregate; checks what the rest of the code relies
// on.
Aggregate from_bytes(const char* data, size_t size);

}  // namespace rewarm::trace
