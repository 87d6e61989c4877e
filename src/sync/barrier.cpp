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
// If it is destroyed right after a round has ended, those who have not run since learn from the destructor how it ended.
//
// Rejected: one list for each kind of waiter (the order of wake-ups would not be asyncio's).
#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "base/check.hpp"
#include "fibrio/locks.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio {

namespace detail {

// What a destructor tells who was woken and has not run since: how its round ended.
struct BarrierWait : SyncWait {
  explicit BarrierWait(bool is_in_round)
      : SyncWait("Barrier::wait", WaitReason::kBarrier), is_inside(is_in_round) {}
  const bool is_inside;
  bool is_broken = false;  // written by the destructor before it is marked as finished
};

class BarrierState {
 public:
  enum class Phase { filling, draining, resetting, broken };

  explicit BarrierState(std::size_t its_parties) noexcept : parties(its_parties) {}

  // Waits once, with the lock free meanwhile.
  enum class [[nodiscard]] Waited{
      woken,      // the lock is held again
      cancelled,  // the same; the notification is passed on
      gone,       // the barrier is; the lock is not held
  };
  Waited wait_once(BarrierWait& wait, std::unique_lock<SpinLock>& guard, Woken& woken) {
    waiters.add(wait);
    guard.unlock();
    wait.wait();
    const bool is_there = wait.claim();
    const bool cancelled = wait.take_cancellation();
    if (!is_there) {
      guard.release();
      if (cancelled || !wait.is_finished()) wait.throw_abandoned(cancelled);
      return Waited::gone;
    }
    guard.lock();
    waiters.leave(wait);
    if (!cancelled) return Waited::woken;
    static_cast<void>(waiters.wake_next_into(woken_ones, woken));
    return Waited::cancelled;
  }
  void wake_all(Woken& woken) noexcept {
    while (waiters.wake_next_into(woken_ones, woken)) {
    }
  }
  [[nodiscard]] bool is_leaving() const noexcept {
    return phase == Phase::draining || phase == Phase::resetting;
  }
  // One less is inside the round.
  void leave_round(Woken& woken) noexcept {
    if (--count != 0) return;
    if (is_leaving()) phase = Phase::filling;
    wake_all(woken);
  }
  // For the destructor. False: somebody needs it still. Of a round that has ended each learns how.
  [[nodiscard]] bool abandon_waiters() noexcept {
    return abandon_all(spin, [this] {
      const auto outcome = [this](Waiter& waiter, WaiterStage seen) {
        const WaiterStage last = IfGivenUp()(waiter, seen);
        auto& wait = static_cast<BarrierWait&>(waiter);
        const bool has_ended = phase == Phase::broken || (wait.is_inside && phase != Phase::filling);
        if (last != kNeeded || seen != WaiterStage::woken || !has_ended) return last;
        wait.is_broken = phase != Phase::draining;
        return WaiterStage::finished;
      };
      return std::max(waiters.end_each(IfGivenUp()), woken_ones.end_each(outcome));
    });
  }

  SpinLock spin;
  Phase phase = Phase::filling;
  std::size_t count = 0;
  const std::size_t parties;
  WaitQueue waiters;
  WaitQueue woken_ones;  // and have not run yet; also those whom a wake-up passed by
};

namespace {
std::size_t checked_parties(std::ptrdiff_t parties) {
  if (parties < 1) throw std::invalid_argument("Barrier: the number of parties must be at least 1");
  return static_cast<std::size_t>(parties);
}
}  // namespace

}  // namespace detail

using detail::BarrierState;
using detail::BarrierWait;
using detail::Woken;
using Phase = detail::BarrierState::Phase;
using Waited = detail::BarrierState::Waited;

Barrier::Barrier(std::ptrdiff_t parties) { state_.make(detail::checked_parties(parties)); }
Barrier::~Barrier() {
  FIBRIO_CHECK(state_.get().abandon_waiters(),
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
    BarrierWait wait(false);
    const Waited waited = state.wait_once(wait, guard, woken);
    if (waited == Waited::gone) throw BrokenBarrierError("Barrier::wait: the barrier was aborted");
    if (waited == Waited::woken) continue;
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
    state.wake_all(woken);
    state.leave_round(woken);
    return index;
  }
  for (bool is_inside = false; !is_inside || state.phase == Phase::filling;) {
    BarrierWait wait(true);  // in a callback it throws before anything changed
    if (!is_inside) ++state.count;
    is_inside = true;
    const Waited waited = state.wait_once(wait, guard, woken);
    if (waited == Waited::gone) {
      if (wait.is_broken) throw BrokenBarrierError("Barrier::wait: the barrier was reset or aborted");
      return index;
    }
    if (waited == Waited::woken) continue;
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
    state.wake_all(woken);
  }
  make_ready(woken);
}

void Barrier::abort() {
  BarrierState& state = state_.get();
  Woken woken;
  {
    std::lock_guard guard(state.spin);
    state.phase = Phase::broken;
    state.wake_all(woken);
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
