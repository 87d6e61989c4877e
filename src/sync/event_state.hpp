// What: an event without what suspends and resumes.
//
// Threads: any. The spin lock guards the list, see wait_queue.hpp.
//
// Invariant: whoever finds the flag set, without the lock, may destroy the event at once: the destructor takes the
// lock, and so waits until set() has left it, with its last touch. Whoever was woken touches nothing of the event.
#pragma once

#include <mutex>

#include "base/delay.hpp"
#include "sync/wait_queue.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = ElidingAtomic>
class BasicEventState {
 public:
  using Waiter = BasicWaiter<Atomic>;
  using Woken = BasicWoken<Atomic>;

  void set(Woken& woken) noexcept {
    const std::lock_guard guard(spin);
    if (is_set_.load(std::memory_order_relaxed)) return;
    is_set_.store(true, std::memory_order_release);
    FIBRIO_MAY_DELAY(kEventSet);
    waiters.wake_all(woken);
  }
  void clear() noexcept {
    const std::lock_guard guard(spin);
    is_set_.store(false, std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_set() const noexcept { return is_set_.load(std::memory_order_acquire); }
  // Adds the waiter, unless it is set.
  [[nodiscard]] bool is_set_or_wait(Waiter& waiter) noexcept {
    const std::lock_guard guard(spin);
    if (is_set_.load(std::memory_order_relaxed)) return true;
    waiters.add(waiter);
    return false;
  }
  // For the destructor. False: somebody waits for it still.
  [[nodiscard]] bool abandon_waiters() noexcept {
    return abandon_all<Atomic>(spin, [this] { return waiters.end_each(IfGivenUp()); });
  }

  BasicSpinLock<Atomic> spin;
  BasicWaitQueue<Atomic> waiters;

 private:
  // Written under the lock. release: partner of the acquire loads outside of it, which let a wait return.
  Atomic<bool> is_set_{false};
};

}  // namespace fibrio::detail
