// What: the one waiting list under everything in this room: tasks (and plain threads) in the order in which
// they came, each on its own stack. No allocation, contended or not.
//
// Threads: the lock of the primitive that owns the list guards all of it. `stage` is anybody's, see 6; the rest of a
// waiter belongs to its task, or to whoever holds the lock while the waiter is listed.
//
// Protocol.
//  1. A task that must wait adds its waiter under the lock under which it saw that it must: its place in the order is
//     taken there. Only then it is suspended, and its commit (arm, without the lock) makes the wait real.
//  2. wake takes a waiter off the list, if it wins the waiter's word against a cancel, and appends it to
//     Woken. A waiter that is not armed yet is only marked: its commit sees that, and does not stop it.
//  3. The caller releases the lock, and then makes ready whom it woke. The frame of a waiter is there until
//     then: its task cannot run before.
//  4. A task that runs again claims its waiter, takes the lock before its wait returns, takes its waiter off the list
//     if it still is there (it was cancelled), and learns from `woken` what it was given. If it leaves by an
//     exception all the same, the primitive hands that on, in this same critical section.
//  5. A primitive's destructor takes the lock: whoever learned from the object that a call has had its effect may
//     destroy it at once, and the call gets out of the critical section first. It takes off, and marks as abandoned,
//     each waiter that will leave by CancelledError anyway, or needs nothing more (abandon_all). Such a task touches
//     nothing of the primitive when it runs. If its claim came first, the destructor waits until it has left.
//  6. Stages. commit: listed -> moving -> armed. wake: listed | armed -> woken. destructor: listed | armed | woken |
//     returning -> moving -> abandoned | finished | adopted. The task: any but moving -> claimed; and in
//     Condition::wait claimed -> returning. Each change is an acq_rel compare-and-swap, or a release store by whoever
//     owns the stage alone (moving, claimed; armed, after the word was won): its partner is the acquire in settled().
//
// Rejected: a lock-free list (FIFO with removal from the middle costs more than the lock); giving the lock,
// the unit or the item to the waiter when it is woken (asyncio's locked(), FIFO and cancellation rules speak
// of the time between wake-up and resumption); holding the lock until the commit (a switch is too long, and
// what is switched to first may run user code); a commit under the lock of the primitive (an Event that was destroyed
// right after set() was touched by it); a count of references for each primitive (an allocation).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "base/delay.hpp"
#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "sched/wait_word.hpp"

namespace fibrio::detail {

enum class WaiterStage : std::uint8_t {
  listed,     // its task has not stopped yet
  moving,     // for a few instructions: somebody changes it
  armed,      // its task has stopped, or a cancel has ended the wait
  woken,      // what it waits for has come
  claimed,    // its task runs again and is about to take the lock
  returning,  // its task runs again, and waits for something else before it leaves (Condition)
  adopted,    // the condition is gone; it is in the line of the condition's lock
  abandoned,  // the primitive is gone
  finished,   // the primitive is gone; what it waited for had come
};

// What a destructor answers for a waiter that still needs the primitive: an error of the program.
inline constexpr WaiterStage kNeeded = WaiterStage::listed;

// Of the waiters that a destructor ends: all have ended, or one was claimed by its task, or one needs the primitive.
enum class Ends : std::uint8_t { all, claimed, needed };

template <template <class> class Atomic = ElidingAtomic>
struct BasicWaiter;

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
  // The frame of a waiter may be gone as soon as it was made ready.
  [[nodiscard]] Waiter* first() const noexcept { return first_; }
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

template <template <class> class Atomic>
struct BasicWaiter : ListHook<> {
  WaitWord<Atomic>* word = nullptr;  // null: a plain thread, which cannot be cancelled
  BasicWaiter* next_woken = nullptr;
  Atomic<WaiterStage> stage{WaiterStage::listed};
  bool is_masked = false;  // no cancel ends it
  bool woken = false;      // what the task's claim found
  // Whatever comes, its task leaves by an exception. relaxed: written before a change of `stage`, or of the word.
  Atomic<bool> is_leaving{false};

  // Needs the lock. Its wait is over, but it has not left: its task will run, and go on from there.
  [[nodiscard]] bool has_ended() const noexcept {
    const WaiterStage seen = settled();
    return seen == WaiterStage::armed ? is_cancelled() : seen != WaiterStage::listed;
  }
  // By the commit. True: it need not stop, make it ready. Else the waiter may be gone.
  [[nodiscard]] bool arm() noexcept {
    if (!leave_listed(WaiterStage::moving)) [[unlikely]]
      return true;
    const auto armed = is_masked ? word->arm(WaitPhase::masked) : word->arm(WaitPhase::waiting);
    const bool cancelled = armed == WaitWord<Atomic>::Armed::cancelled;
    stage.store(WaiterStage::armed, std::memory_order_release);
    return cancelled;
  }
  // As arm, of a plain thread. False: it need not stop.
  [[nodiscard]] bool arm_thread() noexcept { return leave_listed(WaiterStage::armed); }

  // Needs the lock. False: its wait has ended already.
  [[nodiscard]] bool wake(BasicWoken<Atomic>& woken_ones) noexcept {
    WaiterStage seen = settled();
    if (seen == WaiterStage::listed) {
      if (leave_listed(WaiterStage::woken)) return true;  // its commit will see it
      seen = settled();
    }
    if (seen != WaiterStage::armed) return false;
    FIBRIO_MAY_DELAY(kWaking);
    if (word != nullptr && !word->resolve()) return false;
    stage.store(WaiterStage::woken, std::memory_order_release);
    woken_ones.push(this);
    return true;
  }

  // By the task, when it runs again: the primitive is there, and stays until its lock was taken and released. False: it
  // is gone.
  [[nodiscard]] bool claim() noexcept {
    WaiterStage was = WaiterStage::claimed;
    return claim(was);
  }
  [[nodiscard]] bool claim(WaiterStage& was) noexcept {
    do {
      was = settled();
    } while (!stage.compare_exchange_weak(was, WaiterStage::claimed, std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
    woken = was == WaiterStage::woken;
    if (was < WaiterStage::abandoned) [[likely]]
      return true;
    stage.store(was, std::memory_order_relaxed);  // nobody else's any more
    return false;
  }
  // By the task: as `woken`, before a claim.
  [[nodiscard]] bool is_woken() const noexcept { return settled() == WaiterStage::woken; }
  // By the task, after a claim that failed: what it waited for had come.
  [[nodiscard]] bool is_finished() const noexcept {
    return stage.load(std::memory_order_relaxed) == WaiterStage::finished;
  }

  // Needs the lock. Its task leaves by CancelledError when it runs again.
  [[nodiscard]] bool gives_up(WaiterStage seen) const noexcept {
    if (word == nullptr) return false;
    if (seen == WaiterStage::armed && is_cancelled()) return true;
    if (seen == WaiterStage::armed) return is_leaving.load(std::memory_order_relaxed);
    // A task that takes a request is claimed then, or is_leaving already: so the request is looked for first.
    return (!is_masked && (word->was_cancelled() || word->is_requested())) ||
           is_leaving.load(std::memory_order_relaxed);
  }
  // acquire: partner of every change, see 6.
  [[nodiscard]] WaiterStage settled() const noexcept {
    const WaiterStage seen = stage.load(std::memory_order_acquire);
    return seen == WaiterStage::moving ? wait_until_settled() : seen;
  }

  // By a destructor, needs the lock. `outcome(*this, stage)` says what becomes of it, or kNeeded; then `hook` is called
  // with the waiter and that.
  template <class Outcome, class Hook>
  Ends end(Outcome outcome, Hook hook) noexcept {
    for (;;) {
      WaiterStage seen = settled();
      if (seen == WaiterStage::claimed) return Ends::claimed;
      const WaiterStage last = outcome(*this, seen);
      if (last == kNeeded) {
        if (settled() == seen) return Ends::needed;
        continue;  // its task has claimed it meanwhile, and may have taken its request
      }
      if (!stage.compare_exchange_strong(seen, WaiterStage::moving, std::memory_order_acq_rel,
                                         std::memory_order_relaxed))
        continue;
      if (is_linked()) IntrusiveList<BasicWaiter>::remove(this);
      hook(*this, last);
      stage.store(last, std::memory_order_release);  // its frame may be gone now
      return Ends::all;
    }
  }
  template <class Outcome>
  Ends end(Outcome outcome) noexcept {
    return end(outcome, [](BasicWaiter&, WaiterStage) {});
  }

 private:
  // Armed: a cancel has ended its wait.
  [[nodiscard]] bool is_cancelled() const noexcept {
    return word != nullptr && word->phase() == WaitPhase::running;
  }
  [[nodiscard]] bool leave_listed(WaiterStage to) noexcept {
    WaiterStage seen = WaiterStage::listed;
    return stage.compare_exchange_strong(seen, to, std::memory_order_acq_rel, std::memory_order_acquire) ||
           (seen == WaiterStage::moving && leave_listed_later(to));
  }
  // Not inline, as all that waits for somebody's few instructions: the callers need not save registers for it.
  [[nodiscard, gnu::noinline]] bool leave_listed_later(WaiterStage to) noexcept {
    return wait_until_settled() == WaiterStage::listed && leave_listed(to);
  }
  [[nodiscard, gnu::noinline]] WaiterStage wait_until_settled() const noexcept {
    WaiterStage seen = WaiterStage::moving;
    for (SpinWait<Atomic> wait; seen == WaiterStage::moving; seen = stage.load(std::memory_order_acquire))
      wait.pause();
    return seen;
  }
};

template <template <class> class Atomic = ElidingAtomic>
class BasicWaitQueue {
 public:
  using Waiter = BasicWaiter<Atomic>;
  using Woken = BasicWoken<Atomic>;

  // Nobody waits, not even somebody cancelled who has not left yet.
  [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
  // Nobody waits who may still be woken.
  [[nodiscard]] bool all_ended() noexcept { return empty() || each_has_ended(); }

  void add(Waiter& waiter) noexcept { list_.push_back(&waiter); }
  // By the waiter itself, when it runs again; whichever list it is in.
  static void leave(Waiter& waiter) noexcept {
    if (waiter.is_linked()) IntrusiveList<Waiter>::remove(&waiter);
  }

  // Wakes the first one whose wait has not ended, and returns it, or null. Those before it need nothing more from the
  // primitive: they are marked as abandoned.
  Waiter* wake_next(Woken& woken) noexcept {
    Waiter* const first = list_.front();
    if (first == nullptr) return nullptr;
    if (!first->wake(woken)) [[unlikely]]
      return wake_next_after(first, woken);
    list_.remove(first);
    return first;
  }
  // As wake_next; but those before it stay in the list, and hand on when they run.
  Waiter* wake_past_ended(Woken& woken) noexcept {
    for (Waiter* waiter = list_.front(); waiter != nullptr; waiter = list_.next(waiter)) {
      if (!waiter->wake(woken)) continue;
      list_.remove(waiter);
      return waiter;
    }
    return nullptr;
  }
  // Wakes the first one; if that was cancelled nobody is woken: when it runs, it hands on.
  Waiter* wake_front(Woken& woken) noexcept {
    Waiter* waiter = list_.front();
    if (waiter == nullptr || !waiter->wake(woken)) return nullptr;
    list_.remove(waiter);
    return waiter;
  }
  void wake_all(Woken& woken) noexcept {
    while (wake_next(woken) != nullptr) {
    }
  }
  // As wake_next; whom it takes off the list goes to `others`, the ended ones too.
  bool wake_next_into(BasicWaitQueue& others, Woken& woken) noexcept {
    while (Waiter* waiter = list_.pop_front()) {
      others.add(*waiter);
      if (waiter->wake(woken)) return true;
    }
    return false;
  }

  // For a destructor, see abandon_all and Waiter::end.
  template <class Outcome, class... Hook>
  [[nodiscard]] Ends end_each(Outcome outcome, Hook... hook) noexcept {
    Ends ends = Ends::all;
    for (Waiter* waiter = list_.front(); waiter != nullptr;) {
      Waiter* const next = list_.next(waiter);
      ends = std::max(ends, waiter->end(outcome, hook...));
      waiter = next;
    }
    return ends;
  }

 private:
  // As wake_next; the wait of `ended`, the first one, has ended.
  [[gnu::noinline]] Waiter* wake_next_after(Waiter* ended, Woken& woken) noexcept {
    for (;;) {
      Waiter* const next = list_.next(ended);
      ended->end([](Waiter&, WaiterStage) { return WaiterStage::abandoned; });
      if (next == nullptr) return nullptr;
      if (next->wake(woken)) {
        list_.remove(next);
        return next;
      }
      ended = next;
    }
  }
  [[nodiscard, gnu::noinline]] bool each_has_ended() noexcept {
    for (Waiter* waiter = list_.front(); waiter != nullptr; waiter = list_.next(waiter)) {
      if (!waiter->has_ended()) return false;
    }
    return true;
  }

  IntrusiveList<Waiter> list_;
};

// By a destructor, without the lock. `end_all` ends the waiters of all lists, under the lock. False: somebody waits there
// still, who would go on with what is gone.
template <template <class> class Atomic = ElidingAtomic, class Lock, class EndAll>
[[nodiscard]] bool abandon_all(Lock& spin, EndAll end_all) noexcept {
  for (SpinWait<Atomic> wait;; wait.pause()) {
    const std::lock_guard guard(spin);
    const Ends ends = end_all();
    if (ends != Ends::claimed) return ends == Ends::all;
  }
}

// What becomes of a waiter if only those who give up may be left behind.
struct IfGivenUp {
  template <class Waiter>
  WaiterStage operator()(const Waiter& waiter, WaiterStage seen) const noexcept {
    return waiter.gives_up(seen) ? WaiterStage::abandoned : kNeeded;
  }
};

using Waiter = BasicWaiter<>;
using Woken = BasicWoken<>;
using WaitQueue = BasicWaitQueue<>;

}  // namespace fibrio::detail
