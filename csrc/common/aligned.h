// Scratch memory of one thread: aligned to a cache line, grown and never shrunk, contents not kept.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace rewarm {

class Scratch {
 public:
  // n floats that nobody has written yet.
  float* floats(int64_t n) {
    if (n > size_) {
      const size_t bytes = (static_cast<size_t>(n) * sizeof(float) + 63) / 64 * 64;
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      size_ = memory_ == nullptr ? 0 : n;
      if (memory_ == nullptr) throw std::bad_alloc();
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t size_ = 0;
};

}  // namespace rewarm
