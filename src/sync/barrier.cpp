// What: Barrier.
//
// Threads: any; the spin lock guards everything.
//
// Invariant, asyncio's: `count` tasks are inside a round. filling: fewer than all have come. draining: all
// have, and leave one by one; newcomers wait for the last. resetting: the same, but all leave by
// BrokenBarrierError. broken: so does everybody, until reset. The last one out makes it filling again (broken
// stays), and wakes the newcomers. All wait in one list and look again at what has changed when they are
// woken: who must go on waiting does so at the end of the list.
//
// asyncio builds it on Condition, whose lock is never contended there (nobody suspends with it held); the
// spin lock is that lock. Kept of it: a wait that ends by a cancellation wakes one other, in vain as a rule,
// which then waits at the end of the list.
//
// Rejected: one list for each kind of waiter (the order of wake-ups would not be asyncio's).
#include <mutex>
#include <stdexcept>

#include "base/check.hpp"
#include "fibrio/locks.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio {

namespace detail {

class BarrierState {
 public:
  enum class Phase { filling, draining, resetting, broken };

  explicit BarrierState(std::size_t its_parties) noexcept : parties(its_parties) {}

  // Waits once, with the lock free meanwhile; afterwards it is held again. True: cancelled, and the
  // notification is passed on.
  [[nodiscard]] bool wait_once(SyncWait& wait, Woken& woken) {
    waiters.add(wait);
    ++waits;
    spin.unlock();
    wait.wait(spin);
    const bool cancelled = wait.take_cancellation();
    spin.lock();
    --waits;
    waiters.leave(wait);
    if (cancelled) static_cast<void>(waiters.wake_next(woken));
    return cancelled;
  }
  [[nodiscard]] bool is_leaving() const noexcept {
    return phase == Phase::draining || phase == Phase::resetting;
  }
  // One less is inside the round.
  void leave_round(Woken& woken) noexcept {
    if (--count != 0) return;
    if (is_leaving()) phase = Phase::filling;
    waiters.wake_all(woken);
  }

  SpinLock spin;
  Phase phase = Phase::filling;
  std::size_t count = 0;
  const std::size_t parties;
  WaitQueue waiters;
  std::size_t waits = 0;  // tasks inside wait_once, also woken ones that have not run yet
};

namespace {
std::size_t checked_parties(std::ptrdiff_t parties) {
  if (parties < 1) throw std::invalid_argument("Barrier: the number of parties must be at least 1");
  return static_cast<std::size_t>(parties);
}
}  // namespace

}  // namespace detail

using detail::BarrierState;
using detail::SyncWait;
using detail::WaitReason;
using detail::Woken;
using Phase = detail::BarrierState::Phase;

Barrier::Barrier(std::ptrdiff_t parties) { state_.make(detail::checked_parties(parties)); }
Barrier::~Barrier() {
  FIBRIO_CHECK(state_.get().waits == 0,
               "a Barrier is destroyed while a task waits at it: let such tasks end first");
  state_.destroy();
}

std::size_t Barrier::wait() {
  BarrierState& state = state_.get();
  Woken woken;  // outlives the guard: made ready once the lock is free, however this ends
  struct MakeReady {
    Woken& woken;
    ~MakeReady() { make_ready(woken); }
  } const make_ready_at_end{woken};
  std::unique_lock guard(state.spin);

  // The last round leaves first.
  while (state.is_leaving()) {
    SyncWait wait("Barrier::wait", WaitReason::kBarrier);
    if (!state.wait_once(wait, woken)) continue;
    guard.unlock();
    wait.throw_cancelled();
  }
  if (state.phase == Phase::broken) {
    guard.unlock();
    throw BrokenBarrierError("Barrier::wait: the barrier is broken");
  }

  const std::size_t index = state.count;
  if (index + 1 == state.parties) {
    ++state.count;
    state.phase = Phase::draining;
    state.waiters.wake_all(woken);
    state.leave_round(woken);
    return index;
  }
  for (bool is_inside = false; !is_inside || state.phase == Phase::filling;) {
    SyncWait wait("Barrier::wait", WaitReason::kBarrier);  // in a callback it throws before anything changed
    if (!is_inside) ++state.count;
    is_inside = true;
    if (!state.wait_once(wait, woken)) continue;
    state.leave_round(woken);
    guard.unlock();
    wait.throw_cancelled();
  }
  const bool is_broken = state.phase == Phase::broken || state.phase == Phase::resetting;
  state.leave_round(woken);
  guard.unlock();
  if (is_broken) throw BrokenBarrierError("Barrier::wait: the barrier was reset or aborted");
  return index;
}

void Barrier::reset() {
  BarrierState& state = state_.get();
  Woken woken;
  {
    std::lock_guard guard(state.spin);
    state.phase = state.count > 0 ? Phase::resetting : Phase::filling;
    state.waiters.wake_all(woken);
  }
  make_ready(woken);
}

void Barrier::abort() {
  BarrierState& state = state_.get();
  Woken woken;
  {
    std::lock_guard guard(state.spin);
    state.phase = Phase::broken;
    state.waiters.wake_all(woken);
  }
  make_ready(woken);
}

std::size_t Barrier::parties() const noexcept { return state_.get().parties; }

std::size_t Barrier::n_waiting() const {
  std::lock_guard guard(state_.get().spin);
  return state_.get().phase == Phase::filling ? state_.get().count : 0;
}

bool Barrier::broken() const {
  std::lock_guard guard(state_.get().spin);
  return state_.get().phase == Phase::broken;
}

}  // namespace fibrio
