// A loop over independent units on the pool: whoever is free takes the next one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "common/threads.h"

namespace rewarm {

// Calls body(slot, i) once for each i in [0, n) on up to `width` threads; slots are 0 … width - 1, each used by one thread.
template <class Body>
void parallel_for(int width, int64_t n, const Body& body) {
  if (width <= 1 || n <= 1) {
    for (int64_t i = 0; i < n; ++i) body(0, i);
    return;
  }
  class Job final : public ParallelJob {
   public:
    Job(int64_t count, const Body& body) : n_(count), body_(body) {}
    void work(int slot) override {
      for (int64_t i = next_.fetch_add(1); i < n_; i = next_.fetch_add(1)) body_(slot, i);
    }

   private:
    std::atomic<int64_t> next_{0};
    const int64_t n_;
    const Body& body_;
  } job(n, body);
  run_parallel(job, static_cast<int>(std::min<int64_t>(width, n)));
}

}  // namespace rewarm
