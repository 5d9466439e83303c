// Memory for the columns of one batch: one piece, either carved from huge-page slabs and kept, or recycled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "trace/bytes.h"

namespace rewarm::trace {

class Slab;

// All memory of one batch. The columns' buffers are views into it and keep it alive, so it ends (or is used again) when the
// last of them is gone.
struct Arena {
  std::shared_ptr<Slab> slab;
  uint8_t* base = nullptr;
  size_t bytes = 0;
  std::vector<Buffer> views;
};

// Threads may acquire and release at the same time; an arena keeps its pool alive.
class ArenaPool : public std::enable_shared_from_this<ArenaPool> {
 public:
  // recycle: arenas come back when they are released; otherwise their memory goes back to the system with its slab.
  explicit ArenaPool(bool recycle) : recycle_(recycle) {}
  std::shared_ptr<Arena> acquire(size_t bytes);

 private:
  void release(std::unique_ptr<Arena> arena);

  std::mutex mutex_;
  bool recycle_;
  std::vector<std::unique_ptr<Arena>> free_;
  std::shared_ptr<Slab> slab_;  // what is carved now
  size_t used_ = 0;
};

}  // namespace rewarm::trace
