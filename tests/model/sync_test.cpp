// What: the waiting list, the lock, the semaphore and the queue under every interleaving: with a cancel on
// the way, each turn and each unit reaches who still wants it.
#include <memory>
#include <mutex>

#include "model/protocols.hpp"
#include "support/process.hpp"
#include "sync/event_state.hpp"
#include "sync/lock_state.hpp"
#include "sync/queue_state.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::BasicEventState;
using fibrio::detail::BasicLockState;
using fibrio::detail::BasicQueueState;
using fibrio::detail::BasicSemaphoreState;
using fibrio::detail::BasicWaiter;
using fibrio::detail::BasicWoken;
using fibrio::detail::WaiterStage;
using fibrio::detail::WaitPhase;
using fibrio::detail::WaitWord;

namespace {

// What a wait around the states could do wrong.
enum class Bug {
  none,
  drops_hand_on,
  ignores_mark,
  stays_in_line,
  claims_not,
  destroys_without_lock,
  commits_under_lock
};

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

// As SyncWait's commit. True: it need not stop.
template <Bug kBug, template <class> class Atomic>
bool arm(Frame<Atomic>& frame) {
  if (kBug != Bug::ignores_mark) return frame.arm();
  frame.stage.store(WaiterStage::armed, std::memory_order_release);
  return frame.task.word.arm(WaitPhase::waiting) == WaitWord<Atomic>::Armed::cancelled;
}

// As SyncWait and wait_for_turn do it. True: it has the lock, or a unit.
template <Bug kBug, template <class> class Atomic, class State>
bool take(State& state, Task<Atomic>& task, model::Event* listed = nullptr) {
  if (state.try_take()) return true;
  Frame<Atomic> frame(task);
  if (state.take_or_wait(frame)) return true;
  if (listed != nullptr) listed->signal();
  if (!arm<kBug>(frame)) task.ready.wait();
  const bool is_there = kBug == Bug::claims_not || frame.claim();
  const bool cancelled = task.word.take_cancellation();
  if (!is_there) {
    model::check(cancelled, "only who was cancelled is left behind");
    return false;
  }
  BasicWoken<Atomic> woken;
  if (kBug != Bug::stays_in_line || !cancelled) state.end_wait(frame, cancelled, woken);
  if (kBug != Bug::drops_hand_on) make_ready(woken);
  return !cancelled;
}

// The short way, where there is one.
template <class State>
bool try_release(State& state) {
  if constexpr (requires { state.try_release(); }) {
    return state.try_release();
  } else {
    return false;
  }
}

template <template <class> class Atomic, class State>
void give(State& state) {
  BasicWoken<Atomic> woken;
  if (!try_release(state)) model::check(state.release(woken), "it is held");
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
bool transfer(BasicQueueState<Atomic>& state, Task<Atomic>& task, model::Var<int>& items,
              model::Event* listed = nullptr) {
  state.spin.lock();
  auto& line = Getting ? state.getters : state.putters;
  const auto may = [&] { return Getting ? state.has_items() : state.has_room(); };
  while (!may()) {
    Frame<Atomic> frame(task);
    line.add(frame);
    state.spin.unlock();
    if (listed != nullptr) listed->signal();
    if (!arm<kBug>(frame)) task.ready.wait();
    const bool is_there = kBug == Bug::claims_not || frame.claim();
    const bool cancelled = task.word.take_cancellation();
    if (!is_there) {
      model::check(cancelled || frame.is_finished(), "who needs the queue is not left behind");
      return false;
    }
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
  const bool is_wanted = Getting ? state.item_is_out() : state.item_is_in();
  if (is_wanted) state.wake_next(Getting ? state.putters : state.getters, woken);
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
  model::check(state.abandon_waiters(), "nobody waits any more");
}

template <template <class> class Atomic, class State>
bool abandon_waiters(State& state) {
  BasicWoken<Atomic> woken;
  if constexpr (requires { state.abandon_waiters(woken); }) {
    return state.abandon_waiters(woken) && woken.empty();
  } else {
    return state.abandon_waiters();
  }
}

// One is in line; a hand-over to it, and a cancel of it, come in either order or alone; then the primitive dies, whether
// the task has run since or not. The model finds every touch of what is gone.
template <Bug kBug, template <class> class Atomic, class Make, class Wait, class Give>
void destroyed(model::Execution& execution, Make make, Wait wait, Give give) {
  auto state = make();
  Task<Atomic> task;
  model::Event listed;
  bool got = false;
  execution.thread([&, state = state.get()] { got = wait(*state, task, listed); });
  listed.wait();
  const unsigned order = model::choose(3);
  if (order == 1) give(*state);
  task.cancel();
  if (order == 2) give(*state);
  if (kBug != Bug::destroys_without_lock)
    model::check(abandon_waiters<Atomic>(*state), "who was cancelled may be left behind");
  state.reset();
  execution.join();
  model::check(got || task.word.count() == 1, "it was cancelled, or had got it");
}

template <Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void lock_destroyed(model::Execution& execution) {
  using State = BasicLockState<Atomic>;
  const auto make = [] {
    auto state = std::make_unique<State>();
    model::check(state->try_take(), "it is free");
    return state;
  };
  destroyed<kBug, Atomic>(
      execution, make,
      [](State& state, Task<Atomic>& task, model::Event& listed) {
        return take<kBug, Atomic>(state, task, &listed);
      },
      [](State& state) { give<Atomic>(state); });
}

template <Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void semaphore_destroyed(model::Execution& execution) {
  using State = BasicSemaphoreState<Atomic>;
  destroyed<kBug, Atomic>(
      execution, [] { return std::make_unique<State>(0, 1); },
      [](State& state, Task<Atomic>& task, model::Event& listed) {
        return take<kBug, Atomic>(state, task, &listed);
      },
      [](State& state) { give<Atomic>(state); });
}

template <Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void queue_destroyed(model::Execution& execution) {
  using State = BasicQueueState<Atomic>;
  model::Var<int> items{0};
  destroyed<kBug, Atomic>(
      execution, [] { return std::make_unique<State>(1); },
      [&](State& state, Task<Atomic>& task, model::Event& listed) {
        return transfer<true, kBug>(state, task, items, &listed);
      },
      [&](State& state) {
        Task<Atomic> putter;
        static_cast<void>(transfer<false, kBug>(state, putter, items));
      });
}

// As Event does it. The task that waits, or the one that sets it, or both one after the other, may destroy it.
enum class Destroys { waiter, setter };
template <Destroys kWho, Bug kBug = Bug::none, template <class> class Atomic = model::Atomic>
void event(model::Execution& execution) {
  using State = BasicEventState<Atomic>;
  auto state = std::make_unique<State>();
  Task<Atomic> task;
  model::Event listed;
  execution.thread([&] {
    State& event = *state;
    if (!event.is_set()) {
      Frame<Atomic> frame(task);
      if (!event.is_set_or_wait(frame)) {
        listed.signal();
        if (kBug == Bug::commits_under_lock) {
          const std::lock_guard guard(event.spin);  // as commits did: the event may be gone
        }
        if (!arm<kBug>(frame)) task.ready.wait();
        if (!frame.is_woken() && frame.claim()) {
          const std::lock_guard guard(event.spin);
          event.waiters.leave(frame);
        }
        static_cast<void>(task.word.take_cancellation());
      }
    }
    if (kWho == Destroys::setter) return;
    if (kBug != Bug::destroys_without_lock) model::check(event.abandon_waiters(), "who waited is through");
    state.reset();
  });
  if (kWho == Destroys::setter) {
    listed.wait();
    if (model::choose(2) == 1) task.cancel();
  }
  BasicWoken<Atomic> woken;
  state->set(woken);
  make_ready(woken);
  if (kWho == Destroys::setter) {
    model::check(state->abandon_waiters(), "who was woken needs it no more");
    state.reset();
  }
  execution.join();
}

}  // namespace

TEST_CASE("Lock, Semaphore, Queue: they may be destroyed as soon as those in line were cancelled",
          "[model][sync]") {
  require_holds(lock_destroyed<>);
  require_holds(semaphore_destroyed<>);
  require_holds(queue_destroyed<>);
}

TEST_CASE("Event: whoever waited may destroy it at once, and so may who set it", "[model][sync]") {
  require_holds(event<Destroys::waiter>);
  require_holds(event<Destroys::setter>);
}

TEST_CASE("Lock, Semaphore, Queue, Event: the checker finds what a destructor could do wrong",
          "[model][sync]") {
  require_killed(lock_destroyed<Bug::none, NoRelease>);
  require_killed(queue_destroyed<Bug::none, NoRelease>);
  require_killed(event<Destroys::waiter, Bug::none, NoRelease>);
  // These touch what is gone: a sanitizer would end the process before the checker speaks.
  if (!fibrio::test::kAnySanitizer) {
    require_killed(lock_destroyed<Bug::claims_not>);
    require_killed(semaphore_destroyed<Bug::claims_not>);
    require_killed(queue_destroyed<Bug::claims_not>);
    require_killed(event<Destroys::waiter, Bug::destroys_without_lock>);
    require_killed(event<Destroys::setter, Bug::commits_under_lock>);
    require_killed(lock_destroyed<Bug::destroys_without_lock>);
  }
}

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
