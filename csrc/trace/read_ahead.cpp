#include "trace/read_ahead.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <utility>

namespace rewarm::trace {

int usable_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

ReadAhead::ReadAhead(std::unique_ptr<ByteSource>* source, size_t chunk) : chunk_(chunk) {
  source_.swap(*source);
  try {
    thread_ = std::thread([this] { work(); });
  } catch (...) {
    source_.swap(*source);
    throw;
  }
}

ReadAhead::~ReadAhead() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  room_.notify_one();
  thread_.join();
}

ByteSource::Chunk ReadAhead::read(size_t) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (handed_.size > 0) done_.push_back(std::exchange(handed_, {}));
  arrived_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
  if (waiting_.empty()) {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    return {};
  }
  handed_ = std::move(waiting_.front());
  waiting_.pop_front();
  lock.unlock();
  room_.notify_one();
  return handed_;
}

void ReadAhead::work() {
  std::vector<Chunk> done;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_) {
    room_.wait(lock, [&] { return stop_ || waiting_.size() < kWaiting; });
    if (stop_) return;
    done.swap(done_);
    lock.unlock();
    done.clear();
    Chunk chunk;
    std::exception_ptr failure;
    try {
      chunk = source_->read(chunk_);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = std::move(failure);
    ended_ = chunk.size == 0;
    if (!ended_) waiting_.push_back(std::move(chunk));
    arrived_.notify_one();
  }
}

}  // namespace rewarm::trace
