// A loop over independent pieces of work on the pool of common/threads.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "common/threads.h"

namespace rewarm::trace {

// body(i) for i in [0, n), each once, on up to `threads` threads. body must not throw.
template <class Body>
void for_each(int64_t n, int threads, const Body& body) {
  struct Job final : ParallelJob {
    Job(int64_t count, const Body& what) : n(count), body(what) {}
    void work(int) override {
      for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) body(i);
    }
    int64_t n;
    const Body& body;
    std::atomic<int64_t> next{0};
  } job(n, body);
  run_parallel(job, static_cast<int>(std::min<int64_t>(threads, n)));
}

}  // namespace rewarm::trace
