// What: a lock and a semaphore as state machines, with asyncio's rules, without what suspends and resumes.
//
// Threads: any; each function takes the spin lock, and fills `woken` with whom to make ready afterwards.
//
// Invariant of the lock: if it is free and somebody waits, then one waiter was woken and has not run yet
// (`promised`), or the first in line was cancelled and has not run yet. Both will, and go on from there. So a
// free lock always reaches who waits first, and in between nobody overtakes: a newcomer takes a free lock
// only if nobody is promised it and all who wait were cancelled.
//
// Invariant of the semaphore: value > 0 means that nobody waits who could be woken. A unit goes to a waiter
// when it is woken; one that leaves by an exception puts it back and wakes on.
//
// Rejected: skipping a cancelled waiter in unlock (asyncio wakes nobody then: the next one's turn would come
// one pass too early).
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "sync/wait_queue.hpp"

namespace fibrio::detail {

enum class Take : std::uint8_t { taken, busy, look };
inline constexpr std::uint8_t kTurns = 32;  // as the budget of a task

template <template <class> class Atomic = ElidingAtomic>
class BasicLockState {
 public:
  using Waiter = BasicWaiter<Atomic>;
  using Woken = BasicWoken<Atomic>;

  [[nodiscard]] bool is_locked() const noexcept { return locked_.load(std::memory_order_relaxed); }

  [[nodiscard]] bool try_take() noexcept {
    if (is_locked()) return false;  // a hint, but "it was locked a moment ago" is a fair answer
    std::lock_guard guard(spin);
    return try_take_locked();
  }
  // As try_take, of who would wait. A task that always finds it free looks around now and then (task/budget.hpp):
  // counted here, where the lock's cache line is at hand.
  [[nodiscard]] Take take() noexcept {
    if (is_locked()) return Take::busy;
    std::lock_guard guard(spin);
    if (!try_take_locked()) return Take::busy;
    if (--turns_ != 0) [[likely]]
      return Take::taken;
    turns_ = kTurns;
    set_locked(false);
    return Take::look;
  }
  // Takes it, or adds the waiter.
  [[nodiscard]] bool take_or_wait(Waiter& waiter) noexcept {
    std::lock_guard guard(spin);
    if (try_take_locked()) return true;
    waiters_.add(waiter);
    return false;
  }
  // The waiter runs again: takes the lock, or (`leaves`: by an exception) hands its turn on.
  void end_wait(Waiter& waiter, bool leaves, Woken& woken) noexcept {
    std::lock_guard guard(spin);
    waiters_.leave(waiter);
    if (waiter.woken) promised_ = false;
    if (!leaves) {
      set_locked(true);
    } else if (!is_locked() && !promised_) {
      promised_ = waiters_.wake_front(woken);
    }
  }
  // False if it is not locked.
  [[nodiscard]] bool release(Woken& woken) noexcept {
    std::lock_guard guard(spin);
    if (!is_locked()) return false;
    set_locked(false);
    if (!waiters_.empty()) promised_ = waiters_.wake_front(woken);
    return true;
  }
  [[nodiscard]] bool has_waiters() noexcept {
    std::lock_guard guard(spin);
    return promised_ || !waiters_.empty();
  }

  BasicSpinLock<Atomic> spin;

 private:
  // relaxed: written under the spin lock; what the lock protects is ordered by that.
  void set_locked(bool locked) noexcept { locked_.store(locked, std::memory_order_relaxed); }
  [[nodiscard]] bool try_take_locked() noexcept {
    if (is_locked() || promised_) return false;
    if (!waiters_.empty() && !waiters_.all_cancelled()) return false;
    set_locked(true);
    return true;
  }

  Atomic<bool> locked_{false};
  bool promised_ = false;  // a waiter was woken to take it, and has not run yet
  std::uint8_t turns_ = kTurns;
  BasicWaitQueue<Atomic> waiters_;
};

template <template <class> class Atomic = ElidingAtomic>
class BasicSemaphoreState {
 public:
  using Waiter = BasicWaiter<Atomic>;
  using Woken = BasicWoken<Atomic>;

  explicit BasicSemaphoreState(std::ptrdiff_t value, std::ptrdiff_t limit) noexcept
      : value_(value), limit_(limit) {}

  [[nodiscard]] bool is_locked() noexcept {
    std::lock_guard guard(spin);
    return is_locked_locked();
  }
  [[nodiscard]] bool try_take() noexcept {
    std::lock_guard guard(spin);
    return try_take_locked();
  }
  [[nodiscard]] Take take() noexcept {
    std::lock_guard guard(spin);
    if (!try_take_locked()) return Take::busy;
    if (--turns_ != 0) [[likely]]
      return Take::taken;
    turns_ = kTurns;
    ++value_;
    return Take::look;
  }
  [[nodiscard]] bool take_or_wait(Waiter& waiter) noexcept {
    std::lock_guard guard(spin);
    if (try_take_locked()) return true;
    waiters_.add(waiter);
    return false;
  }
  void end_wait(Waiter& waiter, bool leaves, Woken& woken) noexcept {
    std::lock_guard guard(spin);
    waiters_.leave(waiter);
    if (waiter.woken) --on_their_way_;
    if (waiter.woken && leaves) ++value_;
    while (value_ > 0 && give_next(woken)) {
    }
  }
  // False if it would go above the limit.
  [[nodiscard]] bool release(Woken& woken) noexcept {
    std::lock_guard guard(spin);
    if (value_ >= limit_) return false;
    ++value_;
    static_cast<void>(give_next(woken));
    return true;
  }
  [[nodiscard]] std::ptrdiff_t value() noexcept {
    std::lock_guard guard(spin);
    return value_;
  }
  [[nodiscard]] bool has_waiters() noexcept {
    std::lock_guard guard(spin);
    return on_their_way_ != 0 || !waiters_.empty();
  }

  BasicSpinLock<Atomic> spin;

 private:
  std::uint8_t turns_ = kTurns;

  // Also while somebody woken has not run yet: a newcomer must not overtake.
  [[nodiscard]] bool is_locked_locked() noexcept {
    return value_ == 0 || on_their_way_ != 0 || (!waiters_.empty() && !waiters_.all_cancelled());
  }
  [[nodiscard]] bool try_take_locked() noexcept {
    if (is_locked_locked()) return false;
    --value_;
    return true;
  }
  [[nodiscard]] bool give_next(Woken& woken) noexcept {
    if (!waiters_.wake_next(woken)) return false;
    --value_;
    ++on_their_way_;
    return true;
  }

  std::ptrdiff_t value_;
  const std::ptrdiff_t limit_;
  std::size_t on_their_way_ = 0;  // woken with a unit, and not run yet
  BasicWaitQueue<Atomic> waiters_;
};

using LockState = BasicLockState<>;
using SemaphoreState = BasicSemaphoreState<>;

}  // namespace fibrio::detail
