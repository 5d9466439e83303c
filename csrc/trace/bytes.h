// Memory for text and columns: 64-byte aligned, with slack that vector loads and stores may touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace rewarm::trace {

// Bytes before and after every text that a kernel may read, and after every output that it may write.
constexpr size_t kSlack = 64;

// Memory of its own, or a view of an arena's (arena.h) that whoever holds the view keeps alive.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) { reserve(bytes); }
  // A view of [data, data + bytes), with kSlack writable bytes after it.
  Buffer(uint8_t* data, size_t bytes) : data_(data), capacity_(bytes), size_(bytes) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(owned_); }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t capacity() const { return capacity_; }
  size_t size() const { return size_; }
  void resize(size_t bytes) {
    reserve(bytes);
    size_ = bytes;
  }

  // Room for `bytes`, contents kept.
  void reserve(size_t bytes) {
    if (bytes <= capacity_ && data_ != nullptr) return;
    const size_t whole = (bytes + 2 * kSlack + 63) / 64 * 64;
    uint8_t* fresh = static_cast<uint8_t*>(std::aligned_alloc(64, whole));
    if (fresh == nullptr) throw std::bad_alloc();
    if (size_ > 0) std::memcpy(fresh + kSlack, data_, size_);
    std::free(owned_);
    owned_ = fresh;
    data_ = fresh + kSlack;
    capacity_ = bytes;
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(owned_, other.owned_);
    std::swap(capacity_, other.capacity_);
    std::swap(size_, other.size_);
  }

  uint8_t* data_ = nullptr;
  uint8_t* owned_ = nullptr;
  size_t capacity_ = 0;
  size_t size_ = 0;
};

}  // namespace rewarm::trace
