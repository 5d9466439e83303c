// A small pool for short parallel regions. The caller works too and never waits for a helper that has not woken up: work is
// claimed chunk by chunk, so on a busy machine a late helper costs its help and nothing else.
#pragma once

#include <atomic>
#include <cstdint>

namespace rewarm {

// Work offered to the pool. `work(slot)` is called once by the caller (slot 0) and at most once by each helper that joins in
// time; it returns when nothing is left to claim and everything claimed by others that it must wait for is done.
class ParallelJob {
 public:
  virtual void work(int slot) = 0;

 protected:
  ~ParallelJob() = default;
};

// Runs `job` with up to `width` threads and returns when every participant has left it. Runs it on the caller alone when width
// is 1 or when another thread is using the pool. Safe after fork: the child gets a pool of its own.
void run_parallel(ParallelJob& job, int width);

// Chunks [begin, end) of one slot, claimed from the front by its owner and by thieves alike.
struct alignas(64) ClaimRange {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};

inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins briefly, then gives the processor away between looks: the awaited thread may need it.
class Backoff {
 public:
  void wait();

 private:
  int spins_ = 0;
};

}  // namespace rewarm
