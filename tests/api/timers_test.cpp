// Timers and virtual time.
#include <string>
#include <thread>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

using Steady = std::chrono::steady_clock;

// --- the clock ---------------------------------------------------------------------------------------------

TEST_CASE("The loop's clock is the steady clock", "[timers]") {
  const NothingLeft nothing_left;
  EventLoop loop(test_config(1, false));
  const auto before = Steady::now().time_since_epoch();
  const Duration now = loop.time().time_since_epoch();
  const auto after = Steady::now().time_since_epoch();
  CHECK(now >= before);
  CHECK(now <= after);
}

// asyncio: test_base_events BaseEventLoopTests.test_time_and_call_at
TEST_CASE("Timers never fire early", "[timers]") {
  on_loops(
      [](EventLoop& loop) {
        std::atomic<int> fired{0};
        std::atomic<int> early{0};
        for (int i = 0; i < 200; ++i) {
          const TimePoint when = loop.time() + std::chrono::microseconds(37 * i % 5000);
          loop.call_at(when, [&, when] {
            if (loop.time() < when) ++early;
            ++fired;
          });
        }
        loop.run_until_complete([&] {
          std::vector<Task<>> tasks;
          for (int i = 0; i < 50; ++i) {
            tasks.push_back(create_task([&, i] {
              const Duration delay = std::chrono::microseconds(50 * i);
              const auto start = Steady::now();
              sleep(delay);
              if (Steady::now() - start < delay) ++early;
              const TimePoint deadline = loop.time() + delay;
              sleep_until(deadline);
              if (loop.time() < deadline) ++early;
            }));
          }
          for (const Task<>& task : tasks) await(task);
          while (fired < 200) sleep(100us);
        });
        CHECK(fired == 200);
        CHECK(early == 0);
      },
      false);
}

// asyncio: test_events EventLoopTestsMixin.test_timeout_rounding
TEST_CASE("Short sleeps need few looks at the outside", "[timers]") {
  const NothingLeft nothing_left;
  EventLoop loop(test_config(1, false));
  const std::uint64_t before = loop.stats().workers[0].polls;
  loop.run_until_complete([] {
    for (int i = 0; i < 100; ++i) sleep(20us);
  });
  CHECK(loop.stats().workers[0].polls - before < 1000);
}

TEST_CASE("A loop that waits for a timer sleeps meanwhile", "[timers]") {
  for (const std::size_t workers : {1, 4}) {
    EventLoop loop(test_config(workers, false));
    loop.run_until_complete([] { sleep(1ms); });
    const auto polls = [&] {
      std::uint64_t sum = 0;
      for (const WorkerStats& worker : loop.stats().workers) sum += worker.polls;
      return sum;
    };
    const std::uint64_t before = polls();
    loop.run_until_complete([] { sleep(300ms); });
    CHECK(polls() - before < 200);
  }
}

// asyncio: test_events TimerTests.test_when
// asyncio: test_base_events BaseEventLoopTests.test_call_later
TEST_CASE("A timer handle tells its deadline, also when it has fired or was cancelled", "[timers]") {
  on_loops([](EventLoop& loop) {
    TimerHandle at = loop.call_at(TimePoint(5s), [] {});
    TimerHandle later = loop.call_later(7s, [] {});
    CHECK(at.when() == TimePoint(5s));
    CHECK(later.when() == TimePoint(7s));
    CHECK(later.cancel());
    CHECK(later.when() == TimePoint(7s));
    loop.run_until_complete([] { sleep(6s); });
    CHECK(at.when() == TimePoint(5s));
    CHECK_FALSE(at.cancel());
  });
}

// asyncio: test_base_events BaseEventLoopTests.test__run_once_cancelled_event_cleanup
// asyncio: test_base_events BaseEventLoopTests.test__run_once
TEST_CASE("Cancelled timers are gone at once, from any thread", "[timers]") {
  on_loops([](EventLoop& loop) {
    std::vector<TimerHandle> timers;
    loop.run_until_complete([&] {
      for (int i = 0; i < 1000; ++i) {
        timers.push_back(loop.call_later(std::chrono::seconds(1 + i), [] { TASK_CHECK(false); }));
      }
    });
    CHECK(loop.stats().timers == 1000);
    std::thread([&] {
      for (std::size_t i = 0; i < 500; ++i) TASK_CHECK(timers[i].cancel());
    }).join();
    CHECK(loop.stats().timers == 500);
    loop.run_until_complete([&] {
      for (std::size_t i = 500; i < 1000; ++i) TASK_CHECK(timers[i].cancel());
      TASK_CHECK(loop.stats().timers == 0);
      sleep(2000s);
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_sleep
TEST_CASE("sleep returns when its delay is over", "[timers]") {
  in_tasks([](EventLoop& loop) {
    const auto task = create_task([] {
      sleep(50ms);
      sleep(50ms);
      return std::string("yeah");
    });
    TASK_CHECK(await(task) == "yeah");
    TASK_CHECK(loop.time() == TimePoint(100ms));
  });
}

TEST_CASE("A timer due in the same pass can still be cancelled by an earlier one", "[timers]") {
  on_one_worker([](EventLoop& loop) {
    TimerHandle second;
    loop.call_at(TimePoint(1s), [&] { TASK_CHECK(second.cancel()); });
    second = loop.call_at(TimePoint(1s), [] { TASK_CHECK(false); });
    loop.run_until_complete([] { sleep(2s); });
  });
}

TEST_CASE("Deadlines at the ends of time are taken as past and as never", "[timers]") {
  on_loops([](EventLoop& loop) {
    std::atomic<int> past{0};
    loop.call_at(TimePoint(Duration::min()), [&] { ++past; });
    loop.call_later(Duration::min(), [&] { ++past; });
    std::vector<TimerHandle> unset;
    unset.push_back(loop.call_at(TimePoint(Duration::max()), [] { TASK_CHECK(false); }));
    unset.push_back(loop.call_later(Duration::max(), [] { TASK_CHECK(false); }));
    loop.run_until_complete([&] {
      Task<> endless = create_task([] { sleep(Duration::max()); });
      Task<> endless_too = create_task([] { sleep_until(TimePoint(Duration::max())); });
      sleep_until(TimePoint(Duration::min()));
      sleep(Duration::min());
      sleep(24h * 365 * 100);
      TASK_CHECK(past == 2);
      TASK_CHECK(!endless.done());
      TASK_CHECK(!endless_too.done());
      endless.cancel(), endless_too.cancel();
      endless.wait(), endless_too.wait();
    });
    for (TimerHandle& timer : unset) CHECK(timer.cancel());
  });
}

TEST_CASE("A timer set from outside wakes a loop that sleeps longer or for ever", "[timers]") {
  on_loops(
      [](EventLoop& loop) {
        for (const bool forever : {true, false}) {
          TimerHandle far;
          if (!forever) far = loop.call_later(1h, [] {});
          std::thread thread([&] {
            TASK_CHECK(eventually([&] { return loop.is_running(); }));
            std::this_thread::sleep_for(2ms);  // so that it is likely asleep; nothing depends on it
            loop.call_later(1ms, [&] { loop.stop(); });
          });
          loop.run_forever();
          thread.join();
          if (!forever) far.cancel();
        }
      },
      false);
}

TEST_CASE("Thousands of sleepers of all lengths wake in their order", "[timers]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      TaskOptions options;
      options.stack_size = 16 * 1024;
      std::vector<Task<>> tasks;
      std::atomic<int> wrong{0};
      for (int i = 0; i < 2000; ++i) {
        tasks.push_back(create_task(options, [&, i] {
          const Duration delay = std::chrono::nanoseconds(std::int64_t{1} << (i % 45));
          const TimePoint start = loop.time();
          sleep(delay);
          if (loop.time() != start + delay) ++wrong;
        }));
      }
      for (const Task<>& task : tasks) await(task);
      TASK_CHECK(wrong == 0);
    });
  });
}

// --- virtual time ------------------------------------------------------------------------------------------

TEST_CASE("Virtual time starts at zero and jumps exactly to the next deadline", "[virtual_time]") {
  on_loops([](EventLoop& loop) {
    CHECK(loop.time() == TimePoint());
    const auto start = Steady::now();
    loop.run_until_complete([&] {
      sleep(1ns);
      TASK_CHECK(loop.time() == TimePoint(1ns));
      sleep(999ns);
      TASK_CHECK(loop.time() == TimePoint(1us));
      sleep(24h * 365);
      TASK_CHECK(loop.time() == TimePoint(24h * 365 + 1us));
      sleep_until(TimePoint(24h * 400 + 3ns));
      TASK_CHECK(loop.time() == TimePoint(24h * 400 + 3ns));
    });
    CHECK(Steady::now() - start < 10s);
  });
}

TEST_CASE("Virtual time stands still while something is ready", "[virtual_time]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Task<> sleeper = create_task([] { sleep(1ns); });
      for (int i = 0; i < 1000; ++i) {
        yield();
        TASK_CHECK(loop.time() == TimePoint());
      }
      await(sleeper);
      TASK_CHECK(loop.time() == TimePoint(1ns));
    });
  });
}

TEST_CASE("Virtual time does not pass a deadline while another worker is at work", "[virtual_time]") {
  on_parallel_loops([](EventLoop& loop) {
    for (int round = 0; round < 30; ++round) {
      const TimePoint start = loop.time();
      loop.run_until_complete([&] {
        std::vector<Task<>> tasks;
        for (int t = 0; t < 10; ++t) {
          tasks.push_back(spawn([&, t] {
            for (int i = 1; i <= 20; ++i) {
              const TimePoint wanted = start + std::chrono::milliseconds(i * (t + 1));
              sleep_until(wanted);
              TASK_CHECK(loop.time() == wanted);
            }
          }));
        }
        for (const Task<>& task : tasks) await(task);
      });
      CHECK(loop.time() == start + 200ms);
    }
  });
}

TEST_CASE("With virtual time a wait that can never end is a DeadlockError", "[virtual_time]") {
  on_loops([](EventLoop& loop) {
    const Future<int> unset = loop.create_future<int>();
    CHECK_THROWS_AS(loop.run_until_complete([&] { return await(unset); }), DeadlockError);
    CHECK_THROWS_AS(loop.run_until_complete(loop.create_future<int>()), DeadlockError);
    CHECK_THROWS_AS(loop.run_forever(), DeadlockError);
    CHECK_THROWS_AS(loop.run_until_complete([&] {
      sleep(1s);
      await(loop.create_future());
    }),
                    DeadlockError);
    // The loop is as good as before.
    CHECK(loop.run_until_complete([] {
      sleep(1s);
      return 4;
    }) == 4);
    loop.run_until_complete([] { TASK_CHECK(eventually_in_task([] { return all_tasks().size() == 1; })); });
  });
}

TEST_CASE("With virtual time and forced migration a task on its way to another worker is no deadlock",
          "[virtual_time]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      for (int i = 0; i < 500; ++i) {
        Future<int> future = loop.create_future<int>();
        Task<int> task = create_task([future] { return await(future); });
        yield();
        future.set_result(i);
        TASK_CHECK(await(task) == i);
      }
    });
  });
}

TEST_CASE("With virtual time an offloaded call holds the clock", "[virtual_time]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Task<> sleeper = create_task([] { sleep(1s); });
      yield();
      TASK_CHECK(to_thread([&] {
                   for (int i = 0; i < 1000; ++i) std::this_thread::yield();
                   return loop.time();
                 }) == TimePoint());
      await(sleeper);
      TASK_CHECK(loop.time() == TimePoint(1s));
    });
  });
}

TEST_CASE("With virtual time a call of any pool holds the clock", "[virtual_time]") {
  on_loops([](EventLoop& loop) {
    ThreadPool pool(1);
    loop.run_until_complete([&] {
      Task<> sleeper = create_task([] { sleep(1s); });
      yield();
      const auto look = [&] {
        for (int i = 0; i < 1000; ++i) std::this_thread::yield();
        return loop.time();
      };
      TASK_CHECK(await(pool.submit(look)) == TimePoint());
      TASK_CHECK(await(loop.run_in_executor(&pool, look)) == TimePoint());
      await(sleeper);
      TASK_CHECK(loop.time() == TimePoint(1s));
      pool.shutdown();
    });
  });
}

TEST_CASE("With virtual time a call that is taken back lets go of the clock", "[virtual_time]") {
  on_loops([](EventLoop& loop) {
    ThreadPool pool(1);
    std::atomic<bool> release{false};
    // Not of the loop: does not hold its clock, but keeps the pool's only thread.
    Future<> blocker = pool.submit([&] {
      while (!release) std::this_thread::yield();
    });
    loop.run_until_complete([&] {
      Future<> cancelled = pool.submit([] {});
      TASK_CHECK(cancelled.cancel());
      sleep(1s);
      TASK_CHECK(loop.time() == TimePoint(1s));
      Future<> dropped = pool.submit([] {});
      pool.shutdown(false, Duration(-1), true);
      TASK_CHECK(dropped.cancelled());
      TASK_CHECK(throws<RuntimeError>([&] { static_cast<void>(pool.submit([] {})); }));
      sleep(1s);
      TASK_CHECK(loop.time() == TimePoint(2s));
    });
    release = true;
    while (!blocker.done()) std::this_thread::yield();
  });
}

TEST_CASE("With virtual time a call may outlive the loop whose clock it holds", "[virtual_time]") {
  ThreadPool pool(1);
  std::atomic<bool> release{false};
  for (const std::size_t workers : {1, 2}) {
    release = false;
    Future<> left;
    {
      EventLoop loop(test_config(workers));
      loop.run_until_complete([&] {
        left = pool.submit([&] {
          while (!release) std::this_thread::yield();
        });
      });
      loop.close();
    }
    release = true;
    while (!left.done()) std::this_thread::yield();
  }
  CHECK(pool.shutdown() == 0);
}

TEST_CASE("With virtual time run says deadlock too, in the main thread with its SIGINT handler",
          "[virtual_time]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2, 4}) {
    CHECK_THROWS_AS(fibrio::run([] { await(get_running_loop().create_future()); }, test_config(workers)),
                    DeadlockError);
  }
}

TEST_CASE("With virtual time and a seed two runs on one worker are the same", "[virtual_time]") {
  const auto trace = [] {
    Config config = test_config(1);
    config.seed = 42;
    Log log;
    fibrio::run(
        [&] {
          std::vector<Task<>> tasks;
          for (int t = 0; t < 20; ++t) {
            tasks.push_back(create_task([&, t] {
              for (int i = 0; i < 20; ++i) {
                sleep(std::chrono::microseconds((t * 7 + i * 13) % 17));
                log.add(std::to_string(t) + "@" +
                        std::to_string(get_running_loop().time().time_since_epoch().count()));
              }
            }));
          }
          for (const Task<>& task : tasks) await(task);
        },
        config);
    return log.text();
  };
  const std::string first = trace();
  CHECK(first == trace());
  CHECK(first.size() > 1000);
}

TEST_CASE("Virtual clocks of several loops are their own", "[virtual_time]") {
  const NothingLeft nothing_left;
  EventLoop first(test_config(1));
  EventLoop second(test_config(2));
  first.run_until_complete([] { sleep(5s); });
  CHECK(first.time() == TimePoint(5s));
  CHECK(second.time() == TimePoint());
  second.run_until_complete([] { sleep(7s); });
  CHECK(second.time() == TimePoint(7s));
  CHECK(first.time() == TimePoint(5s));
}
