// Learns whether a short region is faster alone or with helpers, by now and then trying the other.
//
// What waking a helper costs depends on the machine and on what else runs there, which no constant knows. Results do not
// depend on the number of threads, so trying is free of consequences. Medians decide, because a run that the system interrupts
// takes several times as long: a moving average of run times changed sides after such runs. Two cores of a shared virtual
// machine (AMD EPYC Zen 3), two runs of torch's fused step before each pair of ours, median us, alone / with a helper / learnt
// by a moving average / by medians: SAC's 0.22 M float32 parameters 189 / 211 / 220 / 190, REDQ's 0.72 M in bfloat16
// 671 / 379 / 393 / 382; but REDQ's in float32, where neither width wins, 725 / 708 / 702 / 744. A prototype
// of this rule was timed.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace rewarm {

class Pace {
 public:
  // The width of the next run: 1 or `wide`.
  int choose(int wide) {
    if (wide != wide_) {
      *this = Pace();
      wide_ = wide;
    }
    const bool beginning = runs_ < kFirstRuns;
    // Near equal, it stays as it is: alternating would leave each run the data in the other's caches.
    if (!beginning && times_[other()].median() < kClearly * times_[held_].median()) held_ = other();
    const bool trying = beginning ? (runs_ / kTryRuns) % 2 == 1 : runs_ % kTryEvery < kTryRuns;
    before_ = now_;
    now_ = trying ? other() : held_;
    ++runs_;
    begin_ = Clock::now();
    return now_ == kWide ? wide : 1;
  }

  // After the run. A run that follows one of another width finds the data in other caches and is not counted.
  void record() {
    if (now_ == before_) times_[now_].add(std::chrono::duration<double>(Clock::now() - begin_).count());
  }

 private:
  using Clock = std::chrono::steady_clock;
  enum Width : size_t { kAlone = 0, kWide = 1, kNone = 2 };
  static constexpr int64_t kFirstRuns = 24, kTryRuns = 4, kTryEvery = 128;  // trying costs at most 3 % of the runs
  static constexpr double kClearly = 0.95;

  // The last few run times of one width.
  class Times {
   public:
    void add(double seconds) { last_[static_cast<size_t>(count_++) % last_.size()] = seconds; }
    double median() const {
      std::array<double, 8> sorted = last_;
      const auto end = sorted.begin() + std::min<int64_t>(count_, static_cast<int64_t>(sorted.size()));
      const auto middle = sorted.begin() + (end - sorted.begin() - 1) / 2;
      std::nth_element(sorted.begin(), middle, end);
      return *middle;
    }

   private:
    std::array<double, 8> last_{};
    int64_t count_ = 0;
  };

  Width other() const { return held_ == kAlone ? kWide : kAlone; }

  int wide_ = 0;
  int64_t runs_ = 0;
  Width held_ = kAlone, before_ = kNone, now_ = kNone;
  std::array<Times, 2> times_;
  Clock::time_point begin_{};
};

}  // namespace rewarm
