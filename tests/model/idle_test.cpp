// What: no wake-up is lost: IdleSet with the real queues and a parking thread, whose eventfd is a
// model::Event. The loop of a worker here is that of sched/worker_shared.cpp (search, park, look again,
// sleep) without what has no part in it.
#include <array>
#include <functional>
#include <utility>

#include "model/protocols.hpp"
#include "queue/inject_queue.hpp"
#include "queue/run_queue.hpp"
#include "sched/idle_set.hpp"
#include "sched/watch_switch.hpp"

using namespace fibrio::model::testing;  // NOLINT
namespace model = fibrio::model;
using fibrio::detail::IdleSet;
using fibrio::detail::InjectQueue;
using fibrio::detail::Runnable;
using fibrio::detail::RunQueue;
using fibrio::detail::StealResult;
using fibrio::detail::WatchSwitch;

namespace {

enum class Seeded {
  nothing,
  no_look_after_park,
  last_searcher_tells_nobody,
  last_searcher_looks_too_soon,  // before it stops searching
  look_left_to_self,  // a searcher that parks leaves the last look to the search that it gives up itself
  silent_haul,        // what comes out of the inject queue in bulk is not announced
};

template <template <class> class Atomic, std::size_t Workers, Seeded Bug = Seeded::nothing>
struct Pool {
  struct Worker {
    RunQueue<Atomic, 2> ring;
    Atomic<bool> signalled{false};
    model::Event event;
    bool searching = false;
  };

  explicit Pool(int its_items) : items(its_items) {}

  IdleSet<Atomic> idle{Workers};
  InjectQueue<Atomic> inject;
  std::array<Worker, Workers> workers;
  Atomic<int> run_items{0};
  Atomic<bool> stopping{false};
  const int items;
  std::function<void(Item&)> on_run;
  Item* child = nullptr;  // model threads take turns

  void unpark(Worker& worker) {
    if (!worker.signalled.exchange(true, kSeqCst)) worker.event.signal();
  }
  void wake_one() {
    const int sleeper = idle.wake_for_work();
    if (sleeper != IdleSet<Atomic>::kNobody) unpark(workers.at(static_cast<std::size_t>(sleeper)));
  }
  void push_from_outside(Item& item) {
    inject.push(&item);
    wake_one();
  }
  void push(Worker& worker, Item& item) {
    worker.ring.push_back(&item, inject);
    wake_one();
  }

  bool has_work() {
    if (!inject.is_empty_seq_cst()) return true;
    for (auto& worker : workers) {
      if (!worker.ring.is_empty_seq_cst()) return true;
    }
    return false;
  }

  Runnable* search(std::size_t index) {
    Worker& self = workers[index];
    if (Runnable* item = self.ring.pop_front()) return item;
    if (!self.searching && !idle.start_searching()) return nullptr;
    self.searching = true;
    if (Runnable* item = inject.pop_front()) return item;
    for (auto& victim : workers) {
      Runnable* item = nullptr;
      if (&victim != &self && victim.ring.steal_into(self.ring, item) == StealResult::got) return item;
    }
    return nullptr;
  }

  // Worker::sleep_shared.
  // Worker::next_shared at a tick: a share of the inject queue, by a worker that does not search.
  Runnable* take_injected(std::size_t index) {
    auto taken = inject.pop(2);
    Runnable* first = taken.pop_front();
    if (!taken.empty()) workers[index].ring.push_chain(taken, inject);
    if (first != nullptr && !workers[index].ring.empty() && Bug != Seeded::silent_haul) wake_one();
    return first;
  }

  void sleep(std::size_t index) {
    Worker& self = workers[index];
    bool others_look = idle.park(index, self.searching);
    if (Bug == Seeded::look_left_to_self) others_look = others_look || self.searching;
    self.searching = false;
    const bool look = Bug != Seeded::no_look_after_park && (!others_look);
    if (!(look && has_work()) && !stopping.load(kSeqCst) && !self.signalled.load(kSeqCst)) self.event.wait();
    self.searching = !idle.wake_self(index);
    self.signalled.store(false, kSeqCst);
  }

  // Until all items ran. The first one that runs makes the child.
  void work(std::size_t index, bool is_busy = false) {
    Worker& self = workers[index];
    while (!stopping.load(kSeqCst)) {
      Runnable* item = std::exchange(is_busy, false) ? take_injected(index) : nullptr;
      if (item == nullptr) item = search(index);
      if (item == nullptr) {
        sleep(index);
        continue;
      }
      if (self.searching) {
        self.searching = false;
        const bool early_look = Bug == Seeded::last_searcher_looks_too_soon && has_work();
        const bool was_last = idle.stop_searching() && Bug != Seeded::last_searcher_tells_nobody;
        if (was_last && (Bug == Seeded::last_searcher_looks_too_soon ? early_look : has_work())) wake_one();
      }
      run(item);
      if (on_run) on_run(static_cast<Item&>(*item));
      if (Item* made = std::exchange(child, nullptr)) push(self, *made);
      if (run_items.fetch_add(1, kAcqRel) + 1 == items) {
        stopping.store(true, kSeqCst);
        for (auto& worker : workers) unpark(worker);
      }
    }
    if (self.searching) static_cast<void>(idle.stop_searching());
  }

  void check_counts() {
    model::check(idle.awake() == Workers, "everybody is awake at the end");
    // With one asleep and none searching there is one to wake.
    static_cast<void>(idle.park(0, false));
    model::check(idle.wake_for_work() == 0, "nobody is counted as searching at the end");
    model::check(!idle.wake_self(0), "a waker took it off the list");
  }
};

template <std::size_t Count>
struct Items {
  std::array<Item, Count> of;
  Items() {
    for (auto& item : of) item.payload.set(7);
  }
  void check_all_ran() {
    for (auto& item : of) model::check(item.runs.get() == 1, "each item ran once");
  }
};

// Two workers, and two items from outside.
template <template <class> class Atomic, Seeded Bug = Seeded::nothing>
void two_workers(model::Execution& execution) {
  Pool<Atomic, 2, Bug> pool(2);
  Items<2> items;
  execution.thread([&] { pool.work(0); });
  execution.thread([&] { pool.work(1); });
  pool.push_from_outside(items.of[0]);
  pool.push_from_outside(items.of[1]);
  execution.join();
  items.check_all_ran();
  pool.check_counts();
}

// One item from outside, and a child that whoever runs it puts on its own ring.
template <template <class> class Atomic, Seeded Bug = Seeded::nothing>
void with_child(model::Execution& execution) {
  Pool<Atomic, 2, Bug> pool(2);
  Items<2> items;
  pool.child = &items.of[1];
  execution.thread([&] { pool.work(0); });
  execution.thread([&] { pool.work(1); });
  pool.push_from_outside(items.of[0]);
  execution.join();
  items.check_all_ran();
  pool.check_counts();
}

// Work conservation: each of two items keeps its worker until the other one runs as well.
template <Seeded Bug = Seeded::nothing>
void both_at_once(model::Execution& execution) {
  Pool<model::Atomic, 2, Bug> pool(2);
  Items<2> items;
  model::Event begun[2];
  pool.on_run = [&](Item& item) {
    const std::size_t self = &item == items.of.data() ? 0 : 1;
    begun[self].signal();
    begun[1 - self].wait();
  };
  execution.thread([&] { pool.work(0, true); });
  execution.thread([&] { pool.work(1); });
  pool.push_from_outside(items.of[0]);
  pool.push_from_outside(items.of[1]);
  execution.join();
  items.check_all_ran();
  pool.check_counts();
}

// Sleep as Worker::sleep_solo does it: nobody to search at.
template <template <class> class Atomic, bool Look = true>
void solo(model::Execution& execution) {
  Pool<Atomic, 1> pool(2);
  Items<2> items;
  execution.thread([&] {
    auto& self = pool.workers[0];
    for (int left = 2; left > 0;) {
      if (Runnable* item = pool.inject.pop_front()) {
        run(item);
        --left;
        continue;
      }
      static_cast<void>(pool.idle.park(0, false));
      if (!(Look && !pool.inject.is_empty_seq_cst()) && !self.signalled.load(kSeqCst)) self.event.wait();
      if (!pool.idle.wake_self(0)) static_cast<void>(pool.idle.stop_searching());
      self.signalled.store(false, kSeqCst);
    }
  });
  execution.thread([&] { pool.push_from_outside(items.of[0]); });
  pool.push_from_outside(items.of[1]);
  execution.join();
  items.check_all_ran();
  pool.check_counts();
}

// The mailbox and unpark: two senders, a worker that sleeps between.
template <template <class> class Atomic, bool Look = true>
void unpark(model::Execution& execution) {
  Pool<Atomic, 1> pool(2);
  Items<2> items;
  auto& self = pool.workers[0];
  InjectQueue<Atomic> mailbox;
  const auto send = [&](Item& item) {
    mailbox.push(&item);
    pool.unpark(self);
  };
  execution.thread([&] {
    for (int left = 2; left > 0;) {
      if (Runnable* item = mailbox.pop_front()) {
        run(item);
        --left;
        continue;
      }
      if (!(Look && !mailbox.is_empty_seq_cst()) && !self.signalled.load(kSeqCst)) self.event.wait();
      self.signalled.store(false, kSeqCst);
    }
  });
  execution.thread([&] { send(items.of[0]); });
  send(items.of[1]);
  execution.join();
  items.check_all_ran();
}

// A jump of virtual time holds a worker until it is awake; somebody else unparks it at the same moment.
template <template <class> class Atomic, bool HoldAfterSignal = true>
void held_for_jump(model::Execution& execution) {
  Atomic<bool> signalled{false};
  Atomic<bool> held{false};
  Atomic<int> holds{0};
  model::Event event;
  const auto unpark = [&] {
    if (!signalled.exchange(true, kSeqCst)) event.signal();
  };
  execution.thread([&] {
    for (int released = 0; released < 1;) {
      if (!signalled.load(kSeqCst)) event.wait();
      if (HoldAfterSignal) signalled.store(false, kSeqCst);
      if (held.exchange(false, kSeqCst)) {
        holds.fetch_sub(1, kSeqCst);
        ++released;
      }
      if (!HoldAfterSignal) signalled.store(false, kSeqCst);
    }
  });
  execution.thread(unpark);
  holds.fetch_add(1, kSeqCst);
  held.store(true, kSeqCst);
  unpark();
  execution.join();
  model::check(holds.load(kRelaxed) == 0, "the jump is over");
}

// Two workers got the expiry of the watch while another begins to run: at the end the timer is armed.
template <template <class> class Atomic>
void watch(model::Execution& execution) {
  WatchSwitch<Atomic> watch;
  Atomic<bool> running{false};
  Atomic<int> armings{0};
  static_cast<void>(watch.begin());
  const auto arm = [&] { armings.fetch_add(1, kRelaxed); };
  const auto handle = [&] {
    if (watch.go_on([&] { return running.load(kSeqCst); })) arm();
  };
  execution.thread(handle);
  execution.thread(handle);
  running.store(true, kSeqCst);
  if (watch.begin()) arm();
  execution.join();
  model::check(armings.load(kRelaxed) > 0, "somebody runs, and nobody watches");
}

}  // namespace

TEST_CASE("IdleSet loses no wake-up of two workers and a pusher from outside", "[model][idle_set]") {
  require_holds(two_workers<model::Atomic>);
  require_killed(two_workers<NoSeqCst>);
  require_killed(two_workers<model::Atomic, Seeded::no_look_after_park>);
  require_killed(two_workers<model::Atomic, Seeded::look_left_to_self>);
}

TEST_CASE("IdleSet loses no wake-up for what a worker puts on its own queue", "[model][idle_set]") {
  require_holds(with_child<model::Atomic>);
  require_killed(with_child<NoSeqCst>);
}

TEST_CASE("IdleSet lets nobody sleep while an item waits behind a busy worker", "[model][idle_set]") {
  require_holds(both_at_once<>);
  require_killed(both_at_once<Seeded::last_searcher_tells_nobody>);
  require_killed(both_at_once<Seeded::last_searcher_looks_too_soon>);
  require_killed(both_at_once<Seeded::no_look_after_park>);
  require_killed(both_at_once<Seeded::silent_haul>);
}

TEST_CASE("IdleSet loses no wake-up of a lone worker", "[model][idle_set]") {
  require_holds(solo<model::Atomic>);
  require_killed(solo<NoSeqCst>);
  require_killed(solo<model::Atomic, false>);
}

TEST_CASE("A worker that is unparked twice at once sees both senders' mail", "[model][idle_set]") {
  require_holds(unpark<model::Atomic>);
  require_killed(unpark<model::Atomic, false>);
  require_killed(unpark<NoSeqCst>);
}

TEST_CASE("A jump of virtual time is not held for ever by a worker that woke just before",
          "[model][idle_set]") {
  require_holds(held_for_jump<model::Atomic>);
  require_killed(held_for_jump<model::Atomic, false>);
}

TEST_CASE("The watch is armed while somebody runs", "[model][watch]") {
  require_holds(watch<model::Atomic>);
  require_killed(watch<NoSeqCst>);
}
