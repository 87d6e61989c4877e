// What: QueueCore: who waits at a queue, and when.
//
// Threads: any. begin takes the spin lock, end and abandon release it; so a caller's move of an item in or
// out is inside of it.
//
// Invariant: see queue_state.hpp.
//
// Rejected: handing the item to the waiter (a getter that is cancelled in that moment would have to put it
// back in front); a node per item (an allocation, or two more critical sections, per item, to keep the
// caller's move out of the lock); a lock-free ring (FIFO among waiters, and asyncio's rules about who may
// overtake, need one order of everything).
#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "base/check.hpp"
#include "fibrio/detail/budget.hpp"
#include "fibrio/detail/queue_core.hpp"
#include "fibrio/errors.hpp"
#include "sync/queue_state.hpp"
#include "sync/sync_wait.hpp"
#include "task/budget.hpp"

namespace fibrio::detail {

class QueueState : public BasicQueueState<> {
 public:
  using BasicQueueState::BasicQueueState;
};

namespace {

using Guard = std::unique_lock<SpinLock>;

// Waits once in `list`, with the lock free meanwhile, and holds it again when it returns. If it is cancelled,
// `is_wanted` says whether what it was woken for is still there for the next one.
template <class IsWanted>
void wait_once(QueueState& state, Guard& guard, WaitQueue& list, const char* what, IsWanted is_wanted) {
  SyncWait wait(what, WaitReason::kQueue);
  state.begin_wait(list, wait);
  guard.unlock();
  wait.wait(state.spin);
  const bool cancelled = wait.take_cancellation();
  guard.lock();
  Woken woken;
  state.end_wait(list, wait, cancelled, is_wanted(), woken);
  if (!cancelled) return;
  guard.unlock();
  make_ready(woken);
  wait.throw_cancelled();
}

// Before the item is put in, or taken. Throws CancelledError.
[[gnu::noinline, gnu::cold]] void look_around(Guard& guard) {
  guard.unlock();
  look_around_in_turn();
  guard.lock();
}

}  // namespace

inline QueueState& QueueCore::state() noexcept { return state_.get(); }

QueueCore::QueueCore(std::size_t maxsize) { state_.make(maxsize); }
QueueCore::~QueueCore() {
  FIBRIO_CHECK(state().waits == 0, "a queue is destroyed while a task waits at it: let such tasks end first");
  state_.destroy();
}

void QueueCore::begin_put() {
  QueueState& s = state();
  Guard guard(s.spin);
  if (s.has_room() && s.spend_turn()) [[unlikely]]
    look_around(guard);
  while (!s.is_shut_down && !s.has_room()) {
    wait_once(s, guard, s.putters, "Queue::put", [&s] { return s.has_room(); });
  }
  if (s.is_shut_down) {
    guard.unlock();
    throw QueueShutDown();
  }
  static_cast<void>(guard.release());
}

void QueueCore::begin_get() {
  QueueState& s = state();
  Guard guard(s.spin);
  if (s.has_items() && s.spend_turn()) [[unlikely]]
    look_around(guard);
  while (!s.has_items()) {
    if (s.is_shut_down) {
      guard.unlock();
      throw QueueShutDown();
    }
    wait_once(s, guard, s.getters, "Queue::get", [&s] { return s.has_items(); });
  }
  static_cast<void>(guard.release());
}

QueueCore::Begun QueueCore::try_begin_put() noexcept {
  QueueState& s = state();
  Guard guard(s.spin);
  if (s.is_shut_down) return Begun::shut_down;
  if (!s.has_room()) return Begun::no;
  static_cast<void>(guard.release());
  return Begun::yes;
}

QueueCore::Begun QueueCore::try_begin_get() noexcept {
  QueueState& s = state();
  Guard guard(s.spin);
  if (!s.has_items()) return s.is_shut_down ? Begun::shut_down : Begun::no;
  static_cast<void>(guard.release());
  return Begun::yes;
}

void QueueCore::end_put() noexcept {
  QueueState& s = state();
  Woken woken;
  s.item_is_in(woken);
  s.spin.unlock();
  make_ready(woken);
}

void QueueCore::end_get() noexcept {
  QueueState& s = state();
  Woken woken;
  s.item_is_out(woken);
  s.spin.unlock();
  make_ready(woken);
}

// Both were begun, so that there is room, or an item.
void QueueCore::abandon_put() noexcept {
  QueueState& s = state();
  Woken woken;
  static_cast<void>(s.putters.wake_next(woken));
  s.spin.unlock();
  make_ready(woken);
}

void QueueCore::abandon_get() noexcept {
  QueueState& s = state();
  Woken woken;
  static_cast<void>(s.getters.wake_next(woken));
  s.spin.unlock();
  make_ready(woken);
}

void QueueCore::begin_shutdown() noexcept { state().spin.lock(); }

void QueueCore::end_shutdown(bool dropped_items) noexcept {
  QueueState& s = state();
  Woken woken;
  s.is_shut_down = true;
  if (dropped_items) {
    s.unfinished -=
        std::min(s.unfinished, s.items());  // task_done may have been called for items that are still in
    s.set_items(0);
    if (s.unfinished == 0) s.joiners.wake_all(woken);
  }
  s.getters.wake_all(woken);
  s.putters.wake_all(woken);
  s.spin.unlock();
  make_ready(woken);
}

void QueueCore::task_done() {
  QueueState& s = state();
  Woken woken;
  {
    Guard guard(s.spin);
    if (s.unfinished == 0) {
      guard.unlock();
      throw std::invalid_argument("Queue::task_done: called more often than items were put in");
    }
    if (--s.unfinished == 0) s.joiners.wake_all(woken);
  }
  make_ready(woken);
}

void QueueCore::join() {
  QueueState& s = state();
  Guard guard(s.spin);
  if (s.unfinished == 0) {
    guard.unlock();
    return spend_turn();
  }
  wait_once(s, guard, s.joiners, "Queue::join", [] { return false; });
}

std::size_t QueueCore::size() const noexcept { return state_.get().items(); }
std::size_t QueueCore::maxsize() const noexcept { return state_.get().maxsize; }

}  // namespace fibrio::detail
