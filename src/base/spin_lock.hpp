// What: a test-and-test-and-set lock for critical sections of a few instructions.
// Threads: any. Never held over a suspend, a system call that may block, user code, or `ready()`.
// Protocol: lock's acquire exchange pairs with unlock's release store.
// Rejected: std::mutex (14 ns uncontended here, and 40 bytes); ticket locks (an oversubscribed machine
// preempts the next in line and everybody waits for it).
#pragma once

#include <sched.h>

#include "base/atomic.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = ElidingAtomic>
class BasicSpinLock {
 public:
  void lock() noexcept {
    while (locked_.exchange(true, std::memory_order_acquire)) {
      int looks = 0;
      while (locked_.load(std::memory_order_relaxed)) {
        spin_pause<Atomic>();
        // The holder may have been preempted (more threads than CPUs): let it run.
        if (++looks == kLooksBeforeYield) {
          looks = 0;
          ::sched_yield();
        }
      }
    }
  }
  [[nodiscard]] bool try_lock() noexcept {
    return !locked_.load(std::memory_order_relaxed) && !locked_.exchange(true, std::memory_order_acquire);
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  static constexpr int kLooksBeforeYield = 64;  // about 2 us: longer than any section that is not preempted
  Atomic<bool> locked_{false};
};

using SpinLock = BasicSpinLock<>;

}  // namespace fibrio::detail
