// What: QueueCore: who waits at a queue, and when.
//
// Threads: any. begin takes the spin lock, end and abandon release it; so a caller's move of an item in or
// out is inside of it.
//
// Invariant: if getters wait, there are at least as many woken getters that have not run yet as there are
// items (and if putters wait, at least as many woken putters as there is room). A put wakes one getter; a
// woken one takes an item, or leaves by an exception and wakes the next if there still is an item; it waits
// again only if there is none. So no item stays while somebody waits for it.
//
// Rejected: handing the item to the waiter (a getter that is cancelled in that moment would have to put it
// back in front); a node per item (an allocation, or two more critical sections, per item, to keep the
// caller's move out of the lock); a lock-free ring (FIFO among waiters, and asyncio's rules about who may
// overtake, need one order of everything).
#include <atomic>
#include <mutex>
#include <stdexcept>

#include "base/check.hpp"
#include "fibrio/detail/queue_core.hpp"
#include "fibrio/errors.hpp"
#include "sched/worker.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio::detail {

class QueueState {
 public:
  explicit QueueState(std::size_t its_maxsize) noexcept : maxsize(its_maxsize) {}

  [[nodiscard]] std::size_t items() const noexcept { return size.load(std::memory_order_relaxed); }
  [[nodiscard]] bool has_room() const noexcept { return maxsize == 0 || items() < maxsize; }
  void set_items(std::size_t items) noexcept { size.store(items, std::memory_order_relaxed); }

  SpinLock spin;
  bool is_shut_down = false;
  // relaxed: written under the lock; readers without it get a number of some moment.
  std::atomic<std::size_t> size{0};
  const std::size_t maxsize;
  std::size_t unfinished = 0;
  WaitQueue getters, putters, joiners;
  std::size_t waits = 0;  // tasks inside wait_once, also woken ones that have not run yet
};

namespace {

using Guard = std::unique_lock<SpinLock>;

// Waits once in `list`, with the lock free meanwhile, and holds it again when it returns. If it is cancelled,
// `is_wanted` says whether what it was woken for is still there for the next one.
template <class IsWanted>
void wait_once(QueueState& state, Guard& guard, WaitQueue& list, const char* what, IsWanted is_wanted) {
  SyncWait wait(what, WaitReason::kQueue);
  list.add(wait);
  ++state.waits;
  guard.unlock();
  wait.wait(state.spin);
  const bool cancelled = wait.take_cancellation();
  guard.lock();
  --state.waits;
  list.leave(wait);
  if (!cancelled) return;
  Woken woken;
  if (wait.woken && is_wanted()) static_cast<void>(list.wake_next(woken));
  guard.unlock();
  make_ready(woken);
  wait.throw_cancelled();
}

// By whom a begin left the lock to.
void unlock_and_wake(QueueState& state, WaitQueue& list) noexcept {
  Woken woken;
  static_cast<void>(list.wake_next(woken));
  state.spin.unlock();
  make_ready(woken);
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
  while (s.items() == 0) {
    if (s.is_shut_down) {
      guard.unlock();
      throw QueueShutDown();
    }
    wait_once(s, guard, s.getters, "Queue::get", [&s] { return s.items() != 0; });
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
  if (s.items() == 0) return s.is_shut_down ? Begun::shut_down : Begun::no;
  static_cast<void>(guard.release());
  return Begun::yes;
}

void QueueCore::end_put() noexcept {
  QueueState& s = state();
  s.set_items(s.items() + 1);
  ++s.unfinished;
  unlock_and_wake(s, s.getters);
}

void QueueCore::end_get() noexcept {
  QueueState& s = state();
  s.set_items(s.items() - 1);
  unlock_and_wake(s, s.putters);
}

// Both were begun, so that there is room, or an item.
void QueueCore::abandon_put() noexcept { unlock_and_wake(state(), state().putters); }
void QueueCore::abandon_get() noexcept { unlock_and_wake(state(), state().getters); }

void QueueCore::spend_budget() noexcept {
  Worker* worker = this_worker();
  // One worker keeps asyncio's order: who does not have to wait does not stop.
  if (worker == nullptr || worker->current == nullptr || worker->solo) return;
  if (worker->spend_budget()) yield_current(*worker);
}

void QueueCore::begin_shutdown() noexcept { state().spin.lock(); }

void QueueCore::end_shutdown(bool dropped_items) noexcept {
  QueueState& s = state();
  Woken woken;
  s.is_shut_down = true;
  if (dropped_items) {
    s.unfinished -= s.items();
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
  if (s.unfinished == 0) return;
  wait_once(s, guard, s.joiners, "Queue::join", [] { return false; });
}

std::size_t QueueCore::size() const noexcept { return state_.get().items(); }
std::size_t QueueCore::maxsize() const noexcept { return state_.get().maxsize; }

}  // namespace fibrio::detail
