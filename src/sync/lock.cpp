// What: Lock, Semaphore: the state machines of lock_state.hpp with waits around them.
#include <mutex>
#include <stdexcept>

#include "base/check.hpp"
#include "fibrio/locks.hpp"
#include "sync/lock_state.hpp"
#include "sync/sync_wait.hpp"
#include "task/budget.hpp"

namespace fibrio {

namespace detail {
namespace {

// The slow half of lock() and acquire(). Inside the critical section: takes it, or waits in line for it.
template <class State>
void take_or_wait(State& state, const char* what, WaitReason reason) {
  std::unique_lock section(state, std::adopt_lock);
  if (state.try_take_locked()) return;
  SyncWait wait(what, reason);
  state.add_locked(wait);
  section.unlock();
  wait.wait();
  const bool is_there = wait.claim();
  const bool cancelled = wait.take_cancellation();
  if (!is_there) wait.throw_abandoned(cancelled);
  Woken woken;
  state.end_wait(wait, cancelled, woken);
  make_ready(woken);
  if (cancelled) wait.throw_cancelled();
}

[[gnu::noinline]] void wait_for_lock(LockState& state) {
  state.lock();
  take_or_wait(state, "Lock::lock", WaitReason::kLock);
}

[[gnu::noinline]] void hand_on(LockState& state) {
  Woken woken;
  if (!state.release(woken)) throw RuntimeError("Lock::unlock: the lock is not locked");
  make_ready(woken);
}

// It is held: given back for the look.
[[gnu::noinline, gnu::cold]] void give_back_and_look(LockState& state) {
  if (!state.try_release()) hand_on(state);
  look_around_in_turn();
  if (!state.try_take_free()) wait_for_lock(state);
}

[[gnu::noinline]] void wait_for_unit(SemaphoreState& state, Take before) {
  if (before == Take::look) {
    look_around_in_turn();
    state.lock();
  }
  take_or_wait(state, "Semaphore::acquire", WaitReason::kSemaphore);
}

[[gnu::noinline]] void wake_and_unlock(SemaphoreState& state) noexcept {
  Woken woken;
  state.wake_locked(woken);
  state.unlock();
  make_ready(woken);
}

}  // namespace
}  // namespace detail

Lock::Lock() { state_.make(); }
Lock::~Lock() {
  detail::Woken woken;
  FIBRIO_CHECK(state_.get().abandon_waiters(woken),
               "a Lock is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
  make_ready(woken);
}

void Lock::lock() {
  detail::LockState& state = state_.get();
  if (!state.try_take_free()) [[unlikely]] {
    detail::wait_for_lock(state);
    detail::stay_in_call_graph();
  } else if (state.spend_turn()) [[unlikely]] {
    detail::give_back_and_look(state);
  }
}

bool Lock::try_lock() { return state_.get().try_take(); }

void Lock::unlock() {
  detail::LockState& state = state_.get();
  if (!state.try_release()) [[unlikely]]
    detail::hand_on(state);
}

bool Lock::locked() const noexcept { return state_.get().is_locked(); }

Semaphore::Semaphore(std::ptrdiff_t value, std::ptrdiff_t limit) {
  if (value < 0) throw std::invalid_argument("Semaphore: the initial value must not be negative");
  state_.make(value, limit);
}
Semaphore::~Semaphore() {
  FIBRIO_CHECK(state_.get().abandon_waiters(),
               "a Semaphore is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Semaphore::acquire() {
  const detail::Take taken = state_.get().take();
  if (taken == detail::Take::taken) [[likely]]
    return;
  detail::wait_for_unit(state_.get(), taken);
  detail::stay_in_call_graph();
}

bool Semaphore::try_acquire() { return state_.get().try_take(); }

void Semaphore::release() {
  using Put = detail::SemaphoreState::Put;
  detail::SemaphoreState& state = state_.get();
  state.lock();
  const Put put = state.put_locked();
  if (put == Put::wanted) [[unlikely]]
    return detail::wake_and_unlock(state);
  state.unlock();
  if (put == Put::refused)
    throw std::invalid_argument("BoundedSemaphore::release: it was released more often than acquired");
}

bool Semaphore::locked() const { return state_.get().is_locked(); }

}  // namespace fibrio
