// What: a lock and a semaphore as state machines, with asyncio's rules, without what suspends and resumes.
//
// Threads: any; of a lock, what finds nobody in line is one atomic step; everything else takes the spin lock. What
// wakes fills `woken` with whom to make ready afterwards.
//
// Invariant of the lock: if it is free and somebody waits, then one waiter was woken and has not run yet
// (`promised`), or the first in line was cancelled and has not run yet. Both will, and go on from there. So a
// free lock always reaches who waits first, and in between nobody overtakes: a newcomer takes a free lock
// only if nobody is promised it and all who wait were cancelled.
//
// Its word: kSpin: somebody is inside the critical section, and nobody else changes the word; kHeld: it is locked;
// kLine: somebody waits, or is promised it. 0 -> kHeld and back need no critical section. Each is an acquire on the way
// in, partner of the release on the way out: what the lock protects is ordered by the word.
//
// Invariant of the semaphore: value > 0 means that nobody waits who could be woken. A unit goes to a waiter
// when it is woken; one that leaves by an exception puts it back and wakes on. One whose wait a cancel has ended is passed
// by, and wakes on too when it runs.
//
// Rejected: skipping a cancelled waiter in unlock (asyncio wakes nobody then: the next one's turn would come
// one pass too early); the lock's state under a spin lock of its own (two steps more where nobody waits).
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

  [[nodiscard]] bool is_locked() const noexcept {
    return (word_.load(std::memory_order_relaxed) & kHeld) != 0;
  }

  // Takes it if it is free and nobody is in line: the short way.
  [[nodiscard]] bool try_take_free() noexcept {
    std::uint32_t seen = kFree;
    return change(seen, kHeld);
  }
  [[nodiscard]] bool try_take() noexcept {
    std::uint32_t seen = kFree;
    // Held: a hint, but "it was locked a moment ago" is a fair answer.
    return change(seen, kHeld) || ((seen & kHeld) == 0 && try_take_in_section());
  }
  // By who has just taken it, instead of waiting. True now and then: a task that always finds it free looks around
  // (task/budget.hpp). Counted here, where the lock's cache line is at hand; guarded by the lock itself.
  [[nodiscard]] bool spend_turn() noexcept {
    if (--turns_ != 0) [[likely]]
      return false;
    turns_ = kTurns;
    return true;
  }
  // Takes it, or adds the waiter.
  [[nodiscard]] bool take_or_wait(Waiter& waiter) noexcept {
    const Section section(*this);
    if (try_take_locked()) return true;
    add_locked(waiter);
    return false;
  }
  // The two halves of it, inside one section.
  [[nodiscard]] bool try_take_locked() noexcept {
    if (is_held_ || promised_ != nullptr || !waiters_.all_ended()) return false;
    is_held_ = true;
    return true;
  }
  void add_locked(Waiter& waiter) noexcept { waiters_.add(waiter); }
  // The waiter runs again: takes the lock, or (`leaves`: by an exception) hands its turn on.
  void end_wait(Waiter& waiter, bool leaves, Woken& woken) noexcept {
    const Section section(*this);
    leave(waiter);
    if (!leaves) {
      is_held_ = true;
    } else {
      leave_turn(woken);
    }
  }
  // As end_wait with an exception, and take_or_wait of a new waiter, in one.
  [[nodiscard]] bool rejoin(Waiter& waiter, Waiter& again, Woken& woken) noexcept {
    const Section section(*this);
    leave(waiter);
    if (try_take_locked()) return true;
    hand_on(woken);
    waiters_.add(again);
    return false;
  }
  // Takes in a waiter of a condition that is gone, whose wait has ended: it goes on as one that was cancelled here.
  void adopt(Waiter& waiter) noexcept {
    const Section section(*this);
    waiters_.add(waiter);
  }
  // Gives it back if nobody is in line.
  [[nodiscard]] bool try_release() noexcept {
    std::uint32_t seen = kHeld;
    return change(seen, kFree);
  }
  // Gives it back. False if it is not locked.
  [[nodiscard]] bool release(Woken& woken) noexcept {
    const Section section(*this);
    if (!is_held_) return false;
    is_held_ = false;
    hand_on(woken);
    return true;
  }
  // For the destructor. False: somebody needs it still. Wakes those of a condition who leave anyway, and only wait for it.
  [[nodiscard]] bool abandon_waiters(Woken& woken) noexcept {
    return abandon_all<Atomic>(*this, [this, &woken] {
      const auto wake = [&woken](Waiter& waiter, WaiterStage) {
        if (waiter.word->resolve()) woken.push(&waiter);
      };
      Ends ends = waiters_.end_each(IfGivenUp(), wake);
      if (promised_ != nullptr) {
        const Ends end = promised_->end(IfGivenUp(), wake);
        if (end == Ends::all) promised_ = nullptr;
        ends = std::max(ends, end);
      }
      return ends;
    });
  }

  // The critical section, for std::lock_guard.
  void lock() noexcept {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if ((seen & kSpin) != 0 || !change(seen, seen | kSpin)) [[unlikely]]
      seen = wait_and_lock();
    is_held_ = (seen & kHeld) != 0;
  }
  void unlock() noexcept {
    const bool has_line = promised_ != nullptr || !waiters_.empty();
    word_.store((is_held_ ? kHeld : kFree) | (has_line ? kLine : kFree), std::memory_order_release);
  }

 private:
  using Section = std::lock_guard<BasicLockState>;
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kSpin = 1;
  static constexpr std::uint32_t kHeld = 2;
  static constexpr std::uint32_t kLine = 4;

  // acq_rel: see the head.
  [[nodiscard]] bool change(std::uint32_t& seen, std::uint32_t now) noexcept {
    return word_.compare_exchange_strong(seen, now, std::memory_order_acq_rel, std::memory_order_relaxed);
  }
  [[nodiscard, gnu::noinline]] std::uint32_t wait_and_lock() noexcept {
    for (SpinWait<Atomic> wait;; wait.pause()) {
      std::uint32_t seen = word_.load(std::memory_order_relaxed);
      if ((seen & kSpin) == 0 && change(seen, seen | kSpin)) return seen;
    }
  }
  [[nodiscard, gnu::noinline]] bool try_take_in_section() noexcept {
    const Section section(*this);
    return try_take_locked();
  }
  // Inside a section, as all below.
  void leave(Waiter& waiter) noexcept {
    waiters_.leave(waiter);
    if (promised_ == &waiter) promised_ = nullptr;
  }
  // Not inline: where it is called it is rare.
  [[gnu::noinline]] void leave_turn(Woken& woken) noexcept { hand_on(woken); }
  void hand_on(Woken& woken) noexcept {
    if (!is_held_ && promised_ == nullptr) promised_ = waiters_.wake_front(woken);
  }

  Atomic<std::uint32_t> word_{kFree};
  bool is_held_ = false;  // kHeld, inside a section
  std::uint8_t turns_ = kTurns;
  Waiter* promised_ = nullptr;  // was woken to take it, and has not run yet
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
    std::lock_guard guard(spin_);
    return is_locked_locked();
  }
  [[nodiscard]] bool try_take() noexcept {
    std::lock_guard guard(spin_);
    return try_take_locked();
  }
  // As try_take, of who would wait. See BasicLockState::spend_turn; here it looks before it takes. Busy: the critical
  // section goes on, with add_locked.
  [[nodiscard]] Take take() noexcept {
    lock();
    if (!try_take_locked()) [[unlikely]]
      return Take::busy;
    if (--turns_ != 0) [[likely]] {
      unlock();
      return Take::taken;
    }
    turns_ = kTurns;
    ++value_;
    unlock();
    return Take::look;
  }
  [[nodiscard]] bool take_or_wait(Waiter& waiter) noexcept {
    std::lock_guard guard(spin_);
    if (try_take_locked()) return true;
    add_locked(waiter);
    return false;
  }
  [[nodiscard]] bool try_take_locked() noexcept {
    if (is_locked_locked()) return false;
    --value_;
    return true;
  }
  void add_locked(Waiter& waiter) noexcept { waiters_.add(waiter); }
  void end_wait(Waiter& waiter, bool leaves, Woken& woken) noexcept {
    std::lock_guard guard(spin_);
    waiters_.leave(waiter);
    if (waiter.woken && leaves) ++value_;
    if (value_ > 0) [[unlikely]]
      give_all(woken);
  }
  // False if it would go above the limit.
  [[nodiscard]] bool release(Woken& woken) noexcept {
    std::lock_guard guard(spin_);
    const Put put = put_locked();
    if (put == Put::wanted) wake_locked(woken);
    return put != Put::refused;
  }
  // The two halves of it, inside one section.
  enum class [[nodiscard]] Put : std::uint8_t{kept, wanted, refused};
  Put put_locked() noexcept {
    if (value_ >= limit_) [[unlikely]]
      return Put::refused;
    ++value_;
    return waiters_.empty() ? Put::kept : Put::wanted;
  }
  void wake_locked(Woken& woken) noexcept { static_cast<void>(give_next(woken)); }
  [[nodiscard]] std::ptrdiff_t value() noexcept {
    std::lock_guard guard(spin_);
    return value_;
  }
  // For the destructor. False: somebody needs it still.
  [[nodiscard]] bool abandon_waiters() noexcept {
    return abandon_all<Atomic>(spin_, [this] {
      return std::max(waiters_.end_each(IfGivenUp()), on_their_way_.end_each(IfGivenUp()));
    });
  }

  // The critical section.
  void lock() noexcept { spin_.lock(); }
  void unlock() noexcept { spin_.unlock(); }

 private:
  // Also while somebody woken has not run yet: a newcomer must not overtake.
  [[nodiscard]] bool is_locked_locked() noexcept {
    return value_ == 0 || !on_their_way_.empty() || !waiters_.all_ended();
  }
  // Not inline: where it is called it is rare.
  [[gnu::noinline]] void give_all(Woken& woken) noexcept {
    while (value_ > 0 && give_next(woken)) {
    }
  }
  [[nodiscard]] bool give_next(Woken& woken) noexcept {
    Waiter* const waiter = waiters_.wake_past_ended(woken);
    if (waiter == nullptr) return false;
    --value_;
    on_their_way_.add(*waiter);
    return true;
  }

  BasicSpinLock<Atomic> spin_;
  std::uint8_t turns_ = kTurns;
  std::ptrdiff_t value_;
  const std::ptrdiff_t limit_;
  BasicWaitQueue<Atomic> on_their_way_;  // woken with a unit, and not run yet
  BasicWaitQueue<Atomic> waiters_;
};

using LockState = BasicLockState<>;
using SemaphoreState = BasicSemaphoreState<>;

}  // namespace fibrio::detail
