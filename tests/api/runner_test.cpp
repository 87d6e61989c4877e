// run and Runner: results, shutdown, SIGINT.
#include <signal.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Calls `body(config)` for every number of workers, with nothing left behind.
template <class Body>
void with_configs(Body body, bool virtual_time = true) {
  for (const LoopKind kind : kAllKinds) {
    INFO("workers " << kind.workers << (kind.migrates ? ", forced migration" : ""));
    const NothingLeft nothing_left;
    const ScopedVariable migration("FIBRIO_FORCE_MIGRATION", kind.migrates ? "1" : nullptr);
    body(test_config(kind.workers, virtual_time));
    report_failures();
  }
}

// The body runs in a forked child where SIGINT has its default action; returns 0 if it returns.
template <class Body>
void in_child(Body body, int expected_code, int expected_signal = 0) {
  for (const std::size_t workers : {1, 2, 4}) {
    INFO("workers " << workers);
    const ChildResult result = run_in_child([&] {
      ::signal(SIGINT, SIG_DFL);
      ::_exit(body(test_config(workers, false)));
    });
    CHECK(result.exit_code == expected_code);
    CHECK(result.signal == expected_signal);
    INFO(result.errors);
    CHECK(result.errors.empty());
  }
}

constexpr int kInterrupted = 10;  // KeyboardInterrupt came out of run
constexpr int kCancelled = 11;
constexpr int kOtherError = 12;
constexpr int kWrong = 13;

template <class F>
int outcome_of(F&& call) {
  try {
    return call();
  } catch (const KeyboardInterrupt&) {
    return kInterrupted;
  } catch (const CancelledError&) {
    return kCancelled;
  } catch (...) {
    return kOtherError;
  }
}

}  // namespace

// --- results -----------------------------------------------------------------------------------------------

// asyncio: test_runners RunTests.test_asyncio_run_return
// asyncio: test_runners RunTests.test_asyncio_run_raises
TEST_CASE("run returns what main returns and throws what it throws", "[runner]") {
  with_configs([](const Config& config) {
    CHECK(fibrio::run(
              [] {
                sleep(1s);
                return 42;
              },
              config) == 42);
    fibrio::run([] {}, config);
    CHECK(*fibrio::run([] { return std::make_unique<int>(3); }, config) == 3);
    CHECK_THROWS_WITH(fibrio::run([] { throw std::runtime_error("spam"); }, config), "spam");
    CHECK_THROWS_AS(fibrio::run([]() -> int { throw CancelledError("self"); }, config), CancelledError);
  });
}

// asyncio: test_runners RunTests.test_asyncio_run_from_running_loop
// asyncio: test_runners RunnerTests.test_recursive_run
TEST_CASE("run inside a loop is refused", "[runner]") {
  with_configs([](const Config& config) {
    Runner runner(config);
    runner.run([&] {
      TASK_CHECK(throws<RuntimeError>([&] { fibrio::run([] {}, config); }));
      TASK_CHECK(throws<RuntimeError>([&] { runner.run([] {}); }));
      TASK_CHECK(all_tasks().size() == 1);
    });
  });
}

// asyncio: test_runners RunTests.test_asyncio_run_debug
// asyncio: test_runners RunnerTests.test_debug
// asyncio: test_runners RunnerTests.test_non_debug
TEST_CASE("run passes the configuration on to its loop", "[runner]") {
  {
    const ScopedVariable switched_on("FIBRIO_DEBUG", "1");
    const ScopedVariable workers("FIBRIO_WORKERS", "1");
    CHECK(fibrio::run([] { return get_running_loop().get_debug(); }));
    CHECK_FALSE(fibrio::run([] { return get_running_loop().get_debug(); }, test_config(1)));
  }
  with_configs([](Config config) {
    for (const bool debug : {false, true}) {
      config.debug = debug;
      fibrio::run(
          [&] {
            TASK_CHECK(get_running_loop().get_debug() == debug);
            TASK_CHECK(get_running_loop().workers() == config.workers);
          },
          config);
    }
  });
}

// asyncio: test_runners RunnerTests.test_run
// asyncio: test_runners RunnerTests.test_explicit_close
// asyncio: test_runners RunnerTests.test_double_close
// asyncio: test_runners RunnerTests.test_second_with_block_raises
TEST_CASE("A runner runs several mains on one loop until it is closed", "[runner]") {
  with_configs([](const Config& config) {
    Runner runner(config);
    EventLoop& loop = runner.get_loop();
    CHECK(runner.run([] { return 1; }) == 1);
    CHECK(runner.run([&] { return &get_running_loop() == &loop; }));
    CHECK_THROWS_AS(runner.run([] { throw std::runtime_error("does not close it"); }), std::runtime_error);
    CHECK(runner.run([] { return std::string("again"); }) == "again");
    CHECK(&runner.get_loop() == &loop);
    runner.close();
    runner.close();
    CHECK_THROWS_AS(runner.get_loop(), RuntimeError);
    CHECK_THROWS_AS(runner.run([] {}), RuntimeError);
  });
}

// asyncio: test_runners RunnerTests.test_run_future
// asyncio: test_runners RunnerTests.test_run_awaitable
TEST_CASE("A runner runs a main that does nothing but await a future, or any awaitable", "[runner]") {
  struct Nine {
    bool await_ready() { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) { return handle; }
    int await_resume() { return 9; }
  };
  with_configs([](const Config& config) {
    Runner runner(config);
    Future<int> future = runner.get_loop().create_future<int>();
    runner.get_loop().call_soon([future]() mutable { future.set_result(42); });
    CHECK(runner.run([&] { return await(future); }) == 42);
    CHECK(runner.run([] { return await(Nine()); }) == 9);
  });
}

TEST_CASE("A runner that was never used closes", "[runner]") {
  with_configs([](const Config& config) {
    { const Runner unused(config); }
    Runner closed(config);
    closed.close();
    CHECK_THROWS_AS(closed.get_loop(), RuntimeError);
  });
}

TEST_CASE("A task left by one run of a runner goes on in the next", "[runner]") {
  with_configs([](const Config& config) {
    Runner runner(config);
    Task<int> task;
    runner.run([&] {
      task = create_task([] {
        sleep(1s);
        return 5;
      });
      yield();
    });
    CHECK_FALSE(task.done());
    CHECK(runner.run([&] { return await(task); }) == 5);
  });
}

// --- shutdown ----------------------------------------------------------------------------------------------

// asyncio: test_runners RunTests.test_asyncio_run_cancels_hanging_tasks
TEST_CASE("run cancels what is left and waits for its cleanup", "[runner]") {
  with_configs([](const Config& config) {
    std::atomic<int> cleaned{0};
    Task<> left;
    CHECK(fibrio::run(
              [&] {
                left = create_task([&] {
                  try {
                    await(get_running_loop().create_future());
                  } catch (const CancelledError&) {
                    for (int i = 0; i < 3; ++i) sleep(1s);  // cleanup may wait
                    ++cleaned;
                    throw;
                  }
                });
                const auto never_started = create_task([] { sleep(1h); });
                yield();
                return 7;
              },
              config) == 7);
    CHECK(cleaned == 1);
    CHECK(left.cancelled());
    CHECK(left.cancelling() == 1);  // C56: cancelled once
  });
}

TEST_CASE("run waits for leftovers that swallow the cancellation and end", "[runner]") {
  with_configs([](const Config& config) {
    Task<int> left;
    fibrio::run(
        [&] {
          left = create_task([] {
            try {
              sleep(1h);
            } catch (const CancelledError&) {
            }
            sleep(1s);
            return 3;
          });
          yield();
          sleep(1ms);
        },
        config);
    CHECK_FALSE(left.cancelled());
    CHECK(left.result() == 3);
  });
}

// asyncio: test_runners RunTests.test_asyncio_run_reports_hanging_tasks_errors
TEST_CASE("Errors of tasks while run shuts down are reported, the result of main stands", "[runner]") {
  with_configs([](const Config& config) {
    Runner runner(config);
    const Reports reports(runner.get_loop());
    CHECK(runner.run([] {
      const auto left = create_task([] {
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          throw std::runtime_error("the cleanup failed");
        }
      });
      yield();
      sleep(1ms);
      return 1;
    }) == 1);
    CHECK(reports.size() == 0);
    runner.close();
    REQUIRE(reports.size() == 1);
    CHECK_THROWS_WITH(std::rethrow_exception(reports.exceptions()[0]), "the cleanup failed");
  });
}

TEST_CASE("C56: tasks that a cleanup spawns are cancelled in their turn", "[runner]") {
  with_configs([](const Config& config) {
    Log log;
    fibrio::run(
        [&] {
          const auto left = create_task([&] {
            try {
              sleep(1h);
            } catch (const CancelledError&) {
              const auto late = create_task([&] {
                log.add("late ran");
                try {
                  sleep(1h);
                } catch (const CancelledError&) {
                  log.add("late cancelled");
                  throw;
                }
              });
              yield();
              sleep(1ms);
              throw;
            }
          });
          yield();
          sleep(1ms);
        },
        config);
    CHECK(log.text() == "late ran late cancelled");
  });
}

TEST_CASE("run shuts down tasks first, then the executor, then the loop", "[runner]") {
  with_configs([](const Config& config) {
    Log log;
    fibrio::run(
        [&] {
          to_thread([] {});
          const auto left = create_task([&] {
            try {
              sleep(1h);
            } catch (const CancelledError&) {
              // The executor still works.
              TASK_CHECK(to_thread([] { return 5; }) == 5);
              log.add("cleaned");
              throw;
            }
          });
          const Future<> offloaded =
              get_running_loop().run_in_executor(nullptr, [&] { log.add("offloaded"); });
          static_cast<void>(offloaded);
          yield();
          sleep(1ms);
        },
        config);
    CHECK(log.size() == 2);  // both before run returned
  });
}

TEST_CASE("run waits for offloaded calls that still run", "[runner]") {
  with_configs([](const Config& config) {
    std::atomic<bool> release{false};
    std::atomic<bool> ended{false};
    std::thread releaser;
    fibrio::run(
        [&] {
          std::atomic<bool> started{false};
          const Future<> offloaded = get_running_loop().run_in_executor(nullptr, [&] {
            started = true;
            while (!release) std::this_thread::yield();
            ended = true;
          });
          TASK_CHECK(eventually_in_task([&] { return started.load(); }));
          releaser = std::thread([&] { release = true; });
        },
        config);
    CHECK(ended);
    releaser.join();
  });
}

TEST_CASE("Main's error comes out of run although leftovers fail too", "[runner]") {
  with_configs([](const Config& config) {
    Runner runner(config);
    const Reports reports(runner.get_loop());
    CHECK_THROWS_WITH(runner.run([] {
      const auto left = create_task([] {
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          throw std::logic_error("second");
        }
      });
      yield();
      sleep(1ms);
      throw std::runtime_error("first");
    }),
                      "first");
    runner.close();
    CHECK(reports.size() == 1);
  });
}

// --- SIGINT ------------------------------------------------------------------------------------------------

// asyncio: test_runners RunnerTests.test_interrupt_wait
TEST_CASE("C55: SIGINT while main waits cancels it and run throws KeyboardInterrupt", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          fibrio::run(
              [] {
                get_running_loop().call_soon([] { ::kill(::getpid(), SIGINT); });
                sleep(1h);
              },
              config);
          return 0;
        });
      },
      kInterrupted);
}

// asyncio: test_runners RunnerTests.test_interrupt_call_soon
TEST_CASE("C55: SIGINT while the loop is busy cancels main", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          fibrio::run(
              [] {
                ::kill(::getpid(), SIGINT);
                for (;;) yield();
              },
              config);
          return 0;
        });
      },
      kInterrupted);
}

TEST_CASE("C55: main that absorbs the interrupt returns its value", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          return fibrio::run(
              [] {
                ::kill(::getpid(), SIGINT);
                try {
                  sleep(1h);
                } catch (const CancelledError&) {
                }
                return 5;
              },
              config);
        });
      },
      5);
}

// asyncio: test_runners RunnerTests.test_interrupt_cancelled_task
TEST_CASE("C55: an interrupt beside an independent cancel is CancelledError", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          fibrio::run(
              [] {
                current_task().cancel();
                {
                  const CancelMask mask;
                  ::kill(::getpid(), SIGINT);
                  while (current_task().cancelling() < 2) yield();
                }
                sleep(1h);
              },
              config);
          return 0;
        });
      },
      kCancelled);
}

TEST_CASE("C55: main that fails on its interrupt fails with that", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          fibrio::run(
              [] {
                ::kill(::getpid(), SIGINT);
                try {
                  sleep(1h);
                } catch (const CancelledError&) {
                  throw std::runtime_error("instead");
                }
              },
              config);
          return 0;
        });
      },
      kOtherError);
}

TEST_CASE("C55: a second SIGINT ends the process at once", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          fibrio::run(
              [] {
                ::kill(::getpid(), SIGINT);
                try {
                  sleep(1h);
                } catch (const CancelledError&) {
                }
                ::kill(::getpid(), SIGINT);
                for (;;) {  // hangs without ever waiting
                }
              },
              config);
          return 0;
        });
      },
      -1, SIGINT);
}

TEST_CASE("C55: SIGINT ends a program whose leftovers clean up", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        bool cleaned = false;
        const int outcome = outcome_of([&] {
          fibrio::run(
              [&] {
                Task<> child = create_task([&] {
                  try {
                    sleep(1h);
                  } catch (const CancelledError&) {
                    sleep(1ms);
                    cleaned = true;
                    throw;
                  }
                });
                yield();
                ::kill(::getpid(), SIGINT);
                await(child);
              },
              config);
          return 0;
        });
        return cleaned ? outcome : kWrong;
      },
      kInterrupted);
}

TEST_CASE("SIGINT has its default action again after run", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        fibrio::run([] { yield(); }, config);
        struct sigaction action {};
        ::sigaction(SIGINT, nullptr, &action);
        if (action.sa_handler != SIG_DFL) return kWrong;
        // And a second run can be interrupted as the first.
        return outcome_of([&] {
          fibrio::run(
              [] {
                ::kill(::getpid(), SIGINT);
                sleep(1h);
              },
              config);
          return 0;
        });
      },
      kInterrupted);
}

TEST_CASE("run leaves a SIGINT handler of the program alone", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        static volatile sig_atomic_t seen = 0;
        ::signal(SIGINT, [](int) { seen = 1; });
        return outcome_of([&] {
          return fibrio::run(
              [] {
                ::kill(::getpid(), SIGINT);
                sleep(1ms);
                return seen == 1 ? 6 : kWrong;
              },
              config);
        });
      },
      6);
}

// asyncio: test_runners RunnerTests.test_signal_install_not_supported_ok
TEST_CASE("run in a thread that is not the main one leaves SIGINT alone", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        int code = kWrong;
        std::thread([&] {
          fibrio::run(
              [&] {
                struct sigaction action {};
                ::sigaction(SIGINT, nullptr, &action);
                code = action.sa_handler == SIG_DFL ? 0 : kWrong;
              },
              config);
        }).join();
        return code;
      },
      0);
}

TEST_CASE("A program's own handler for SIGINT on the loop replaces run's", "[runner][sigint]") {
  in_child(
      [](const Config& config) {
        return outcome_of([&] {
          return fibrio::run(
              [] {
                Future<> seen = get_running_loop().create_future();
                get_running_loop().add_signal_handler(SIGINT, [seen]() mutable { seen.try_set_result(); });
                ::kill(::getpid(), SIGINT);
                await(seen);
                get_running_loop().remove_signal_handler(SIGINT);
                return 6;
              },
              config);
        });
      },
      6);
}
