// timeout, timeout_at and wait_for: what asyncio's own tests say of them.
#include <memory>
#include <stdexcept>
#include <string>

#include <fibrio/testing.hpp>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

TimePoint now() { return get_running_loop().time(); }

// Runs while nothing else can, for this long on the virtual clock.
void be_busy(Duration how_long) { advance_time(how_long); }

}  // namespace

// --- timeout -----------------------------------------------------------------------------------------------

// asyncio: test_timeouts TimeoutTests.test_timeout_basic
TEST_CASE("timeout throws TimeoutError at the deadline, and the scope has expired", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    bool was_expired = true;
    bool is_expired = false;
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(10ms, [&](Timeout& scope) {
        was_expired = scope.expired();
        TASK_CHECK(scope.when() == start + 10ms);
        try {
          sleep(10s);
        } catch (const CancelledError&) {
          is_expired = scope.expired();
          throw;
        }
      });
    }));
    TASK_CHECK(!was_expired);
    TASK_CHECK(is_expired);
    TASK_CHECK(now() == start + 10ms);
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_at_basic
TEST_CASE("timeout_at throws TimeoutError at a point in time", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint deadline = now() + 10ms;
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout_at(deadline, [&](Timeout& scope) {
        TASK_CHECK(scope.when() == deadline);
        sleep(10s);
      });
    }));
    TASK_CHECK(now() == deadline);
  });
}

// asyncio: test_timeouts TimeoutTests.test_nested_timeouts
TEST_CASE("Of nested timeouts with the same deadline only the outer one throws TimeoutError", "[timeouts]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      const TimePoint deadline = now() + 10ms;
      bool inner_was_cancelled = false;
      bool both_expired = false;
      TASK_CHECK(throws<TimeoutError>([&] {
        timeout_at(deadline, [&](Timeout& outer) {
          try {
            timeout_at(deadline, [&](Timeout& inner) {
              try {
                sleep(10s);
              } catch (const CancelledError&) {
                both_expired = outer.expired() && inner.expired();
                throw;
              }
            });
          } catch (const CancelledError&) {
            inner_was_cancelled = true;
            throw;
          }
        });
      }));
      TASK_CHECK(inner_was_cancelled);
      TASK_CHECK(both_expired);
      TASK_CHECK(current_task().cancelling() == 0);
    });
  });
}

TEST_CASE("Nested timeouts that are due at once give TimeoutError and leave no request behind, on any worker",
          "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint deadline = now() + 10ms;
    TASK_CHECK(throws<TimeoutError>(
        [&] { timeout_at(deadline, [&] { timeout_at(deadline, [] { sleep(10s); }); }); }));
    TASK_CHECK(current_task().cancelling() == 0);
    yield();  // no request is left to be delivered
  });
}

// asyncio: test_timeouts TimeoutTests.test_waiter_cancelled
TEST_CASE("The wait inside a timeout ends by CancelledError", "[timeouts]") {
  in_tasks([](EventLoop&) {
    bool cancelled = false;
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(10ms, [&] {
        try {
          sleep(10s);
        } catch (const CancelledError&) {
          cancelled = true;
          throw;
        }
      });
    }));
    TASK_CHECK(cancelled);
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_not_called
TEST_CASE("A body that ends in time is not interrupted, and its result is returned", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const std::string text = timeout(10s, [&](Timeout& scope) {
      sleep(10ms);
      TASK_CHECK(!scope.expired());
      TASK_CHECK(scope.when() > now());
      return std::string("done");
    });
    TASK_CHECK(text == "done");
    TASK_CHECK(now() == start + 10ms);
  });
}

TEST_CASE("timeout returns what the body returns: nothing, a value that only moves, a reference",
          "[timeouts]") {
  in_tasks([](EventLoop&) {
    timeout(1s, [] {});
    TASK_CHECK(*timeout(1s, [] { return std::make_unique<int>(3); }) == 3);
    int number = 4;
    const auto same = timeout(1s, [&]() -> int& { return number; });
    TASK_CHECK(same == 4);
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_disabled
// asyncio: test_timeouts TimeoutTests.test_timeout_at_disabled
TEST_CASE("A timeout of never does not fire, and has no deadline", "[timeouts]") {
  in_tasks([](EventLoop&) {
    timeout(never, [](Timeout& scope) {
      TASK_CHECK(scope.when() == std::nullopt);
      sleep(1h);
      TASK_CHECK(!scope.expired());
    });
    timeout_at(never, [](Timeout& scope) { TASK_CHECK(scope.when() == std::nullopt); });
    timeout(Duration::max(), [] { sleep(1h); });
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_zero
// asyncio: test_timeouts TimeoutTests.test_timeout_zero_sleep_zero
// asyncio: test_timeouts TimeoutTests.test_timeout_in_the_past_sleep_zero
TEST_CASE("C15: a timeout of zero or less interrupts the first wait that suspends", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    for (const Duration delay : {Duration(0), Duration(-1), Duration::min()}) {
      TASK_CHECK(throws<TimeoutError>([&] { timeout(delay, [] { sleep(10s); }); }));
    }
    TASK_CHECK(now() == start);
    TASK_CHECK(timeout(0s, [](Timeout& scope) { return scope.when(); }) == start);
  });
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      TASK_CHECK(throws<TimeoutError>([&] { timeout(0s, [] { sleep(0s); }); }));
      TASK_CHECK(throws<TimeoutError>([&] { timeout(-1s, [] { sleep(0s); }); }));
      TASK_CHECK(!timeout(0s, [](Timeout& scope) { return scope.expired(); }));
    });
  });
}

// asyncio: test_timeouts TimeoutTests.test_foreign_exception_passed
TEST_CASE("Another exception passes through a timeout", "[timeouts]") {
  in_tasks([](EventLoop&) {
    bool expired = true;
    TASK_CHECK(throws<std::out_of_range>([&] {
      timeout(10ms, [&](Timeout& scope) {
        expired = scope.expired();
        throw std::out_of_range("foreign");
      });
    }));
    TASK_CHECK(!expired);
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_exception_context
TEST_CASE("TimeoutError has the CancelledError nested in it", "[timeouts]") {
  in_tasks([](EventLoop&) {
    bool nested = false;
    try {
      timeout(10ms, [] { sleep(10s); });
    } catch (const TimeoutError& error) {
      nested = throws<CancelledError>([&] { std::rethrow_if_nested(error); });
    }
    TASK_CHECK(nested);
  });
}

// asyncio: test_timeouts TimeoutTests.test_foreign_exception_on_timeout
// asyncio: test_timeouts TimeoutTests.test_foreign_exception_on_timeout_2
TEST_CASE("C21: an exception thrown because of the expiry passes, and the request is taken back",
          "[timeouts]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<std::out_of_range>([&] {
      timeout(10ms, [] {
        try {
          sleep(10s);
        } catch (const CancelledError&) {
          throw std::out_of_range("clean-up failed");
        }
      });
    }));
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_timeouts TimeoutTests.test_foreign_cancel_doesnt_timeout_if_not_expired
TEST_CASE("C18: a cancel from outside before the deadline stays CancelledError", "[timeouts]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] {
      const std::string message = cancel_message([] { timeout(10s, [] { sleep(20s); }); });
      TASK_CHECK(message == "outside");
      TASK_CHECK(current_task().cancelling() == 1);
    });
    sleep(1s);
    TASK_CHECK(task.cancel("outside"));
    await(task);
  });
}

TEST_CASE("C18: an expiry and then a cancel from outside give CancelledError, and one request is left",
          "[timeouts]") {
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      TASK_CHECK(throws<CancelledError>([] {
        timeout(10ms, [] {
          try {
            sleep(10s);
          } catch (const CancelledError&) {
            current_task().cancel();  // comes while the expiry is being handled
            throw;
          }
        });
      }));
      TASK_CHECK(current_task().cancelling() == 1);
      TASK_CHECK(throws<CancelledError>([] { yield(); }));  // not delivered yet
    });
    await(task);
  });
}

TEST_CASE("C18: a cancel from outside in the pass of the expiry stays CancelledError", "[timeouts]") {
  in_tasks([](EventLoop&) {
    bool cancelled = false;
    int requests = 0;
    Task<> task = create_task([&] {
      try {
        timeout(10ms, [] { sleep(10s); });
      } catch (const CancelledError&) {
        cancelled = true;
      }
      requests = current_task().cancelling();
    });
    auto canceller = create_task([&] {
      sleep(10ms);
      return task.cancel();
    });
    // Both are due at once. With several workers the task may have ended by its own timeout before, or the
    // request may come between the expiry's delivery and the end of the task, which then ends by it.
    bool timed_out = false;
    bool ended_cancelled = false;
    try {
      await(task);
    } catch (const TimeoutError&) {
      timed_out = true;
    } catch (const CancelledError&) {
      ended_cancelled = true;
    }
    const bool accepted = await(canceller);
    if (accepted && !timed_out && !ended_cancelled) TASK_CHECK(requests == 1);
    if (cancelled || ended_cancelled) TASK_CHECK(accepted);
    if (!accepted) TASK_CHECK(timed_out);
  });
}

// asyncio: test_timeouts TimeoutTests.test_outer_task_is_not_cancelled
TEST_CASE("After TimeoutError the task is not cancelled", "[timeouts]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] {
      try {
        timeout(1ms, [] { sleep(10s); });
      } catch (const TimeoutError&) {
      }
      sleep(1ms);
      return 5;
    });
    TASK_CHECK(await(task) == 5);
    TASK_CHECK(!task.cancelled());
  });
}

// asyncio: test_timeouts TimeoutTests.test_nested_timeouts_concurrent
TEST_CASE("If only the outer deadline passed meanwhile, the inner scope lets CancelledError pass",
          "[timeouts]") {
  in_tasks([](EventLoop&) {
    bool passed_inner = false;
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(2ms, [&] {
        try {
          timeout(100ms, [] {
            be_busy(10ms);
            sleep(1s);
          });
        } catch (const CancelledError&) {
          passed_inner = true;
          throw;
        }
      });
    }));
    TASK_CHECK(passed_inner);
  });
}

// asyncio: test_timeouts TimeoutTests.test_nested_timeouts_loop_busy
TEST_CASE("If the inner deadline and the outer one passed meanwhile, the outer scope throws TimeoutError",
          "[timeouts]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(100ms, [&] {
        timeout(10ms, [] {
          be_busy(200ms);
          sleep(1s);
        });
      });
    }));
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

// asyncio: test_timeouts TimeoutTests.test_reschedule
TEST_CASE("C22: another task can move the deadline, or take it away", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    Future<> may_end = get_running_loop().create_future<>();
    auto body = create_task([=] {
      timeout(1s, [=](Timeout& scope) {
        auto other = create_task([&scope, start] {
          scope.reschedule(start + 10s);
          TASK_CHECK(scope.when() == start + 10s);
        });
        await(other);
        sleep(5s);
        scope.reschedule(never);
        TASK_CHECK(scope.when() == std::nullopt);
        sleep(60s);
        scope.reschedule(start + 70s);
        sleep(60s);
      });
    });
    TASK_CHECK(throws<TimeoutError>([&] { await(body); }));
    TASK_CHECK(now() == start + 70s);
  });
}

TEST_CASE("C22: a deadline moved into the past interrupts the next wait", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(1h, [&](Timeout& scope) {
        scope.reschedule(start - 1s);
        sleep(10s);
      });
    }));
    TASK_CHECK(now() == start);
  });
}

// asyncio: test_timeouts TimeoutTests.test_nested_timeout_in_finally
TEST_CASE("A timeout in the clean-up of an expired one works", "[timeouts]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<TimeoutError>([&] {
      timeout(1s, [&] {
        try {
          sleep(10s);
        } catch (const CancelledError&) {
          TASK_CHECK(throws<TimeoutError>([] { timeout(1s, [] { sleep(10s); }); }));
          throw;
        }
      });
    }));
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_after_cancellation
TEST_CASE("C20: a timeout works in a task that swallowed a cancel before", "[timeouts]") {
  in_tasks([](EventLoop&) {
    current_task().cancel();
    TASK_CHECK(throws<CancelledError>([] { sleep(1s); }));
    TASK_CHECK(throws<TimeoutError>([] { timeout(10ms, [] { sleep(10s); }); }));
    TASK_CHECK(current_task().cancelling() == 1);
    current_task().uncancel();
  });
}

// asyncio: test_timeouts TimeoutTests.test_cancel_in_timeout_after_cancellation
TEST_CASE("C20: in such a task a further cancel inside a timeout stays CancelledError", "[timeouts]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] {
      current_task().cancel();
      TASK_CHECK(throws<CancelledError>([] { sleep(1s); }));
      TASK_CHECK(throws<CancelledError>([] {
        timeout(10s, [] {
          current_task().cancel();
          sleep(20s);
        });
      }));
      TASK_CHECK(current_task().cancelling() == 2);
    });
    await(task);
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_expired
// asyncio: test_timeouts TimeoutTests.test_timeout_expiring
TEST_CASE("reschedule of an expired timeout throws RuntimeError", "[timeouts]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<TimeoutError>([] {
      timeout(10ms, [](Timeout& scope) {
        try {
          sleep(10s);
        } catch (const CancelledError&) {
          const auto again = [&] { scope.reschedule(now() + 1h); };
          TASK_CHECK(throws<RuntimeError>(again));
          TASK_CHECK(throws<RuntimeError>([&] { scope.reschedule(never); }));
          throw;
        }
      });
    }));
  });
}

// asyncio: test_timeouts TimeoutTests.test_timeout_without_task
TEST_CASE("timeout outside a task throws RuntimeError", "[timeouts]") {
  CHECK(throws<RuntimeError>([] { timeout(1s, [] {}); }));
  CHECK(throws<RuntimeError>([] { timeout(never, [] {}); }));
  on_loops([](EventLoop& loop) {
    bool refused = false;
    loop.run_until_complete([&] {
      Future<> called = get_running_loop().create_future<>();
      get_running_loop().call_soon([&, called]() mutable {
        refused = throws<RuntimeError>([] { timeout(1s, [] {}); });
        called.set_result();
      });
      await(called);
    });
    CHECK(refused);
  });
}

TEST_CASE("C17: a body that swallows the expiry returns its result", "[timeouts]") {
  in_tasks([](EventLoop&) {
    const int result = timeout(10ms, [](Timeout& scope) {
      try {
        sleep(10s);
      } catch (const CancelledError&) {  // NOLINT: swallowed on purpose
      }
      TASK_CHECK(scope.expired());
      return 6;
    });
    TASK_CHECK(result == 6);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

TEST_CASE("C16: a deadline that passes while the body computes does not take its result", "[timeouts]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(timeout(10ms, [] {
                 be_busy(1s);
                 return 7;
               }) == 7);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
    // The same in a task with an older, swallowed request: the expiry's own must not be delivered later.
    current_task().cancel();
    TASK_CHECK(throws<CancelledError>([] { yield(); }));
    TASK_CHECK(timeout(10ms, [] {
                 be_busy(1s);
                 return 8;
               }) == 8);
    TASK_CHECK(current_task().cancelling() == 1);
    yield();
    current_task().uncancel();
  });
}

TEST_CASE("A timeout in a destructor that runs while an exception is in flight interrupts nothing",
          "[timeouts]") {
  struct Waits {
    bool& ended;
    ~Waits() {
      timeout(10ms, [] { sleep(1s); });
      ended = true;
    }
  };
  in_tasks([](EventLoop&) {
    bool ended = false;
    TASK_CHECK(throws<std::out_of_range>([&] {
      const Waits waits{ended};
      throw std::out_of_range("in flight");
    }));
    TASK_CHECK(ended);
    TASK_CHECK(current_task().cancelling() == 0);
    yield();
  });
}

// --- wait_for ----------------------------------------------------------------------------------------------

// asyncio: test_waitfor AsyncioWaitForTest.test_asyncio_wait_for_cancelled
TEST_CASE("Cancelling wait_for waits until the task has really ended", "[wait_for]") {
  in_tasks([](EventLoop&) {
    bool inner_ended = false;
    auto inner = create_task([&] {
      try {
        sleep(10s);
      } catch (const CancelledError&) {
        sleep(1s);
        inner_ended = true;
        throw;
      }
    });
    auto outer = create_task([=] { wait_for(inner, 1h); });
    sleep(1s);
    outer.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(outer); }));
    TASK_CHECK(inner_ended);
    TASK_CHECK(inner.cancelled());
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_asyncio_wait_for_timeout
// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_waits_for_task_cancellation
TEST_CASE("C25: wait_for throws TimeoutError only when the task has ended", "[wait_for]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    bool inner_ended = false;
    auto inner = create_task([&] {
      try {
        sleep(10s);
      } catch (const CancelledError&) {
        sleep(5s);
        inner_ended = true;
        throw;
      }
    });
    bool chained = false;
    try {
      wait_for(inner, 1s);
    } catch (const TimeoutError& error) {
      chained = throws<CancelledError>([&] { std::rethrow_if_nested(error); });
    }
    TASK_CHECK(chained);
    TASK_CHECK(inner_ended);
    TASK_CHECK(now() == start + 6s);
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_timeout_less_then_0_or_0_future_done
TEST_CASE("wait_for without time returns the result of a done future", "[wait_for]") {
  in_tasks([](EventLoop& loop) {
    Future<std::string> future = loop.create_future<std::string>();
    future.set_result("done");
    TASK_CHECK(wait_for(future, 0s) == "done");
    TASK_CHECK(wait_for(future, -1s) == "done");
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_timeout_less_then_0_or_0_coroutine_do_not_started
TEST_CASE("C24: wait_for without time does not begin the work", "[wait_for]") {
  in_tasks([](EventLoop&) {
    bool began = false;
    TASK_CHECK(throws<TimeoutError>([&] {
      wait_for(
          [&] {
            began = true;
            return 1;
          },
          0s);
    }));
    TASK_CHECK(!began);
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_timeout_less_then_0_or_0
// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_waits_for_task_cancellation_w_timeout_0
TEST_CASE("wait_for without time cancels a running task and waits for its end", "[wait_for]") {
  in_tasks([](EventLoop&) {
    bool cleaned_up = false;
    auto task = create_task([&] {
      try {
        sleep(10s);
      } catch (const CancelledError&) {
        sleep(1s);
        cleaned_up = true;
        throw;
      }
      return 1;
    });
    sleep(1ms);
    TASK_CHECK(throws<TimeoutError>([&] { wait_for(task, 0s); }));
    TASK_CHECK(cleaned_up);
    TASK_CHECK(task.cancelled());
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for
TEST_CASE("When wait_for throws TimeoutError the task is done and cancelled", "[wait_for]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] { return sleep(10s), 1; });
    TASK_CHECK(throws<TimeoutError>([&] { wait_for(task, 10ms); }));
    TASK_CHECK(task.done());
    TASK_CHECK(task.cancelled());
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_blocking
// asyncio: test_waitfor WaitForShieldTests.test_none_timeout
TEST_CASE("wait_for of never waits as long as it takes", "[wait_for]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] { return sleep(1h), std::string("late"); });
    TASK_CHECK(wait_for(task, never) == "late");
    TASK_CHECK(wait_for([] { return 2; }, never) == 2);
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_race_condition
TEST_CASE("wait_for returns a result that comes before the timeout", "[wait_for]") {
  in_tasks([](EventLoop& loop) {
    Future<std::string> future = loop.create_future<std::string>();
    loop.call_later(100ms, [future]() mutable { future.set_result("ok"); });
    TASK_CHECK(wait_for(future, 200ms) == "ok");
    TASK_CHECK(wait_for([] { return sleep(1ms), std::make_unique<int>(9); }, 1s).operator*() == 9);
    TASK_CHECK(*wait_for(create_task([] { return std::make_unique<int>(9); }), 1s) == 9);
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_cancellation_race_condition
// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_cancel_suppressed
TEST_CASE("wait_for returns the value of a task that swallows the cancellation", "[wait_for]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] {
      try {
        sleep(10s);
      } catch (const CancelledError&) {
        return 42;
      }
      return 0;
    });
    TASK_CHECK(wait_for(task, 10ms) == 42);
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_reraises_exception_during_cancellation
TEST_CASE("An error of the task's clean-up stands for TimeoutError", "[wait_for]") {
  in_tasks([](EventLoop&) {
    for (const Duration limit : {Duration(10ms), Duration(0)}) {
      auto task = create_task([] {
        try {
          sleep(10s);
        } catch (const CancelledError&) {
          throw std::out_of_range("clean-up failed");
        }
      });
      sleep(1ms);
      TASK_CHECK(throws<std::out_of_range>([&] { wait_for(task, limit); }));
    }
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_cancel_blocking_wait_for
// asyncio: test_waitfor AsyncioWaitForTest.test_cancel_wait_for
TEST_CASE("Cancelling who is in wait_for cancels what it waits for", "[wait_for]") {
  in_tasks([](EventLoop&) {
    auto inner = create_task([] { sleep(1h); });
    auto with_limit = create_task([=] { wait_for(inner, 30min); });
    sleep(1ms);
    with_limit.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(with_limit); }));
    TASK_CHECK(inner.cancelled());
    auto other = create_task([] { sleep(1h); });
    auto without = create_task([=] { wait_for(other, never); });
    sleep(1ms);
    without.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(without); }));
    TASK_CHECK(other.cancelled());
  });
}

// asyncio: test_waitfor AsyncioWaitForTest.test_wait_for_issue86296
TEST_CASE("C23: a cancel in the pass of the result is not swallowed by wait_for", "[wait_for]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      auto task = create_task([=] { return wait_for(future, 1h); });
      yield();
      future.set_result(1);
      TASK_CHECK(task.cancel());
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(task.cancelled());
    });
  });
}

TEST_CASE("wait_for in a task runs a callable in that task", "[wait_for]") {
  in_tasks([](EventLoop&) {
    const AnyTask self = current_task();
    TASK_CHECK(wait_for([] { return current_task(); }, 1s) == self);
  });
}

TEST_CASE("C15: a timeout of nothing is up at the first wait that suspends, on every number of workers",
          "[timeout]") {
  on_loops(
      [](EventLoop& loop) {
        loop.run_until_complete([&] {
          int missed = 0;
          for (int i = 0; i < 2000; ++i) {
            for (const Duration delay : {Duration(0s), Duration(-1s)}) {
              try {
                timeout(delay, [] { yield(); });
                ++missed;
              } catch (const TimeoutError&) {
              }
            }
            try {
              timeout(1h, [&](Timeout& limit) {
                limit.reschedule(loop.time());
                yield();
              });
              ++missed;
            } catch (const TimeoutError&) {
            }
            TASK_CHECK(timeout(0s, [] { return 1; }) == 1);
          }
          TASK_CHECK(missed == 0);
          TASK_CHECK(current_task().cancelling() == 0);
          yield();  // nothing is left to be delivered
        });
      },
      false);
}
