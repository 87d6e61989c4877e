// gather, wait and shield: what asyncio's own tests say of them.
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

TimePoint now() { return get_running_loop().time(); }

Task<int> after(Duration delay, int value) {
  return create_task([=] {
    sleep(delay);
    return value;
  });
}

Task<int> failing_after(Duration delay, const char* text) {
  return create_task([=]() -> int {
    sleep(delay);
    throw std::out_of_range(text);
  });
}

}  // namespace

// --- gather ------------------------------------------------------------------------------------------------

// asyncio: test_tasks GatherTestsBase.test_success
// asyncio: test_tasks CoroutineGatherTests.test_constructor_use_running_loop
TEST_CASE("gather returns the values in the order of its arguments, whatever ends first", "[gather]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const auto [a, b, c] = gather(
        after(3s, 1), [] { return sleep(1s), std::string("two"); }, [] {});
    TASK_CHECK(a == 1);
    TASK_CHECK(b == "two");
    TASK_CHECK(c == std::monostate());
    TASK_CHECK(now() == start + 3s);
    const std::vector<int> all = gather(std::vector<Task<int>>{after(2s, 1), after(1s, 2), after(3s, 3)});
    TASK_CHECK(all == std::vector<int>{1, 2, 3});
    const auto calls = gather(std::vector<std::function<void()>>{[] { sleep(1s); }, [] {}});
    TASK_CHECK(calls.size() == 2);
  });
}

TEST_CASE("gather moves values out of its callables' tasks and out of futures it is given for good",
          "[gather]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] { return std::make_unique<int>(2); });
    const auto [a, b] = gather([] { return std::make_unique<int>(1); }, std::move(task));
    TASK_CHECK(*a + *b == 3);
  });
}

// asyncio: test_tasks GatherTestsBase.test_result_exception_success
TEST_CASE("gather with return_exceptions gives outcomes", "[gather]") {
  in_tasks([](EventLoop&) {
    auto [a, b] = gather(return_exceptions, after(2s, 1), [] { sleep(1s); });
    TASK_CHECK(a.has_value() && a.value() == 1 && a.exception() == nullptr && !a.cancelled());
    TASK_CHECK(b.has_value());
    b.value();
    const auto moved = gather(return_exceptions, [] { return std::make_unique<int>(7); });
    TASK_CHECK(*std::get<0>(moved).value() == 7);
  });
}

// asyncio: test_tasks GatherTestsBase.test_one_exception
// asyncio: test_tasks CoroutineGatherTests.test_exception_marking
TEST_CASE("C30: the first failure ends gather; the others go on, and their errors are not reported",
          "[gather]") {
  on_loops([](EventLoop& loop) {
    Reports reports(loop);
    loop.run_until_complete([&] {
      const TimePoint start = now();
      {
        auto late = failing_after(3s, "late");
        auto good = after(4s, 4);
        auto cancelled = after(1h, 5);
        std::string text;
        try {
          gather(late, failing_after(1s, "first"), good, cancelled, [] {
            sleep(2s);
            throw std::runtime_error("second");
          });
        } catch (const std::out_of_range& error) {
          text = error.what();
        }
        TASK_CHECK(text == "first");
        TASK_CHECK(now() == start + 1s);
        TASK_CHECK(!late.done());
        TASK_CHECK(cancelled.cancel());
        TASK_CHECK(await(good) == 4);
        TASK_CHECK(late.done());
        TASK_CHECK(cancelled.cancelled());
      }
    });
    CHECK(reports.messages() == std::vector<std::string>{});
  });
}

// asyncio: test_tasks GatherTestsBase.test_return_exceptions
// asyncio: test_tasks FutureGatherTests.test_result_exception_one_cancellation
TEST_CASE("gather with return_exceptions waits for all and gives failures and cancellations in their places",
          "[gather]") {
  on_loops([](EventLoop& loop) {
    Reports reports(loop);
    loop.run_until_complete([&] {
      auto cancelled = after(1h, 1);
      loop.call_later(1s, [=] { cancelled.cancel("unwanted"); });
      auto all = gather(return_exceptions,
                        std::vector<Task<int>>{cancelled, failing_after(2s, "bad"), after(3s, 3)});
      TASK_CHECK(all.size() == 3);
      TASK_CHECK(all[0].cancelled() && !all[0].has_value());
      TASK_CHECK(cancel_message([&] { all[0].value(); }) == "unwanted");
      TASK_CHECK(!all[1].cancelled() && !all[1].has_value());
      TASK_CHECK(throws<std::out_of_range>([&] { all[1].value(); }));
      TASK_CHECK(throws<std::out_of_range>([&] { std::rethrow_exception(all[1].exception()); }));
      TASK_CHECK(all[2].has_value() && all[2].value() == 3);
    });
    CHECK(reports.messages() == std::vector<std::string>{});
  });
}

// asyncio: test_tasks FutureGatherTests.test_constructor_empty_sequence_use_running_loop
// asyncio: test_tasks FutureGatherTests.test_constructor_empty_sequence_without_loop
// asyncio: test_tasks CoroutineGatherTests.test_constructor_without_loop
TEST_CASE("gather of nothing is done at once; outside a task it throws RuntimeError", "[gather]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(gather() == std::tuple<>());
    TASK_CHECK(gather(std::vector<Task<int>>{}).empty());
    TASK_CHECK(gather(return_exceptions, std::vector<Task<int>>{}).empty());
  });
  CHECK(throws<RuntimeError>([] { gather(); }));
  CHECK(throws<RuntimeError>([] { gather([] {}); }));
}

// asyncio: test_tasks FutureGatherTests.test_one_cancellation
TEST_CASE(
    "C27: a child that somebody else cancels ends gather by CancelledError; nobody cancelled the caller",
    "[gather]") {
  in_tasks([](EventLoop& loop) {
    auto child = after(1h, 1);
    auto sibling = after(2s, 2);
    loop.call_later(1s, [=] { child.cancel("third party"); });
    TASK_CHECK(cancel_message([&] { gather(child, sibling); }) == "third party");
    TASK_CHECK(current_task().cancelling() == 0);
    TASK_CHECK(!sibling.done());
    TASK_CHECK(await(sibling) == 2);
  });
}

// asyncio: test_tasks CoroutineGatherTests.test_duplicate_coroutines
TEST_CASE("C26: the same task twice runs once and stands at both places", "[gather]") {
  in_tasks([](EventLoop&) {
    int runs = 0;
    auto task = create_task([&] { return ++runs; });
    auto other = after(1s, 2);
    const auto all = gather(std::vector<Task<int>>{task, task, other, task});
    TASK_CHECK(all == std::vector<int>{1, 1, 2, 1});
  });
}

// asyncio: test_tasks CoroutineGatherTests.test_cancellation_broadcast
TEST_CASE("Cancelling a task in gather cancels the children", "[gather]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    auto child = after(1h, 1);
    auto task = create_task([=] { gather(future, child); });
    sleep(1ms);
    TASK_CHECK(task.cancel("stop"));
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    child.wait();
    TASK_CHECK(future.cancelled());
    TASK_CHECK(child.cancelled());
    TASK_CHECK(child.cancelling() == 1);
    TASK_CHECK(!task.cancel());
  });
}

TEST_CASE("C28: a cancelled gather whose children swallow that throws CancelledError when the last has ended",
          "[gather]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const auto stubborn = [](Duration more) {
      return [=] {
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          sleep(more);
        }
        return 1;
      };
    };
    for (const bool outcomes : {false, true}) {
      const TimePoint begin = now();
      auto task = create_task([=] {
        if (outcomes) {
          static_cast<void>(gather(return_exceptions, stubborn(1s), stubborn(3s)));
        } else {
          gather(stubborn(1s), stubborn(3s));
        }
      });
      sleep(1s);
      TASK_CHECK(task.cancel());
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(now() == begin + 4s);
    }
    TASK_CHECK(now() == start + 8s);
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_gather_2
TEST_CASE("A cancel of gather(return_exceptions) is CancelledError, with its text", "[gather]") {
  in_tasks([](EventLoop&) {
    auto task = create_task([] { static_cast<void>(gather(return_exceptions, [] { sleep(1h); })); });
    sleep(1ms);
    task.cancel("my text");
    TASK_CHECK(cancel_message([&] { await(task); }) == "my text");
    TASK_CHECK(task.cancelled());
  });
}

TEST_CASE("C29: a cancel when all children are done ends the task, and the children keep their results",
          "[gather]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      auto task = create_task([=] { gather(future); });
      yield();
      future.set_result(1);  // its callback has not run yet
      TASK_CHECK(task.cancel());
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(future.result() == 1);
      TASK_CHECK(task.cancelling() == 1);
    });
  });
}

TEST_CASE("A request that came before gather cancels the children", "[gather]") {
  in_tasks([](EventLoop&) {
    auto child = after(1h, 1);
    auto task = create_task([=] {
      current_task().cancel();
      gather(child);
    });
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    child.wait();
    TASK_CHECK(child.cancelled());
  });
}

TEST_CASE("C14: gather of what is done does not suspend", "[gather]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      auto done = after(0s, 1);
      await(done);
      bool ran = false;
      auto handle = loop.call_soon([&] { ran = true; });
      TASK_CHECK(gather(std::vector<Task<int>>{done, done}) == std::vector<int>{1, 1});
      TASK_CHECK(!ran);
      handle.cancel();
    });
  });
}

TEST_CASE("A cycle of tasks that wait for each other through gather is broken by a cancel", "[gather]") {
  in_tasks([](EventLoop& loop) {
    Future<> ready = loop.create_future<>();
    Task<> first;
    Task<> second;
    first = create_task([&, ready] {
      await(ready);
      gather(second);
    });
    second = create_task([&, ready] {
      await(ready);
      await(first);
    });
    ready.set_result();
    sleep(1ms);
    TASK_CHECK(first.cancel());
    first.wait();
    second.wait();
    TASK_CHECK(first.cancelled());
    TASK_CHECK(second.cancelled());
  });
}

// --- wait --------------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_wait
// asyncio: test_tasks BaseTaskTests.test_wait_with_iterator_of_tasks
// asyncio: test_tasks BaseTaskTests.test_wait_generator
TEST_CASE("wait returns when all are done, and again at once", "[wait]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const std::vector<Task<int>> tasks{after(100ms, 1), after(150ms, 2)};
    for (int round = 0; round < 2; ++round) {
      const auto [done, pending] = wait(tasks);
      TASK_CHECK(done == tasks);
      TASK_CHECK(pending.empty());
      TASK_CHECK(now() == start + 150ms);
    }
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_duplicate_coroutines
TEST_CASE("wait counts a task that stands there twice once", "[wait]") {
  in_tasks([](EventLoop&) {
    const auto task = after(1s, 1);
    const auto other = after(2s, 2);
    const auto [done, pending] = wait(std::vector<Task<int>>{task, other, task, task});
    TASK_CHECK(done == std::vector<Task<int>>{task, other});
    TASK_CHECK(pending.empty());
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_errors
// asyncio: test_tasks BaseTaskTests.test_wait_invalid_args
TEST_CASE("wait for nothing throws std::invalid_argument", "[wait]") {
  in_tasks(
      [](EventLoop&) { TASK_CHECK(throws<std::invalid_argument>([] { wait(std::vector<Task<int>>{}); })); });
}

// asyncio: test_tasks BaseTaskTests.test_wait_first_completed
TEST_CASE("wait FIRST_COMPLETED returns with the first and cancels nothing", "[wait]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const auto slow = after(10s, 1);
    const auto fast = after(100ms, 2);
    const auto [done, pending] = wait(std::vector<Task<int>>{slow, fast}, {.return_when = FIRST_COMPLETED});
    TASK_CHECK(done == std::vector<Task<int>>{fast});
    TASK_CHECK(pending == std::vector<Task<int>>{slow});
    TASK_CHECK(now() == start + 100ms);
    TASK_CHECK(await(slow) == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_really_done
TEST_CASE("C33: tasks that end between the trigger and the return of wait are in done", "[wait]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      const auto a = create_task([] { return yield(), 1; });
      const auto b = create_task([] { return yield(), yield(), 2; });
      const auto [done, pending] = wait(std::vector<Task<int>>{a, b}, {.return_when = FIRST_COMPLETED});
      TASK_CHECK(done == std::vector<Task<int>>{a, b});
      TASK_CHECK(pending.empty());
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_first_exception
// asyncio: test_tasks BaseTaskTests.test_wait_first_exception_in_wait
TEST_CASE("wait FIRST_EXCEPTION returns with the first failure; a cancelled task is none", "[wait]") {
  in_tasks([](EventLoop& loop) {
    const TimePoint start = now();
    const auto slow = after(10s, 1);
    const auto cancelled = after(10s, 2);
    loop.call_later(1s, [=] { cancelled.cancel(); });
    const auto bad = failing_after(2s, "bad");
    const auto [done, pending] =
        wait(std::vector<Task<int>>{slow, bad, cancelled}, {.return_when = FIRST_EXCEPTION});
    TASK_CHECK(done == std::vector<Task<int>>{bad, cancelled});
    TASK_CHECK(pending == std::vector<Task<int>>{slow});
    TASK_CHECK(now() == start + 2s);
    TASK_CHECK(bad.exception() != nullptr);
    // One that has failed before the wait.
    const auto again = wait(std::vector<Task<int>>{slow, bad}, {.return_when = FIRST_EXCEPTION});
    TASK_CHECK(again.pending == std::vector<Task<int>>{slow});
    TASK_CHECK(now() == start + 2s);
    await(slow);
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_with_exception
TEST_CASE("wait throws no result, and an exception that nobody looked at is still reported", "[wait]") {
  on_loops([](EventLoop& loop) {
    Reports reports(loop);
    loop.run_until_complete([] {
      const auto result = wait(std::vector<Task<int>>{after(2s, 1), failing_after(1s, "bad")});
      TASK_CHECK(result.done.size() == 2);
    });
    CHECK(reports.size() == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_with_timeout
TEST_CASE("wait with a timeout returns what is done by then, without an error", "[wait]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const auto fast = after(100ms, 1);
    const auto slow = after(150ms, 2);
    const auto [done, pending] = wait(std::vector<Task<int>>{slow, fast}, {.timeout = 110ms});
    TASK_CHECK(done == std::vector<Task<int>>{fast});
    TASK_CHECK(pending == std::vector<Task<int>>{slow});
    TASK_CHECK(now() == start + 110ms);
    const auto none = wait(std::vector<Task<int>>{slow}, {.timeout = 0s});
    TASK_CHECK(none.done.empty());
    TASK_CHECK(await(slow) == 2);
  });
}

// asyncio: test_tasks BaseTaskTests.test_wait_concurrent_complete
TEST_CASE("A task that ends at the instant of the timeout is done if its timer came first", "[wait]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      const auto a = after(100ms, 1);
      const auto b = after(150ms, 2);
      yield();
      const auto [done, pending] = wait(std::vector<Task<int>>{b, a}, {.timeout = 100ms});
      TASK_CHECK(done == std::vector<Task<int>>{a});
      TASK_CHECK(pending == std::vector<Task<int>>{b});
      await(b);
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_yield_wait_does_not_shield_cancel
TEST_CASE("C33: cancelling a task in wait leaves the tasks alone", "[wait]") {
  in_tasks([](EventLoop&) {
    const auto child = after(10s, 1);
    auto waiter = create_task([=] { wait(std::vector<Task<int>>{child}, {.timeout = 1h}); });
    sleep(1s);
    waiter.cancel("text");
    TASK_CHECK(cancel_message([&] { await(waiter); }) == "text");
    TASK_CHECK(child.cancelling() == 0);
    TASK_CHECK(await(child) == 1);
  });
}

// --- shield ------------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_shield_result
// asyncio: test_tasks BaseTaskTests.test_shield_coroutine_use_running_loop
TEST_CASE("shield returns the value, also of a callable, which becomes a task", "[shield]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    loop.call_later(1s, [future]() mutable { future.set_result(42); });
    TASK_CHECK(shield(future) == 42);
    const AnyTask self = current_task();
    TASK_CHECK(shield([=] { return !(current_task() == self); }));
    TASK_CHECK(*shield([] { return std::make_unique<int>(3); }) == 3);
    shield([] {});
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_exception
TEST_CASE("shield throws what the inner one ended with", "[shield]") {
  in_tasks([](EventLoop&) {
    const auto inner = failing_after(1s, "bad");
    std::exception_ptr thrown;
    try {
      shield(inner);
    } catch (const std::out_of_range&) {
      thrown = std::current_exception();
    }
    TASK_CHECK(thrown != nullptr);
    TASK_CHECK(thrown == inner.exception());
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_cancel_inner
TEST_CASE("C32: cancelling the inner one ends shield by CancelledError", "[shield]") {
  in_tasks([](EventLoop& loop) {
    const auto inner = after(1h, 1);
    loop.call_later(1s, [=] { inner.cancel(); });
    TASK_CHECK(throws<CancelledError>([&] { shield(inner); }));
    TASK_CHECK(current_task().cancelling() == 0);
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_cancel_outer
// asyncio: test_tasks BaseTaskTests.test_shield_cancel_outer_result
// asyncio: test_tasks BaseTaskTests.test_shield_effect
TEST_CASE("Cancelling a task in shield leaves the inner one running, and nothing is reported", "[shield]") {
  on_loops([](EventLoop& loop) {
    Reports reports(loop);
    loop.run_until_complete([] {
      int effect = 0;
      auto inner = create_task([&] {
        sleep(2s);
        return effect = 5;
      });
      auto outer = create_task([=] { return shield(inner); });
      sleep(1s);
      outer.cancel("text");
      TASK_CHECK(cancel_message([&] { await(outer); }) == "text");
      TASK_CHECK(!inner.done());
      TASK_CHECK(inner.cancelling() == 0);
      TASK_CHECK(await(inner) == 5);
      TASK_CHECK(effect == 5);
    });
    CHECK(reports.size() == 0);
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_cancel_outer_exception
// asyncio: test_tasks BaseTaskTests.test_shield_duplicate_log_once
TEST_CASE("C31: if the inner one fails after its shields were cancelled, that is reported once", "[shield]") {
  on_loops([](EventLoop& loop) {
    Reports reports(loop);
    loop.run_until_complete([] {
      auto inner = failing_after(3s, "bad");
      std::vector<Task<int>> outers;
      for (int i = 0; i < 3; ++i) outers.push_back(create_task([=] { return shield(inner); }));
      sleep(1s);
      for (const auto& outer : outers) outer.cancel();
      for (const auto& outer : outers) TASK_CHECK(throws<CancelledError>([&] { await(outer); }));
      inner.wait();
      sleep(1s);
    });
    CHECK(reports.messages() == std::vector<std::string>{"an exception in a shielded future"});
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_shortcut
TEST_CASE("shield of what is done does not suspend", "[shield]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      future.set_result(42);
      bool ran = false;
      auto handle = loop.call_soon([&] { ran = true; });
      TASK_CHECK(shield(future) == 42);
      TASK_CHECK(!ran);
      handle.cancel();
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_gather
TEST_CASE("A shielded gather goes on when the shield is cancelled", "[shield]") {
  in_tasks([](EventLoop&) {
    const auto a = after(2s, 1);
    const auto b = after(3s, 2);
    auto all = create_task([=] { return gather(std::vector<Task<int>>{a, b}); });
    auto outer = create_task([=] { return shield(all); });
    sleep(1s);
    outer.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(outer); }));
    TASK_CHECK(await(all) == std::vector<int>{1, 2});
  });
}

// asyncio: test_tasks BaseTaskTests.test_gather_shield
TEST_CASE("Cancelling a gather of shields leaves the inner ones running", "[shield]") {
  in_tasks([](EventLoop&) {
    const auto a = after(2s, 1);
    const auto b = after(3s, 2);
    auto outer = create_task([=] { gather([=] { return shield(a); }, [=] { return shield(b); }); });
    sleep(1s);
    outer.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(outer); }));
    TASK_CHECK(await(a) + await(b) == 3);
  });
}

// asyncio: test_tasks BaseTaskTests.test_shield_coroutine_without_loop
TEST_CASE("shield and wait outside a task throw RuntimeError", "[shield]") {
  CHECK(throws<RuntimeError>([] { shield([] {}); }));
  on_one_worker([](EventLoop& loop) {
    auto task = loop.create_task([] {});
    CHECK(throws<RuntimeError>([&] { shield(task); }));
    CHECK(throws<RuntimeError>([&] { wait(std::vector<Task<>>{task}); }));
    loop.run_until_complete(task);
  });
}

// asyncio: test_waitfor WaitForShieldTests.test_zero_timeout
// asyncio: test_waitfor WaitForShieldTests.test_shielded_timeout
TEST_CASE("A timeout around shield leaves the inner one running", "[shield]") {
  in_tasks([](EventLoop&) {
    for (const Duration limit : {Duration(0), Duration(1s)}) {
      const auto inner = after(10s, 6);
      TASK_CHECK(throws<TimeoutError>([&] { wait_for([&] { return shield(inner); }, limit); }));
      TASK_CHECK(!inner.done());
      TASK_CHECK(inner.cancelling() == 0);
      TASK_CHECK(await(inner) == 6);
    }
  });
}

// --- as_completed ------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_as_completed
// asyncio: test_tasks BaseTaskTests.test_as_completed_same_tasks_in_as_out
// asyncio: test_tasks BaseTaskTests.test_as_completed_coroutine_use_running_loop
TEST_CASE("as_completed gives the very tasks, in the order in which they end", "[as_completed]") {
  in_tasks([](EventLoop&) {
    const std::vector<Task<int>> tasks{after(300ms, 3), after(100ms, 1), after(200ms, 2)};
    std::vector<Task<int>> seen;
    for (const Task<int>& task : as_completed(tasks)) {
      TASK_CHECK(task.done());
      seen.push_back(task);
    }
    TASK_CHECK(seen == std::vector<Task<int>>{tasks[1], tasks[2], tasks[0]});
    for (const Task<int>& task : as_completed(std::vector<Task<int>>{})) TASK_CHECK(!task.done());
  });
}

// asyncio: test_tasks BaseTaskTests.test_as_completed_with_timeout
TEST_CASE(
    "C34: after the timeout as_completed throws TimeoutError for each that is left, and cancels nothing",
    "[as_completed]") {
  in_tasks([](EventLoop&) {
    const TimePoint start = now();
    const auto fast = after(100ms, 1);
    const auto slow = after(10s, 2);
    const auto slower = after(20s, 3);
    int given = 0;
    auto range = as_completed(std::vector<Task<int>>{slow, fast, slower}, 120ms);
    TASK_CHECK(throws<TimeoutError>([&] {
      for (const Task<int>& task : range) {
        ++given;
        TASK_CHECK(task == fast);
      }
    }));
    TASK_CHECK(given == 1);
    TASK_CHECK(now() == start + 120ms);
    TASK_CHECK(throws<TimeoutError>([&] { static_cast<void>(range.next()); }));
    TASK_CHECK(!range.next().has_value());
    TASK_CHECK(await(slow) + await(slower) == 5);
  });
}

// asyncio: test_tasks BaseTaskTests.test_as_completed_with_unused_timeout
TEST_CASE("A timeout of as_completed that was not needed leaves no timer", "[as_completed]") {
  in_tasks([](EventLoop& loop) {
    auto range = as_completed(std::vector<Task<int>>{after(1s, 1)}, 1h);
    TASK_CHECK(await(*range.next()) == 1);
    TASK_CHECK(loop.stats().timers == 0);
    TASK_CHECK(!range.next().has_value());
  });
}

// asyncio: test_tasks BaseTaskTests.test_as_completed_resume_iterator
TEST_CASE("as_completed can be left and resumed; leaving it leaves the tasks running", "[as_completed]") {
  in_tasks([](EventLoop&) {
    const std::vector<Task<int>> tasks{after(1s, 1), after(2s, 2), after(3s, 3)};
    std::vector<int> values;
    auto range = as_completed(tasks);
    for (const Task<int>& task : range) {
      values.push_back(await(task));
      if (values.size() == 1) break;
    }
    for (const Task<int>& task : range) values.push_back(await(task));
    TASK_CHECK(values == std::vector<int>{1, 2, 3});
    const auto left = after(5s, 4);
    static_cast<void>(as_completed(std::vector<Task<int>>{left}, 1s));
    TASK_CHECK(await(left) == 4);
  });
}

// asyncio: test_tasks BaseTaskTests.test_as_completed_concurrent
// asyncio: test_tasks BaseTaskTests.test_as_completed_reverse_wait
TEST_CASE("Several tasks may take from as_completed; none gets what another got", "[as_completed]") {
  in_tasks([](EventLoop&) {
    std::vector<Task<int>> tasks;
    for (int i = 1; i <= 4; ++i) tasks.push_back(after(i * 1s, 1 << i));
    auto range = as_completed(tasks);
    std::vector<Task<int>> readers;
    for (int i = 0; i < 4; ++i) readers.push_back(create_task([&] { return await(*range.next()); }));
    int sum = 0;
    for (const int value : gather(readers)) sum += value;
    TASK_CHECK(sum == 30);
    TASK_CHECK(!range.next().has_value());
  });
}

// asyncio: test_tasks BaseTaskTests.test_as_completed_duplicate_coroutines
TEST_CASE("as_completed gives a task that stands there twice once", "[as_completed]") {
  in_tasks([](EventLoop&) {
    const auto a = after(1s, 1);
    const auto b = after(2s, 2);
    int given = 0;
    for (const Task<int>& task : as_completed(std::vector<Task<int>>{a, b, a})) given += await(task) * 10 + 1;
    TASK_CHECK(given == 32);
  });
}

namespace {
template <class A>
concept CanBeCompleted = requires(A argument) {
  as_completed(argument);
};
}  // namespace

// asyncio: test_tasks BaseTaskTests.test_as_completed_invalid_args
TEST_CASE("as_completed of one task, or of a callable, is refused by the compiler", "[as_completed]") {
  STATIC_REQUIRE(CanBeCompleted<std::vector<Task<>>>);
  STATIC_REQUIRE_FALSE(CanBeCompleted<Task<>>);
  STATIC_REQUIRE_FALSE(CanBeCompleted<void (*)()>);
}

// asyncio: test_tasks BaseTaskTests.test_as_completed_coroutine_without_loop
TEST_CASE("as_completed outside a task throws RuntimeError", "[as_completed]") {
  CHECK(throws<RuntimeError>([] { static_cast<void>(as_completed(std::vector<Task<int>>{})); }));
}

TEST_CASE("A reader of as_completed that is cancelled loses nothing", "[as_completed]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      const auto only = after(1s, 7);
      auto range = as_completed(std::vector<Task<int>>{only});
      auto reader = create_task([&] { static_cast<void>(range.next()); });
      yield();
      reader.cancel();
      TASK_CHECK(throws<CancelledError>([&] { await(reader); }));
      // One that is cancelled when it was woken already hands on.
      auto woken = create_task([&] { static_cast<void>(range.next()); });
      await(only);  // the queue has heard of it, and woken the reader, before this task
      TASK_CHECK(woken.cancel());
      TASK_CHECK(throws<CancelledError>([&] { await(woken); }));
      TASK_CHECK(await(*range.next()) == 7);
    });
  });
}
