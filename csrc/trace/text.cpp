#include "trace/text.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "trace/trace_error.h"

namespace rewarm::trace {
namespace {

constexpr int64_t kRowTail = 4096;  // of a row that begins before the end of what is wanted; if it is longer, read again

[[noreturn]] void fail(const SourceFile& file, const std::string& what, int64_t byte) {
  throw TraceFailure(file.name + ": " + what, {file.name, -1, byte, "", "", ""});
}

}  // namespace

void TextWindow::open(const SourceFile& file, int64_t offset, int64_t end) {
  file_ = &file;
  wanted_ = end;
  begin_ = end_ = 0;
  ended_ = false;
  offset_ = next_ = offset;
  source_.reset();
  if (file.open) {
    source_ = file.open();
    for (int64_t skipped = 0; skipped < offset;) {
      const size_t n = static_cast<size_t>(std::min<int64_t>(offset - skipped, static_cast<int64_t>(kChunk)));
      const size_t got = source_->read(reinterpret_cast<char*>(buffer_.data()), n);
      if (got == 0) fail(file, "ends at byte " + std::to_string(skipped) + ", within its header", skipped);
      skipped += static_cast<int64_t>(got);
    }
  } else if (opened_ != &file) {
    close();
    file_ = &file;
    descriptor_ = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail(file, std::string("cannot be opened: ") + std::strerror(errno), -1);
    opened_ = &file;
  }
}

void TextWindow::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  opened_ = nullptr;
  source_.reset();
}

size_t TextWindow::read(char* to, size_t n) {
  if (source_ != nullptr) return source_->read(to, n);
  const int64_t useful = std::max<int64_t>(wanted_ - next_, 0);
  if (useful < static_cast<int64_t>(n) - kRowTail) n = static_cast<size_t>(useful + kRowTail);
  n = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(n), file_->size - next_));
  if (n == 0) return 0;
  for (;;) {
    const ssize_t got = ::pread(descriptor_, to, n, next_);
    if (got > 0) return static_cast<size_t>(got);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(*file_, std::string("cannot be read: ") + std::strerror(errno), next_);
    fail(*file_,
         "ends at byte " + std::to_string(next_) + " but had " + std::to_string(file_->size) +
             " bytes when it was found: it changed while it was read",
         next_);
  }
}

void TextWindow::fill() {
  uint8_t* base = buffer_.data();
  const size_t kept = end_ - begin_;
  // What comes is read to where it lies in its own page: processors with fast short "rep movsb" copy it five times slower to
  // 1 to 31 bytes behind that (Zen 3: 2.5 GB/s instead of 12).
  const size_t at = kept + (static_cast<size_t>(next_) - reinterpret_cast<uintptr_t>(base + kept)) % kPage;
  std::memmove(base + at - kept, base + begin_, kept);
  begin_ = at - kept;
  end_ = at;
  const size_t got = read(reinterpret_cast<char*>(base) + at, kChunk);
  end_ += got;
  next_ += static_cast<int64_t>(got);
  if (got == 0) {
    ended_ = true;
    if (kept > 0 && base[end_ - 1] != '\n') base[end_++] = '\n';
  }
}

FieldText unquoted(const char* begin, const char* end, std::string* scratch) {
  if (end - begin < 2 || *begin != '"') return {begin, end};
  ++begin;
  --end;
  if (std::memchr(begin, '"', static_cast<size_t>(end - begin)) == nullptr) return {begin, end};
  scratch->clear();
  for (const char* p = begin; p != end; ++p) {
    scratch->push_back(*p);
    if (*p == '"') ++p;
  }
  return {scratch->data(), scratch->data() + scratch->size()};
}

}  // namespace rewarm::trace
