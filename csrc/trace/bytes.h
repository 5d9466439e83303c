// Memory for text and columns: 64-byte aligned, with slack that vector loads and stores may touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace rewarm::trace {

// Bytes before and after every text that a kernel may read, and after every output that it may write.
constexpr size_t kSlack = 64;

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) { reserve(bytes); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(base_); }

  uint8_t* data() { return base_ == nullptr ? nullptr : base_ + kSlack; }
  const uint8_t* data() const { return base_ == nullptr ? nullptr : base_ + kSlack; }
  size_t capacity() const { return capacity_; }
  size_t size() const { return size_; }
  void resize(size_t bytes) {
    reserve(bytes);
    size_ = bytes;
  }

  // Room for `bytes`, contents kept.
  void reserve(size_t bytes) {
    if (bytes <= capacity_ && base_ != nullptr) return;
    const size_t whole = (bytes + 2 * kSlack + 63) / 64 * 64;
    uint8_t* fresh = static_cast<uint8_t*>(std::aligned_alloc(64, whole));
    if (fresh == nullptr) throw std::bad_alloc();
    for (size_t i = 0; i < size_; ++i) fresh[kSlack + i] = base_[kSlack + i];
    std::free(base_);
    base_ = fresh;
    capacity_ = bytes;
  }

 private:
  uint8_t* base_ = nullptr;
  size_t capacity_ = 0;
  size_t size_ = 0;
};

}  // namespace rewarm::trace
