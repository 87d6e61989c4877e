// What: the one waiting list under everything in this room: tasks (and plain threads) in the order in which
// they came, each on its own stack. No allocation, contended or not.
//
// Threads: the lock of the primitive that owns the list guards all of it, and the flags of its waiters.
//
// Protocol.
//  1. Who must wait adds its waiter under the lock under which it saw that it must: its place in the order is
//     taken there. Only then it is suspended, and its commit (arm, under the lock again) makes the wait real.
//  2. wake takes a waiter off the list, if it wins the waiter's word against a cancel, and appends it to
//     Woken. A waiter that is not armed yet is only marked: its commit sees that, and does not stop it.
//  3. The caller releases the lock, and then makes ready whom it woke. The frame of a waiter is there until
//     then: its task cannot run before.
//  4. A task that runs again takes the lock before its wait returns, takes its waiter off the list if it
//     still is there (it was cancelled), and learns from `woken` what it was given. If it leaves by an
//     exception all the same, the primitive hands that on, in this same critical section.
//
// Rejected: a lock-free list (FIFO with removal from the middle costs more than the lock); giving the lock,
// the unit or the item to the waiter when it is woken (asyncio's locked(), FIFO and cancellation rules speak
// of the time between wake-up and resumption); holding the lock until the commit (a switch is too long, and
// what is switched to first may run user code).
#pragma once

#include <cstddef>

#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "sched/wait_word.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = ElidingAtomic>
struct BasicWaiter : ListHook<> {
  WaitWord<Atomic>* word = nullptr;  // null: a plain thread, which cannot be cancelled
  BasicWaiter* next_woken = nullptr;
  bool armed = false;  // suspended, or cancelled already
  bool woken = false;

  // A cancel has ended its wait, but it has not run since. Needs the lock.
  [[nodiscard]] bool is_cancelled() const noexcept {
    return armed && !woken && word != nullptr && word->phase() == WaitPhase::running;
  }
  // By the commit, under the lock. True: it need not stop, make it ready.
  [[nodiscard]] bool arm(WaitPhase phase) noexcept {
    if (woken) return true;
    armed = true;
    return word->arm(phase) == WaitWord<Atomic>::Armed::cancelled;
  }
};

// Whom to make ready once the lock is free, in order.
template <template <class> class Atomic = ElidingAtomic>
class BasicWoken {
 public:
  using Waiter = BasicWaiter<Atomic>;
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  void push(Waiter* waiter) noexcept {
    waiter->next_woken = nullptr;
    (last_ == nullptr ? first_ : last_->next_woken) = waiter;
    last_ = waiter;
  }
  // Its frame may be gone as soon as it was made ready.
  [[nodiscard]] Waiter* pop() noexcept {
    Waiter* waiter = first_;
    if (waiter == nullptr) return nullptr;
    first_ = waiter->next_woken;
    if (first_ == nullptr) last_ = nullptr;
    return waiter;
  }

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

template <template <class> class Atomic = ElidingAtomic>
class BasicWaitQueue {
 public:
  using Waiter = BasicWaiter<Atomic>;
  using Woken = BasicWoken<Atomic>;

  // Nobody waits, not even somebody cancelled who has not left yet.
  [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
  // Nobody waits who may still be woken.
  [[nodiscard]] bool all_cancelled() noexcept {
    for (Waiter* waiter = list_.front(); waiter != nullptr; waiter = list_.next(waiter)) {
      if (!waiter->is_cancelled()) return false;
    }
    return true;
  }

  void add(Waiter& waiter) noexcept { list_.push_back(&waiter); }
  // By the waiter itself, when it runs again.
  void leave(Waiter& waiter) noexcept {
    if (waiter.is_linked()) list_.remove(&waiter);
  }

  // Wakes the first one that no cancel has ended; false if there is none.
  bool wake_next(Woken& woken) noexcept {
    while (Waiter* waiter = list_.pop_front()) {
      if (wake(*waiter, woken)) return true;
    }
    return false;
  }
  // Wakes the first one; if that was cancelled nobody is woken: when it runs, it hands on.
  bool wake_front(Woken& woken) noexcept {
    Waiter* waiter = list_.front();
    if (waiter == nullptr || !wake(*waiter, woken)) return false;
    list_.remove(waiter);
    return true;
  }
  void wake_all(Woken& woken) noexcept {
    while (wake_next(woken)) {
    }
  }

 private:
  [[nodiscard]] static bool wake(Waiter& waiter, Woken& woken) noexcept {
    if (waiter.armed) {
      if (waiter.word != nullptr && !waiter.word->resolve()) return false;
      woken.push(&waiter);
    }
    waiter.woken = true;
    return true;
  }

  IntrusiveList<Waiter> list_;
};

using Waiter = BasicWaiter<>;
using Woken = BasicWoken<>;
using WaitQueue = BasicWaitQueue<>;

}  // namespace fibrio::detail
