// Learns whether a short region is faster alone or with helpers, by now and then trying the other.
//
// What waking a helper costs depends on the machine and on what else runs there, which no constant knows.
// Results do not depend on the number of threads, so trying is free of consequences. Measured on a shared 2-core virtual
// machine (AMD EPYC), SAC's 0.22 M parameters: 96 us alone, 111 us with a sleeping helper, 61 us with one that was awake.
#pragma once

#include <array>
#include <chrono>

namespace rewarm {

class Pace {
 public:
  // The width of the next run: 1 or `wide`.
  int choose(int wide) {
    if (wide != wide_) {
      *this = Pace();
      wide_ = wide;
    }
    const int faster = seconds_[kWide] < seconds_[kAlone] ? kWide : kAlone;
    const bool trying = runs_ < kFirstRuns ? (runs_ / kTryRuns) % 2 == 1 : runs_ % kTryEvery < kTryRuns;
    before_ = now_;
    now_ = runs_ < kFirstRuns ? (trying ? kWide : kAlone) : (trying ? 1 - faster : faster);
    ++runs_;
    begin_ = Clock::now();
    return now_ == kWide ? wide : 1;
  }

  // After the run. A run that follows one of another width finds the data in other caches and is not counted.
  void record() {
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
    if (now_ != before_) return;
    double& known = seconds_[static_cast<size_t>(now_)];
    if (known == 0.0) {
      known = elapsed;
    } else {
      const double bounded = elapsed < 2.0 * known ? elapsed : 2.0 * known;  // a descheduled run says little
      known += 0.25 * (bounded - known);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kAlone = 0, kWide = 1;
  static constexpr int kFirstRuns = 12, kTryRuns = 3, kTryEvery = 64;

  int wide_ = 0;
  long runs_ = 0;
  int before_ = -1, now_ = -1;
  std::array<double, 2> seconds_{};
  Clock::time_point begin_{};
};

}  // namespace rewarm
