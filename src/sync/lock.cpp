// What: Lock, Semaphore: the state machines of lock_state.hpp with waits around them.
#include <stdexcept>

#include "base/check.hpp"
#include "fibrio/locks.hpp"
#include "sync/lock_state.hpp"
#include "sync/sync_wait.hpp"
#include "task/budget.hpp"

namespace fibrio {

namespace detail {
namespace {

// The slow half of lock() and acquire(): in line for it.
template <class State>
void wait_for_turn(State& state, Take before, const char* what, WaitReason reason) {
  if (before == Take::look) look_around_in_turn();
  SyncWait wait(what, reason);
  if (state.take_or_wait(wait)) return;
  wait.wait(state.spin);
  const bool cancelled = wait.take_cancellation();
  Woken woken;
  state.end_wait(wait, cancelled, woken);
  make_ready(woken);
  if (cancelled) wait.throw_cancelled();
}

}  // namespace
}  // namespace detail

Lock::Lock() { state_.make(); }
Lock::~Lock() {
  FIBRIO_CHECK(!state_.get().has_waiters(),
               "a Lock is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Lock::lock() {
  const detail::Take taken = state_.get().take();
  if (taken == detail::Take::taken) return;
  detail::wait_for_turn(state_.get(), taken, "Lock::lock", detail::WaitReason::kLock);
}

bool Lock::try_lock() { return state_.get().try_take(); }

void Lock::unlock() {
  detail::Woken woken;
  if (!state_.get().release(woken)) throw RuntimeError("Lock::unlock: the lock is not locked");
  make_ready(woken);
}

bool Lock::locked() const noexcept { return state_.get().is_locked(); }

Semaphore::Semaphore(std::ptrdiff_t value, std::ptrdiff_t limit) {
  if (value < 0) throw std::invalid_argument("Semaphore: the initial value must not be negative");
  state_.make(value, limit);
}
Semaphore::~Semaphore() {
  FIBRIO_CHECK(!state_.get().has_waiters(),
               "a Semaphore is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Semaphore::acquire() {
  const detail::Take taken = state_.get().take();
  if (taken == detail::Take::taken) return;
  detail::wait_for_turn(state_.get(), taken, "Semaphore::acquire", detail::WaitReason::kSemaphore);
}

bool Semaphore::try_acquire() { return state_.get().try_take(); }

void Semaphore::release() {
  detail::Woken woken;
  if (!state_.get().release(woken))
    throw std::invalid_argument("BoundedSemaphore::release: it was released more often than acquired");
  make_ready(woken);
}

bool Semaphore::locked() const { return state_.get().is_locked(); }

}  // namespace fibrio
