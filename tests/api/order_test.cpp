// The order of everything with one worker, and on a strand: asyncio's, pass by pass.
#include <string>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Runs `main` with virtual time, on one worker and on a strand of several, and returns what it logged.
template <class Main>
std::string order_of(Main main) {
  std::string text;
  in_order([&](EventLoop& loop) {
    Log log;
    main(loop, log);
    TASK_CHECK(text.empty() || text == log.text());
    text = log.text();
  });
  return text;
}

// Counts passes by a chain of callbacks that goes on until the future is done.
struct PassCounter {
  explicit PassCounter(EventLoop& its_loop) : loop(its_loop) { next(); }
  void next() {
    handle = loop.call_soon([this] {
      ++passes;
      next();
    });
  }
  ~PassCounter() { handle.cancel(); }
  EventLoop& loop;
  Handle handle;
  int passes = 0;
};

}  // namespace

// asyncio: test_events EventLoopTestsMixin.test_call_soon
// asyncio: test_events EventLoopTestsMixin.test_call_soon_threadsafe_same_thread
TEST_CASE("C50: call_soon is first in, first out, and what a callback schedules runs in the next pass",
          "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          loop.call_soon([&] {
            log.add("a");
            loop.call_soon([&] { log.add("a2"); });
          });
          loop.call_soon([&] {
            log.add("b");
            loop.call_soon([&] { log.add("b2"); });
          });
          loop.call_soon([&] { log.add("c"); });
          yield();
          log.add("|");
          yield();
        }) == "a b c | a2 b2");
}

TEST_CASE("C50: call_later of nothing runs after everything that is ready", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          loop.call_later(0s, [&] { log.add("later"); });
          loop.call_soon([&] { log.add("soon"); });
          const auto task = create_task([&] { log.add("task"); });
          yield();
          log.add("yielded");
          yield();
          await(task);
        }) == "soon task yielded later");
}

// Found by the differential tests: the timer ran a pass too late.
TEST_CASE("C50: a call_later of nothing runs in the next pass also after a yield with nothing else ready",
          "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          sleep(2s);
          yield();
          loop.call_later(0s, [&] { log.add("timer"); });
          yield();
          log.add("1");
          yield();
          log.add("2");
        }) == "1 timer 2");
}

// asyncio: test_base_events BaseEventLoopTests.test_call_later_negative_delays
TEST_CASE("Timers in the past run in the order of their deadlines", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          sleep(10s);
          loop.call_later(-1s, [&] { log.add("-1"); });
          loop.call_later(-2s, [&] { log.add("-2"); });
          loop.call_later(0s, [&] { log.add("0"); });
          loop.call_at(TimePoint(Duration::min()), [&] { log.add("min"); });
          yield();
          yield();
        }) == "min -2 -1 0");
}

TEST_CASE("C50: timers with equal deadlines run in the order of the calls", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          const TimePoint when = loop.time() + 1s;
          for (int i = 0; i < 12; ++i) loop.call_at(when, [&log, i] { log.add(std::to_string(i)); });
          loop.call_at(when - 1ns, [&] { log.add("before"); });
          sleep(2s);
        }) == "before 0 1 2 3 4 5 6 7 8 9 10 11");
}

// asyncio: test_events TimerTests.test_timer_comparison
TEST_CASE("Timers that are due together run in the order of their deadlines, sleeping tasks among them",
          "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          std::vector<Task<>> tasks;
          for (const int ms : {5, 1, 3}) {
            tasks.push_back(create_task([&log, ms] {
              sleep(std::chrono::milliseconds(ms));
              log.add("task" + std::to_string(ms));
            }));
            loop.call_later(std::chrono::milliseconds(ms),
                            [&log, ms] { log.add("call" + std::to_string(ms)); });
          }
          for (const Task<>& task : tasks) await(task);
        }) == "call1 task1 call3 task3 call5 task5");
}

// asyncio: test_base_events BaseEventLoopTests.test__run_once_schedule_handle
TEST_CASE("What a timer's callback schedules runs in the following pass", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          loop.call_later(1s, [&] {
            log.add("timer");
            loop.call_soon([&] { log.add("scheduled"); });
          });
          loop.call_later(1s, [&] { log.add("second"); });
          sleep(2s);
        }) == "timer second scheduled");
}

TEST_CASE("Tasks start in the order of their creation, after what is ready", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          loop.call_soon([&] { log.add("ready"); });
          std::vector<Task<>> tasks;
          for (int i = 0; i < 5; ++i) {
            tasks.push_back(create_task([&log, i] { log.add(std::to_string(i)); }));
          }
          log.add("creator");
          for (const Task<>& task : tasks) await(task);
        }) == "creator ready 0 1 2 3 4");
}

TEST_CASE("With one worker what spawn starts stands in the same line", "[order]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Log log;
      const Task<> first = spawn([&] { log.add("first"); });
      const Task<> second = create_task([&] { log.add("second"); });
      const Task<> third = spawn([&] { log.add("third"); });
      await(third);
      TASK_CHECK(log.text() == "first second third");
    });
  });
}

TEST_CASE("Four tasks that yield interleave exactly round-robin", "[order]") {
  CHECK(order_of([](EventLoop&, Log& log) {
          std::vector<Task<>> tasks;
          for (int t = 0; t < 4; ++t) {
            tasks.push_back(create_task([&log, t] {
              for (int i = 0; i < 100; ++i) {
                log.add(std::to_string(4 * i + t));
                yield();
              }
            }));
          }
          for (const Task<>& task : tasks) await(task);
        }) == [] {
    std::string text = "0";
    for (int i = 1; i < 400; ++i) text += " " + std::to_string(i);
    return text;
  }());
}

TEST_CASE("C52: a waiter resumes one pass after its future, two after the future of its task", "[order]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      const auto passes_until = [&](auto make_waiter) {
        Future<> source = loop.create_future();
        int seen = 0;
        PassCounter* counter = nullptr;
        Task<> waiter = make_waiter(source, [&] { seen = counter->passes; });
        for (int i = 0; i < 5; ++i) yield();
        PassCounter passes(loop);  // its first call is in the next pass
        counter = &passes;
        // In a callback at the end of this pass: what it makes ready comes behind the counter.
        source.set_result();
        waiter.wait();
        return seen;
      };
      TASK_CHECK(passes_until([](Future<> source, auto note) {
                   return create_task([=] {
                     await(source);
                     note();
                   });
                 }) == 1);
      TASK_CHECK(passes_until([](Future<> source, auto note) {
                   return create_task([=] {
                     await(create_task([source] { await(source); }));
                     note();
                   });
                 }) == 2);
      TASK_CHECK(passes_until([](Future<> source, auto note) {
                   return create_task([=] {
                     await(create_task([source] { await(create_task([source] { await(source); })); }));
                     note();
                   });
                 }) == 3);
    });
  });
}

// Seen as: the task resumed one pass late, behind a timer that should have waited for it.
TEST_CASE("A task that cancelled itself and was the last of its pass resumes in the next one", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          loop.call_soon([&] { loop.call_later(0s, [&] { log.add("timer"); }); });
          current_task().cancel();
          try {
            sleep(1s);
          } catch (const CancelledError&) {
            loop.call_soon([&] { log.add("soon"); });
          }
          sleep(1s);
        }) == "soon timer");
}

TEST_CASE("A cancelled task resumes one pass after the cancel, with or without a future", "[order]") {
  for (int way = 0; way < 3; ++way) {
    CHECK(order_of([way](EventLoop& loop, Log& log) {
            const auto task = create_task([&, way] {
              try {
                if (way == 0) sleep(10s);
                if (way == 1) await(loop.create_future());
                if (way == 2) await(create_task([] { sleep(10s); }));
              } catch (const CancelledError&) {
                log.add("cancelled");
              }
            });
            yield();
            yield();
            loop.call_soon([&] { log.add("1"); });
            task.cancel();
            loop.call_soon([&] {
              log.add("1b");
              loop.call_soon([&] { log.add("2"); });
            });
            await(task);
            yield();
          }) == (way == 2 ? "1 1b cancelled 2" : "1 cancelled 1b 2"));
  }
}

TEST_CASE("A timer that fires a sleeping task resumes it one pass later", "[order]") {
  CHECK(order_of([](EventLoop& loop, Log& log) {
          const auto task = create_task([&] {
            sleep(1s);
            log.add("slept");
          });
          yield();
          loop.call_later(1s, [&] {
            log.add("timer");
            loop.call_soon([&] { log.add("next"); });
          });
          await(task);
          yield();
        }) == "timer slept next");
}

// asyncio: test_base_events BaseEventLoopTests.test_run_once
TEST_CASE("stop: what is ready then still runs, what that schedules waits for the next run", "[order]") {
  on_one_worker([](EventLoop& loop) {
    Log log;
    loop.call_soon([&] {
      log.add("a");
      loop.stop();
      loop.call_soon([&] { log.add("later"); });
    });
    loop.call_soon([&] {
      log.add("b");
      loop.call_soon([&] { log.add("later too"); });
    });
    loop.run_forever();
    CHECK(log.text() == "a b");
    loop.call_soon([&loop] { loop.stop(); });
    loop.run_forever();
    CHECK(log.text() == "a b later later too");
  });
}

TEST_CASE("run_until_complete stops one pass after the end of its task", "[order]") {
  on_one_worker([](EventLoop& loop) {
    Log log;
    loop.run_until_complete([&] {
      loop.call_soon([&] {
        log.add("1");
        loop.call_soon([&] {
          log.add("2");
          loop.call_soon([&] { log.add("3"); });
        });
      });
    });
    // The task ends in pass 0; its callback, which stops the loop, and "1" run in pass 1.
    CHECK(log.text() == "1");
    loop.run_until_complete([] {});
    CHECK(log.text() == "1 2 3");
  });
}

// asyncio: test_base_events BaseEventLoopTests.test_run_forever_pre_stopped
// asyncio: test_base_events BaseEventLoopTests.test_custom_run_forever_integration
TEST_CASE("stop before the run: one pass without waiting", "[order]") {
  on_one_worker(
      [](EventLoop& loop) {
        Log log;
        loop.stop();
        loop.run_forever();
        loop.call_soon([&] {
          log.add("ready");
          loop.call_soon([&] { log.add("next"); });
        });
        TimerHandle timer = loop.call_later(1h, [&] { log.add("timer"); });
        loop.stop();
        loop.run_forever();
        CHECK(log.text() == "ready");
        loop.stop();
        loop.run_forever();
        CHECK(log.text() == "ready next");
        timer.cancel();
      },
      false);
}

TEST_CASE("A callback queued by another thread keeps that thread's order", "[order]") {
  on_loops([](EventLoop& loop) {
    Log log;
    std::thread([&] {
      for (int i = 0; i < 5; ++i) loop.call_soon([&log, i] { log.add(std::to_string(i)); });
    }).join();
    loop.run_until_complete([&] { TASK_CHECK(eventually_in_task([&] { return log.size() == 5; })); });
    if (loop.workers() == 1) CHECK(log.text() == "0 1 2 3 4");
  });
}

TEST_CASE("With one worker two runs of one program are the same, event for event", "[order]") {
  const auto program = [](EventLoop& loop, Log& log) {
    std::vector<Task<>> tasks;
    Future<int> shared = loop.create_future<int>();
    for (int t = 0; t < 10; ++t) {
      tasks.push_back(create_task([&, t] {
        for (int i = 0; i < 10; ++i) {
          log.add(std::to_string(t) + "." + std::to_string(i));
          if ((t + i) % 3 == 0) yield();
          if ((t + i) % 3 == 1) sleep(std::chrono::microseconds(t * i));
          if ((t + i) % 7 == 2 && !shared.done()) shared.try_set_result(t);
          if ((t + i) % 7 == 5) static_cast<void>(shared.done() ? 0 : await(shared));
        }
      }));
    }
    for (const Task<>& task : tasks) await(task);
  };
  CHECK(order_of(program) == order_of(program));
}
