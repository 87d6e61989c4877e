// What tasks wait for, destroyed as soon as that is legal: by who waited, right after its wait; by whoever has cancelled all
// who wait. What must hold: nobody touches it afterwards.
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "fibrio/once.hpp"
#include "stress/stress.hpp"
#include "support/grave.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

std::atomic<int> touched{0};
void note_grave_touched() { ++touched; }

std::vector<Setup> with_some_workers() { return {{1, false}, {2, false}, {4, false}, {2, true}, {4, true}}; }

void wait_until_suspended(const fibrio::AnyTask& task) {
  for (;;) {
    const fibrio::TaskInfo info = fibrio::inspect(task);
    if (info.state == fibrio::TaskState::kWaiting && info.reason != fibrio::WaitReason::kYield) return;
    fibrio::yield();
  }
}

// Spins for about so long; the other side's few instructions are what is aimed at.
void spin(int turns) {
  for (int i = 0; i < turns; ++i) asm volatile("");
}

}  // namespace

TEST_CASE("Event: the waiter destroys it right after its wait, whoever sets it", "[stress][sync][destroy]") {
  const int rounds = scaled(4000);
  stress(
      "one-shot events",
      [&](Watchdog&) {
        for (int round = 0; round < rounds; ++round) {
          Grave<fibrio::Event> event(note_grave_touched);
          std::atomic<bool> is_there{false};
          fibrio::Task<> setter = fibrio::create_task([&] {
            is_there = true;
            spin(20);
            event->set();
          });
          if (round % 4 != 0) {
            for (int i = 0; !is_there && i < 1000; ++i) spin(1);
          }
          spin(round % 60);
          event->wait();
          event.destroy();
          fibrio::await(setter);
        }
      },
      with_some_workers());
  CHECK(touched.exchange(0) == 0);
}

TEST_CASE("Event: a plain thread destroys it right after its wait", "[stress][sync][destroy]") {
  const int rounds = scaled(1000);
  stress(
      "events of threads",
      [&](Watchdog&) {
        fibrio::Queue<fibrio::Event*> events;
        fibrio::Task<> setter = fibrio::create_task([&] {
          for (int i = 0; i < rounds; ++i) {
            fibrio::Event& event = *events.get();
            spin(i % 90);
            event.set();
          }
        });
        std::thread thread([&] {
          for (int i = 0; i < rounds; ++i) {
            Grave<fibrio::Event> event(note_grave_touched);
            events.put(&*event);
            event->wait();
            event.destroy();
          }
        });
        fibrio::await(setter);
        fibrio::to_thread([&] { thread.join(); });
      },
      with_some_workers());
  CHECK(touched.exchange(0) == 0);
}

TEST_CASE("Event, Barrier: destroyed by who made others go on", "[stress][sync][destroy]") {
  const int rounds = scaled(1500);
  stress(
      "those who wake",
      [&](Watchdog&) {
        for (int round = 0; round < rounds; ++round) {
          Grave<fibrio::Barrier> barrier(note_grave_touched, 3);
          Grave<fibrio::Event> event(note_grave_touched);
          std::vector<fibrio::Task<>> tasks;
          for (int i = 0; i < 2; ++i) {
            tasks.push_back(fibrio::create_task([&] { barrier->wait(); }));
            tasks.push_back(fibrio::create_task([&] { event->wait(); }));
          }
          while (barrier->n_waiting() < 2) fibrio::yield();
          barrier->wait();  // the last one: the others may have been in line for a moment only
          barrier.destroy();
          wait_until_suspended(tasks[1]);
          wait_until_suspended(tasks[3]);
          event->set();
          event.destroy();
          for (const auto& task : tasks) fibrio::await(task);
        }
      },
      with_some_workers());
  CHECK(touched.exchange(0) == 0);
}

namespace {

// Tasks get in line; some are woken, all are cancelled, in some order, also by a thread; then it is destroyed.
template <class T, class... A>
void cancel_and_destroy(int round, const std::function<void(T&)>& prepare,
                        const std::function<void(T&)>& wait, const std::function<void(T&)>& wake,
                        A... arguments) {
  Random random(static_cast<std::uint64_t>(round));
  Grave<T> object(note_grave_touched, arguments...);
  prepare(*object);
  std::vector<fibrio::Task<>> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(fibrio::create_task([&] { wait(*object); }));
  for (const auto& task : tasks) wait_until_suspended(task);
  const int wakes = random.below(3);
  std::optional<std::thread> other;
  if (random.below(8) == 0) other.emplace([&] { tasks.back().cancel(); });
  for (int i = 0; i < wakes; ++i) {
    if (random.below(2) == 0) tasks.front().cancel();
    wake(*object);
  }
  for (const auto& task : tasks) task.cancel();
  if (other) other->join();
  if (wakes == 0 || random.below(2) == 0) spin(random.below(200));
  object.destroy();
  for (const auto& task : tasks) {
    while (!task.done()) task.wait();
  }
}

}  // namespace

TEST_CASE("Locks and queues are destroyed while those who were cancelled leave them",
          "[stress][sync][destroy]") {
  const int rounds = scaled(400);
  using fibrio::Condition;
  using fibrio::Event;
  using fibrio::Lock;
  using fibrio::Queue;
  using fibrio::Semaphore;
  const auto nothing = [](auto&) {};
  stress(
      "cancel, destroy",
      [&](Watchdog&) {
        for (int round = 0; round < rounds; ++round) {
          cancel_and_destroy<Lock>(
              round, [](Lock& lock) { lock.lock(); }, [](Lock& lock) { lock.lock(); },
              [](Lock& lock) {
                if (lock.locked()) lock.unlock();
              });
          cancel_and_destroy<Semaphore>(
              round, nothing, [](Semaphore& semaphore) { semaphore.acquire(); },
              [](Semaphore& semaphore) { semaphore.release(); }, 0);
          cancel_and_destroy<Queue<int>>(
              round, nothing, [](Queue<int>& queue) { static_cast<void>(queue.get()); },
              [](Queue<int>& queue) { queue.put(1); });
          cancel_and_destroy<Queue<int>>(
              round, [](Queue<int>& queue) { queue.put(0); }, [](Queue<int>& queue) { queue.put(1); },
              [](Queue<int>& queue) { static_cast<void>(queue.try_get()); }, 1U);
          cancel_and_destroy<Event>(
              round, nothing, [](Event& event) { event.wait(); }, [](Event& event) { event.set(); });
          cancel_and_destroy<Condition>(
              round, nothing,
              [](Condition& condition) {
                condition.lock();
                condition.wait();
              },
              [](Condition& condition) {
                if (!condition.try_lock()) return;
                condition.notify();
                condition.unlock();
              });
        }
      },
      with_some_workers());
  CHECK(touched.exchange(0) == 0);
}

TEST_CASE("OnceFlag: destroyed by who finds it done", "[stress][sync][destroy]") {
  const int rounds = scaled(4000);
  stress(
      "once",
      [&](Watchdog&) {
        for (int round = 0; round < rounds; ++round) {
          Grave<fibrio::OnceFlag> flag(note_grave_touched);
          std::atomic<bool> is_done{false};
          fibrio::Task<> first =
              fibrio::create_task([&] { fibrio::call_once(*flag, [&] { is_done = true; }); });
          for (int i = 0; !is_done; ++i) {
            if (i % 100 == 99) fibrio::yield();
          }
          spin(round % 50);
          fibrio::call_once(*flag, [&] { is_done = false; });
          flag.destroy();
          fibrio::await(first);
        }
      },
      with_some_workers());
  CHECK(touched.exchange(0) == 0);
}
