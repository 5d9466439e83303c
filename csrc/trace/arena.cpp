#include "trace/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

namespace rewarm::trace {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kFirstSlab = size_t{8} << 20;  // a small table should not touch many huge pages
constexpr size_t kNextSlab = size_t{64} << 20;
constexpr size_t kMostFree = 32;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Fresh pages are zero, which hides an output that nobody wrote: tests ask for other contents.
bool poisoned() {
  static const bool yes = std::getenv("REWARM_POISON") != nullptr;
  return yes;
}

}  // namespace

// Fresh pages straight from the system. Huge ones where there are any: the first touch of 4 KiB pages costs about as much as
// parsing the text that fills them.
class Slab {
 public:
  explicit Slab(size_t bytes) : whole_(bytes + kHugePage) {
    void* mapped = ::mmap(nullptr, whole_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    mapped_ = mapped;
    begin_ = reinterpret_cast<uint8_t*>(round_up(reinterpret_cast<uintptr_t>(mapped), kHugePage));
    bytes_ = bytes;
#if defined(MADV_HUGEPAGE)
    ::madvise(begin_, bytes_, MADV_HUGEPAGE);  // only advice
#endif
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() { ::munmap(mapped_, whole_); }

  uint8_t* begin() const { return begin_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t whole_;
  void* mapped_ = nullptr;
  uint8_t* begin_ = nullptr;
  size_t bytes_ = 0;
};

std::shared_ptr<Arena> ArenaPool::acquire(size_t bytes) {
  bytes = round_up(bytes, 4096);
  std::unique_ptr<Arena> arena;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (recycle_) {
      for (std::unique_ptr<Arena>& candidate : free_) {
        if (candidate->bytes < bytes) continue;
        std::swap(candidate, free_.back());
        arena = std::move(free_.back());
        free_.pop_back();
        break;
      }
      if (arena == nullptr && !free_.empty()) free_.pop_back();  // too small for what comes now
    }
    if (arena == nullptr) {
      arena = std::make_unique<Arena>();
      arena->bytes = bytes;
      if (recycle_) {
        arena->slab = std::make_shared<Slab>(bytes);
        arena->base = arena->slab->begin();
      } else {
        if (slab_ == nullptr || slab_->bytes() - used_ < bytes) {
          slab_ = std::make_shared<Slab>(std::max(bytes, slab_ == nullptr ? kFirstSlab : kNextSlab));
          used_ = 0;
        }
        arena->slab = slab_;
        arena->base = slab_->begin() + used_;
        used_ += bytes;
      }
    }
  }
  if (poisoned()) std::memset(arena->base, 0xa5, arena->bytes);
  return std::shared_ptr<Arena>(arena.release(), [pool = shared_from_this()](Arena* done) {
    done->views.clear();
    pool->release(std::unique_ptr<Arena>(done));
  });
}

void ArenaPool::release(std::unique_ptr<Arena> arena) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (recycle_ && free_.size() < kMostFree) free_.push_back(std::move(arena));
}

}  // namespace rewarm::trace
