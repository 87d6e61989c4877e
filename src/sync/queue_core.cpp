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
  list.add(wait);
  guard.unlock();
  wait.wait();
  const bool is_there = wait.claim();
  const bool cancelled = wait.take_cancellation();
  if (!is_there) {
    if (!cancelled && wait.is_finished()) throw QueueShutDown();
    wait.throw_abandoned(cancelled);
  }
  guard.lock();
  Woken woken;
  state.end_wait(list, wait, cancelled, is_wanted(), woken);
  if (!cancelled) return;
  guard.unlock();
  make_ready(woken);
  wait.throw_cancelled();
}

// Before the item is put in, or taken, where it need not wait. Throws CancelledError.
void look_around_if(bool is_turn, Guard& guard) {
  if (!is_turn) return;
  guard.unlock();
  look_around_in_turn();
  guard.lock();
}

// The slow halves of begin_put and begin_get; `is_turn`: it looks around first.
[[gnu::noinline]] void wait_for_room(QueueState& s, bool is_turn) {
  Guard guard(s.spin, std::adopt_lock);
  look_around_if(is_turn, guard);
  while (!s.is_shut_down && !s.has_room())
    wait_once(s, guard, s.putters, "Queue::put", [&s] { return s.has_room(); });
  if (s.is_shut_down) {
    guard.unlock();
    throw QueueShutDown();
  }
  static_cast<void>(guard.release());
}
[[gnu::noinline]] void wait_for_item(QueueState& s, bool is_turn) {
  Guard guard(s.spin, std::adopt_lock);
  look_around_if(is_turn, guard);
  while (!s.has_items()) {
    if (s.is_shut_down) {
      guard.unlock();
      throw QueueShutDown();
    }
    wait_once(s, guard, s.getters, "Queue::get", [&s] { return s.has_items(); });
  }
  static_cast<void>(guard.release());
}

// Somebody waits in the list for what has come. Releases the lock.
[[gnu::noinline]] void wake_first_and_unlock(QueueState& s, WaitQueue& list) noexcept {
  Woken woken;
  s.wake_next(list, woken);
  s.spin.unlock();
  make_ready(woken);
}

}  // namespace

inline QueueState& QueueCore::state() noexcept { return state_.get(); }

QueueCore::QueueCore(std::size_t maxsize) { state_.make(maxsize); }
QueueCore::~QueueCore() {
  FIBRIO_CHECK(state().abandon_waiters(),
               "a queue is destroyed while a task waits at it: let such tasks end first");
  state_.destroy();
}

void QueueCore::begin_put() {
  QueueState& s = state();
  s.spin.lock();
  const bool has_room = s.has_room() && !s.is_shut_down;
  const bool is_turn = has_room && s.spend_turn();
  if (has_room && !is_turn) [[likely]]
    return;
  wait_for_room(s, is_turn);
  stay_in_call_graph();
}

void QueueCore::begin_get() {
  QueueState& s = state();
  s.spin.lock();
  const bool has_items = s.has_items();
  const bool is_turn = has_items && s.spend_turn();
  if (has_items && !is_turn) [[likely]]
    return;
  wait_for_item(s, is_turn);
  stay_in_call_graph();
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
  if (s.item_is_in()) [[unlikely]]
    return wake_first_and_unlock(s, s.getters);
  s.spin.unlock();
}

void QueueCore::end_get() noexcept {
  QueueState& s = state();
  if (s.item_is_out()) [[unlikely]]
    return wake_first_and_unlock(s, s.putters);
  s.spin.unlock();
}

// Both were begun, so that there is room, or an item.
void QueueCore::abandon_put() noexcept { wake_first_and_unlock(state(), state().putters); }
void QueueCore::abandon_get() noexcept { wake_first_and_unlock(state(), state().getters); }

void QueueCore::begin_shutdown() noexcept { state().spin.lock(); }

void QueueCore::end_shutdown(bool dropped_items) noexcept {
  QueueState& s = state();
  Woken woken;
  if (dropped_items) {
    s.unfinished -=
        std::min(s.unfinished, s.items());  // task_done may have been called for items that are still in
    s.set_items(0);
    if (s.unfinished == 0) s.joiners.wake_all(woken);
  }
  s.shut_down(woken);
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
  SyncWait wait("Queue::join", WaitReason::kQueue);
  s.joiners.add(wait);
  guard.unlock();
  wait.wait();
  wait.leave_unless_woken(s.spin, s.joiners);
  if (wait.take_cancellation()) wait.throw_cancelled();
}

std::size_t QueueCore::size() const noexcept { return state_.get().items(); }
std::size_t QueueCore::maxsize() const noexcept { return state_.get().maxsize; }

}  // namespace fibrio::detail
