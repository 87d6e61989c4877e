// Event, Condition: asyncio's cases, pass by pass with one worker; and what must hold with any number of
// them.
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/passes.hpp"

using namespace fibrio;
using namespace fibrio::test;

// --- Event -------------------------------------------------------------------------------------------------

// asyncio: test_locks EventTests.test_wait
TEST_CASE("Event wakes in arrival order; who comes after set() does not wait", "[events]") {
  in_tasks([](EventLoop& loop) {
    Event event;
    Log log;
    TASK_CHECK(!event.is_set());
    const auto wait = [&](const char* name) {
      event.wait();
      log.add(name);
    };
    std::vector<Task<>> tasks;
    tasks.push_back(create_task(wait, "1"));
    tasks.push_back(create_task(wait, "2"));
    TASK_CHECK(stays(loop, log, ""));
    tasks.push_back(create_task(wait, "3"));
    event.set();
    TASK_CHECK(reaches(loop, log, "3 1 2"));
    for (const auto& task : tasks) await(task);
  });
}

// asyncio: test_locks EventTests.test_wait_on_set
// asyncio: test_locks EventTests.test_clear
TEST_CASE("Event that is set lets a wait return at once, until it is cleared", "[events]") {
  in_tasks([](EventLoop&) {
    Event event;
    event.set();
    event.set();
    TASK_CHECK(event.is_set());
    std::atomic<bool> other_ran{false};
    Task<> other = create_task([&] { other_ran = true; });
    event.wait();
    current_task().cancel();
    event.wait();  // no wait, so nothing is delivered (C14)
    TASK_CHECK(current_task().uncancel() == 0);
    event.clear();
    TASK_CHECK(!event.is_set());
    await(other);
    TASK_CHECK(other_ran);
  });
}

// asyncio: test_locks EventTests.test_wait_cancel
TEST_CASE("Event: a cancelled waiter leaves", "[events]") {
  in_tasks([](EventLoop& loop) {
    auto event = std::make_unique<Event>();
    Task<> waiter = create_task([&] { event->wait(); });
    loop.call_soon([waiter] { waiter.cancel(); });
    TASK_CHECK(throws<CancelledError>([&] { await(waiter); }));
    event.reset();  // refuses to go while somebody is listed
  });
}

// C47.
// asyncio: test_locks EventTests.test_clear_with_waiters
TEST_CASE("Event that is set and cleared before its waiters ran wakes them nevertheless", "[events]") {
  in_tasks([](EventLoop& loop) {
    Event event;
    Log log;
    Task<> waiter = create_task([&] {
      event.wait();
      log.add("1");
    });
    let_all_wait(loop);
    event.set();
    event.clear();
    TASK_CHECK(!event.is_set());
    event.set();
    event.set();
    TASK_CHECK(reaches(loop, log, "1"));
    await(waiter);
  });
}

// C47: set and cancel in one pass.
TEST_CASE("Event: a cancel between set and the waiter's turn is delivered", "[events]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Event event;
      Task<> waiter = create_task([&] { event.wait(); });
      yield();
      event.set();
      waiter.cancel();
      yield();
      TASK_CHECK(waiter.cancelled());
    });
  });
}

TEST_CASE("Event may go as soon as set() returned", "[events]") {
  in_tasks([](EventLoop&) {
    for (int i = 0; i < rounds(200); ++i) {
      auto event = std::make_unique<Event>();
      std::vector<Task<>> waiters;
      for (int k = 0; k < 3; ++k) waiters.push_back(create_task([raw = event.get()] { raw->wait(); }));
      sleep(1ms);  // virtual: all are waiting now
      event->set();
      event.reset();
      for (const auto& waiter : waiters) await(waiter);
    }
  });
}

TEST_CASE("Event wakes plain threads and tasks", "[events]") {
  on_loops(
      [](EventLoop& loop) {
        Event from_task;
        Event from_thread;
        int value = 0;
        std::thread thread([&] {
          from_task.wait();
          ++value;
          from_thread.set();
        });
        loop.run_until_complete([&] {
          value = 41;
          from_task.set();
          from_thread.wait();
          TASK_CHECK(value == 42);
        });
        thread.join();
      },
      false);
}

// --- Condition ---------------------------------------------------------------------------------------------

// asyncio: test_locks ConditionTests.test_wait
TEST_CASE("Condition: notify(n) wakes the first n; each goes on when it has the lock", "[events]") {
  in_tasks([](EventLoop& loop) {
    Condition condition;
    Log log;
    const auto wait = [&](const char* name) {
      condition.lock();
      condition.wait();
      log.add(name);
    };
    std::vector<Task<>> tasks;
    for (const char* name : {"1", "2", "3"}) tasks.push_back(create_task(wait, name));
    TASK_CHECK(stays(loop, log, ""));
    if (loop.workers() > 1) sleep(1ms);  // virtual: all are waiting now
    TASK_CHECK(!condition.locked());
    condition.lock();
    condition.notify();
    TASK_CHECK(stays(loop, log, ""));
    TASK_CHECK(condition.locked());
    condition.unlock();
    TASK_CHECK(reaches(loop, log, "1"));
    TASK_CHECK(condition.locked());
    condition.notify(2);
    TASK_CHECK(stays(loop, log, "1"));
    TASK_CHECK(condition.locked());
    condition.unlock();
    TASK_CHECK(reaches(loop, log, "1 2"));
    TASK_CHECK(condition.locked());
    condition.unlock();
    TASK_CHECK(reaches(loop, log, "1 2 3"));
    TASK_CHECK(condition.locked());
    for (const auto& task : tasks) await(task);
    condition.unlock();
  });
}

// asyncio: test_locks ConditionTests.test_wait_cancel
TEST_CASE("Condition: a cancelled wait has the lock again when it throws", "[events]") {
  in_tasks([](EventLoop& loop) {
    Condition condition;
    Task<> waiter = create_task([&] {
      condition.lock();
      condition.wait();
    });
    yield();
    loop.call_soon([waiter] { waiter.cancel("enough"); });
    TASK_CHECK(cancel_message([&] { await(waiter); }) == "enough");
    TASK_CHECK(condition.locked() || loop.workers() > 1);  // perhaps it was cancelled before it had begun
  });
}

// asyncio: test_locks ConditionTests.test_wait_cancel_contested
TEST_CASE("Condition: a cancelled wait ends only when it could take the lock again", "[events]") {
  in_tasks([](EventLoop& loop) {
    Condition condition;
    condition.lock();
    Task<> waiter = create_task([&] {
      condition.lock();
      condition.wait();
    });
    condition.unlock();
    let_all_wait(loop);
    condition.lock();
    waiter.cancel();
    let_all_wait(loop);
    TASK_CHECK(!waiter.done());
    condition.unlock();
    waiter.wait();
    TASK_CHECK(waiter.cancelled());
    TASK_CHECK(condition.locked());
    condition.unlock();
  });
}

// C43, C44.
// asyncio: test_locks ConditionTests.test_wait_cancel_after_notify
TEST_CASE("Condition: a cancel while the lock is taken again is delivered with the lock held", "[events]") {
  in_tasks([](EventLoop&) {
    Condition condition;
    std::atomic<bool> waited{false};
    std::atomic<bool> was_locked{false};
    Task<> waiter = create_task([&] {
      const std::lock_guard guard(condition);
      try {
        condition.wait();
      } catch (const CancelledError& error) {
        was_locked = condition.locked() && error.message() == "second";
        throw;
      }
      waited = true;
    });
    sleep(1ms);
    condition.lock();
    condition.notify();
    sleep(1ms);
    waiter.cancel("first");
    sleep(1ms);
    TASK_CHECK(!waiter.done());
    waiter.cancel("second");
    sleep(1ms);
    TASK_CHECK(!waiter.done());
    condition.unlock();
    waiter.wait();
    TASK_CHECK(waiter.cancelled());
    TASK_CHECK(was_locked);
    TASK_CHECK(!waited);
    TASK_CHECK(waiter.cancelling() == 2);
    TASK_CHECK(!condition.locked());
  });
}

// asyncio: test_locks ConditionTests.test_wait_unacquired
// asyncio: test_locks ConditionTests.test_notify_unacquired
// asyncio: test_locks ConditionTests.test_notify_all_unacquired
TEST_CASE("Condition: wait and notify need the lock", "[events]") {
  in_tasks([](EventLoop&) {
    Condition condition;
    TASK_CHECK(throws<RuntimeError>([&] { condition.wait(); }));
    TASK_CHECK(throws<RuntimeError>([&] { condition.notify(); }));
    TASK_CHECK(throws<RuntimeError>([&] { condition.notify_all(); }));
  });
}

// asyncio: test_locks ConditionTests.test_wait_for
// asyncio: test_locks ConditionTests.test_wait_for_unacquired
TEST_CASE("Condition: wait_for asks its predicate after each wake-up and returns what it said", "[events]") {
  in_tasks([](EventLoop& loop) {
    Condition condition;
    Log log;
    std::atomic<bool> is_true{false};
    Task<> waiter = create_task([&] {
      condition.lock();
      if (condition.wait_for([&] { return is_true.load(); })) log.add("1");
      condition.unlock();
    });
    TASK_CHECK(stays(loop, log, ""));
    if (loop.workers() > 1) sleep(1ms);
    condition.lock();
    condition.notify();
    condition.unlock();
    TASK_CHECK(stays(loop, log, ""));
    is_true = true;
    condition.lock();
    condition.notify();
    condition.unlock();
    TASK_CHECK(reaches(loop, log, "1"));
    await(waiter);

    TASK_CHECK(*condition.wait_for([] { return std::optional<int>(3); }) == 3);
    TASK_CHECK(throws<RuntimeError>([&] { condition.wait_for([] { return false; }); }));
  });
}

// asyncio: test_locks ConditionTests.test_notify
// asyncio: test_locks ConditionTests.test_notify_all
TEST_CASE("Condition: to notify more than there are is to notify all", "[events]") {
  for (const bool all : {false, true}) {
    in_tasks([all](EventLoop& loop) {
      Condition condition;
      Log log;
      std::vector<Task<>> tasks;
      for (const char* name : {"1", "2", "3"}) {
        tasks.push_back(create_task([&, name] {
          condition.lock();
          condition.wait();
          log.add(name);
          condition.unlock();
        }));
      }
      TASK_CHECK(stays(loop, log, ""));
      if (loop.workers() > 1) sleep(1ms);
      condition.lock();
      condition.notify(1);
      condition.unlock();
      TASK_CHECK(reaches(loop, log, "1"));
      condition.lock();
      if (all) condition.notify_all();
      if (!all) condition.notify(2048);
      condition.unlock();
      TASK_CHECK(reaches(loop, log, "1 2 3"));
      for (const auto& task : tasks) await(task);
    });
  }
}

// asyncio: test_locks ConditionTests.test_explicit_lock
// asyncio: test_locks ConditionTests.test_context_manager
TEST_CASE("Condition: several may share one lock", "[events]") {
  in_tasks([](EventLoop&) {
    Lock lock;
    Condition full(lock);
    Condition empty(lock);
    int items = 0;  // the lock orders it
    int sum = 0;
    Task<> consumer = create_task([&] {
      for (int i = 0; i < 100; ++i) {
        const std::lock_guard guard(full);
        TASK_CHECK(empty.locked());
        full.wait_for([&] { return items > 0; });
        --items;
        ++sum;
        empty.notify();
      }
    });
    for (int i = 0; i < 100; ++i) {
      const std::lock_guard guard(lock);
      empty.wait_for([&] { return items < 3; });
      ++items;
      full.notify();
    }
    await(consumer);
    TASK_CHECK(sum == 100);
  });
}

// C44.
// asyncio: test_locks ConditionTests.test_cancelled_wakeup
// asyncio: test_locks ConditionTests.test_cancelled_wakeup_relock
TEST_CASE("Condition: who is notified and then cancelled passes the notification on", "[events]") {
  for (const bool while_relocking : {false, true}) {
    in_tasks([while_relocking](EventLoop&) {
      Condition condition;
      int state = 0;  // the lock orders it
      const auto consume = [&] {
        const std::lock_guard guard(condition);
        for (;;) {
          condition.wait_for([&] { return state != 0; });
          if (state < 0) return;
          --state;
          condition.notify_all();
        }
      };
      Task<> first = create_task(consume);
      Task<> second = create_task(consume);
      sleep(1ms);  // virtual: both wait now
      {
        const std::lock_guard guard(condition);
        ++state;
        condition.notify(1);
        if (while_relocking) sleep(1ms);  // it is in line for the lock now
        first.cancel();
        condition.wait_for([&] { return state == 0; });
        state = -1;
        condition.notify_all();
      }
      first.wait();
      await(second);
      TASK_CHECK(!condition.locked());
    });
  }
}

// asyncio: test_locks ConditionTests.test_cancelled_error_wakeup
// asyncio: test_locks ConditionTests.test_cancelled_error_re_aquire
TEST_CASE("Condition: the error thrown is the one of the cancel, with its text", "[events]") {
  in_tasks([](EventLoop&) {
    Condition condition;
    Log log;
    Task<> waiter = create_task([&] {
      const std::lock_guard guard(condition);
      log.add(cancel_message([&] { condition.wait(); }));
      TASK_CHECK(condition.locked());
    });
    sleep(1ms);
    waiter.cancel("why");
    await(waiter);
    TASK_CHECK(log.text() == "why");
    TASK_CHECK(!condition.locked());
  });
}

// asyncio: test_locks ConditionTests.test_timeout_in_block
TEST_CASE("Condition: a wait that a timer cancels leaves the lock held in the block", "[events]") {
  in_tasks([](EventLoop& loop) {
    Condition condition;
    Task<> waiter = create_task([&] {
      const std::lock_guard guard(condition);
      TASK_CHECK(throws<CancelledError>([&] { condition.wait(); }));
      TASK_CHECK(condition.locked());
    });
    loop.call_later(1ms, [waiter] { waiter.cancel(); });
    waiter.wait();
    TASK_CHECK(!condition.locked());
  });
}

TEST_CASE("Condition: plain threads wait and notify", "[events]") {
  on_loops(
      [](EventLoop& loop) {
        Condition condition;
        int turn = 0;  // the lock orders it
        const auto play = [&](int mine) {
          for (int i = 0; i < rounds(300); ++i) {
            const std::lock_guard guard(condition);
            condition.wait_for([&] { return turn % 2 == mine; });
            ++turn;
            condition.notify_all();
          }
        };
        std::thread thread(play, 1);
        loop.run_until_complete([&] { play(0); });
        thread.join();
        CHECK(turn == 2 * rounds(300));
      },
      false);
}
