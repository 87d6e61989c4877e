// What: a test-and-test-and-set lock for critical sections of a few instructions.
// Threads: any. Never held over a suspend, a system call that may block, user code, or `ready()`.
// Protocol: lock's acquire exchange pairs with unlock's release store.
// Rejected: std::mutex (14 ns uncontended here, and 40 bytes); ticket locks (an oversubscribed machine
// preempts the next in line and everybody waits for it).
#pragma once

#include <algorithm>

#include "base/atomic.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = ElidingAtomic>
class BasicSpinLock {
 public:
  void lock() noexcept {
    if (locked_.exchange(true, std::memory_order_acquire)) [[unlikely]]
      wait_and_lock();
  }
  [[nodiscard]] bool try_lock() noexcept {
    return !locked_.load(std::memory_order_relaxed) && !locked_.exchange(true, std::memory_order_acquire);
  }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  // Not inline: a caller that finds the lock free need not save registers for this.
  [[gnu::noinline]] void wait_and_lock() noexcept {
    do {
      int looks = 0;
      do {
        // Longer and longer: who holds the lock may want it again at once, and has its line then.
        for (int i = 0; i < (1 << std::min(looks, kLongestPause)); ++i) relax();
        spin_pause<Atomic>();
        // The holder may have been preempted (more threads than CPUs): let it run.
        if (++looks == kLooksBeforeYield) {
          looks = 0;
          yield_cpu();
        }
      } while (locked_.load(std::memory_order_relaxed));
    } while (locked_.exchange(true, std::memory_order_acquire));
  }

  static constexpr int kLooksBeforeYield =
      16;                                  // some microseconds: longer than any section that is not preempted
  static constexpr int kLongestPause = 5;  // 32 instructions
  Atomic<bool> locked_{false};
};

using SpinLock = BasicSpinLock<>;

}  // namespace fibrio::detail
