// A stream read by a thread of its own, a few chunks ahead of whoever parses it: unpacking takes several times as long as
// parsing, so a file that is unpacked beside its parser is read at the rate of its decoder.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "trace/source.h"

namespace rewarm::trace {

// Processors that this process may use.
int usable_processors();

// Whether a stream should be read ahead by a thread of its own while `parsing` threads parse: where a processor is left for it.
inline bool worth_reading_ahead(int64_t parsing) { return parsing < usable_processors(); }

class ReadAhead : public ByteSource {
 public:
  // Asks the source for `chunk` bytes at a time. Throws std::system_error where there is no thread to be had; *source is then
  // as it was.
  ReadAhead(std::unique_ptr<ByteSource>* source, size_t chunk);
  // Waits for the chunk under way.
  ~ReadAhead() override;
  // One chunk, whole: n must not be less than what the constructor was told. An error comes after the chunks before it.
  Chunk read(size_t n) override;

 private:
  // Chunks that may wait for the parser. Few, so that they are still in the processor's last cache when they are parsed.
  static constexpr size_t kWaiting = 4;

  void work();

  std::unique_ptr<ByteSource> source_;
  const size_t chunk_;
  std::mutex mutex_;
  std::condition_variable arrived_, room_;
  std::deque<Chunk> waiting_;
  Chunk handed_;             // is valid until the next read
  std::vector<Chunk> done_;  // go back to the thread that made them: letting go of them may take a lock that it needs
  std::exception_ptr failure_;
  bool ended_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace rewarm::trace
