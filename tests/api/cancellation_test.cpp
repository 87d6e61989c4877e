// Cancellation: the cases C01 to C13 of asyncio's hard cases, masks, messages, races.
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

// --- requests and their delivery ---------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_cancel
// asyncio: test_tasks BaseTaskTests.test_sleep_cancel
// asyncio: test_tasks BaseTaskTests.test_task_cancel_sleeping_task
TEST_CASE("Cancelling a sleeping task ends it as cancelled and takes its timer away", "[cancellation]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Task<int> task = create_task([]() -> int {
        sleep(10s);
        return 12;
      });
      yield();
      sleep(1ms);  // it sleeps now
      TASK_CHECK(task.cancel());
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(task.done());
      TASK_CHECK(task.cancelled());
      TASK_CHECK(!task.cancel());
      TASK_CHECK(loop.time() < TimePoint(1s));
    });
    CHECK(loop.stats().timers == 0);
    CHECK(loop.stats().tasks_cancelled == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancelling
TEST_CASE("Cancelling counts requests until the task is done", "[cancellation]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<> release = loop.create_future();
      Task<> task = create_task([release] {
        const CancelMask mask;
        await(release);
      });
      yield();
      TASK_CHECK(task.cancelling() == 0);
      for (int i = 1; i <= 3; ++i) {
        TASK_CHECK(task.cancel());
        TASK_CHECK(task.cancelling() == i);
      }
      release.set_result();
      task.wait();
      TASK_CHECK(task.cancelling() == 3);
      TASK_CHECK(!task.cancel());
      TASK_CHECK(task.cancelling() == 3);
      TASK_CHECK(task.cancelled());  // C04: asked before it ended
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_inner_future
TEST_CASE("Cancelling the awaited future cancels the waiting task", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    Task<int> task = create_task([future] { return await(future); });
    yield();
    future.cancel();
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(task.cancelled());
    TASK_CHECK(task.cancelling() == 0);
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_both_task_and_inner_future
TEST_CASE("Cancelling a task and the future it awaits cancels both", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    Task<int> task = create_task([future] { return await(future); });
    yield();
    future.cancel();
    static_cast<void>(task.cancel());
    task.wait();
    TASK_CHECK(future.cancelled());
    TASK_CHECK(task.cancelled());
  });
}

// asyncio: test_tasks BaseTaskTests.test_task_cancel_waiter_future
TEST_CASE("Cancelling a task cancels the future it awaits", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    Future<> waiting = loop.create_future();
    Task<int> task = create_task([future, waiting]() mutable {
      waiting.set_result();
      return await(future);
    });
    await(waiting);
    TASK_CHECK(task.cancel());
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(future.cancelled());
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_yield
TEST_CASE("A task between two yields is cancelled at the next", "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      for (;;) yield();
    });
    yield();
    TASK_CHECK(task.cancel());
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(task.cancelled());
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_task_catching
TEST_CASE("A task that catches the cancellation and returns is not cancelled", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    Future<> waiting = loop.create_future();
    Task<int> task = create_task([=]() mutable {
      waiting.set_result();
      try {
        return await(future);
      } catch (const CancelledError&) {
        return 42;
      }
    });
    await(waiting);
    TASK_CHECK(task.cancel());
    TASK_CHECK(await(task) == 42);
    TASK_CHECK(!task.cancelled());
    TASK_CHECK(future.cancelled());
    TASK_CHECK(task.cancelling() == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_task_ignoring
TEST_CASE("C08: a swallowed cancellation is over, later waits work", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<int> first = loop.create_future<int>();
    Future<int> second = loop.create_future<int>();
    Future<> waiting = loop.create_future();
    Future<> swallowed = loop.create_future();
    Task<int> task = create_task([=]() mutable {
      waiting.set_result();
      TASK_CHECK(throws<CancelledError>([&] { await(first); }));
      swallowed.set_result();
      yield();
      sleep(1ms);
      return await(second);
    });
    await(waiting);
    TASK_CHECK(task.cancel());
    await(swallowed);
    sleep(1s);
    TASK_CHECK(!task.done());
    second.set_result(5);
    TASK_CHECK(await(task) == 5);
    TASK_CHECK(!task.cancelled());
    TASK_CHECK(task.cancelling() == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_current_task
TEST_CASE("A task that cancels itself gets the error at its next wait that suspends", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<int> done = loop.create_future<int>();
    done.set_result(1);
    for (int way = 0; way < 4; ++way) {
      Task<> task = create_task([&, way] {
        current_task().cancel();
        TASK_CHECK(await(done) == 1);  // C14: does not suspend
        switch (way) {
          case 0:
            sleep(100s);
            break;
          case 1:
            yield();
            break;
          case 2:
            await(loop.create_future());
            break;
          case 3:
            await(create_task([] { sleep(100s); }));
            break;
        }
        TASK_CHECK(false);
      });
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(task.cancelled());
    }
  });
}

// --- the hard cases ----------------------------------------------------------------------------------------

TEST_CASE("C01: a cancel after the awaited future completed, before the task resumed, replaces the value",
          "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      Task<int> task = create_task([future] { return await(future); });
      yield();
      future.set_result(3);
      TASK_CHECK(task.cancel());
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(task.cancelled());
      TASK_CHECK(task.cancelling() == 1);
      TASK_CHECK(!future.cancelled());
      TASK_CHECK(future.result() == 3);
    });
  });
}

TEST_CASE("C02: after the cancel the producer of the awaited future comes too late", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    Future<> waiting = loop.create_future();
    Task<int> task = create_task([=]() mutable {
      waiting.set_result();
      return await(future);
    });
    await(waiting);
    TASK_CHECK(task.cancel());
    task.wait();
    TASK_CHECK(throws<InvalidStateError>([&] { future.set_result(1); }));
    TASK_CHECK(!future.try_set_result(1));
    TASK_CHECK(task.cancelled());
  });
}

TEST_CASE("C03: a task that is cancelled before it starts never runs", "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Task<> task = create_task([] { TASK_CHECK(false); });
      TASK_CHECK(task.cancel());
      TASK_CHECK(!task.done());
      TASK_CHECK(throws<CancelledError>([&] { await(task); }));
      TASK_CHECK(task.cancelled());
    });
    Task<> before_run = loop.create_task([] { TASK_CHECK(false); });
    CHECK(before_run.cancel());
    loop.run_until_complete([&] { before_run.wait(); });
    CHECK(before_run.cancelled());
  });
}

TEST_CASE("C03: a task cancelled at its start either never runs or gets to its first wait",
          "[cancellation]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([] {
      for (int i = 0; i < 200; ++i) {
        std::atomic<bool> began{false};
        Task<> task = spawn([&began] {
          began = true;
          sleep(100s);
          TASK_CHECK(false);
        });
        TASK_CHECK(task.cancel());
        task.wait();
        TASK_CHECK(task.cancelled());
      }
    });
  });
}

TEST_CASE("A task that is cancelled and uncancelled before it starts runs", "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Task<int> task = create_task([] {
        yield();
        return 1;
      });
      task.cancel();
      TASK_CHECK(task.uncancel() == 0);
      TASK_CHECK(await(task) == 1);
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_at_end
TEST_CASE("C04: a task that cancels itself and returns is cancelled, its value lost", "[cancellation]") {
  std::atomic<int> alive{0};
  struct Value {
    explicit Value(std::atomic<int>& its_alive) : alive(its_alive) { ++alive; }
    Value(const Value& other) : alive(other.alive) { ++alive; }
    ~Value() { --alive; }
    std::atomic<int>& alive;
  };
  in_tasks([&](EventLoop&) {
    Task<Value> task = create_task([&alive] {
      current_task().cancel();
      return Value(alive);
    });
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(task.cancelled());
    TASK_CHECK(task.cancelling() == 1);
    TASK_CHECK(alive == 0);
  });
}

TEST_CASE("C05: a task that cancels itself and throws fails with what it threw", "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      current_task().cancel();
      throw std::runtime_error("rather this");
    });
    TASK_CHECK(throws<std::runtime_error>([&] { await(task); }));
    TASK_CHECK(!task.cancelled());
    TASK_CHECK(task.cancelling() == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_uncancel_basic
TEST_CASE("C06: uncancel to zero drops a request that was not delivered yet", "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<int> task = create_task([] {
      const AnyTask self = current_task();
      self.cancel();
      self.cancel();
      TASK_CHECK(self.cancelling() == 2);
      TASK_CHECK(self.uncancel() == 1);
      TASK_CHECK(self.uncancel() == 0);
      TASK_CHECK(self.uncancel() == 0);
      yield();
      sleep(1ms);
      return 4;
    });
    TASK_CHECK(await(task) == 4);
    TASK_CHECK(task.cancelling() == 0);
  });
}

TEST_CASE("C06: uncancel above zero leaves the request to be delivered", "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      const AnyTask self = current_task();
      self.cancel();
      self.cancel();
      TASK_CHECK(self.uncancel() == 1);
      TASK_CHECK(throws<CancelledError>([] { yield(); }));
      yield();
      TASK_CHECK(self.cancelling() == 1);
      TASK_CHECK(self.uncancel() == 0);
    });
    await(task);
  });
}

// asyncio: test_tasks BaseTaskTests.test_uncancel_basic
TEST_CASE("A task that caught its cancellation and uncancels can be cancelled again", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<> first = loop.create_future();
    Future<> second = loop.create_future();
    Task<> task = create_task([=]() mutable {
      first.set_result();
      TASK_CHECK(throws<CancelledError>([] { sleep(100s); }));
      TASK_CHECK(current_task().uncancel() == 0);
      second.set_result();
      sleep(100s);
    });
    await(first);
    TASK_CHECK(task.cancel());
    await(second);
    TASK_CHECK(task.cancelling() == 0);
    TASK_CHECK(task.cancel());
    TASK_CHECK(task.cancelling() == 1);
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(task.uncancel() == 0);
    TASK_CHECK(task.cancelled());
  });
}

// asyncio: test_tasks BaseTaskTests.test_uncancel_resets_must_cancel
TEST_CASE("A cancel that came after the awaited future was done can be taken back before the task resumes",
          "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      Task<int> task = create_task([future] { return await(future); });
      yield();
      future.set_result(42);
      TASK_CHECK(task.cancel());
      TASK_CHECK(task.cancelling() == 1);
      TASK_CHECK(task.uncancel() == 0);
      TASK_CHECK(await(task) == 42);
      TASK_CHECK(!task.cancelled());
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_uncancel_structured_blocks
TEST_CASE("A hand-written timeout block turns its own cancellation into TimeoutError", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const auto with_timeout = [&loop](Duration limit, auto body) {
      const AnyTask self = current_task();
      auto timed_out = std::make_shared<std::atomic<bool>>(false);
      TimerHandle timer = loop.call_later(limit, [self, timed_out] {
        *timed_out = true;
        self.cancel();
      });
      try {
        body();
        timer.cancel();
      } catch (const CancelledError&) {
        timer.cancel();
        if (*timed_out && self.uncancel() == 0) throw TimeoutError();
        throw;
      }
    };
    Task<> task = create_task([&] {
      TASK_CHECK(throws<TimeoutError>([&] { with_timeout(1s, [] { sleep(10s); }); }));
      TASK_CHECK(current_task().cancelling() == 0);
      with_timeout(10s, [] { sleep(1s); });
      TASK_CHECK(
          throws<TimeoutError>([&] { with_timeout(1s, [&] { with_timeout(5s, [] { sleep(10s); }); }); }));
      TASK_CHECK(current_task().cancelling() == 0);
      sleep(1s);
    });
    await(task);
    TASK_CHECK(loop.time() == TimePoint(4s));
  });
}

TEST_CASE("C07: several cancels before delivery are one error and counted all", "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      std::atomic<int> errors{0};
      Task<> task = create_task([&errors] {
        for (int i = 0; i < 3; ++i) {
          try {
            sleep(1s);
          } catch (const CancelledError&) {
            ++errors;
          }
        }
      });
      yield();
      for (int i = 0; i < 3; ++i) TASK_CHECK(task.cancel());
      await(task);
      TASK_CHECK(errors == 1);
      TASK_CHECK(task.cancelling() == 3);
      TASK_CHECK(!task.cancelled());
    });
  });
}

TEST_CASE("C09: a second cancel interrupts the cleanup in a catch block", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<> started = loop.create_future();
    Future<> cleaning = loop.create_future();
    Task<> task = create_task([=]() mutable {
      started.set_result();
      try {
        sleep(100s);
      } catch (const CancelledError&) {
        cleaning.set_result();
        sleep(100s);
        TASK_CHECK(false);
      }
    });
    await(started);
    TASK_CHECK(task.cancel());
    await(cleaning);
    TASK_CHECK(task.cancel());
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(task.cancelling() == 2);
    TASK_CHECK(loop.time() < TimePoint(1s));
  });
}

TEST_CASE("C10: another exception while the cancellation is handled becomes the outcome", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<> started = loop.create_future();
    Task<> task = create_task([started]() mutable {
      started.set_result();
      try {
        sleep(100s);
      } catch (const CancelledError&) {
        throw std::runtime_error("the cleanup failed");
      }
    });
    await(started);
    TASK_CHECK(task.cancel());
    TASK_CHECK(throws<std::runtime_error>([&] { await(task); }));
    TASK_CHECK(!task.cancelled());
    TASK_CHECK(task.cancelling() == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_awaited_task
TEST_CASE("C11: a cancel is passed on down the chain of awaited tasks", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<> source = loop.create_future();
    std::atomic<int> waiting{0};
    const auto wait_for = [&waiting](const AnyFuture& awaited) {
      return create_task([awaited, &waiting] {
        ++waiting;
        awaited.wait();
        if (awaited.cancelled()) throw CancelledError();
      });
    };
    Task<> inner = create_task([source, &waiting] {
      ++waiting;
      await(source);
    });
    Task<> middle = create_task([inner, &waiting] {
      ++waiting;
      await(inner);
    });
    Task<> outer = create_task([middle, &waiting] {
      ++waiting;
      await(middle);
    });
    Task<> bystander = wait_for(inner);
    TASK_CHECK(eventually_in_task([&] { return waiting == 4; }));
    sleep(1ms);  // all of them wait now
    TASK_CHECK(outer.cancel());
    outer.wait(), middle.wait(), inner.wait(), bystander.wait();
    TASK_CHECK(source.cancelled());
    TASK_CHECK(inner.cancelled() && middle.cancelled() && outer.cancelled() && bystander.cancelled());
    TASK_CHECK(outer.cancelling() == 1);
    TASK_CHECK(middle.cancelling() == 1);
    TASK_CHECK(inner.cancelling() == 1);
    TASK_CHECK(bystander.cancelling() == 0);
  });
}

// asyncio: test_tasks BaseTaskTests.test_yield_future_passes_cancel
TEST_CASE("A cancel is thrown at the innermost wait and unwinds outwards, as far as it is not caught",
          "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Log log;
    Future<> future = loop.create_future();
    const auto inner = [&] {
      try {
        await(future);
      } catch (const CancelledError&) {
        log.add("inner");
        throw;
      }
    };
    const auto outer = [&] {
      try {
        inner();
      } catch (const CancelledError&) {
        log.add("outer");
      }
    };
    Task<> task = create_task([&] {
      outer();
      log.add("went-on");
    });
    sleep(1ms);
    TASK_CHECK(task.cancel());
    await(task);
    TASK_CHECK(log.text() == "inner outer went-on");
    TASK_CHECK(future.cancelled());
    TASK_CHECK(!task.cancelled());
  });
}

TEST_CASE("C12: the waiter gets the value of a task that swallows the cancel passed on to it",
          "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<int> inner = create_task([] {
      try {
        sleep(100s);
      } catch (const CancelledError&) {
      }
      return 5;
    });
    Task<int> outer = create_task([inner] {
      const int value = await(inner);
      yield();  // nothing is left to be delivered
      return value;
    });
    yield();
    sleep(1ms);
    TASK_CHECK(outer.cancel());
    TASK_CHECK(await(outer) == 5);
    TASK_CHECK(!outer.cancelled());
    TASK_CHECK(outer.cancelling() == 1);
  });
}

TEST_CASE("C13: a cycle of awaiting tasks is broken where the cancel came from", "[cancellation]") {
  for (const int length : {2, 3, 7, 50}) {
    in_tasks([length](EventLoop& loop) {
      std::vector<Task<>> tasks(static_cast<std::size_t>(length));
      Future<> all_made = loop.create_future();  // a task may start before its successor's handle is there
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        tasks[i] = create_task([&tasks, i, all_made] {
          await(all_made);
          await(tasks[(i + 1) % tasks.size()]);
        });
      }
      all_made.set_result();
      sleep(1ms);
      for (const Task<>& task : tasks) TASK_CHECK(!task.done());
      TASK_CHECK(tasks[0].cancel());
      for (const Task<>& task : tasks) {
        task.wait();
        TASK_CHECK(task.cancelled());
      }
    });
  }
}

// --- waiting without the result ----------------------------------------------------------------------------

TEST_CASE("Future::wait throws CancelledError when its own task is cancelled", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    const Future<> future = loop.create_future();
    Future<> waiting = loop.create_future();
    Task<> task = create_task([=]() mutable {
      waiting.set_result();
      future.wait();
      TASK_CHECK(false);
    });
    await(waiting);
    sleep(1ms);
    TASK_CHECK(task.cancel());
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(future.cancelled());

    Task<> itself = create_task([&loop] {
      current_task().cancel();
      loop.create_future().wait();
      TASK_CHECK(false);
    });
    TASK_CHECK(throws<CancelledError>([&] { await(itself); }));
  });
}

// --- messages ----------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_cancel_with_message_then_future_result
// asyncio: test_tasks BaseTaskTests.test_cancel_with_message_then_future_exception
// asyncio: test_tasks BaseTaskTests.test_task_cancel_message_getter
TEST_CASE("The message of a cancel reaches the task and whoever asks for its result", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    for (const std::string message : {"", "because I can"}) {
      for (int way = 0; way < 3; ++way) {
        Future<> waiting = loop.create_future();
        std::string inside = "nothing";
        Task<> task = create_task([&, way] {
          waiting.set_result();
          try {
            switch (way) {
              case 0:
                sleep(100s);
                break;
              case 1:
                await(loop.create_future());
                break;
              case 2:
                await(create_task([] { sleep(100s); }));
                break;
            }
          } catch (const CancelledError& error) {
            inside = error.message();
            throw;
          }
        });
        await(waiting);
        sleep(1ms);
        TASK_CHECK(task.cancel(message));
        TASK_CHECK(cancel_message([&] { await(task); }) == message);
        TASK_CHECK(cancel_message([&] { task.result(); }) == message);
        TASK_CHECK(cancel_message([&] { return task.exception(); }) == message);
        TASK_CHECK(inside == message);
      }
    }
  });
}

TEST_CASE("The message of a self-cancel reaches the next wait, whatever it is", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    for (int way = 0; way < 4; ++way) {
      Task<> task = create_task([&, way] {
        current_task().cancel("from myself");
        TASK_CHECK(cancel_message([&] {
                     switch (way) {
                       case 0:
                         sleep(100s);
                         break;
                       case 1:
                         yield();
                         break;
                       case 2:
                         await(loop.create_future());
                         break;
                       case 3:
                         await(create_task([] { sleep(100s); }));
                         break;
                     }
                   }) == "from myself");
        throw CancelledError("another");
      });
      TASK_CHECK(cancel_message([&] { await(task); }) == "another");
    }
  });
}

// asyncio: test_tasks BaseTaskTests.test_cancel_with_message_before_starting_task
TEST_CASE("The message of a cancel before the start is kept", "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Task<> task = create_task([] {});
      task.cancel("too early");
      TASK_CHECK(cancel_message([&] { await(task); }) == "too early");
    });
  });
}

// asyncio: test_tasks BaseTaskTests.test_task_cancel_message_setter
TEST_CASE("The latest message before the start is the one that is delivered", "[cancellation]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Task<> task = create_task([] { sleep(100s); });
      task.cancel("first");
      task.cancel("second");
      TASK_CHECK(cancel_message([&] { await(task); }) == "second");
    });
  });
}

// --- masks -------------------------------------------------------------------------------------------------

TEST_CASE("CancelMask holds every kind of wait together and delivers afterwards", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<> masked = loop.create_future();
    Future<int> future = loop.create_future<int>();
    Log log;
    Task<> task = create_task([&] {
      {
        const CancelMask mask;
        masked.set_result();
        yield();
        sleep(1s);
        TASK_CHECK(await(future) == 3);
        TASK_CHECK(await(create_task([] {
                     sleep(1s);
                     return 4;
                   })) == 4);
        log.add("masked");
        {
          const CancelMask nested;
          yield();
        }
        yield();
        log.add("still");
      }
      log.add("free");
      yield();
      TASK_CHECK(false);
    });
    await(masked);
    TASK_CHECK(task.cancel());
    TASK_CHECK(task.cancelling() == 1);
    loop.call_later(2s, [future]() mutable { future.set_result(3); });
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(log.text() == "masked still free");
    TASK_CHECK(loop.time() == TimePoint(3s));
  });
}

TEST_CASE("A request that came under a mask can be taken back under it", "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      {
        const CancelMask mask;
        current_task().cancel();
        yield();
        TASK_CHECK(current_task().uncancel() == 0);
      }
      yield();
      sleep(1ms);
    });
    await(task);
    TASK_CHECK(!task.cancelled());
  });
}

TEST_CASE("A waiter under a mask does not pass the cancel on", "[cancellation]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    Future<> waiting = loop.create_future();
    Task<int> task = create_task([=]() mutable {
      const CancelMask mask;
      waiting.set_result();
      return await(future);
    });
    await(waiting);
    sleep(1ms);
    TASK_CHECK(task.cancel());
    sleep(1s);
    TASK_CHECK(!future.done());
    future.set_result(1);
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));  // C04
  });
}

TEST_CASE("An exception in flight masks delivery in destructors that wait", "[cancellation]") {
  struct CleansUp {
    ~CleansUp() {
      yield();
      sleep(1s);
      log.add("cleaned");
    }
    Log& log;
  };
  in_tasks([](EventLoop& loop) {
    Log log;
    Future<> started = loop.create_future();
    Task<> task = create_task([&] {
      const CleansUp cleanup{log};
      started.set_result();
      sleep(100s);
    });
    await(started);
    sleep(1ms);
    TASK_CHECK(task.cancel());
    sleep(1ms);  // it unwinds now
    TASK_CHECK(task.cancel());
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
    TASK_CHECK(log.text() == "cleaned");
    TASK_CHECK(task.cancelling() == 2);
  });
}

TEST_CASE("A request that came while a task unwound is delivered at its next wait", "[cancellation]") {
  struct Cancels {
    ~Cancels() {
      current_task().cancel();
      yield();
    }
  };
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      try {
        const Cancels cancels;
        throw std::runtime_error("unwinds");
      } catch (const std::runtime_error&) {
      }
      TASK_CHECK(throws<CancelledError>([] { sleep(100s); }));
      current_task().uncancel();
    });
    await(task);
  });
}

TEST_CASE("Arguments that wait in their destructors are not interrupted", "[cancellation]") {
  struct Waits {
    explicit Waits(Log& its_log) : log(&its_log) {}
    Waits(Waits&& other) noexcept : log(std::exchange(other.log, nullptr)) {}
    ~Waits() {
      if (log == nullptr) return;
      yield();
      sleep(1ms);
      log->add("gone");
    }
    Log* log;
  };
  in_tasks([](EventLoop&) {
    Log log;
    Task<> task = create_task([argument = Waits(log)] { current_task().cancel(); });
    task.wait();
    TASK_CHECK(task.cancelled());
    TASK_CHECK(log.text() == "gone");
  });
}

// --- races -------------------------------------------------------------------------------------------------

TEST_CASE("A cancel from another worker races with completion: it is told the truth", "[cancellation]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      for (int i = 0; i < 300; ++i) {
        Future<int> future = loop.create_future<int>();
        Task<int> task = spawn([future] { return await(future); });
        Task<bool> completer = spawn([future]() mutable { return future.try_set_result(1); });
        Task<bool> canceller = spawn([task] { return task.cancel(); });
        task.wait();
        const bool asked = await(canceller);
        const bool set = await(completer);
        // A cancel that returned false came after the end.
        if (!asked) TASK_CHECK(!task.cancelled());
        if (!asked) TASK_CHECK(task.cancelling() == 0);
        if (asked) TASK_CHECK(task.cancelling() == 1);
        if (task.cancelled()) TASK_CHECK(asked);
        if (!task.cancelled()) TASK_CHECK(task.result() == 1 && set);
        if (!set) TASK_CHECK(future.cancelled());
      }
    });
  });
}

TEST_CASE("A cancel from another worker races with a timer: the sleep ends once", "[cancellation]") {
  on_parallel_loops(
      [](EventLoop& loop) {
        loop.run_until_complete([] {
          for (int i = 0; i < 200; ++i) {
            Task<> task = spawn([] { sleep(10us); });
            Task<bool> canceller = spawn([task] {
              sleep(10us);
              return task.cancel();
            });
            task.wait();
            const bool asked = await(canceller);
            if (!asked) TASK_CHECK(!task.cancelled());
            TASK_CHECK(task.cancelling() == (asked ? 1 : 0));
          }
        });
      },
      false);
}

TEST_CASE("A cancel passed on to a task that ends at that moment is not lost", "[cancellation]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      for (int i = 0; i < 300; ++i) {
        Future<> release = loop.create_future();
        Task<> inner = spawn([release] { await(release); });
        // The cancel reaches the outer task in one of two ways: through the inner one, or at its next wait.
        Task<> outer = spawn([inner] {
          await(inner);
          sleep(100s);
          TASK_CHECK(false);
        });
        yield();
        Task<> releaser = spawn([release]() mutable { release.try_set_result(); });
        TASK_CHECK(outer.cancel());
        outer.wait();
        TASK_CHECK(outer.cancelled());
        await(releaser);
        inner.wait();
      }
    });
  });
}

TEST_CASE("A cancel passed down a chain whose tasks end at that moment is not lost", "[cancellation]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      for (int i = 0; i < 300; ++i) {
        Future<> release = loop.create_future();
        Task<> innermost = spawn([release] { await(release); });
        Task<> inner = spawn([innermost] { await(innermost); });
        Task<> outer = spawn([inner] {
          await(inner);
          sleep(100s);
          TASK_CHECK(false);
        });
        yield();
        Task<> releaser = spawn([release]() mutable { release.try_set_result(); });
        if (i % 2 == 0) yield();
        TASK_CHECK(outer.cancel());
        outer.wait();
        TASK_CHECK(outer.cancelled());
        await(releaser);
        inner.wait();
        innermost.wait();
      }
    });
  });
}

TEST_CASE("Threads cancel tasks of a loop they do not belong to", "[cancellation]") {
  on_loops(
      [](EventLoop& loop) {
        constexpr int kTasks = 40;
        std::vector<Task<>> tasks;
        for (int i = 0; i < kTasks; ++i) tasks.push_back(loop.create_task([] { sleep(1000s); }));
        std::atomic<bool> started{false};
        std::vector<std::thread> threads;
        for (int t = 0; t < 2; ++t) {
          threads.emplace_back([&, t] {
            while (!started) std::this_thread::yield();
            for (std::size_t i = static_cast<std::size_t>(t); i < kTasks; i += 2)
              TASK_CHECK(tasks[i].cancel("by a thread"));
          });
        }
        loop.run_until_complete([&] {
          started = true;
          for (const Task<>& task : tasks) {
            task.wait();
            TASK_CHECK(task.cancelled());
          }
        });
        for (std::thread& thread : threads) thread.join();
      },
      false);
}

TEST_CASE("Cancels with messages race with the end of the task without harm", "[cancellation]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([] {
      for (int i = 0; i < 200; ++i) {
        Task<> task = spawn([] {
          current_task().cancel("own");
          yield();
        });
        Task<> first =
            spawn([task] { task.cancel("a rather long message from the first of two cancellers"); });
        Task<> second =
            spawn([task] { task.cancel("a rather long message from the second of two cancellers"); });
        TASK_CHECK(!cancel_message([&] { await(task); }).empty());
        await(first), await(second);
      }
    });
  });
}

TEST_CASE("Requests and uncancels from several workers are all counted", "[cancellation]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<> release = loop.create_future();
      Future<> masked = loop.create_future();  // a task that has not begun would not begin at all
      Task<> task = spawn([release, masked]() mutable {
        const CancelMask mask;
        masked.set_result();
        await(release);
        while (current_task().uncancel() > 0) {
        }
      });
      await(masked);
      std::vector<Task<>> cancellers;
      for (int i = 0; i < 20; ++i) {
        cancellers.push_back(spawn([task] {
          for (int k = 0; k < 50; ++k) TASK_CHECK(task.cancel());
        }));
      }
      for (const Task<>& canceller : cancellers) await(canceller);
      TASK_CHECK(task.cancelling() == 1000);
      release.set_result();
      await(task);
      TASK_CHECK(task.cancelling() == 0);
    });
  });
}

TEST_CASE("A cancel goes down a chain of gathers as deep as it is, on a small stack", "[cancellation]") {
  in_tasks([](EventLoop&) {
    Task<> last = create_task([] { sleep(1h); });
    for (int i = 0; i < 5000; ++i) last = create_task([last] { gather(last); });
    sleep(1ms);
    await(create_task(TaskOptions{.stack_size = std::size_t{64} * 1024},
                      [last] { TASK_CHECK(last.cancel("deep")); }));
    TASK_CHECK(cancel_message([&] { await(last); }) == "deep");
  });
}

// As in asyncio: what ended the wait has the say; before that, the last one.
TEST_CASE("Of several cancels the first that ended the wait gives the message", "[cancellation]") {
  in_order([](EventLoop& loop) {
    const auto message_of = [](auto wait, auto cancel) {
      const auto task = create_task(wait);
      for (int i = 0; i < 3; ++i) yield();  // what it waits for waits too
      cancel(task);
      return cancel_message([&] { await(task); });
    };
    const auto twice = [](const Task<>& task) {
      task.cancel("a");
      task.cancel("b");
    };
    const Task<> other = create_task([] { sleep(1h); });
    TASK_CHECK(message_of([] { sleep(1h); }, twice) == "a");
    TASK_CHECK(message_of([] { Event().wait(); }, twice) == "a");
    TASK_CHECK(message_of(
                   [&] {
                     Future<> own = loop.create_future(), copy = own;
                     await(copy);
                   },
                   twice) == "a");
    TASK_CHECK(message_of([] { await(create_task([] { sleep(1h); })); }, twice) == "a");
    TASK_CHECK(message_of([] { gather([] { sleep(1h); }, [] { sleep(1h); }); }, twice) == "a");
    TASK_CHECK(message_of([&] { shield(other); }, twice) == "a");
    TASK_CHECK(message_of([] { sleep(1h); },
                          [](const Task<>& task) {
                            task.cancel();
                            task.cancel("b");
                          }) == "");
    TASK_CHECK(message_of(
                   [] {
                     current_task().cancel("a");
                     current_task().cancel();
                     sleep(1h);
                   },
                   [](const Task<>&) {}) == "");
    // A message that was delivered is not there for the next cancel.
    TASK_CHECK(message_of(
                   [] {
                     try {
                       sleep(1h);
                     } catch (const CancelledError&) {
                     }
                     sleep(1h);
                   },
                   [](const Task<>& task) {
                     task.cancel("a");
                     yield();
                     task.cancel();
                   }) == "");
    other.cancel();
    other.wait();
  });
}
