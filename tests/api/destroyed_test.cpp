// What is destroyed while tasks are still in it: legal for those whose wait a cancel or a timeout has ended, and for those
// that need nothing more. And destroyed at once, by whoever learned that a call has had its effect.
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fibrio/once.hpp"
#include "support/grave.hpp"
#include "support/passes.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

void note_touched() { TASK_CHECK(!"what was destroyed was written to"); }

// Returns when the task waits in one of our primitives.
void wait_until_in_line(EventLoop& loop, const AnyTask& task) {
  TASK_CHECK(settles(loop, [&] {
    const TaskInfo info = inspect(task);
    return info.state == TaskState::kWaiting && info.reason != WaitReason::kSleep;
  }));
}

bool ends_cancelled(const Task<>& task) {
  return throws<CancelledError>([&] { await(task); }) && task.cancelled();
}

// How each of them is waited for, and what wakes who waits.
template <class T>
struct Way {
  std::function<void(T&)> prepare, wait, wake;
};

template <class T, class... A>
void destroy_under(EventLoop& loop, const Way<T>& way, A... arguments) {
  for (const char* const order : {"cancel", "wake cancel", "cancel wake"}) {
    Grave<T> object(note_touched, arguments...);
    way.prepare(*object);
    bool got = false;
    Task<> task = create_task([&] {
      way.wait(*object);
      got = true;
    });
    Task<> second = create_task([&] { way.wait(*object); });
    wait_until_in_line(loop, task);
    wait_until_in_line(loop, second);
    const std::string steps = order;
    if (steps == "wake cancel") way.wake(*object);
    task.cancel(), second.cancel();
    if (steps == "cancel wake") way.wake(*object);
    object.destroy();
    // With several workers one that was woken may have been faster than its cancel.
    TASK_CHECK(ends_cancelled(task) || (got && steps == "wake cancel"));
    static_cast<void>(ends_cancelled(second));
    TASK_CHECK(second.done() && object.is_quiet());
  }
}

}  // namespace

TEST_CASE("Lock, Semaphore, Event, Queue, Barrier: destroyed while cancelled tasks have not left them",
          "[destroyed]") {
  in_tasks([](EventLoop& loop) {
    destroy_under<Lock>(loop, {.prepare = [](Lock& lock) { lock.lock(); },
                               .wait = [](Lock& lock) { lock.lock(); },
                               .wake = [](Lock& lock) { lock.unlock(); }});
    destroy_under<Semaphore>(loop,
                             {.prepare = [](Semaphore&) {},
                              .wait = [](Semaphore& semaphore) { semaphore.acquire(); },
                              .wake = [](Semaphore& semaphore) { semaphore.release(); }},
                             0);
    destroy_under<Event>(loop, {.prepare = [](Event&) {},
                                .wait = [](Event& event) { event.wait(); },
                                .wake = [](Event& event) { event.set(); }});
    destroy_under<Queue<int>>(loop, {.prepare = [](Queue<int>&) {},
                                     .wait = [](Queue<int>& queue) { static_cast<void>(queue.get()); },
                                     .wake = [](Queue<int>& queue) { queue.put(1); }});
    destroy_under<Queue<int>>(loop,
                              {.prepare = [](Queue<int>& queue) { queue.put(1); },
                               .wait = [](Queue<int>& queue) { queue.put(2); },
                               .wake = [](Queue<int>& queue) { static_cast<void>(queue.get_nowait()); }},
                              1U);
    destroy_under<Queue<int>>(loop, {.prepare = [](Queue<int>& queue) { queue.put(1); },
                                     .wait = [](Queue<int>& queue) { queue.join(); },
                                     .wake = [](Queue<int>& queue) { queue.task_done(); }});
    destroy_under<Barrier>(loop,
                           {.prepare = [](Barrier&) {},
                            .wait = [](Barrier& barrier) { barrier.wait(); },
                            .wake = [](Barrier&) {}},
                           3);
  });
}

TEST_CASE("Lock, Event, Queue: destroyed right after the timeout of a wait for it", "[destroyed]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Grave<Queue<int>> queue(note_touched);
      Grave<Event> event(note_touched);
      Grave<Lock> lock(note_touched);
      lock->lock();
      std::vector<Task<>> tasks;
      Task<> destroyer = create_task([&] {
        sleep(5ms);  // its timer comes first, and all are due in one pass
        queue.destroy(), event.destroy(), lock.destroy();
        for (const Task<>& task : tasks) TASK_CHECK(!task.done());
      });
      const auto give_up = [&](const std::function<void()>& wait) {
        tasks.push_back(
            create_task([wait] { TASK_CHECK(throws<TimeoutError>([&] { timeout(5ms, wait); })); }));
      };
      give_up([&] { static_cast<void>(queue->get()); });
      give_up([&] { event->wait(); });
      give_up([&] { lock->lock(); });
      await(destroyer);
      for (const Task<>& task : tasks) await(task);
    });
  });
}

// The example of asyncio's documentation of queues.
TEST_CASE("Queue: workers are cancelled, and main ends", "[destroyed]") {
  in_tasks([](EventLoop& loop) {
    std::vector<Task<>> workers;
    std::atomic<int> slept{0};
    {
      Queue<int> queue;
      for (int i = 0; i < 20; ++i) queue.put_nowait(i);
      for (int i = 0; i < 3; ++i) {
        workers.push_back(create_task([&] {
          for (;;) {
            slept += queue.get();
            sleep(1ms);
            queue.task_done();
          }
        }));
      }
      queue.join();
      for (const Task<>& worker : workers) wait_until_in_line(loop, worker);
      for (const Task<>& worker : workers) worker.cancel();
    }
    for (const Task<>& worker : workers) TASK_CHECK(ends_cancelled(worker));
    TASK_CHECK(slept == 190);
  });
}

TEST_CASE("Event, Queue, Barrier: destroyed before those have run who need nothing more", "[destroyed]") {
  in_tasks([](EventLoop& loop) {
    {
      Grave<Event> event(note_touched);
      Task<> task = create_task([&] { event->wait(); });
      wait_until_in_line(loop, task);
      event->set();
      event.destroy();
      await(task);
    }
    {
      Grave<Queue<int>> queue(note_touched, 1U);
      queue->put(1);
      Task<> joiner = create_task([&] { queue->join(); });
      Task<> putter = create_task([&] { TASK_CHECK(throws<QueueShutDown>([&] { queue->put(2); })); });
      wait_until_in_line(loop, joiner);
      wait_until_in_line(loop, putter);
      queue->task_done();
      queue->shutdown();
      queue.destroy();
      await(joiner);
      await(putter);
    }
    for (const char* const end : {"round", "abort", "reset"}) {
      Grave<Barrier> barrier(note_touched, 3);
      std::atomic<unsigned> places{0};
      std::atomic<int> broken{0};
      std::vector<Task<>> tasks;
      for (int i = 0; i < 2; ++i) {
        tasks.push_back(create_task([&] {
          try {
            places += 1U << barrier->wait();
          } catch (const BrokenBarrierError&) {
            ++broken;
          }
        }));
        wait_until_in_line(loop, tasks.back());
      }
      const std::string how = end;
      if (how == "round") TASK_CHECK(barrier->wait() == 2);
      if (how == "abort") barrier->abort();
      if (how == "reset") barrier->reset();
      barrier.destroy();
      for (const Task<>& task : tasks) await(task);
      TASK_CHECK(how == "round" ? places == 3 && broken == 0 : places == 0 && broken == 2);
    }
  });
}

TEST_CASE("Condition: destroyed while cancelled tasks have not left it", "[destroyed]") {
  in_tasks([](EventLoop& loop) {
    // With a lock of its own the wait ends without the lock.
    for (const bool is_notified : {false, true}) {
      Grave<Condition> condition(note_touched);
      bool is_through = false;
      Task<> task = create_task([&] {
        condition->lock();
        condition->wait();
        is_through = true;
        condition->unlock();
      });
      wait_until_in_line(loop, task);
      condition->lock();  // so that nobody who was notified gets further
      if (is_notified) condition->notify();
      task.cancel();
      condition->unlock();
      condition.destroy();
      TASK_CHECK(ends_cancelled(task) && !is_through);
    }
    // Another's lock is held when the wait ends, if it is there still.
    for (const bool lock_lives : {true, false}) {
      for (const bool is_notified : {false, true}) {
        Grave<Lock> lock(note_touched);
        Grave<Condition> condition(note_touched, *lock);
        Task<> task = create_task([&] {
          lock->lock();
          try {
            condition->wait();
          } catch (const CancelledError&) {
            if (lock_lives) {
              TASK_CHECK(lock->locked());
              lock->unlock();
            }
            throw;
          }
          TASK_CHECK(false);
        });
        wait_until_in_line(loop, task);
        lock->lock();
        if (is_notified) condition->notify();
        task.cancel();
        condition.destroy();
        lock->unlock();
        if (!lock_lives) lock.destroy();
        TASK_CHECK(ends_cancelled(task));
        if (lock_lives) TASK_CHECK(lock->try_lock());
      }
    }
    // Whoever was notified needs the lock only.
    Lock lock;
    Grave<Condition> condition(note_touched, lock);
    Task<> task = create_task([&] {
      const std::lock_guard guard(lock);
      condition->wait();
      TASK_CHECK(lock.locked());
    });
    wait_until_in_line(loop, task);
    {
      const std::lock_guard guard(lock);
      condition->notify_all();
      condition.destroy();
    }
    await(task);
    TASK_CHECK(lock.try_lock());
  });
}

TEST_CASE("Condition: others' lock takes in who was cancelled, and its turn goes on", "[destroyed]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    Grave<Condition> condition(note_touched, lock);
    Task<> cancelled = create_task([&] {
      const std::lock_guard guard(lock);
      condition->wait();
    });
    wait_until_in_line(loop, cancelled);
    lock.lock();
    cancelled.cancel();
    condition.destroy();
    Task<> next = create_task([&] { const std::lock_guard guard(lock); });
    wait_until_in_line(loop, next);
    lock.unlock();
    await(next);
    TASK_CHECK(ends_cancelled(cancelled));
    TASK_CHECK(lock.try_lock());
  });
}

TEST_CASE("A wait whose cancel was taken back after the primitive was destroyed ends by RuntimeError",
          "[destroyed]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Grave<Queue<int>> queue(note_touched);
      Task<> task = create_task([&] { static_cast<void>(queue->get()); });
      yield();
      queue->put(1);  // woken: the request is not delivered yet
      task.cancel();
      queue.destroy();
      task.uncancel();
      TASK_CHECK(throws<RuntimeError>([&] { await(task); }));
    });
  });
}

namespace {
// What the program says that destroys a T while a task that nobody has cancelled waits for it.
template <class T>
std::string words_of_destroyed(const Way<T>& way) {
  const ChildResult child = run_in_child([&] {
    EventLoop loop(test_config(1));
    loop.run_until_complete([&] {
      auto object = std::make_unique<T>();
      way.prepare(*object);
      Task<> waiter = create_task([&] { way.wait(*object); });
      Task<> masked = create_task([&] {
        const CancelMask mask;
        way.wait(*object);
      });
      yield();
      waiter.cancel(), masked.cancel();
      object.reset();
    });
  });
  return child.signal == 0 ? "none: it survived" : child.errors;
}
}  // namespace

TEST_CASE("What is destroyed while a task waits that masks its cancel ends the program", "[destroyed]") {
  const auto nothing = [](auto&) {};
  const std::string of_event = words_of_destroyed<Event>(
      {.prepare = nothing, .wait = [](Event& event) { event.wait(); }, .wake = nothing});
  CAPTURE(of_event);
  CHECK(of_event.find("an Event is destroyed while a task waits") != std::string::npos);
  const std::string of_lock = words_of_destroyed<Lock>(
      {.prepare = [](Lock& lock) { lock.lock(); }, .wait = [](Lock& lock) { lock.lock(); }, .wake = nothing});
  CAPTURE(of_lock);
  CHECK(of_lock.find("a Lock is destroyed while a task waits") != std::string::npos);
  const std::string of_condition = words_of_destroyed<Condition>({.prepare = nothing,
                                                                  .wait =
                                                                      [](Condition& condition) {
                                                                        condition.lock();
                                                                        condition.wait();
                                                                      },
                                                                  .wake = nothing});
  CAPTURE(of_condition);
  CHECK(of_condition.find("a Condition is destroyed while a task waits") != std::string::npos);
}
