#include "trace/reader.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <system_error>
#include <thread>

#include "trace/work.h"

namespace rewarm::trace {
namespace {

// Starts up to `count` threads; fewer where the system gives no more, but one at least.
template <class Body>
std::vector<std::thread> start_threads(int count, const Body& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < std::max(count, 1); ++i) {
    try {
      threads.emplace_back(body, i);
    } catch (const std::system_error&) {
      if (threads.empty()) throw;
      break;
    }
  }
  return threads;
}

int useful_threads(const Work& work, int asked) {
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(asked, work.units())));
}

}  // namespace

std::vector<OutputField> output_fields(const std::vector<SourceFile>& files, const ReadOptions& options) {
  std::vector<OutputField> fields;
  for (const Output& output : make_plan(files, options).outputs) fields.push_back(output.field);
  return fields;
}

// ---- in no order: for sums ----------------------------------------------------------------------------------------------

void read_into(const std::vector<SourceFile>& files, const ReadOptions& options, BatchSink& sink, Progress& progress,
               std::vector<Reject>* rejects, int64_t* rejected, const Poll& poll) {
  Work work(files, options, progress);
  const auto pool = std::make_shared<ArenaPool>(true);
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::condition_variable ended;
  const int count = useful_threads(work, options.threads);
  int running = 0;

  const auto body = [&](int number) {
    Worker worker(&work, pool);
    const Worker::Deliver deliver = [&](int64_t, const std::shared_ptr<Batch>& batch) {
      sink.consume(number, *batch);
      return true;
    };
    for (;;) {
      const int64_t index = next.fetch_add(1);
      if (index >= work.units() || work.obsolete(index)) break;
      worker.run(index, deliver);
    }
    std::lock_guard<std::mutex> lock(mutex);
    --running;
    ended.notify_all();
  };

  std::unique_lock<std::mutex> lock(mutex);
  running = count;
  std::vector<std::thread> threads = start_threads(count, body);
  running -= count - static_cast<int>(threads.size());
  std::exception_ptr interrupted;
  while (running > 0) {
    ended.wait_for(lock, std::chrono::milliseconds(50));
    if (!poll || interrupted != nullptr) continue;
    lock.unlock();
    try {
      poll();
    } catch (...) {
      interrupted = std::current_exception();
      progress.cancel.store(true);
    }
    lock.lock();
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (interrupted != nullptr) std::rethrow_exception(interrupted);
  if (work.failed() < work.units()) work.rethrow();
  int64_t counted = 0;
  std::vector<Reject> found = work.rejects(work.units(), &counted);
  if (rejects != nullptr) *rejects = std::move(found);
  if (rejected != nullptr) *rejected = counted;
}

// ---- in row order: for tables --------------------------------------------------------------------------------------------

struct OrderedReader::State {
  State(std::vector<SourceFile> f, ReadOptions o, bool recycle)
      : files(std::move(f)),
        options(std::move(o)),
        work(files, options, progress),
        pool(std::make_shared<ArenaPool>(recycle)),
        ahead(recycle ? options.threads + 1 : work.units()) {
    for (const Output& output : work.shared().plan.outputs) fields.push_back(output.field);
  }

  struct Slot {
    std::deque<std::shared_ptr<const Batch>> batches;
    bool done = false;
  };
  // Batches of one stream that wait for the consumer: more would only hold memory.
  static constexpr size_t kQueued = 2;

  void body() {
    Worker worker(&work, pool);
    const bool bounded = ahead < work.units();
    const Worker::Deliver deliver = [&](int64_t unit, std::shared_ptr<Batch> batch) {
      std::unique_lock<std::mutex> lock(mutex);
      Slot& slot = slots[unit];
      if (bounded) room.wait(lock, [&] { return work.obsolete(unit) || slot.batches.size() < kQueued; });
      slot.batches.push_back(std::move(batch));
      arrived.notify_all();
      return !work.obsolete(unit);
    };
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      room.wait(lock, [&] { return work.obsolete(next) || next >= work.units() || next < delivered + ahead; });
      if (next >= work.units() || work.obsolete(next)) break;
      const int64_t index = next++;
      lock.unlock();
      worker.run(index, deliver);
      lock.lock();
      slots[index].done = true;
      arrived.notify_all();
      if (work.failed() <= index) room.notify_all();
    }
  }

  std::vector<SourceFile> files;
  ReadOptions options;
  Progress progress;
  Work work;
  std::shared_ptr<ArenaPool> pool;
  int64_t ahead;  // units that may be begun before the first of them is delivered
  std::vector<OutputField> fields;

  mutable std::mutex mutex;
  std::condition_variable room, arrived;
  std::map<int64_t, Slot> slots;
  int64_t next = 0;
  int64_t delivered = 0;  // units
  bool ended = false;
  std::vector<std::thread> threads;
};

OrderedReader::OrderedReader(std::vector<SourceFile> files, ReadOptions options, bool recycle)
    : state_(std::make_unique<State>(std::move(files), std::move(options), recycle)) {}

OrderedReader::~OrderedReader() { stop(); }

const std::vector<OutputField>& OrderedReader::fields() const { return state_->fields; }
Progress& OrderedReader::progress() { return state_->progress; }

OrderedReader::Next OrderedReader::next(int milliseconds, std::shared_ptr<const Batch>* batch) {
  State& s = *state_;
  std::unique_lock<std::mutex> lock(s.mutex);
  if (s.ended) return Next::kEnd;
  if (s.threads.empty() && s.delivered < s.work.units())
    s.threads = start_threads(useful_threads(s.work, s.options.threads), [&s](int) { s.body(); });
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (s.delivered < s.work.units()) {
    State::Slot& slot = s.slots[s.delivered];
    if (!slot.batches.empty()) {
      *batch = std::move(slot.batches.front());
      slot.batches.pop_front();
      s.room.notify_all();
      return Next::kBatch;
    }
    if (slot.done) {
      if (s.work.failed() == s.delivered) {
        lock.unlock();
        stop();
        s.work.rethrow();
      }
      s.slots.erase(s.delivered++);
      s.room.notify_all();
      continue;
    }
    if (s.arrived.wait_until(lock, until) == std::cv_status::timeout) return Next::kWait;
  }
  lock.unlock();
  stop();
  return Next::kEnd;
}

void OrderedReader::stop() {
  State& s = *state_;
  std::vector<std::thread> threads;
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    s.ended = true;
    s.progress.cancel.store(true);
    threads.swap(s.threads);
    s.room.notify_all();
  }
  for (std::thread& thread : threads) thread.join();
  s.slots.clear();
}

std::vector<Reject> OrderedReader::rejects(int64_t* count) const {
  int64_t delivered;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    delivered = state_->delivered;
  }
  return state_->work.rejects(delivered, count);
}

}  // namespace rewarm::trace
