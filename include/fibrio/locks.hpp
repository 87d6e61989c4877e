// Locks and what else tasks wait for each other with, as asyncio's: Lock, Event, Condition, Semaphore,
// BoundedSemaphore, Barrier.
//
//   fibrio::Lock lock;
//   std::lock_guard guard(lock);  // waits, without blocking the worker
//   shared.change();              // may wait too: the lock is held over it
//
// All of them may be shared by tasks of any worker and of any loop, and by plain threads; none is bound to a
// loop. A wait suspends the calling task; a plain thread that is no worker blocks, and cannot be cancelled.
// Inside a callback whatever would have to wait throws RuntimeError.
// Waiting is first come, first served. With one worker everything happens in the pass in which it would with
// asyncio; with several, the order is that of the calls' one atomic step.
// What was done before an unlock, set, notify or release is seen after the wait that it ends.
// With virtual time a wait that only a plain thread could end counts as a deadlock.
// None of them allocates memory.
// Destruction. Whoever learned from the object that a call has had its effect may destroy it at once, even if that call
// has not returned in its own task or thread: the waiter of an Event right after wait() or is_set(), the last one at a
// Barrier, who gets a Lock after an unlock or a unit after a release. Tasks that a cancel or a timeout is ending may
// still be in line: they leave by CancelledError, and touch the object no more; nor do those whom an Event or a Barrier
// has woken. To destroy it while a task waits that nobody has cancelled ends the program, with a message.
// Of course whoever is in a guard of it, or calls it again in its cleanup, needs it still.
#pragma once

#include <atomic>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "fibrio/detail/eliding_atomic.hpp"
#include "fibrio/detail/opaque.hpp"
#include "fibrio/errors.hpp"

namespace fibrio {

namespace detail {
template <template <class> class Atomic>
class BasicLockState;
template <template <class> class Atomic>
class BasicSemaphoreState;
class EventState;
class ConditionState;
class BarrierState;
}  // namespace detail

// Lets one task in at a time. Works with std::lock_guard, std::unique_lock and std::scoped_lock.
// It may be held over waits. Unlike a std::mutex it belongs to nobody: any task or thread may unlock it; who
// locks it twice waits for ever.
class Lock {
 public:
  Lock();
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  // Takes the lock.
  // Waits: if it is locked, or others are in line; then the turn is handed on in order, and nobody overtakes.
  // Cancel: CancelledError, the lock is not taken; a turn that had come already goes to the next in line.
  // A lock that is always free delivers it too, now and then, as do Semaphore and Event.
  // Throws: RuntimeError if it would have to wait inside a callback. Threads: any. asyncio: Lock.acquire.
  void lock();
  // Takes it if it is free and nobody is in line for it. Waits: no. Threads: any, callbacks too.
  [[nodiscard]] bool try_lock();
  // Gives it back; the first in line gets its turn, in the next pass. Waits: no.
  // Throws: RuntimeError if it is not locked. Threads: any, callbacks too. asyncio: Lock.release.
  void unlock();
  // False also in the moment between an unlock and the turn of who was first in line, as in asyncio.
  [[nodiscard]] bool locked() const noexcept;

 private:
  friend class Condition;
  alignas(32)
      detail::Opaque<detail::BasicLockState<detail::ElidingAtomic>, 32> state_;  // not over two cache lines
};

// A flag that tasks can wait for. It may be destroyed right after set(), also if those who waited have not
// run again yet, and right after wait(), also if set() has not returned yet.
//
//   fibrio::Event ready;
//   fibrio::create_task([&] { ready.wait(); serve(); });
//   ready.set();
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // Sets the flag; all who wait go on in the next pass, in order, also if it is cleared before that.
  // Waits: no. Threads: any, callbacks too.
  void set();
  // Clears the flag: later waits wait. Threads: any.
  void clear();
  [[nodiscard]] bool is_set() const noexcept;
  // Returns when the flag is set. Waits: only if it is not. Cancel: CancelledError, nothing else changes.
  // Throws: RuntimeError if it would have to wait inside a callback. Threads: any. asyncio: Event.wait.
  void wait();

 private:
  detail::Opaque<detail::EventState, 32> state_;
};

// Lets tasks that hold a lock wait until another one tells them that something has changed.
// It has lock, try_lock, unlock and locked of its Lock, so that std::lock_guard works on it.
//
//   std::lock_guard guard(condition);
//   condition.wait_for([&] { return !work.empty(); });
//   take(work);
class Condition {
 public:
  // Over a lock of its own.
  Condition();
  // Over a lock that lives longer; several conditions may share one.
  explicit Condition(Lock& lock);
  ~Condition();
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  void lock() { lock_->lock(); }
  [[nodiscard]] bool try_lock() { return lock_->try_lock(); }
  void unlock() { lock_->unlock(); }
  [[nodiscard]] bool locked() const noexcept { return lock_->locked(); }

  // Unlocks, waits for a notification, locks again. May also return without one: check what you wait for.
  // Waits: always. Cancel: CancelledError, in any case with the lock held: a cancel that comes while it is
  // taken again is delivered afterwards (the last one, if several). A notification it had got goes to the
  // next. If the condition and its lock are destroyed meanwhile, it is thrown without the lock: a guard would unlock
  // what is gone, so await such a task before.
  // Throws: RuntimeError if the lock is not locked, or inside a callback. asyncio: Condition.wait.
  void wait();
  // Waits until `predicate()` is true, and returns its value. The predicate is called with the lock held,
  // once before any wait and then after each. Waits: unless it is true at once; then the lock is not needed.
  // Cancel, Throws: as wait, and what the predicate throws.
  template <class Predicate>
  std::invoke_result_t<Predicate&> wait_for(Predicate predicate) {
    for (;;) {
      std::invoke_result_t<Predicate&> result = predicate();
      if (result) return result;
      wait();
    }
  }

  // Wakes the first `n` that wait, or all if there are fewer; they go on when they have the lock again.
  // Waits: no. Throws: RuntimeError if the lock is not locked.
  void notify(std::size_t n = 1);
  void notify_all() { notify(std::numeric_limits<std::size_t>::max()); }

 private:
  Lock own_lock_;
  Lock* lock_ = &own_lock_;
  detail::Opaque<detail::ConditionState, 48> state_;
};

// A number of units: each acquire takes one, each release gives one back.
//
//   fibrio::Semaphore at_most_ten(10);
//   at_most_ten.acquire();
//   fetch(url); at_most_ten.release();
class Semaphore {
 public:
  // Throws: std::invalid_argument if `value` is negative (asyncio: ValueError).
  explicit Semaphore(std::ptrdiff_t value = 1)
      : Semaphore(value, std::numeric_limits<std::ptrdiff_t>::max()) {}
  ~Semaphore();
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // Takes a unit. Waits: if there is none, or others are in line; nobody overtakes.
  // Cancel: CancelledError, no unit is taken; one that was on its way goes to the next in line.
  // Throws: RuntimeError if it would have to wait inside a callback. Threads: any. asyncio:
  // Semaphore.acquire.
  void acquire();
  // Takes one if there is one and nobody is in line. Waits: no. Threads: any, callbacks too.
  [[nodiscard]] bool try_acquire();
  // Gives a unit back, to the first in line if there is somebody. Waits: no. Threads: any, callbacks too.
  // Throws: a BoundedSemaphore std::invalid_argument, if that were more than it had at first.
  void release();
  // True if acquire would have to wait now: no unit, or somebody is in line.
  [[nodiscard]] bool locked() const;

 protected:
  Semaphore(std::ptrdiff_t value, std::ptrdiff_t limit);

 private:
  alignas(64) mutable detail::Opaque<detail::BasicSemaphoreState<detail::ElidingAtomic>,
                                     64> state_;  // one cache line
};

// A semaphore that refuses to be released more often than it was acquired.
class BoundedSemaphore : public Semaphore {
 public:
  explicit BoundedSemaphore(std::ptrdiff_t value = 1) : Semaphore(value, value) {}
};

// Lets tasks go on together: each waits until as many as `parties` have come.
//
//   fibrio::Barrier barrier(3);
//   prepare();
//   if (barrier.wait() == 0) report();  // when all three are prepared
class Barrier {
 public:
  // Throws: std::invalid_argument if `parties` is below 1 (asyncio: ValueError).
  explicit Barrier(std::ptrdiff_t parties);
  ~Barrier();
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  // Returns the place in the order of arrival, 0 to parties - 1, when all have come. Who comes while the last
  // round is still leaving belongs to the next one. Waits: unless it is the last to come.
  // Cancel: CancelledError; one less waits then, the barrier is not broken.
  // Throws: BrokenBarrierError if the barrier is, or gets, broken, or is reset while it waits; RuntimeError
  // if it would have to wait inside a callback. Threads: any. asyncio: Barrier.wait.
  std::size_t wait();
  // Makes the barrier as new. Who waits gets BrokenBarrierError; who waits for the next round joins it.
  // Waits: no (asyncio's is a coroutine). Threads: any, callbacks too.
  void reset();
  // Breaks the barrier, until it is reset: all who wait or will wait get BrokenBarrierError. The rest as
  // reset.
  void abort();

  [[nodiscard]] std::size_t parties() const noexcept;
  // How many wait for the others now; 0 while a round is leaving.
  [[nodiscard]] std::size_t n_waiting() const;
  [[nodiscard]] bool broken() const;

 private:
  mutable detail::Opaque<detail::BarrierState, 64> state_;
};

}  // namespace fibrio
