// What: Event, Condition.
//
// Threads: any. Each has a spin lock and a list; see wait_queue.hpp.
//
// Protocol of Condition::wait: it is in line for a notification before it gives the lock back, so that one
// that comes right then is not lost. Whatever ends it, it leaves with the lock held; if it leaves by an
// exception it wakes the next, as it cannot tell whether it was the one that a notification was for.
#include <atomic>
#include <mutex>
#include <optional>

#include "base/check.hpp"
#include "fibrio/detail/budget.hpp"
#include "fibrio/locks.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio {

namespace detail {

class EventState {
 public:
  SpinLock spin;
  // Written under the lock. release: partner of the acquire loads outside of it, which let a wait return.
  std::atomic<bool> is_set{false};
  WaitQueue waiters;
};

class ConditionState {
 public:
  SpinLock spin;
  WaitQueue waiters;

  void notify(std::size_t n) noexcept {
    Woken woken;
    {
      std::lock_guard guard(spin);
      while (n > 0 && waiters.wake_next(woken)) --n;
    }
    make_ready(woken);
  }
};

}  // namespace detail

using detail::SyncWait;
using detail::WaitReason;
using detail::Woken;

Event::Event() { state_.make(); }
Event::~Event() {
  FIBRIO_CHECK(state_.get().waiters.empty(),
               "an Event is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Event::set() {
  detail::EventState& state = state_.get();
  Woken woken;
  {
    std::lock_guard guard(state.spin);
    if (state.is_set.load(std::memory_order_relaxed)) return;
    state.is_set.store(true, std::memory_order_release);
    state.waiters.wake_all(woken);
  }
  make_ready(woken);
}

void Event::clear() {
  detail::EventState& state = state_.get();
  std::lock_guard guard(state.spin);
  state.is_set.store(false, std::memory_order_relaxed);
}

bool Event::is_set() const noexcept { return state_.get().is_set.load(std::memory_order_acquire); }

void Event::wait() {
  detail::EventState& state = state_.get();
  if (is_set()) return detail::spend_turn();
  SyncWait wait("Event::wait", WaitReason::kEvent);
  {
    std::lock_guard guard(state.spin);
    if (state.is_set.load(std::memory_order_relaxed)) return;
    state.waiters.add(wait);
  }
  wait.wait(state.spin);
  if (!wait.woken) wait.leave(state.spin, state.waiters);  // woken: the event may be gone
  if (wait.take_cancellation()) wait.throw_cancelled();
}

Condition::Condition() { state_.make(); }
Condition::Condition(Lock& lock) : lock_(&lock) { state_.make(); }
Condition::~Condition() {
  FIBRIO_CHECK(state_.get().waiters.empty(),
               "a Condition is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Condition::wait() {
  detail::ConditionState& state = state_.get();
  if (!locked()) throw RuntimeError("Condition::wait: the lock is not locked");
  std::optional<CancelledError> error;
  {
    SyncWait wait("Condition::wait", WaitReason::kCondition);
    {
      std::lock_guard guard(state.spin);
      state.waiters.add(wait);
    }
    lock_->unlock();
    wait.wait(state.spin);
    if (!wait.woken) wait.leave(state.spin, state.waiters);
    if (wait.take_cancellation()) error = wait.cancellation();
  }
  for (bool is_locked = false; !is_locked;) {
    try {
      lock_->lock();
      is_locked = true;
    } catch (const CancelledError& latest) {
      error = latest;
    }
  }
  if (!error) return;
  state.notify(1);
  throw *error;
}

void Condition::notify(std::size_t n) {
  if (!locked()) throw RuntimeError("Condition::notify: the lock is not locked");
  state_.get().notify(n);
}

}  // namespace fibrio
