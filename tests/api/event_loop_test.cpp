// EventLoop: its life cycle, callbacks and handles, reports, several loops.
#include <pthread.h>
#include <sys/resource.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

// --- running -----------------------------------------------------------------------------------------------

// asyncio: test_events EventLoopTestsMixin.test_run_until_complete
TEST_CASE("run_until_complete returns the value or throws what the callable throws", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    CHECK(loop.run_until_complete([] { return 42; }) == 42);
    CHECK(*loop.run_until_complete([] { return std::make_unique<int>(7); }) == 7);
    loop.run_until_complete([] { sleep(1s); });
    CHECK(loop.time() == TimePoint(1s));
    CHECK_THROWS_WITH(loop.run_until_complete([] { throw std::runtime_error("boom"); }), "boom");
    CHECK_THROWS_AS(loop.run_until_complete([] { throw CancelledError(); }), CancelledError);
    CHECK(loop.run_until_complete([] { return 43; }) == 43);
  });
}

// asyncio: test_tasks BaseTaskTests.test_task_class
// asyncio: test_tasks BaseTaskTests.test_ensure_future_coroutine
TEST_CASE("run_until_complete runs a future or a task made before", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    loop.call_soon([future]() mutable { future.set_result(5); });
    CHECK(loop.run_until_complete(future) == 5);
    CHECK(loop.run_until_complete(future) == 5);  // done already
    Task<std::string> task = loop.create_task([] { return std::string("made before"); });
    CHECK(&task.get_loop() == &loop);
    CHECK(loop.run_until_complete(task) == "made before");
    CHECK(task.result() == "made before");
    const AnyTask any = loop.create_task([] {});
    loop.run_until_complete(any);
    CHECK(any.done());
    const AnyFuture failed = loop.create_task([] { throw std::runtime_error("of any type"); });
    CHECK_THROWS_AS(loop.run_until_complete(failed), std::runtime_error);
    Future<> cancelled = loop.create_future();
    cancelled.cancel();
    CHECK_THROWS_AS(loop.run_until_complete(cancelled), CancelledError);
  });
}

// asyncio: test_events EventLoopTestsMixin.test_run_until_complete_stopped
// asyncio: test_tasks BaseTaskTests.test_stop_while_run_in_complete
TEST_CASE("run_until_complete that is stopped early says so, and its task can be run on", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    Task<int> task = loop.create_task([] {
      get_running_loop().stop();
      sleep(1s);
      return 3;
    });
    CHECK_THROWS_AS(loop.run_until_complete(task), RuntimeError);
    CHECK_FALSE(task.done());
    CHECK_FALSE(loop.is_running());
    CHECK(loop.run_until_complete(task) == 3);
  });
}

// asyncio: test_events PolicyTests.test_new_event_loop
TEST_CASE("A loop tells whether it runs and whether it is closed", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    CHECK_FALSE(loop.is_running());
    CHECK_FALSE(loop.is_closed());
    loop.run_until_complete([&] {
      TASK_CHECK(loop.is_running());
      TASK_CHECK(!loop.is_closed());
    });
    CHECK_FALSE(loop.is_running());
    loop.close();
    CHECK(loop.is_closed());
  });
}

// asyncio: test_events EventLoopTestsMixin.test_run_until_complete_nesting
// asyncio: test_base_events RunningLoopTests.test_running_loop_within_a_loop
// asyncio: test_events GetEventLoopTestsMixin.test_get_running_loop_already_running
TEST_CASE("A run inside a run is refused, on the same loop and on another", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    EventLoop other(test_config(1));
    Future<> called = loop.create_future();
    const auto refuse = [&] {
      TASK_CHECK(throws<RuntimeError>([&] { loop.run_forever(); }));
      TASK_CHECK(throws<RuntimeError>([&] { loop.run_until_complete([] {}); }));
      TASK_CHECK(throws<RuntimeError>([&] { other.run_forever(); }));
      TASK_CHECK(throws<RuntimeError>([&] { other.run_until_complete([] {}); }));
      TASK_CHECK(throws<RuntimeError>([] { fibrio::run([] {}, test_config(1)); }));
      TASK_CHECK(throws<RuntimeError>([&] { loop.close(); }));
    };
    loop.run_until_complete([&] {
      refuse();
      loop.call_soon([&, called]() mutable {
        refuse();
        called.set_result();
      });
      await(called);
    });
    CHECK_FALSE(other.is_running());
    CHECK(other.stats().tasks_alive == 0);
    CHECK(other.run_until_complete([] { return 1; }) == 1);
  });
}

TEST_CASE("A second thread cannot run a loop that runs", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      to_thread([&] {
        TASK_CHECK(loop.is_running());
        TASK_CHECK(throws<RuntimeError>([&] { loop.run_forever(); }));
        TASK_CHECK(throws<RuntimeError>([&] { loop.run_until_complete([] {}); }));
        TASK_CHECK(throws<RuntimeError>([&] { loop.close(); }));
      });
    });
  });
}

TEST_CASE("A loop may be run by one thread after the other", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    for (int i = 0; i < 5; ++i) {
      std::thread([&] { TASK_CHECK(loop.run_until_complete([i] { return i; }) == i); }).join();
      CHECK(loop.run_until_complete([] { return 9; }) == 9);
    }
  });
}

TEST_CASE("run_forever runs until stop, again and again", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> calls{0};
      Task<> task = loop.create_task([&] {
        for (int i = 0; i < 10; ++i) {
          ++calls;
          yield();
        }
        loop.stop();
      });
      loop.run_forever();
      CHECK(calls == 10);
      loop.run_until_complete(task);
    }
  });
}

TEST_CASE("stop from another thread ends run_forever", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        for (int round = 0; round < 20; ++round) {
          std::thread thread([&] {
            TASK_CHECK(eventually([&] { return loop.is_running(); }));
            loop.stop();
          });
          loop.run_forever();
          thread.join();
        }
      },
      false);
}

// asyncio: test_base_events BaseEventLoopTests.test_run_forever_pre_stopped
TEST_CASE("stop before the run: what is ready runs once, on any number of workers", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        std::atomic<int> calls{0};
        std::vector<Task<>> tasks;
        for (int i = 0; i < 50; ++i) {
          loop.call_soon([&] { ++calls; });
          tasks.push_back(loop.create_task([&] {
            ++calls;
            sleep(1h);
            ++calls;
          }));
        }
        loop.stop();
        loop.run_forever();
        CHECK(calls == 100);
        for (const Task<>& task : tasks) task.cancel();
        loop.run_until_complete([&] {
          for (const Task<>& task : tasks) task.wait();
        });
        CHECK(calls == 100);
      },
      false);
}

TEST_CASE("What is ready when stop is called runs before the run ends, on any number of workers",
          "[event_loop]") {
  on_loops([](EventLoop& loop) {
    for (int round = 0; round < 20; ++round) {
      static std::atomic<int> calls;  // whatever goes wrong, the callbacks find it
      calls = 0;
      loop.call_soon([&] {
        for (int i = 0; i < 100; ++i) loop.call_soon([] { ++calls; });
        loop.stop();
      });
      loop.run_forever();
      if (loop.workers() == 1) {
        CHECK(calls == 0);  // they are of the next pass
        loop.stop();
        loop.run_forever();
      }
      REQUIRE(calls == 100);
    }
  });
}

TEST_CASE("A run that is stopped leaves suspended tasks as they are", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 30; ++i) {
      tasks.push_back(loop.create_task([i] {
        for (int k = 0; k < 100; ++k) yield();
        sleep(1s);
        return i;
      }));
    }
    for (int i = 0; i < 10; ++i) {
      loop.call_soon([&] { loop.stop(); });
      loop.run_forever();
    }
    CHECK(loop.stats().tasks_alive > 0);
    loop.run_until_complete([&] {
      for (int i = 0; i < 30; ++i) TASK_CHECK(await(tasks[static_cast<std::size_t>(i)]) == i);
    });
  });
}

// --- closing -----------------------------------------------------------------------------------------------

// asyncio: test_events EventLoopTestsMixin.test_close
// asyncio: test_base_events BaseEventLoopTests.test_close
TEST_CASE("A closed loop refuses everything but questions", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    loop.close();
    loop.close();
    CHECK(loop.is_closed());
    CHECK_THROWS_AS(loop.run_forever(), RuntimeError);
    CHECK_THROWS_AS(loop.run_until_complete([] {}), RuntimeError);
    CHECK_THROWS_AS(loop.run_until_complete(future), RuntimeError);
    CHECK_THROWS_AS(loop.call_soon([] {}), RuntimeError);
    CHECK_THROWS_AS(loop.call_later(1s, [] {}), RuntimeError);
    CHECK_THROWS_AS(loop.call_at(TimePoint(), [] {}), RuntimeError);
    CHECK_THROWS_AS(loop.create_task([] {}), RuntimeError);
    CHECK_THROWS_AS(loop.run_in_executor(nullptr, [] {}), RuntimeError);
    CHECK_THROWS_AS(loop.add_reader(0, [] {}), RuntimeError);
    CHECK_THROWS_AS(loop.add_writer(0, [] {}), RuntimeError);
    CHECK_THROWS_AS(loop.add_signal_handler(SIGUSR1, [] {}), RuntimeError);
    CHECK_FALSE(loop.remove_reader(0));
    CHECK_FALSE(loop.remove_writer(0));
    CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
    loop.stop();
    static_cast<void>(loop.time());
    static_cast<void>(loop.stats());
  });
}

TEST_CASE("Closing a loop cancels what is left and unwinds it", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const LoopKind kind : kAllKinds) {
    INFO("workers " << kind.workers);
    const ScopedVariable migration("FIBRIO_FORCE_MIGRATION", kind.migrates ? "1" : nullptr);
    std::atomic<int> unwound{0};
    struct Counts {
      ~Counts() { ++unwound; }
      std::atomic<int>& unwound;
    };
    std::vector<Task<>> tasks;
    {
      EventLoop loop(test_config(kind.workers, false));  // virtual time stands still while tasks yield
      const Future<> pending = loop.create_future();
      for (int i = 0; i < 20; ++i) {
        tasks.push_back(loop.create_task([&, i, pending] {
          const Counts counts{unwound};
          if (i % 3 == 0) sleep(1h);
          if (i % 3 == 1) await(pending);
          for (;;) yield();
        }));
      }
      loop.run_until_complete([] { sleep(1ms); });
      for (int i = 0; i < 5; ++i)
        tasks.push_back(loop.create_task([] { TASK_CHECK(false); }));  // never started
      loop.close();
      CHECK(unwound == 20);
      CHECK(loop.stats().tasks_alive == 0);
      CHECK(loop.stats().stacks_in_use == 0);
    }
    for (const Task<>& task : tasks) CHECK(task.cancelled());
    report_failures();
  }
}

// Found by the differential tests: each handed the cancellation on to the other, and close() gave up.
TEST_CASE("Closing a loop ends a group whose child awaits the group's own task", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const LoopKind kind : kAllKinds) {
    INFO("workers " << kind.workers);
    const ScopedVariable migration("FIBRIO_FORCE_MIGRATION", kind.migrates ? "1" : nullptr);
    Task<> parent;
    Task<> child;
    {
      EventLoop loop(test_config(kind.workers, true));
      loop.set_exception_handler(
          [](EventLoop&, const ExceptionContext&) {});  // "waits for tasks that ignore"
      parent = loop.create_task(
          [&] { task_group([&](TaskGroup& group) { child = group.create_task([&] { await(parent); }); }); });
      CHECK_THROWS_AS(loop.run_until_complete(parent), DeadlockError);
      loop.close();
    }
    CHECK(parent.cancelled());
    CHECK(child.cancelled());
  }
}

TEST_CASE("Closing a loop drops callbacks and timers unrun, with what they hold", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2, 4, 8}) {
    auto token = std::make_shared<int>(1);
    {
      EventLoop loop(test_config(workers));
      Future<> done = loop.create_future();
      Handle soon = loop.call_soon([token] { TASK_CHECK(false); });
      TimerHandle later = loop.call_later(1s, [token] { TASK_CHECK(false); });
      done.add_done_callback([token](const AnyFuture&) { TASK_CHECK(false); });
      done.set_result();
      CHECK(token.use_count() == 4);
      loop.close();
      CHECK(token.use_count() == 1);
      CHECK_FALSE(soon.cancel());
      CHECK_FALSE(later.cancel());
    }
    report_failures();
  }
}

TEST_CASE("What the destructor of a dropped callback does at close is harmless", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 4}) {
    EventLoop loop(test_config(workers));
    Future<> future = loop.create_future();
    struct Hostile {
      Hostile(EventLoop& its_loop, Future<> its_future) : loop(&its_loop), future(std::move(its_future)) {}
      Hostile(Hostile&& from) noexcept
          : loop(std::exchange(from.loop, nullptr)), future(std::move(from.future)) {}
      ~Hostile() {
        if (loop == nullptr) return;
        TASK_CHECK(throws<RuntimeError>([&] { loop->call_soon([] {}); }));
        TASK_CHECK(throws<RuntimeError>([&] { auto task = loop->create_task([] {}); }));
        future.try_set_result();
        loop->stop();
      }
      EventLoop* loop;
      Future<> future;
    };
    future.add_done_callback([](const AnyFuture&) { TASK_CHECK(false); });
    loop.call_soon([hostile = Hostile(loop, future)] {});
    loop.call_later(1s, [hostile = Hostile(loop, future)] {});
    loop.close();
    CHECK(future.done());
    report_failures();
  }
}

TEST_CASE("Tasks that a cleanup spawns while the loop closes are cancelled too", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2, 4, 8}) {
    std::atomic<int> late{0};
    EventLoop loop(test_config(workers));
    {
      const auto task = loop.create_task([&] {
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          const auto child = create_task([&] {
            try {
              sleep(1h);
            } catch (const CancelledError&) {
              ++late;
              throw;
            }
          });
          yield();
          sleep(1s);
          throw;
        }
      });
    }
    loop.run_until_complete([] { sleep(1ms); });
    loop.close();
    CHECK(late == 1);
    CHECK(loop.stats().tasks_alive == 0);
  }
}

// asyncio: test_events EventLoopTestsMixin.test_internal_fds
TEST_CASE("A thousand loops come and go and leave nothing", "[event_loop]") {
  const NothingLeft nothing_left;
  const int rounds = 1000 / kSlowdown;
  for (int i = 0; i < rounds; ++i) {
    EventLoop loop(test_config(1 + static_cast<std::size_t>(i % 3)));
    if (i % 2 == 0)
      CHECK(loop.run_until_complete([i] { return await(create_task([i] { return i; })); }) == i);
  }
  const std::size_t mappings = count_mappings();
  for (int i = 0; i < rounds / 4; ++i) {
    EventLoop loop(test_config(2));
    loop.run_until_complete([] { sleep(1ms); });
  }
  CHECK(count_mappings() < mappings + 50);
}

// --- several loops -----------------------------------------------------------------------------------------

// asyncio: test_free_threading TestFreeThreading.test_all_tasks_race
TEST_CASE("Every thread may have its loop, and each sees only its own tasks", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2}) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([t, workers] {
        EventLoop loop(test_config(workers));
        const int sum = loop.run_until_complete([&] {
          Future<> release = loop.create_future();
          std::vector<Task<int>> tasks;
          for (int i = 0; i < 50; ++i) {
            tasks.push_back(create_task([&, i] {
              await(release);
              TASK_CHECK(&get_running_loop() == &loop);
              yield();
              return i;
            }));
          }
          TASK_CHECK(all_tasks().size() == 51);
          release.set_result();
          int all = 0;
          for (const Task<int>& task : tasks) all += await(task);
          return all + t;
        });
        TASK_CHECK(sum == 1225 + t);
      });
    }
    for (std::thread& thread : threads) thread.join();
    report_failures();
  }
}

TEST_CASE("Tasks of two loops await each other's futures and tasks", "[event_loop]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2, 4}) {
    EventLoop first(test_config(workers, false));
    EventLoop second(test_config(workers, false));
    Future<int> ping = first.create_future<int>();
    Future<int> pong = second.create_future<int>();
    Task<int> task = second.create_task([ping, pong]() mutable {
      const int value = await(ping);
      pong.set_result(value + 1);
      return value + 2;
    });
    std::thread thread([&] { TASK_CHECK(second.run_until_complete(task) == 3); });
    first.run_until_complete([&] {
      ping.set_result(1);
      TASK_CHECK(await(pong) == 2);
      TASK_CHECK(await(task) == 3);
    });
    thread.join();
    report_failures();
  }
}

TEST_CASE("Two loops in one thread take turns", "[event_loop]") {
  const NothingLeft nothing_left;
  EventLoop first(test_config(1));
  EventLoop second(test_config(2));
  for (int i = 0; i < 10; ++i) {
    CHECK(first.run_until_complete([&] { return await(create_task([i] { return i; })); }) == i);
    CHECK(second.run_until_complete([&] { return await(create_task([i] { return -i; })); }) == -i);
  }
}

TEST_CASE("A forked child has no running loop and may make its own", "[event_loop]") {
  // asyncio: test_unix_events TestFork.test_fork_not_share_event_loop
  // asyncio: test_unix_events TestFork.test_fork_asyncio_run
  if (kThreadSanitizer) return;  // it dies of a fork with threads
  EventLoop loop(test_config(1));
  ChildResult result;
  loop.run_until_complete([&] {
    result = run_in_child([&] {
      if (!throws<RuntimeError>([] { static_cast<void>(get_running_loop()); })) ::_exit(1);
      if (!throws<RuntimeError>([] { static_cast<void>(current_task()); })) ::_exit(2);
      if (!throws<RuntimeError>([&] { loop.run_forever(); })) ::_exit(3);
      EventLoop own(test_config(2));
      if (own.run_until_complete([] { return await(create_task([] { return 4; })); }) != 4) ::_exit(4);
    });
  });
  CHECK(result.exit_code == 0);
  CHECK(result.errors.empty());
}

// --- callbacks and handles ---------------------------------------------------------------------------------

// asyncio: test_base_events BaseEventLoopTests.test__add_callback_handle
// asyncio: test_events EventLoopTestsMixin.test_call_later
// asyncio: test_events EventLoopTestsMixin.test_call_soon
TEST_CASE("call_soon passes its arguments, decayed", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    std::atomic<int> sum{0};
    int counter = 0;
    loop.call_soon([&](int a, std::unique_ptr<int> b) { sum += a + *b; }, 1, std::make_unique<int>(2));
    loop.call_soon([&](int& given) { ++given; }, std::ref(counter));
    loop.call_later(
        1s, [&](const std::string& text) { sum += static_cast<int>(text.size()); }, "four");
    loop.call_at(
        loop.time() + 1s, [&](int a) { sum += a; }, 100);
    loop.call_soon([&, owned = std::make_unique<int>(1000)] { sum += *owned; });
    loop.run_until_complete([] { sleep(2s); });
    CHECK(sum == 1107);
    CHECK(counter == 1);
  });
}

// asyncio: test_events HandleTests.test_handle
// asyncio: test_base_events BaseEventLoopTests.test_call_soon
// asyncio: test_base_events BaseEventLoopTests.test__add_callback_cancelled_handle
TEST_CASE("A cancelled handle's callback does not run, and cancel tells whether it won", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    std::atomic<int> calls{0};
    Handle handle = loop.call_soon([&] { ++calls; });
    Handle copy = handle;
    CHECK_FALSE(handle.cancelled());
    CHECK(handle.cancel());
    CHECK(handle.cancelled());
    CHECK(copy.cancelled());
    CHECK_FALSE(copy.cancel());
    Handle runs = loop.call_soon([&] { ++calls; });
    loop.run_until_complete([&] { TASK_CHECK(eventually_in_task([&] { return calls == 1; })); });
    CHECK_FALSE(runs.cancel());
    CHECK_FALSE(runs.cancelled());
    CHECK(calls == 1);
  });
}

TEST_CASE("An empty handle cancels nothing", "[event_loop]") {
  Handle handle;
  CHECK_FALSE(handle.cancel());
  CHECK_FALSE(handle.cancelled());
  TimerHandle timer;
  CHECK_FALSE(timer.cancel());
}

// asyncio: test_events TimerTests.test_timer
TEST_CASE("A cancelled callback lets go of what it holds at once", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    const auto token = std::make_shared<int>(1);
    Handle soon = loop.call_soon([token] {});
    TimerHandle later = loop.call_later(1h, [token] {});
    CHECK(token.use_count() == 3);
    CHECK(soon.cancel());
    CHECK(token.use_count() == 2);
    CHECK(later.cancel());
    CHECK(token.use_count() == 1);
    CHECK(loop.stats().timers == 0);
    loop.run_until_complete([] { yield(); });
  });
}

// asyncio: test_events EventLoopTestsMixin.test_call_soon_threadsafe_handle_cancel_same_thread
TEST_CASE("A callback that cancels its own handle comes too late", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    Future<> done = loop.create_future();
    auto handle = std::make_shared<Handle>();
    loop.run_until_complete([&] {
      Future<> stored = loop.create_future();
      *handle = loop.call_later(1s, [handle, done]() mutable {
        TASK_CHECK(!handle->cancel());
        TASK_CHECK(!handle->cancelled());
        done.set_result();
      });
      await(done);
    });
    *handle = Handle();
  });
}

// asyncio: test_events EventLoopTestsMixin.test_call_soon_threadsafe_handle_cancel_other_thread
TEST_CASE("Of a cancel from another thread and the callback exactly one wins", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        for (int i = 0; i < 100; ++i) {
          std::atomic<int> ran{0};
          Handle handle = loop.call_soon([&] { ++ran; });
          TimerHandle timer = loop.call_later(10us, [&] { ++ran; });
          std::atomic<int> cancelled{0};
          std::thread thread([&] {
            cancelled += handle.cancel() ? 1 : 0;
            cancelled += timer.cancel() ? 1 : 0;
          });
          loop.run_until_complete([] {
            yield();
            sleep(20us);
          });
          thread.join();
          loop.run_until_complete(
              [&] { TASK_CHECK(eventually_in_task([&] { return ran + cancelled == 2; })); });
          CHECK(ran + cancelled == 2);
        }
      },
      false);
}

// asyncio: test_events EventLoopTestsMixin.test_call_soon_threadsafe
TEST_CASE("call_soon from another thread wakes a loop that sleeps", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        for (int i = 0; i < 20; ++i) {
          std::thread thread([&] {
            TASK_CHECK(eventually([&] { return loop.is_running(); }));
            loop.call_soon([&] { loop.stop(); });
          });
          loop.run_forever();
          thread.join();
        }
      },
      false);
}

TEST_CASE("Many threads feed one loop at once", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        constexpr int kThreads = 4;
        constexpr int kEach = 500;
        std::atomic<int> calls{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < kThreads; ++t) {
          threads.emplace_back([&] {
            for (int i = 0; i < kEach; ++i) {
              switch (i % 3) {
                case 0:
                  loop.call_soon([&] { ++calls; });
                  break;
                case 1:
                  loop.call_later(1us, [&] { ++calls; });
                  break;
                case 2: {
                  const auto task = loop.create_task([&] { ++calls; });
                  break;
                }
              }
            }
          });
        }
        loop.run_until_complete(
            [&] { TASK_CHECK(eventually_in_task([&] { return calls == kThreads * kEach; })); });
        for (std::thread& thread : threads) thread.join();
        CHECK(calls == kThreads * kEach);
        loop.run_until_complete(
            [] { TASK_CHECK(eventually_in_task([] { return all_tasks().size() == 1; })); });
      },
      false);
}

// asyncio: test_tasks RunCoroutineThreadsafeTests.test_run_coroutine_threadsafe
// asyncio: test_tasks RunCoroutineThreadsafeTests.test_run_coroutine_threadsafe_with_exception
// asyncio: test_tasks RunCoroutineThreadsafeTests.test_run_coroutine_threadsafe_task_cancelled
// asyncio: test_tasks RunCoroutineThreadsafeTests.test_run_coroutine_threadsafe_and_cancel
// asyncio: test_free_threading TestFreeThreading.test_run_coroutine_threadsafe
// asyncio: test_free_threading TestFreeThreading.test_run_coroutine_threadsafe_exception
TEST_CASE("A thread creates a task on a running loop and blocks for its result", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        std::vector<std::thread> threads;
        std::atomic<int> left{5};
        for (int t = 0; t < 5; ++t) {
          threads.emplace_back([&, t] {
            TASK_CHECK(eventually([&] { return loop.is_running(); }));
            TASK_CHECK(await(loop.create_task([t] {
                         sleep(1ms);
                         return t;
                       })) == t);
            TASK_CHECK(throws<std::runtime_error>(
                [&] { await(loop.create_task([] { throw std::runtime_error("x"); })); }));
            TASK_CHECK(throws<CancelledError>([&] {
              await(loop.create_task([] {
                current_task().cancel();
                sleep(1h);
              }));
            }));
            Task<> endless = loop.create_task([] { sleep(1h); });
            endless.cancel();
            endless.wait();
            TASK_CHECK(endless.cancelled());
            if (--left == 0) loop.stop();
          });
        }
        loop.run_forever();
        for (std::thread& thread : threads) thread.join();
        loop.run_until_complete(
            [] { TASK_CHECK(eventually_in_task([] { return all_tasks().size() == 1; })); });
      },
      false);
}

// asyncio: test_tasks RunCoroutineThreadsafeTests.test_run_coroutine_threadsafe_with_timeout
TEST_CASE("A thread's wait with a timeout cancels the task on the loop", "[event_loop]") {
  on_loops(
      [](EventLoop& loop) {
        Task<> inner;
        std::thread thread([&] {
          TASK_CHECK(eventually([&] { return loop.is_running(); }));
          inner = loop.create_task([] { sleep(1h); });
          const Task<> waits = loop.create_task([&] { wait_for(inner, 1ms); });
          TASK_CHECK(throws<TimeoutError>([&] { await(waits); }));
          TASK_CHECK(inner.cancelled());
          loop.stop();
        });
        loop.run_forever();
        thread.join();
        loop.run_until_complete([] { TASK_CHECK(all_tasks().size() == 1); });
      },
      false);
}

// --- reports -----------------------------------------------------------------------------------------------

// asyncio: test_base_events BaseEventLoopTests.test_default_exc_handler_callback
// asyncio: test_base_events BaseEventLoopTests.test_set_exc_handler_custom
// asyncio: test_events HandleTests.test_callback_with_exception
TEST_CASE("A failing callback is reported with its exception, and the loop goes on", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    const std::exception_ptr error = std::make_exception_ptr(std::runtime_error("bad callback"));
    std::atomic<int> calls{0};
    loop.call_soon([&] { std::rethrow_exception(error); });
    loop.call_later(1ms, [&] { std::rethrow_exception(error); });
    loop.call_later(2ms, [&] { ++calls; });
    loop.run_until_complete([&] {
      sleep(1s);
      TASK_CHECK(eventually_in_task([&] { return reports.size() == 2 && calls == 1; }));
    });
    REQUIRE(reports.size() == 2);
    CHECK(reports.exceptions()[0] == error);
    CHECK(reports.exceptions()[1] == error);
    CHECK_FALSE(reports.messages()[0].empty());
  });
}

// asyncio: test_base_events BaseEventLoopTests.test_set_exc_handler_broken
// asyncio: test_base_events BaseEventLoopTests.test_default_exc_handler_broken
TEST_CASE("A failing exception handler harms nobody", "[event_loop]") {
  const ChildResult result = run_in_child([] {
    EventLoop loop(test_config(1));
    loop.set_exception_handler(
        [](EventLoop&, const ExceptionContext&) { throw std::runtime_error("the handler"); });
    loop.call_soon([] { throw std::logic_error("the callback"); });
    loop.run_until_complete([] { sleep(1s); });
  });
  CHECK(result.exit_code == 0);
  CHECK(result.errors.find("the handler") != std::string::npos);
  CHECK(result.errors.find("the callback") != std::string::npos);
}

TEST_CASE("The default exception handler writes message, task and error to stderr", "[event_loop]") {
  const ChildResult result = run_in_child([] {
    EventLoop loop(test_config(1));
    const Task<> task =
        loop.create_task(TaskOptions{.name = "poor"}, [] { throw std::runtime_error("why not"); });
    loop.run_until_complete([&] { task.wait(); });
    loop.call_exception_handler({"something odd", task.exception(), task});
    loop.call_exception_handler({"something else", std::make_exception_ptr(5), AnyFuture()});
    loop.call_exception_handler(
        {"asked to stop", std::make_exception_ptr(CancelledError("enough")), AnyFuture()});
  });
  CHECK(result.exit_code == 0);
  CHECK(result.errors.find("something odd (task 'poor'): why not") != std::string::npos);
  CHECK(result.errors.find("something else") != std::string::npos);
  CHECK(result.errors.find("asked to stop: enough") != std::string::npos);
}

// asyncio: test_base_events BaseEventLoopTests.test_run_until_complete_baseexception
// asyncio: test_base_events BaseEventLoopTests.test_run_forever_pre_stopped
// asyncio: test_base_events BaseEventLoopTests.test_default_exc_handler_callback
// asyncio: test_base_events BaseEventLoopTests.test_run_until_complete_loop_orphan_future_close_loop
// asyncio: test_base_events BaseEventLoopTests.test_run_forever_keyboard_interrupt
TEST_CASE("A KeyboardInterrupt that leaves a task or a callback ends the run, and the loop runs again",
          "[event_loop]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    const auto interrupted = [&](auto&& main) {
      try {
        loop.run_until_complete(main);
      } catch (const KeyboardInterrupt&) {
        return true;
      }
      return false;
    };
    const Future<> forever = loop.create_future();
    CHECK(interrupted([] { throw KeyboardInterrupt(); }));
    Task<> child;
    CHECK(interrupted([&] {
      child = create_task([] { throw KeyboardInterrupt(); });
      await(forever);
    }));
    CHECK(child.done());
    CHECK_THROWS_AS(child.result(), KeyboardInterrupt);
    CHECK(interrupted([&] {
      loop.call_soon([] { throw KeyboardInterrupt(); });
      await(forever);
    }));
    CHECK(interrupted([&] {
      Future<> future = loop.create_future();
      future.add_done_callback([](const AnyFuture&) { throw KeyboardInterrupt(); });
      future.set_result();
      await(forever);
    }));
    // The loop goes on where it was.
    loop.run_until_complete([&] {
      TASK_CHECK(all_tasks().size() == 4);
      Future<>(forever).set_result();
      while (all_tasks().size() > 1) yield();
    });
    CHECK(reports.size() == 0);
  });
}

TEST_CASE("run_until_complete of a future that is an lvalue gives its value in place", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    Task<std::unique_ptr<int>> task = loop.create_task([] { return std::make_unique<int>(7); });
    const std::unique_ptr<int>& value = loop.run_until_complete(task);
    REQUIRE(value != nullptr);
    CHECK(*value == 7);
    CHECK(&value == &task.result());
  });
}

namespace {
template <class H>
concept CanHandle = requires(EventLoop& loop, H handler) {
  loop.set_exception_handler(handler);
};
}  // namespace

// asyncio: test_base_events BaseEventLoopTests.test_set_exc_handler_invalid
TEST_CASE("What is no exception handler is refused by the compiler", "[event_loop]") {
  STATIC_REQUIRE(CanHandle<void (*)(EventLoop&, const ExceptionContext&)>);
  STATIC_REQUIRE_FALSE(CanHandle<const char*>);
  STATIC_REQUIRE_FALSE(CanHandle<void (*)(int)>);
}

TEST_CASE("The exception handler can be asked for, replaced and taken away", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    CHECK(loop.get_exception_handler() == nullptr);
    int calls = 0;
    loop.set_exception_handler([&](EventLoop& reporting, const ExceptionContext& context) {
      CHECK(&reporting == &loop);
      CHECK(context.message == "by hand");
      ++calls;
    });
    CHECK(loop.get_exception_handler() != nullptr);
    loop.call_exception_handler({"by hand", nullptr, AnyFuture()});
    CHECK(calls == 1);
    loop.set_exception_handler(nullptr);
    CHECK(loop.get_exception_handler() == nullptr);
  });
}

TEST_CASE("An exception handler may use the loop", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    Future<> reported = loop.create_future();
    loop.set_exception_handler([reported](EventLoop& reporting, const ExceptionContext&) {
      reporting.set_exception_handler(nullptr);  // also itself
      reporting.call_soon([reported]() mutable { reported.try_set_result(); });
    });
    loop.call_soon([] { throw std::runtime_error("report me"); });
    loop.run_until_complete([&] { await(reported); });
  });
}

// asyncio: test_base_events BaseEventLoopTests.test_set_debug
TEST_CASE("Debug mode is read from the configuration and can be switched", "[event_loop]") {
  Config config = test_config(1);
  config.debug = true;
  EventLoop loop(config);
  CHECK(loop.get_debug());
  loop.set_debug(false);
  CHECK_FALSE(loop.get_debug());
  CHECK_FALSE(EventLoop(test_config(1)).get_debug());
}

TEST_CASE("A loop refuses a configuration out of range", "[event_loop]") {
  const NothingLeft nothing_left;
  Config config = test_config(1025);
  CHECK_THROWS_AS(EventLoop(config), ConfigError);
  config = test_config(1);
  config.stack_size = 100;
  CHECK_THROWS_AS(EventLoop(config), ConfigError);
  CHECK_THROWS_AS(Runner(config), ConfigError);
}

// --- stats -------------------------------------------------------------------------------------------------

TEST_CASE("LoopStats counts tasks, timers, stacks and steps", "[event_loop]") {
  on_loops([](EventLoop& loop) {
    CHECK(loop.workers() == loop.config().workers);
    LoopStats stats = loop.stats();
    CHECK(stats.workers.size() == loop.workers());
    CHECK(stats.tasks_spawned == 0);
    Future<> release = loop.create_future();
    std::vector<Task<>> tasks;
    for (int i = 0; i < 10; ++i) tasks.push_back(loop.create_task([release] { await(release); }));
    TimerHandle timer = loop.call_later(1h, [] {});
    loop.run_until_complete([&] {
      sleep(1s);
      const LoopStats now = loop.stats();
      TASK_CHECK(now.tasks_alive == 11);
      TASK_CHECK(now.tasks_spawned == 11);
      TASK_CHECK(now.timers == 1);
      TASK_CHECK(now.stacks_in_use == 11);
      TASK_CHECK(now.stack_guard == "madvise" || now.stack_guard == "mprotect");
      tasks[0].cancel();
      release.try_set_result();
      for (const Task<>& task : tasks) task.wait();
    });
    timer.cancel();
    stats = loop.stats();
    CHECK(stats.tasks_finished == 11);
    CHECK(stats.tasks_cancelled >= 1);
    std::uint64_t steps = 0;
    for (const WorkerStats& worker : stats.workers) steps += worker.tasks_run;
    CHECK(steps >= 22);
  });
}

TEST_CASE("LoopStats may be read while the loop runs and while it closes", "[event_loop]") {
  for (const std::size_t workers : {1, 4}) {
    EventLoop loop(test_config(workers, false));
    std::atomic<bool> stop{false};
    std::thread reader([&] {
      while (!stop) static_cast<void>(loop.stats().tasks_alive);
    });
    loop.run_until_complete([] {
      std::vector<Task<>> tasks;
      for (int i = 0; i < 500; ++i) tasks.push_back(create_task([] { yield(); }));
      for (const Task<>& task : tasks) await(task);
    });
    stop = true;
    reader.join();
    loop.close();
    CHECK(loop.stats().tasks_finished == 501);
  }
}
