#include "trace/text.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "trace/read_ahead.h"
#include "trace/trace_error.h"

namespace rewarm::trace {
namespace {

constexpr int64_t kRowTail = 4096;  // of a row that begins before the end of what is wanted; if it is longer, read again

[[noreturn]] void fail(const SourceFile& file, const std::string& what, int64_t byte) {
  throw TraceFailure(file.name + ": " + what, {file.name, -1, byte, "", "", ""});
}

}  // namespace

void TextWindow::open(const SourceFile& file, int64_t offset, bool ahead, int64_t end) {
  file_ = &file;
  wanted_ = end;
  begin_ = end_ = 0;
  ended_ = false;
  offset_ = next_ = file.open ? 0 : offset;
  source_.reset();
  if (file.open) {
    source_ = file.open();
    if (ahead) {
      try {
        source_ = std::make_unique<ReadAhead>(&source_, kChunk);
      } catch (const std::system_error&) {  // no thread is to be had: it is read between parsing
      }
    }
    while (offset_ < offset) {
      fill();
      if (ended_) fail(file, "ends at byte " + std::to_string(offset_) + ", within its header", offset_);
      consume(static_cast<size_t>(std::min<int64_t>(offset - offset_, static_cast<int64_t>(size()))));
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

size_t TextWindow::read_file(char* to, size_t n) {
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

char* TextWindow::place(size_t kept, uintptr_t from) {
  uint8_t* base = buffer_.data();
  const size_t at = kept + (from - reinterpret_cast<uintptr_t>(base + kept)) % kPage;
  std::memmove(base + at - kept, base + begin_, kept);
  begin_ = at - kept;
  end_ = at;
  return reinterpret_cast<char*>(base) + at;
}

void TextWindow::fill() {
  const size_t kept = end_ - begin_;
  size_t got;
  // What comes is copied to where it lies in its own page: processors with fast short "rep movsb" copy it five times slower to
  // 1 to 31 bytes behind that (Zen 3: 2.5 GB/s instead of 12).
  if (source_ != nullptr) {
    const ByteSource::Chunk chunk = source_->read(kChunk);
    got = chunk.size;
    char* to = place(kept, reinterpret_cast<uintptr_t>(chunk.data));
    if (got > 0) std::memcpy(to, chunk.data, got);
  } else {
    got = read_file(place(kept, static_cast<uintptr_t>(next_)), kChunk);
  }
  end_ += got;
  next_ += static_cast<int64_t>(got);
  if (got == 0) {
    ended_ = true;
    uint8_t* base = buffer_.data();
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
