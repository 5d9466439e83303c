#include "common/threads.h"

#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace rewarm {
namespace {

// How long a helper looks for the next job before it sleeps, in pauses: the gap between norm and update of one
// step is covered by the job itself, and the gap between two steps is the user's forward and backward pass, which needs the
// core.
constexpr int kSpinsBeforeSleep = 400;
constexpr int kSpinsBeforeYield = 2000;

class Pool {
 public:
  void run(ParallelJob& job, int width) {
    std::unique_lock<std::mutex> use(in_use_, std::try_to_lock);
    if (!use.owns_lock() || width <= 1) {
      job.work(0);
      return;
    }
    grow(width - 1);
    job_ = &job;
    slots_.store(width - 1, std::memory_order_relaxed);
    next_slot_.store(1, std::memory_order_relaxed);
    const uint64_t epoch = (state_.load(std::memory_order_relaxed) >> kEpochShift) + 1;
    state_.store((epoch << kEpochShift) | kOpen, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      {
        std::lock_guard<std::mutex> lock(sleep_);
      }
      wake_.notify_all();
    }
    job.work(0);
    // Close the job: nobody can join any more; then wait for those inside.
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    Backoff backoff;
    while ((state_.load(std::memory_order_acquire) & kActiveMask) != 0) backoff.wait();
  }

 private:
  static constexpr uint64_t kActiveMask = 0x7fff;
  static constexpr uint64_t kOpen = 0x8000;
  static constexpr int kEpochShift = 16;

  void grow(int helpers) {
    while (static_cast<int>(threads_) < helpers) {
      std::thread(&Pool::help, this).detach();
      ++threads_;
    }
  }

  // Joins the open job unless it has enough helpers or was seen before.
  bool join(uint64_t* seen, int* slot) {
    uint64_t state = state_.load(std::memory_order_acquire);
    while ((state & kOpen) && (state >> kEpochShift) != *seen) {
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
        *seen = state >> kEpochShift;
        *slot = next_slot_.fetch_add(1, std::memory_order_relaxed);
        if (*slot <= slots_.load(std::memory_order_relaxed)) return true;
        state_.fetch_sub(1, std::memory_order_release);
        return false;
      }
    }
    return false;
  }

  bool news(uint64_t seen) const {
    const uint64_t state = state_.load(std::memory_order_seq_cst);
    return (state & kOpen) && (state >> kEpochShift) != seen;
  }

  void help() {
    uint64_t seen = 0;
    int slot = 0;
    for (;;) {
      if (join(&seen, &slot)) {
        job_->work(slot);
        state_.fetch_sub(1, std::memory_order_release);
      }
      int spins = 0;
      while (!news(seen) && spins < kSpinsBeforeSleep) {
        cpu_pause();
        ++spins;
      }
      if (news(seen)) continue;
      std::unique_lock<std::mutex> lock(sleep_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return news(seen); });
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  std::mutex in_use_;
  ParallelJob* job_ = nullptr;
  std::atomic<int> slots_{0};
  std::atomic<int> next_slot_{1};
  std::atomic<uint64_t> state_{0};  // epoch | open | number of helpers inside
  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  int threads_ = 0;
};

// Never destroyed: helpers are detached and may outlive static destruction. After fork the parent's pool is left behind, its
// threads do not exist in the child.
std::atomic<Pool*> the_pool{nullptr};
std::mutex creation;

Pool& pool() {
  Pool* p = the_pool.load(std::memory_order_acquire);
  if (p != nullptr) return *p;
  std::lock_guard<std::mutex> lock(creation);
  p = the_pool.load(std::memory_order_acquire);
  if (p == nullptr) {
    static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
    (void)registered;
    p = new Pool;
    the_pool.store(p, std::memory_order_release);
  }
  return *p;
}

}  // namespace

void Backoff::wait() {
  if (++spins_ < kSpinsBeforeYield) {
    cpu_pause();
  } else {
    sched_yield();
  }
}

void run_parallel(ParallelJob& job, int width) {
  if (width <= 1) {
    job.work(0);
    return;
  }
  pool().run(job, width);
}

}  // namespace rewarm
