// What: Condition.
//
// Threads: any. The spin lock guards the two lists, see wait_queue.hpp.
//
// Protocol of wait:
//  1. It is in line for a notification before it gives the lock back, so that one that comes right then is not lost.
//     A task that a cancel has ended goes through the spin lock before it gets in the lock's line: a notification that saw
//     it wait may be about to end its wait, and must not end that one.
//  2. Its waiter stays in one of the lists until it has the lock again: it is claimed until it is in the lock's line,
//     and `returning` from then on.
//  3. Whatever ends it, it leaves with the lock held; if it leaves by an exception it wakes the next, as it cannot tell
//     whether it was the one that a notification was for.
//  4. If the condition is destroyed before a task that was notified or cancelled has run: a lock of its own is gone
//     with it, and a cancelled wait throws without it. Another lock adopts such waiters into its line, so that its
//     destructor knows them in turn. One that is in the lock's line already only loses the way to 3.
#include <algorithm>
#include <array>
#include <mutex>
#include <optional>

#include "base/check.hpp"
#include "fibrio/locks.hpp"
#include "sync/lock_state.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio {

namespace detail {

class ConditionState {
 public:
  void add(Waiter& waiter) noexcept {
    const std::lock_guard guard(spin_);
    waiters_.add(waiter);
  }
  void notify(std::size_t n) noexcept {
    Woken woken;
    {
      const std::lock_guard guard(spin_);
      while (n > 0 && waiters_.wake_next_into(returning_, woken)) --n;
    }
    make_ready(woken);
  }
  // By a task that has claimed its waiter: who notifies at this moment is done with it after that.
  void let_notifiers_finish() noexcept { const std::lock_guard guard(spin_); }
  void end_wait(Waiter& waiter, bool leaves) noexcept {
    Woken woken;
    {
      const std::lock_guard guard(spin_);
      waiters_.leave(waiter);
      if (leaves) static_cast<void>(waiters_.wake_next_into(returning_, woken));
    }
    make_ready(woken);
  }
  // For the destructor. False: somebody needs it still. `heir`: null if the lock goes as well.
  [[nodiscard]] bool abandon_waiters(LockState* heir) noexcept {
    return abandon_all(spin_, [this, heir] {
      const auto outcome = [heir](Waiter& waiter, WaiterStage seen) {
        if (heir == nullptr) return IfGivenUp()(waiter, seen);
        if (seen == WaiterStage::returning) return WaiterStage::abandoned;
        return seen == WaiterStage::woken || waiter.gives_up(seen) ? WaiterStage::adopted : kNeeded;
      };
      const auto adopt = [heir](Waiter& waiter, WaiterStage last) {
        if (last == WaiterStage::adopted) heir->adopt(waiter);
      };
      return std::max(waiters_.end_each(outcome, adopt), returning_.end_each(outcome, adopt));
    });
  }

 private:
  SpinLock spin_;
  WaitQueue waiters_;
  WaitQueue returning_;  // notified, or passed by, and not out of wait() yet
};

namespace {

// Takes the lock again for a wait that was claimed. A cancel that comes meanwhile is the error then.
class LockAgain {
 public:
  LockAgain(LockState& lock, SyncWait& wait) : lock_(lock), wait_(wait) {}

  // In the lock's line, or through.
  void begin(bool is_adopted, bool cancelled) {
    wait_.is_leaving.store(cancelled, std::memory_order_relaxed);
    SyncWait& turn = next_turn(cancelled);
    Woken woken;
    has_lock_ = is_adopted ? lock_.rejoin(wait_, turn, woken) : lock_.take_or_wait(turn);
    wait_.stage.store(is_adopted ? WaiterStage::abandoned : WaiterStage::returning,
                      std::memory_order_release);
    make_ready(woken);
    if (cancelled) error_ = wait_.cancellation();
  }
  // True: it has the lock. False: the lock is gone.
  [[nodiscard]] bool finish() {
    while (!has_lock_) {
      SyncWait& turn = *turns_[now_];
      turn.wait();
      const bool is_there = turn.claim();
      const bool cancelled = take_cancellation(turn);
      if (is_there) leave(turn, cancelled);
      if (cancelled) error_ = turn.cancellation();
      if (!is_there) return false;
    }
    return true;
  }
  [[nodiscard]] const std::optional<CancelledError>& error() const noexcept { return error_; }

 private:
  // `wait_` is known as leaving before the request that makes it so is taken: a destructor looks for either.
  [[nodiscard]] bool take_cancellation(SyncWait& turn) noexcept {
    wait_.is_leaving.store(true, std::memory_order_relaxed);
    const bool cancelled = turn.take_cancellation();
    if (!cancelled && !error_) wait_.is_leaving.store(false, std::memory_order_relaxed);
    return cancelled;
  }
  SyncWait& next_turn(bool leaves) {
    now_ = 1 - now_;
    SyncWait& turn = turns_[now_].emplace("Condition::wait", WaitReason::kLock);
    turn.is_leaving.store(leaves, std::memory_order_relaxed);
    return turn;
  }
  void leave(SyncWait& turn, bool cancelled) {
    Woken woken;
    if (cancelled) {
      has_lock_ = lock_.rejoin(turn, next_turn(true), woken);
    } else {
      lock_.end_wait(turn, false, woken);
      has_lock_ = true;
    }
    make_ready(woken);
  }

  LockState& lock_;
  SyncWait& wait_;
  std::optional<CancelledError> error_;
  std::array<std::optional<SyncWait>, 2> turns_;
  std::size_t now_ = 0;
  bool has_lock_ = false;
};

}  // namespace

}  // namespace detail

using detail::SyncWait;
using detail::WaiterStage;
using detail::WaitReason;

Condition::Condition() { state_.make(); }
Condition::Condition(Lock& lock) : lock_(&lock) { state_.make(); }
Condition::~Condition() {
  FIBRIO_CHECK(state_.get().abandon_waiters(lock_ == &own_lock_ ? nullptr : &lock_->state_.get()),
               "a Condition is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Condition::wait() {
  detail::ConditionState& state = state_.get();
  detail::LockState& lock = lock_->state_.get();
  if (!locked()) throw RuntimeError("Condition::wait: the lock is not locked");
  SyncWait wait("Condition::wait", WaitReason::kCondition);
  state.add(wait);
  lock_->unlock();
  wait.wait();

  WaiterStage before = WaiterStage::claimed;
  const bool is_there = wait.claim(before);
  const bool cancelled = wait.take_cancellation();
  if (!is_there) wait.throw_abandoned(cancelled);
  if (before != WaiterStage::woken && before != WaiterStage::adopted) state.let_notifiers_finish();
  detail::LockAgain again(lock, wait);
  again.begin(before == WaiterStage::adopted, cancelled);
  const bool has_lock = again.finish();
  if (wait.claim()) state.end_wait(wait, again.error().has_value());
  if (again.error()) throw CancelledError(*again.error());
  if (!has_lock) wait.throw_abandoned(false);
}

void Condition::notify(std::size_t n) {
  if (!locked()) throw RuntimeError("Condition::notify: the lock is not locked");
  state_.get().notify(n);
}

}  // namespace fibrio
