// Lock, Semaphore: asyncio's cases, pass by pass with one worker; and what must hold with any number of them.
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/passes.hpp"

using namespace fibrio;
using namespace fibrio::test;

// --- Lock --------------------------------------------------------------------------------------------------

// asyncio: test_locks LockTests.test_acquire
TEST_CASE("Lock is given to who waits, one per unlock, each in the next pass", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    Log log;
    lock.lock();
    const auto take = [&](const char* name) {
      lock.lock();
      log.add(name);
    };
    Task<> first = create_task(take, "1");
    Task<> second = create_task(take, "2");
    TASK_CHECK(stays(loop, log, ""));
    lock.unlock();
    TASK_CHECK(reaches(loop, log, "1"));
    TASK_CHECK(stays(loop, log, "1"));
    Task<> third = create_task(take, "3");
    lock.unlock();
    TASK_CHECK(reaches(loop, log, "1 2"));
    lock.unlock();
    TASK_CHECK(reaches(loop, log, "1 2 3"));
    TASK_CHECK(settles(loop, [&] { return first.done() && second.done() && third.done(); }));
    TASK_CHECK(lock.locked());
    lock.unlock();
    TASK_CHECK(!lock.locked());
  });
}

// asyncio: test_locks LockTests.test_acquire_cancel
TEST_CASE("Lock: a cancelled waiter leaves the line", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    lock.lock();
    Task<> waiter = create_task([&] { lock.lock(); });
    loop.call_soon([waiter] { waiter.cancel("away"); });
    TASK_CHECK(throws<CancelledError>([&] { await(waiter); }));
    TASK_CHECK(waiter.cancelled());
    lock.unlock();
    TASK_CHECK(lock.try_lock());  // nobody is in line
    lock.unlock();
  });
}

// asyncio: test_locks LockTests.test_cancel_race
TEST_CASE("Lock goes to the second in line if the first is cancelled when the holder unlocks", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    const Future<> go = loop.create_future();
    const auto lock_it = [&lock](const Future<>& blocker) {
      std::lock_guard guard(lock);
      if (blocker.valid()) await(blocker);
    };
    Task<> a = create_task(lock_it, go);
    TASK_CHECK(settles(loop, [&] { return lock.locked(); }));
    Task<> b = create_task(lock_it, Future<>());
    let_all_wait(loop);
    Task<> c = create_task(lock_it, Future<>());
    let_all_wait(loop);
    Future<> handle = go;
    handle.set_result();
    b.cancel();
    TASK_CHECK(eventually_in_task([&] { return a.done() && b.done() && c.done(); }));
    TASK_CHECK(!lock.locked());
    TASK_CHECK(b.cancelled() || loop.workers() > 1);  // it may have been through before
    TASK_CHECK(!c.cancelled());
  });
}

// asyncio: test_locks LockTests.test_cancel_release_race
TEST_CASE("Lock: a cancel of the first in line and an unlock in one callback give it to the next",
          "[locks]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    Log log;
    lock.lock();
    Task<> first = create_task([&] { lock.lock(); });
    let_all_wait(loop);
    Task<> second = create_task([&] {
      lock.lock();
      log.add("second");
    });
    let_all_wait(loop);
    loop.call_soon([&] {
      first.cancel();
      lock.unlock();
    });
    TASK_CHECK(eventually_in_task([&] { return log.size() == 1; }));
    first.wait();
    TASK_CHECK(first.cancelled());
    TASK_CHECK(lock.locked());
    lock.unlock();
  });
}

// asyncio: test_locks LockTests.test_finished_waiter_cancelled
TEST_CASE("Lock: a waiter that is cancelled just before the unlock swallows no turn", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    lock.lock();
    Task<> a = create_task([&] { std::lock_guard guard(lock); });
    Task<> b = create_task([&] { std::lock_guard guard(lock); });
    let_all_wait(loop);
    a.cancel();
    lock.unlock();
    TASK_CHECK(eventually_in_task([&] { return a.done() && b.done(); }));
    TASK_CHECK(a.cancelled());
    TASK_CHECK(!b.cancelled());
    TASK_CHECK(!lock.locked());
  });
}

// asyncio: test_locks LockTests.test_release_not_acquired
// asyncio: test_locks LockTests.test_release_no_waiters
// asyncio: test_locks LockTests.test_context_manager
TEST_CASE("Lock: unlocking is for who has locked, whoever that was", "[locks]") {
  in_tasks([](EventLoop&) {
    Lock lock;
    TASK_CHECK(throws<RuntimeError>([&] { lock.unlock(); }));
    lock.lock();
    TASK_CHECK(lock.locked());
    TASK_CHECK(!lock.try_lock());
    await(create_task([&] { lock.unlock(); }));  // any task may
    TASK_CHECK(!lock.locked());
    {
      std::unique_lock guard(lock, std::try_to_lock);
      TASK_CHECK(guard.owns_lock());
      TASK_CHECK(lock.locked());
    }
    TASK_CHECK(!lock.locked());
    Lock other;
    {
      const std::scoped_lock both(lock, other);
      TASK_CHECK(lock.locked() && other.locked());
    }
    TASK_CHECK(!lock.locked() && !other.locked());
  });
}

// C46: in asyncio's own words, `locked()` is false between the unlock and the turn of the next.
TEST_CASE("Lock: a newcomer does not overtake who is about to take a free lock", "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Lock lock;
      Log log;
      lock.lock();
      Task<> waiter = create_task([&] {
        lock.lock();
        log.add("waiter");
        lock.unlock();
      });
      yield();
      lock.unlock();
      TASK_CHECK(!lock.locked());
      TASK_CHECK(!lock.try_lock());
      lock.lock();
      log.add("newcomer");
      TASK_CHECK(log.text() == "waiter newcomer");
      lock.unlock();
      await(waiter);
    });
  });
}

// As CPython 3.13 does it: with a cancelled one first in line an unlock wakes nobody; that one hands on, a
// pass later; and who comes when all in line are cancelled takes the lock at once.
TEST_CASE("Lock: the passes in which a turn goes past a cancelled waiter are asyncio's", "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Lock lock;
      Log log;
      lock.lock();
      Task<> first = create_task([&] { lock.lock(); });
      Task<> second = create_task([&] {
        lock.lock();
        log.add("second");
        lock.unlock();
      });
      yield();
      first.cancel();
      lock.unlock();
      TASK_CHECK(!lock.try_lock());
      yield();  // the first one leaves and hands on
      TASK_CHECK(log.text().empty());
      TASK_CHECK(first.done());
      yield();
      TASK_CHECK(log.text() == "second");

      lock.lock();
      Task<> lonely = create_task([&] { lock.lock(); });
      yield();
      lonely.cancel();
      lock.unlock();
      TASK_CHECK(lock.try_lock());
      lonely.wait();
      TASK_CHECK(lonely.cancelled());
      lock.unlock();
    });
  });
}

// C01, C46: the hand-on rule.
TEST_CASE("Lock: who is cancelled after its turn came hands it on", "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Lock lock;
      Log log;
      lock.lock();
      Task<> first = create_task([&] { lock.lock(); });
      Task<> second = create_task([&] {
        lock.lock();
        log.add("second");
      });
      yield();
      lock.unlock();
      first.cancel("too late");
      yield();
      TASK_CHECK(first.cancelled());
      TASK_CHECK(cancel_message([&] { await(first); }) == "too late");
      yield();
      TASK_CHECK(log.text() == "second");
      lock.unlock();
    });
  });
}

TEST_CASE("Lock: a request that was there before the wait ends it, and nothing is taken", "[locks]") {
  in_tasks([](EventLoop&) {
    Lock lock;
    lock.lock();
    Task<> task = create_task([&] {
      current_task().cancel();
      lock.lock();
    });
    task.wait();
    TASK_CHECK(task.cancelled());
    lock.unlock();
    // A lock that is free is taken without a wait, so nothing is delivered there (C14).
    await(create_task([&] {
      current_task().cancel();
      lock.lock();
      lock.unlock();
      TASK_CHECK(current_task().uncancel() == 0);
    }));
  });
}

TEST_CASE("Lock: a masked waiter is not interrupted", "[locks]") {
  in_tasks([](EventLoop&) {
    Lock lock;
    lock.lock();
    std::atomic<bool> has_it{false};
    Task<> task = create_task([&] {
      {
        const CancelMask mask;
        lock.lock();
        has_it = true;
      }
      lock.unlock();
      yield();  // here it is delivered
    });
    sleep(1ms);  // virtual: it waits now
    task.cancel();
    yield();
    TASK_CHECK(!task.done());
    lock.unlock();
    task.wait();
    TASK_CHECK(has_it);
    TASK_CHECK(task.cancelled());
    TASK_CHECK(!lock.locked());
  });
}

TEST_CASE("Lock keeps tasks of all workers out of each other's way", "[locks]") {
  in_tasks([](EventLoop&) {
    Lock lock;
    int counter = 0;  // plain: the lock orders it
    std::vector<Task<>> tasks;
    for (int i = 0; i < 16; ++i) {
      tasks.push_back(create_task([&] {
        for (int k = 0; k < rounds(400); ++k) {
          const std::lock_guard guard(lock);
          const int before = counter;
          if (k % 8 == 0) yield();  // it may be held over waits
          counter = before + 1;
        }
      }));
    }
    for (const auto& task : tasks) await(task);
    TASK_CHECK(counter == 16 * rounds(400));
  });
}

TEST_CASE("Lock: a plain thread blocks for it, and wakes tasks", "[locks]") {
  on_loops(
      [](EventLoop& loop) {
        Lock lock;
        int counter = 0;
        const auto work = [&] {
          for (int i = 0; i < rounds(2000); ++i) {
            const std::lock_guard guard(lock);
            ++counter;
          }
        };
        std::thread thread(work);
        loop.run_until_complete([&] {
          Task<> other = create_task(work);
          work();
          await(other);
        });
        thread.join();
        CHECK(counter == 3 * rounds(2000));
      },
      false);
}

TEST_CASE("Locks serve tasks of two loops", "[locks]") {
  on_parallel_loops(
      [](EventLoop& loop) {
        Lock lock;
        int counter = 0;
        const auto work = [&] {
          for (int i = 0; i < rounds(2000); ++i) {
            const std::lock_guard guard(lock);
            ++counter;
          }
        };
        std::thread thread([&] {
          EventLoop other(test_config(1, false));
          other.run_until_complete(work);
        });
        loop.run_until_complete(work);
        thread.join();
        CHECK(counter == 2 * rounds(2000));
      },
      false);
}

TEST_CASE("What would wait throws RuntimeError in a callback, and changes nothing", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Lock lock;
    Event event;
    Semaphore semaphore(0);
    Barrier barrier(2);
    Queue<int> queue(1);
    Condition condition;
    lock.lock();
    Future<> checked = loop.create_future();
    loop.call_soon([&] {
      TASK_CHECK(throws<RuntimeError>([&] { lock.lock(); }));
      TASK_CHECK(!lock.try_lock());
      TASK_CHECK(throws<RuntimeError>([&] { event.wait(); }));
      TASK_CHECK(throws<RuntimeError>([&] { semaphore.acquire(); }));
      TASK_CHECK(throws<RuntimeError>([&] { static_cast<void>(barrier.wait()); }));
      TASK_CHECK(barrier.n_waiting() == 0);
      TASK_CHECK(throws<RuntimeError>([&] { static_cast<void>(queue.get()); }));
      queue.put(1);  // there is room: no wait
      TASK_CHECK(throws<RuntimeError>([&] { queue.put(2); }));
      TASK_CHECK(throws<RuntimeError>([&] { queue.join(); }));
      TASK_CHECK(condition.try_lock());
      TASK_CHECK(throws<RuntimeError>([&] { condition.wait(); }));
      TASK_CHECK(condition.locked());
      lock.unlock();
      checked.set_result();
    });
    await(checked);
    TASK_CHECK(!lock.locked());
    TASK_CHECK(queue.qsize() == 1);
  });
}

// --- Semaphore ---------------------------------------------------------------------------------------------

// asyncio: test_locks SemaphoreTests.test_initial_value_zero
// asyncio: test_locks SemaphoreTests.test_semaphore_value
// asyncio: test_locks SemaphoreTests.test_release_no_waiters
TEST_CASE("Semaphore counts from its initial value, which is not negative", "[locks]") {
  in_tasks([](EventLoop&) {
    Semaphore none(0);
    TASK_CHECK(none.locked());
    TASK_CHECK(!none.try_acquire());
    TASK_CHECK(throws<std::invalid_argument>([] { Semaphore negative(-1); }));
    TASK_CHECK(throws<std::invalid_argument>([] { BoundedSemaphore negative(-1); }));
    Semaphore one;
    one.acquire();
    TASK_CHECK(one.locked());
    one.release();
    TASK_CHECK(!one.locked());
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire
TEST_CASE("Semaphore hands units of a release to who waits: none is free in between", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Semaphore semaphore(3);
    Log log;
    semaphore.acquire();
    semaphore.acquire();
    TASK_CHECK(!semaphore.locked());
    const auto take = [&](const char* name) {
      semaphore.acquire();
      log.add(name);
    };
    std::vector<Task<>> tasks;
    for (const char* name : {"1", "2", "3"}) tasks.push_back(create_task(take, name));
    TASK_CHECK(reaches(loop, log, "1"));
    TASK_CHECK(semaphore.locked());
    tasks.push_back(create_task(take, "4"));
    semaphore.release();
    semaphore.release();
    TASK_CHECK(loop.workers() > 1 || !semaphore.try_acquire());
    TASK_CHECK(reaches(loop, log, "1 2 3"));
    TASK_CHECK(semaphore.locked());
    semaphore.release();
    TASK_CHECK(reaches(loop, log, "1 2 3 4"));
    for (const auto& task : tasks) await(task);
    for (int i = 0; i < 3; ++i) semaphore.release();
    for (int i = 0; i < 3; ++i) TASK_CHECK(semaphore.try_acquire());
    TASK_CHECK(!semaphore.try_acquire());
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire_cancel
// asyncio: test_locks SemaphoreTests.test_acquire_cancel_before_awoken
TEST_CASE("Semaphore skips cancelled waiters: one of the others is woken per release", "[locks]") {
  in_tasks([](EventLoop& loop) {
    Semaphore semaphore(0);
    std::atomic<int> got{0};
    std::vector<Task<>> tasks;
    for (int i = 0; i < 4; ++i) {
      tasks.push_back(create_task([&] {
        semaphore.acquire();
        ++got;
      }));
    }
    let_all_wait(loop);
    tasks[0].cancel();
    tasks[1].cancel();
    semaphore.release();
    TASK_CHECK(settles(loop, [&] { return got == 1; }));
    TASK_CHECK(eventually_in_task([&] { return tasks[0].done() && tasks[1].done(); }));
    TASK_CHECK(tasks[0].cancelled() && tasks[1].cancelled());
    TASK_CHECK(got == 1);
    semaphore.release();
    TASK_CHECK(eventually_in_task([&] { return got == 2; }));
    for (const auto& task : tasks) task.wait();
    TASK_CHECK(semaphore.locked());
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire_hang
TEST_CASE("Semaphore: a cancel of the first waiter and a release in one pass let the second go on",
          "[locks]") {
  in_tasks([](EventLoop& loop) {
    Semaphore semaphore(0);
    Task<> first = create_task([&] { semaphore.acquire(); });
    Task<> second = create_task([&] { semaphore.acquire(); });
    let_all_wait(loop);
    first.cancel();
    semaphore.release();
    await(second);
    first.wait();
    TASK_CHECK(first.cancelled());
    TASK_CHECK(semaphore.locked());
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire_no_hang
TEST_CASE("Semaphore: a waiter cancelled after it was woken gives its unit back", "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Semaphore semaphore(1);
      Log log;
      const auto use = [&](const char* name) {
        semaphore.acquire();
        log.add(name);
        semaphore.release();
      };
      semaphore.acquire();
      Task<> first = create_task(use, "first");
      Task<> second = create_task(use, "second");
      yield();
      semaphore.release();
      first.cancel();
      TASK_CHECK(semaphore.locked());  // the unit is on its way
      yield();
      TASK_CHECK(first.cancelled());
      TASK_CHECK(semaphore.locked());
      await(second);
      TASK_CHECK(log.text() == "second");
      TASK_CHECK(!semaphore.locked());
      TASK_CHECK(semaphore.try_acquire());
      TASK_CHECK(!semaphore.try_acquire());
    });
  });
}

// asyncio: test_locks SemaphoreTests.test_release_not_acquired
TEST_CASE("BoundedSemaphore refuses a release above its initial value", "[locks]") {
  in_tasks([](EventLoop&) {
    BoundedSemaphore semaphore(2);
    TASK_CHECK(throws<std::invalid_argument>([&] { semaphore.release(); }));
    semaphore.acquire();
    semaphore.release();
    TASK_CHECK(throws<std::invalid_argument>([&] { semaphore.release(); }));
    TASK_CHECK(semaphore.try_acquire() && semaphore.try_acquire() && !semaphore.try_acquire());
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire_fifo_order
// asyncio: test_locks SemaphoreTests.test_acquire_fifo_order_2
TEST_CASE("Semaphore keeps arrival order, also of a task that comes again at once", "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Semaphore semaphore(1);
      Log log;
      const auto twice = [&](const std::string& tag) {
        semaphore.acquire();
        log.add(tag + "1");
        sleep(10ms);
        semaphore.release();
        semaphore.acquire();
        log.add(tag + "2");
        semaphore.release();
      };
      std::vector<Task<>> tasks;
      for (const char* tag : {"a", "b", "c"}) tasks.push_back(create_task(twice, std::string(tag)));
      for (const auto& task : tasks) await(task);
      TASK_CHECK(log.text() == "a1 b1 c1 a2 b2 c2");
    });
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire_fifo_order_3
TEST_CASE("Semaphore keeps arrival order over a cancellation", "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Semaphore semaphore(0);
      Log log;
      const auto use = [&](const char* tag, bool releases) {
        semaphore.acquire();
        log.add(tag);
        if (releases) semaphore.release();
      };
      Task<> a = create_task(use, "a", true);
      Task<> b = create_task(use, "b", true);
      Task<> c = create_task(use, "c", true);
      yield();
      b.cancel();
      yield();
      semaphore.release();
      await(a);
      await(c);
      TASK_CHECK(b.cancelled());
      TASK_CHECK(log.text() == "a c");
    });
  });
}

// asyncio: test_locks SemaphoreTests.test_acquire_fifo_order_4
TEST_CASE("Semaphore: several releases in one step wake in order, and it stays locked until they ran",
          "[locks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Semaphore semaphore(1);
      Log log;
      const auto use = [&](const char* tag) {
        semaphore.acquire();
        log.add(tag);
      };
      semaphore.acquire();
      Task<> a = create_task(use, "a");
      Task<> b = create_task(use, "b");
      Task<> c = create_task(use, "c");
      yield();
      semaphore.release();
      semaphore.release();
      semaphore.release();
      semaphore.release();
      TASK_CHECK(semaphore.locked());  // one is free, but others come first
      TASK_CHECK(!semaphore.try_acquire());
      Task<> d = create_task(use, "d");
      yield();
      TASK_CHECK(log.text() == "a b c d");
      TASK_CHECK(semaphore.locked());
    });
  });
}

TEST_CASE("Semaphore: never more inside than it has units, and none is lost to cancels", "[locks]") {
  in_tasks([](EventLoop&) {
    BoundedSemaphore semaphore(3);
    std::atomic<int> inside{0};
    std::vector<Task<>> tasks;
    for (int i = 0; i < 30; ++i) {
      tasks.push_back(create_task([&] {
        for (int k = 0; k < rounds(40); ++k) {
          semaphore.acquire();
          struct Release {
            BoundedSemaphore& semaphore;
            std::atomic<int>& inside;
            ~Release() {
              --inside;
              semaphore.release();
            }
          };
          TASK_CHECK(++inside <= 3);
          const Release release{semaphore, inside};
          yield();
        }
      }));
    }
    for (std::size_t i = 0; i < tasks.size(); i += 2) {
      yield();
      tasks[i].cancel();
    }
    for (const auto& task : tasks) task.wait();
    for (int i = 0; i < 3; ++i) TASK_CHECK(semaphore.try_acquire());
    TASK_CHECK(!semaphore.try_acquire());
  });
}

// asyncio: test_pep492 LockTests.test_context_manager_async_with
TEST_CASE("Lock and Condition are held in the block of a guard, and free after it", "[locks]") {
  in_tasks([](EventLoop&) {
    Lock lock;
    Condition condition;
    {
      const std::lock_guard guard(lock);
      const std::lock_guard other(condition);
      yield();
      TASK_CHECK(lock.locked() && condition.locked());
    }
    TASK_CHECK(!lock.locked() && !condition.locked());
  });
}
