// What: the waiting list, the lock, the semaphore and the queue under every interleaving: with a cancel on
// the way, each turn and each unit reaches who still wants it.
#include <mutex>

#include "model/protocols.hpp"
#include "support/process.hpp"
#include "sync/lock_state.hpp"
#include "sync/queue_state.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::BasicLockState;
using fibrio::detail::BasicQueueState;
using fibrio::detail::BasicSemaphoreState;
using fibrio::detail::BasicWaiter;
using fibrio::detail::BasicWoken;
using fibrio::detail::WaitPhase;
using fibrio::detail::WaitWord;

namespace {

// What a wait around the states could do wrong.
enum class Bug { none, drops_hand_on, ignores_mark, stays_in_line };

// What of a task outlives its wait: its word, and the run queue that brings it back.
template <template <class> class Atomic>
struct Task {
  WaitWord<Atomic> word;
  model::Event ready;

  void cancel() {
    if (word.request_cancel() == WaitWord<Atomic>::Cancel::resolved) ready.signal();
  }
};

// The waiter on its stack, which is gone after the wait.
template <template <class> class Atomic>
struct Frame : BasicWaiter<Atomic> {
  explicit Frame(Task<Atomic>& its_task) : task(its_task) { this->word = &its_task.word; }
  Task<Atomic>& task;
  model::Var<int> alive{1};
};

template <template <class> class Atomic>
void make_ready(BasicWoken<Atomic>& woken) {
  while (BasicWaiter<Atomic>* waiter = woken.pop()) {
    auto& frame = static_cast<Frame<Atomic>&>(*waiter);
    model::check(frame.alive.get() == 1, "the frame of a waiter is there until it is made ready");
    frame.task.ready.signal();
  }
}

// As SyncWait and wait_for_turn do it. True: it has the lock, or a unit.
template <Bug kBug, template <class> class Atomic, class State>
bool take(State& state, Task<Atomic>& task) {
  if (state.try_take()) return true;
  Frame<Atomic> frame(task);
  if (state.take_or_wait(frame)) return true;
  bool resume = false;
  {
    std::lock_guard guard(state.spin);
    if (kBug == Bug::ignores_mark) {
      frame.armed = true;
      resume = task.word.arm(WaitPhase::waiting) == WaitWord<Atomic>::Armed::cancelled;
    } else {
      resume = frame.arm(WaitPhase::waiting);
    }
  }
  if (!resume) task.ready.wait();
  const bool cancelled = task.word.take_cancellation();
  BasicWoken<Atomic> woken;
  if (kBug != Bug::stays_in_line || !cancelled) state.end_wait(frame, cancelled, woken);
  if (kBug != Bug::drops_hand_on) make_ready(woken);
  return !cancelled;
}

template <template <class> class Atomic, class State>
void give(State& state) {
  BasicWoken<Atomic> woken;
  model::check(state.release(woken), "it is held");
  make_ready(woken);
}

// Somebody has it; two want it; the first of them, perhaps, is cancelled meanwhile.
template <Bug kBug, template <class> class Atomic, class State>
void hand_over(model::Execution& execution, State& state) {
  Task<Atomic> tasks[2];
  model::Var<int> counter{0};  // what the lock protects
  int got[2] = {};
  model::check(state.try_take(), "it is free");
  for (int i = 0; i < 2; ++i) {
    execution.thread([&, i] {
      if (!take<kBug, Atomic>(state, tasks[i])) return;
      counter.set(counter.get() + 1);
      ++got[i];
      give<Atomic>(state);
    });
  }
  tasks[0].cancel();
  counter.set(counter.get() + 1);
  give<Atomic>(state);
  execution.join();
  model::check(got[1] == 1, "who is not cancelled gets it");
  model::check(got[0] == 1 || tasks[0].word.count() == 1, "who does not was cancelled");
  model::check(counter.get() == 1 + got[0] + got[1], "one at a time");
  model::check(state.try_take(), "it is free again");
  model::check(!state.try_take(), "and there is one of it");
}

template <Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void lock(model::Execution& execution) {
  BasicLockState<Atomic> state;
  hand_over<kBug, Atomic>(execution, state);
}

template <Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void semaphore(model::Execution& execution) {
  BasicSemaphoreState<Atomic> state(1, 1);
  hand_over<kBug, Atomic>(execution, state);
}

// As QueueCore does it. True: an item was taken; `Getting` false: one was put in.
template <bool Getting, Bug kBug, template <class> class Atomic>
bool transfer(BasicQueueState<Atomic>& state, Task<Atomic>& task, model::Var<int>& items) {
  state.spin.lock();
  auto& line = Getting ? state.getters : state.putters;
  const auto may = [&] { return Getting ? state.has_items() : state.has_room(); };
  while (!may()) {
    Frame<Atomic> frame(task);
    state.begin_wait(line, frame);
    state.spin.unlock();
    bool resume = false;
    {
      std::lock_guard guard(state.spin);
      resume = frame.arm(WaitPhase::waiting);
    }
    if (!resume) task.ready.wait();
    const bool cancelled = task.word.take_cancellation();
    state.spin.lock();
    BasicWoken<Atomic> woken;
    state.end_wait(line, frame, cancelled, may() && kBug != Bug::drops_hand_on, woken);
    if (!cancelled) continue;
    state.spin.unlock();
    make_ready(woken);
    return false;
  }
  BasicWoken<Atomic> woken;
  items.set(items.get() + (Getting ? -1 : 1));
  if (Getting) {
    state.item_is_out(woken);
  } else {
    state.item_is_in(woken);
  }
  state.spin.unlock();
  make_ready(woken);
  return true;
}

// Two wait for an item, or for room; one item comes, or goes, and the first of them is cancelled. What that
// one took, if it was faster, it brings back.
template <bool Getting, Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void queue(model::Execution& execution) {
  BasicQueueState<Atomic> state(1);
  model::Var<int> items{0};
  Task<Atomic> tasks[4];
  bool done[2] = {};
  if (!Getting) static_cast<void>(transfer<false, kBug>(state, tasks[2], items));
  for (int i = 0; i < 2; ++i) {
    execution.thread([&, i] {
      done[i] = transfer<Getting, kBug>(state, tasks[i], items);
      if (i == 0 && done[0]) static_cast<void>(transfer<!Getting, kBug>(state, tasks[3], items));
    });
  }
  tasks[0].cancel();
  model::check(transfer<!Getting, kBug>(state, tasks[2], items), "nobody cancels this one");
  execution.join();
  model::check(done[1], "who is not cancelled gets what it waits for");
  model::check(done[0] || tasks[0].word.count() == 1, "who does not was cancelled");
  model::check(items.get() == static_cast<int>(state.items()), "items are counted");
  model::check(state.waits == 0, "nobody waits any more");
}

}  // namespace

TEST_CASE("Lock: a turn reaches who still wants it, whenever the first in line is cancelled",
          "[model][sync]") {
  require_holds(lock<>);
}

TEST_CASE("Semaphore: a unit reaches who still wants it, whenever the first in line is cancelled",
          "[model][sync]") {
  require_holds(semaphore<>);
}

TEST_CASE("Queue: an item, or room, reaches who still wants it, whenever the first in line is cancelled",
          "[model][sync]") {
  require_holds(queue<true>);
  require_holds(queue<false>);
}

TEST_CASE("Lock, Semaphore, Queue: the checker finds what a wait could do wrong", "[model][sync]") {
  require_killed(queue<true, Bug::drops_hand_on>);
  require_killed(queue<false, Bug::drops_hand_on>);
  require_killed(queue<true, Bug::none, NoRelease>);
  require_killed(lock<Bug::drops_hand_on>);
  require_killed(lock<Bug::ignores_mark>);
  require_killed(lock<Bug::none, NoRelease>);
  require_killed(semaphore<Bug::drops_hand_on>);
  require_killed(semaphore<Bug::ignores_mark>);
  require_killed(semaphore<Bug::none, NoRelease>);
  // This one leaves a waiter in line that is gone: a sanitizer would end the process before the checker speaks.
  if (!fibrio::test::kAnySanitizer) {
    require_killed(lock<Bug::stays_in_line>);
    require_killed(semaphore<Bug::stays_in_line>);
  }
}
