// What: whether the watch's timer is armed, and who arms it (rules 1 and 2 of sched/watch.cpp). Templated
// over the atomic type for the model checker. Threads: any. Both functions return whether the caller is to
// arm the timer.
#pragma once

#include "base/atomic.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = std::atomic>
class WatchSwitch {
 public:
  // After a worker has stored seq_cst that it runs.
  [[nodiscard]] bool begin() noexcept {
    // seq_cst: partner of go_on's store. The load first: nearly always it is armed.
    return !armed_.load(std::memory_order_seq_cst) && !armed_.exchange(true, std::memory_order_seq_cst);
  }

  // After an expiry. `somebody_runs` loads seq_cst what workers stored.
  template <class SomebodyRuns>
  [[nodiscard]] bool go_on(const SomebodyRuns& somebody_runs) noexcept {
    if (somebody_runs()) return true;
    armed_.store(false, std::memory_order_seq_cst);
    // Who began before that store saw it armed, and relied on us.
    return somebody_runs() && begin();
  }

 private:
  // Writers and readers: workers that begin to run, and whoever got an expiry.
  Atomic<bool> armed_{false};
};

}  // namespace fibrio::detail
