// Future: its states, its callbacks, its values.
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "support/loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

std::exception_ptr error_of(const char* text) { return std::make_exception_ptr(std::runtime_error(text)); }

struct ThrowsWhenMoved {
  explicit ThrowsWhenMoved(bool its_armed) : armed(its_armed) {}
  ThrowsWhenMoved(const ThrowsWhenMoved&) = default;
  ThrowsWhenMoved(ThrowsWhenMoved&& other) : armed(other.armed), moves(other.moves + 1) {
    if (armed && moves > 1) throw std::length_error("the move failed");
  }
  bool armed;
  int moves = 0;
};

struct CountsLife {
  explicit CountsLife(std::atomic<int>& its_alive) : alive(&its_alive) { ++*alive; }
  CountsLife(const CountsLife& other) : alive(other.alive) { ++*alive; }
  CountsLife(CountsLife&& other) noexcept : alive(other.alive) { ++*alive; }
  ~CountsLife() { --*alive; }
  std::atomic<int>* alive;
};

}  // namespace

// --- states ------------------------------------------------------------------------------------------------

// asyncio: test_futures BaseFutureTests.test_initial_state
TEST_CASE("A new future is pending", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    CHECK(future.valid());
    CHECK_FALSE(future.done());
    CHECK_FALSE(future.cancelled());
    CHECK(future.cancel());
    CHECK(future.cancelled());
  });
}

// asyncio: test_futures BaseFutureTests.test_cancel
TEST_CASE("A cancelled future is done, refuses results and throws CancelledError", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    CHECK(future.cancel());
    CHECK(future.done());
    CHECK(future.cancelled());
    CHECK_THROWS_AS(future.result(), CancelledError);
    CHECK_THROWS_AS(future.exception(), CancelledError);
    CHECK_THROWS_AS(future.set_result(1), InvalidStateError);
    CHECK_THROWS_AS(future.set_exception(error_of("late")), InvalidStateError);
    CHECK_FALSE(future.cancel());
  });
}

// asyncio: test_futures BaseFutureTests.test_future_cancel_message_getter
TEST_CASE("A cancelled future's error carries the message given to cancel", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    CHECK(future.cancel("my message"));
    CHECK(cancel_message([&] { return future.result(); }) == "my message");
    CHECK(cancel_message([&] { return future.exception(); }) == "my message");
    const Future<int> silent = loop.create_future<int>();
    CHECK(silent.cancel());
    CHECK(cancel_message([&] { return silent.result(); }).empty());
  });
}

// asyncio: test_futures BaseFutureTests.test_future_cancel_message_setter
TEST_CASE("A future keeps the message of the cancel that won", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Future<int> future = loop.create_future<int>();
    CHECK(future.cancel("first"));
    CHECK_FALSE(future.cancel("second"));
    CHECK(cancel_message([&] { return future.result(); }) == "first");
  });
}

// asyncio: test_futures BaseFutureTests.test_result
TEST_CASE("A future returns its result once it is set, and only one is accepted", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    CHECK_THROWS_AS(future.result(), InvalidStateError);
    future.set_result(42);
    CHECK(future.done());
    CHECK_FALSE(future.cancelled());
    CHECK(future.result() == 42);
    CHECK(future.result() == 42);
    CHECK(future.exception() == nullptr);
    CHECK_THROWS_AS(future.set_result(43), InvalidStateError);
    CHECK_THROWS_AS(future.set_exception(error_of("late")), InvalidStateError);
    CHECK_FALSE(future.cancel());
    CHECK(future.result() == 42);
  });
}

// asyncio: test_futures BaseFutureTests.test_exception
TEST_CASE("A failed future throws its exception and returns the same object", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    CHECK_THROWS_AS(future.exception(), InvalidStateError);
    const std::exception_ptr error = error_of("boom");
    future.set_exception(error);
    CHECK_THROWS_WITH(future.result(), "boom");
    CHECK(future.exception() == error);
    CHECK_FALSE(future.cancelled());
    CHECK_THROWS_AS(future.set_exception(error_of("again")), InvalidStateError);
    CHECK_THROWS_AS(future.set_result(1), InvalidStateError);
    CHECK_FALSE(future.cancel());
  });
}

TEST_CASE("A future refuses a null exception and stays pending", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    CHECK_THROWS_AS(future.set_exception(nullptr), std::invalid_argument);
    CHECK_THROWS_AS(future.try_set_exception(nullptr), std::invalid_argument);
    CHECK_FALSE(future.done());
    future.set_result(1);
    CHECK(future.result() == 1);
  });
}

// asyncio: test_futures BaseFutureTests.test_set_result_unless_cancelled
TEST_CASE("A future's try_set says whether it won and changes nothing if it lost", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    CHECK(future.try_set_result(1));
    CHECK_FALSE(future.try_set_result(2));
    CHECK_FALSE(future.try_set_exception(error_of("late")));
    CHECK(future.result() == 1);

    Future<int> cancelled = loop.create_future<int>();
    cancelled.cancel();
    CHECK_FALSE(cancelled.try_set_result(1));
    CHECK(cancelled.cancelled());
  });
}

TEST_CASE("A void future is done without a value", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<> future = loop.create_future();
    CHECK_THROWS_AS(future.result(), InvalidStateError);
    future.set_result();
    future.result();
    CHECK(future.exception() == nullptr);
    CHECK_THROWS_AS(future.set_result(), InvalidStateError);
    CHECK_FALSE(future.try_set_result());
  });
}

TEST_CASE("Future handles are equal if they name the same future", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Future<int> a = loop.create_future<int>();
    const Future<int> b = loop.create_future<int>();
    const Future<int> copy = a;
    const AnyFuture any = a;
    CHECK(a == copy);
    CHECK(any == copy);
    CHECK_FALSE(a == b);
    CHECK_FALSE(AnyFuture().valid());
    CHECK(AnyFuture() == Future<int>());
    Future<int> moved = a;
    const Future<int> target = std::move(moved);
    CHECK(target == a);
    CHECK_FALSE(moved.valid());  // NOLINT(bugprone-use-after-move): said in the header
  });
}

// asyncio: test_futures BaseFutureTests.test_constructor_use_running_loop
TEST_CASE("A future knows its loop", "[futures]") {
  on_loops([](EventLoop& loop) {
    CHECK(&loop.create_future<int>().get_loop() == &loop);
    loop.run_until_complete([&loop] {
      TASK_CHECK(&get_running_loop() == &loop);
      TASK_CHECK(&get_running_loop().create_future<int>().get_loop() == &loop);
      TASK_CHECK(&create_task([] {}).get_loop() == &loop);
    });
  });
}

// asyncio: test_futures BaseFutureTests.test_constructor_without_loop
TEST_CASE("A future made outside of any loop says so", "[futures]") {
  const NothingLeft nothing_left;
  ThreadPool pool(1);
  const Future<int> future = pool.submit([] { return 1; });
  CHECK_THROWS_AS(future.get_loop(), RuntimeError);
  CHECK_THROWS_AS(future.add_done_callback([](const AnyFuture&) {}), RuntimeError);
  CHECK(await(future) == 1);
}

// --- values ------------------------------------------------------------------------------------------------

TEST_CASE("A future holds a value that can only be moved", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<std::unique_ptr<int>> future = loop.create_future<std::unique_ptr<int>>();
    future.set_result(std::make_unique<int>(5));
    TASK_CHECK(*future.result() == 5);
    TASK_CHECK(*await(future) == 5);  // an lvalue is looked at
    const std::unique_ptr<int> taken = await(std::move(future));
    TASK_CHECK(*taken == 5);
  });
}

TEST_CASE("Awaiting an rvalue moves the value out if nobody else holds the future", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<std::string> alone = loop.create_future<std::string>();
    const std::string text(100, 'x');
    alone.set_result(text);
    const char* const where = alone.result().data();
    const std::string moved = await(std::move(alone));
    TASK_CHECK(moved == text);
    TASK_CHECK(moved.data() == where);

    Future<std::string> shared = loop.create_future<std::string>();
    shared.set_result(text);
    Future<std::string> other = shared;
    const std::string copied = await(std::move(shared));
    TASK_CHECK(copied == text);
    TASK_CHECK(other.result() == text);
  });
}

TEST_CASE("A future whose value throws when it is moved in stays pending", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<ThrowsWhenMoved> future = loop.create_future<ThrowsWhenMoved>();
    CHECK_THROWS_AS(future.set_result(ThrowsWhenMoved(true)), std::length_error);
    CHECK_FALSE(future.done());
    future.set_result(ThrowsWhenMoved(false));
    CHECK(future.done());
    CHECK_FALSE(future.result().armed);
  });
}

TEST_CASE("A future that failed to take a value keeps its waiters and callbacks", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<ThrowsWhenMoved> future = loop.create_future<ThrowsWhenMoved>();
    Future<> called = loop.create_future();
    Task<bool> waiter = create_task([future] { return await(future).armed; });
    future.add_done_callback([called](const AnyFuture&) mutable { called.set_result(); });
    yield();
    TASK_CHECK(throws<std::length_error>([&] { future.set_result(ThrowsWhenMoved(true)); }));
    yield();
    TASK_CHECK(!waiter.done());
    TASK_CHECK(!called.done());
    future.set_result(ThrowsWhenMoved(false));
    TASK_CHECK(!await(waiter));
    await(called);
  });
}

TEST_CASE("A future destroys its value with its last handle", "[futures]") {
  std::atomic<int> alive{0};
  on_loops([&](EventLoop& loop) {
    {
      Future<CountsLife> future = loop.create_future<CountsLife>();
      future.set_result(CountsLife(alive));
      CHECK(alive == 1);
      const AnyFuture other = future;
      future = Future<CountsLife>();
      CHECK(alive == 1);
    }
    CHECK(alive == 0);
    {
      Future<CountsLife> late = loop.create_future<CountsLife>();
      late.cancel();
      CHECK_FALSE(late.try_set_result(CountsLife(alive)));
      CHECK(alive == 0);
    }
  });
}

TEST_CASE("A future may outlive its loop", "[futures]") {
  Future<int> pending;
  Future<int> done;
  Future<int> failed;
  Task<int> task;
  {
    EventLoop loop(test_config(2));
    pending = loop.create_future<int>();
    done = loop.create_future<int>();
    failed = loop.create_future<int>();
    done.set_result(1);
    failed.set_exception(error_of("nobody is left to hear of it"));
    pending.add_done_callback([](const AnyFuture&) { TASK_CHECK(false); });
    task = loop.create_task([] { return 3; });
    CHECK(loop.run_until_complete(task) == 3);
  }
  pending.set_result(2);
  CHECK(await(pending) == 2);
  CHECK(done.result() == 1);
  CHECK(task.result() == 3);
  failed = Future<int>();
  report_failures();
}

// Found by the differential tests, and LeakSanitizer.
TEST_CASE("A future that goes while it is pending takes its done-callbacks along", "[futures]") {
  const auto held = std::make_shared<int>(1);
  {
    EventLoop loop(test_config(1));
    Future<int> pending = loop.create_future<int>();
    pending.add_done_callback([held](const AnyFuture&) { TASK_CHECK(false); });
    pending.add_done_callback([held](const AnyFuture&) { TASK_CHECK(false); });
    CHECK(held.use_count() == 3);
    pending = Future<int>();
    CHECK(held.use_count() == 1);
  }
  report_failures();
}

// --- awaiting ----------------------------------------------------------------------------------------------

TEST_CASE("Awaiting a done future returns at once", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    future.set_result(7);
    Log log;
    loop.call_soon([&log] { log.add("callback"); });
    if (loop.workers() == 1) {  // C14: nothing else runs first
      TASK_CHECK(await(future) == 7);
      TASK_CHECK(log.text().empty());
    }
    TASK_CHECK(await(future) == 7);
    TASK_CHECK(eventually_in_task([&] { return log.size() == 1; }));
  });
}

TEST_CASE("Awaiting a future passes its exception on, the same object to every waiter", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    const std::exception_ptr error = error_of("shared");
    std::vector<Task<bool>> waiters;
    for (int i = 0; i < 10; ++i) {
      waiters.push_back(create_task([future, error] {
        try {
          await(future);
        } catch (const std::runtime_error&) {
          return std::current_exception() == error;
        }
        return false;
      }));
    }
    yield();
    future.set_exception(error);
    for (const Task<bool>& waiter : waiters) TASK_CHECK(await(waiter));
  });
}

TEST_CASE("Future::wait waits and never throws what the future holds", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<int> failed = loop.create_future<int>();
    Future<int> cancelled = loop.create_future<int>();
    loop.call_soon([failed, cancelled]() mutable {
      failed.set_exception(error_of("not thrown by wait"));
      cancelled.cancel();
    });
    failed.wait();
    TASK_CHECK(failed.done());
    cancelled.wait();
    TASK_CHECK(cancelled.cancelled());
    TASK_CHECK(failed.exception() != nullptr);
  });
}

TEST_CASE("A plain thread blocks in wait and await until the future is done", "[futures]") {
  on_loops(
      [](EventLoop& loop) {
        Future<int> go = loop.create_future<int>();
        Future<int> answer = loop.create_future<int>();
        Future<int> failed = loop.create_future<int>();
        std::thread thread([=]() mutable {
          const int value = await(go);
          answer.set_result(value + 1);
          failed.wait();
          TASK_CHECK(throws<std::runtime_error>([&] { await(failed); }));
        });
        loop.run_until_complete([&] {
          go.set_result(41);
          TASK_CHECK(await(answer) == 42);
          failed.set_exception(error_of("for the thread"));
        });
        thread.join();
      },
      false);
}

TEST_CASE("Awaiting in a callback throws RuntimeError if it would have to wait", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<int> pending = loop.create_future<int>();
    Future<int> done = loop.create_future<int>();
    done.set_result(1);
    Future<> finished = loop.create_future();
    loop.call_soon([=]() mutable {
      TASK_CHECK(throws<RuntimeError>([&] { await(pending); }));
      TASK_CHECK(throws<RuntimeError>([&] { pending.wait(); }));
      TASK_CHECK(throws<RuntimeError>([&] { sleep(1s); }));
      TASK_CHECK(throws<RuntimeError>([&] { yield(); }));
      TASK_CHECK(throws<RuntimeError>([&] { CancelMask mask; }));
      TASK_CHECK(await(done) == 1);
      finished.set_result();
    });
    await(finished);
    pending.cancel();
  });
}

// asyncio: test_tasks BaseTaskTests.test_ensure_future_coroutine
// asyncio: test_tasks BaseCurrentLoopTests.test_current_task_no_running_loop_implicit
// asyncio: test_events GetEventLoopTestsMixin.test_get_event_loop_returns_running_loop2
TEST_CASE("Waits outside of any loop throw RuntimeError where they need a task", "[futures]") {
  CHECK_THROWS_AS(sleep(1s), RuntimeError);
  CHECK_THROWS_AS(yield(), RuntimeError);
  CHECK_THROWS_AS(sleep_until(TimePoint()), RuntimeError);
  CHECK_THROWS_AS(CancelMask(), RuntimeError);
  CHECK_THROWS_AS(create_task([] {}), RuntimeError);
  CHECK_THROWS_AS(spawn([] {}), RuntimeError);
  CHECK_THROWS_AS(to_thread([] {}), RuntimeError);
  CHECK_THROWS_AS(get_running_loop(), RuntimeError);
  CHECK_THROWS_AS(current_task(), RuntimeError);
  CHECK_THROWS_AS(all_tasks(), RuntimeError);
}

TEST_CASE("One future wakes thousands of waiting tasks", "[futures]") {
  in_tasks([](EventLoop& loop) {
    constexpr int kWaiters = 3000;
    Future<int> future = loop.create_future<int>();
    std::atomic<int> sum{0};
    std::vector<Task<>> tasks;
    tasks.reserve(kWaiters);
    TaskOptions options;
    options.stack_size = 16 * 1024;
    for (int i = 0; i < kWaiters; ++i) {
      tasks.push_back(create_task(options, [future, &sum] { sum += await(future); }));
    }
    yield();
    future.set_result(2);
    for (const Task<>& task : tasks) await(task);
    TASK_CHECK(sum == 2 * kWaiters);
  });
}

TEST_CASE("Waiting tasks and callbacks that leave a future early do not disturb the others", "[futures]") {
  in_tasks([](EventLoop& loop) {
    Future<int> inner = loop.create_future<int>();
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 20; ++i) {
      tasks.push_back(create_task([inner] {
        Task<int> own = create_task([inner] {
          const CancelMask mask;  // so that the shared future is not cancelled with its waiter
          return await(inner);
        });
        return await(own);
      }));
    }
    yield();
    yield();
    for (std::size_t i = 0; i < tasks.size(); i += 2) tasks[i].cancel();
    inner.set_result(9);
    for (const Task<int>& task : tasks) {
      task.wait();
      TASK_CHECK(task.cancelled() || task.result() == 9);
    }
    for (std::size_t i = 1; i < tasks.size(); i += 2) TASK_CHECK(tasks[i].result() == 9);
  });
}

// --- callbacks ---------------------------------------------------------------------------------------------

// asyncio: test_futures BaseFutureDoneCallbackTests.test_callbacks_invoked_on_set_result
TEST_CASE("A future's callbacks run after set_result, not inside it, in the order of registration",
          "[futures]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      Log log;
      for (const char* name : {"a", "b", "c"}) {
        future.add_done_callback([&log, name](const AnyFuture& done) {
          TASK_CHECK(done.done());
          log.add(name);
        });
      }
      TASK_CHECK(log.text().empty());
      future.set_result(1);
      TASK_CHECK(log.text().empty());
      yield();
      TASK_CHECK(log.text() == "a b c");
    });
  });
}

// asyncio: test_futures BaseFutureDoneCallbackTests.test_callbacks_invoked_on_set_exception
TEST_CASE("A future's callbacks see its exception, and that counts as retrieved", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    loop.run_until_complete([&] {
      std::atomic<int> calls{0};
      {
        Future<int> future = loop.create_future<int>();
        future.add_done_callback([&calls](const AnyFuture& done) {
          TASK_CHECK(done.exception() != nullptr);
          ++calls;
        });
        future.set_exception(error_of("for the callback"));
      }
      TASK_CHECK(eventually_in_task([&] { return calls == 1; }));
    });
    CHECK(reports.size() == 0);
  });
}

TEST_CASE("A future's callbacks each run exactly once, however it ends and wherever", "[futures]") {
  on_loops([](EventLoop& loop) {
    constexpr int kCallbacks = 200;
    std::atomic<int> calls{0};
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) {
      futures.push_back(loop.create_future<int>());
      for (int k = 0; k < kCallbacks; ++k)
        futures.back().add_done_callback([&calls](const AnyFuture&) { ++calls; });
    }
    futures[0].set_result(1);
    futures[1].set_exception(error_of("seen"));
    static_cast<void>(futures[1].exception());
    std::thread([future = futures[2]] { future.cancel(); }).join();
    loop.run_until_complete([&] { TASK_CHECK(eventually_in_task([&] { return calls == 3 * kCallbacks; })); });
    loop.run_until_complete([] { yield(); });
    CHECK(calls == 3 * kCallbacks);
  });
}

TEST_CASE("A callback added to a done future runs in the next pass, never inline", "[futures]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Future<int> future = loop.create_future<int>();
      future.set_result(1);
      Log log;
      future.add_done_callback([&log](const AnyFuture&) { log.add("callback"); });
      log.add("after");
      yield();
      log.add("later");
      TASK_CHECK(log.text() == "after callback later");
    });
  });
}

// asyncio: test_futures BaseFutureDoneCallbackTests.test_callbacks_remove_first_callback
// asyncio: test_futures BaseFutureDoneCallbackTests.test_callbacks_remove_first_and_second_callback
// asyncio: test_futures BaseFutureDoneCallbackTests.test_callbacks_remove_third_callback
// asyncio: test_futures BaseFutureDoneCallbackTests.test_remove_done_callback
TEST_CASE("A removed callback does not run, wherever it stood", "[futures]") {
  for (int mask = 0; mask < 8; ++mask) {
    on_one_worker([mask](EventLoop& loop) {
      Future<int> future = loop.create_future<int>();
      Log log;
      std::vector<CallbackId> ids;
      for (int i = 0; i < 3; ++i) {
        ids.push_back(future.add_done_callback([&log, i](const AnyFuture&) { log.add(std::to_string(i)); }));
      }
      std::string expected;
      for (std::size_t i = 0; i < 3; ++i) {
        if ((mask >> i & 1) != 0) {
          CHECK(future.remove_done_callback(ids[i]) == 1);
          CHECK(future.remove_done_callback(ids[i]) == 0);
        } else {
          expected += (expected.empty() ? "" : " ") + std::to_string(i);
        }
      }
      future.set_result(1);
      loop.run_until_complete([] { yield(); });
      CHECK(log.text() == expected);
    });
  }
}

// asyncio: test_futures BaseFutureDoneCallbackTests.test_schedule_callbacks_list_mutation_1
TEST_CASE("A callback that removes a later one of a done future comes too late", "[futures]") {
  on_one_worker([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    Log log;
    CallbackId second = 0;
    future.add_done_callback([&](const AnyFuture& done) {
      log.add("first");
      TASK_CHECK(done.remove_done_callback(second) == 0);
    });
    second = future.add_done_callback([&](const AnyFuture&) { log.add("second"); });
    future.set_result(1);
    loop.run_until_complete([] { yield(); });
    CHECK(log.text() == "first second");
  });
}

// asyncio: test_futures BaseFutureDoneCallbackTests.test_remove_done_callbacks_list_mutation
// asyncio: test_futures BaseFutureDoneCallbackTests.test_remove_done_callbacks_list_clear
TEST_CASE("A callback whose destructor removes others does not corrupt the list", "[futures]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    std::atomic<int> calls{0};
    const CallbackId other = future.add_done_callback([&calls](const AnyFuture&) { calls += 100; });
    struct Remover {
      Remover(AnyFuture its_future, CallbackId its_id) : future(std::move(its_future)), id(its_id) {}
      Remover(Remover&& from) noexcept : future(std::move(from.future)), id(from.id) {}
      ~Remover() {
        if (future.valid()) future.remove_done_callback(id);
      }
      AnyFuture future;
      CallbackId id;
    };
    const CallbackId first =
        future.add_done_callback([remover = Remover(future, other)](const AnyFuture&) {});
    future.add_done_callback([&calls](const AnyFuture&) { ++calls; });
    CHECK(future.remove_done_callback(first) == 1);
    CHECK(future.remove_done_callback(other) == 0);
    future.set_result(1);
    loop.run_until_complete([&] { TASK_CHECK(eventually_in_task([&] { return calls != 0; })); });
    CHECK(calls == 1);
  });
}

TEST_CASE("A failing callback is reported and does not stop the others", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    Future<int> future = loop.create_future<int>();
    std::atomic<int> calls{0};
    future.add_done_callback([&](const AnyFuture&) { ++calls; });
    future.add_done_callback([](const AnyFuture&) { throw std::logic_error("a bad callback"); });
    future.add_done_callback([&](const AnyFuture&) { ++calls; });
    future.set_result(1);
    loop.run_until_complete(
        [&] { TASK_CHECK(eventually_in_task([&] { return calls == 2 && reports.size() == 1; })); });
    CHECK(calls == 2);
    REQUIRE(reports.size() == 1);
    CHECK_THROWS_WITH(std::rethrow_exception(reports.exceptions()[0]), "a bad callback");
  });
}

TEST_CASE("Callbacks of a future completed in a chain come after what is queued already", "[futures]") {
  on_one_worker([](EventLoop& loop) {  // C51
    loop.run_until_complete([&] {
      Log log;
      Future<int> first = loop.create_future<int>();
      Future<int> second = loop.create_future<int>();
      second.add_done_callback([&](const AnyFuture&) { log.add("g"); });
      first.add_done_callback([&, second](const AnyFuture&) mutable {
        log.add("f1");
        second.set_result(1);
      });
      first.add_done_callback([&](const AnyFuture&) { log.add("f2"); });
      first.set_result(1);
      loop.call_soon([&] { log.add("x"); });
      yield();
      yield();
      TASK_CHECK(log.text() == "f1 f2 x g");
    });
  });
}

TEST_CASE("Waiting tasks and callbacks of a future are served in the order in which they came", "[futures]") {
  on_one_worker([](EventLoop& loop) {  // C51
    loop.run_until_complete([&] {
      Log log;
      Future<int> future = loop.create_future<int>();
      Task<> first = create_task([&] { await(future), log.add("t1"); });
      yield();
      future.add_done_callback([&](const AnyFuture&) { log.add("cb"); });
      Task<> second = create_task([&] { await(future), log.add("t2"); });
      yield();
      future.set_result(1);
      await(second);
      await(first);
      TASK_CHECK(log.text() == "t1 cb t2");
    });
  });
}

TEST_CASE("A callback is told of completion by another thread while it is being added", "[futures]") {
  on_parallel_loops([](EventLoop& loop) {
    // Neither lost nor called twice, whoever is faster.
    std::atomic<int> calls{0};
    constexpr int kRounds = 200;
    loop.run_until_complete([&] {
      for (int i = 0; i < kRounds; ++i) {
        Future<int> future = loop.create_future<int>();
        Task<> setter = spawn([future]() mutable { future.set_result(1); });
        future.add_done_callback([&calls](const AnyFuture&) { ++calls; });
        await(setter);
      }
      TASK_CHECK(eventually_in_task([&] { return calls == kRounds; }));
    });
    CHECK(calls == kRounds);
  });
}

// --- several producers -------------------------------------------------------------------------------------

TEST_CASE("Of many producers that race for a future exactly one wins", "[futures]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      for (int round = 0; round < 50; ++round) {
        Future<int> future = loop.create_future<int>();
        std::vector<Task<bool>> producers;
        for (int i = 0; i < 6; ++i) {
          producers.push_back(spawn([future, i]() mutable {
            if (i == 4) return future.cancel();
            if (i == 5) return future.try_set_exception(error_of("one of six"));
            return future.try_set_result(i);
          }));
        }
        int winners = 0;
        for (const Task<bool>& producer : producers) winners += await(producer) ? 1 : 0;
        TASK_CHECK(winners == 1);
        TASK_CHECK(future.done());
        if (!future.cancelled()) static_cast<void>(future.exception());
      }
    });
  });
}

TEST_CASE("Plain threads complete futures that tasks wait for", "[futures]") {
  on_loops(
      [](EventLoop& loop) {
        constexpr int kFutures = 50;
        std::vector<Future<int>> futures;
        for (int i = 0; i < kFutures; ++i) futures.push_back(loop.create_future<int>());
        std::atomic<bool> started{false};
        std::thread thread([&] {
          while (!started) std::this_thread::yield();
          for (int i = 0; i < kFutures; ++i) futures[static_cast<std::size_t>(i)].set_result(i);
        });
        // Real time: with virtual time a loop that only waits for a thread it does not know is a deadlock.
        loop.run_until_complete([&] {
          started = true;
          int sum = 0;
          for (const Future<int>& future : futures) sum += await(future);
          TASK_CHECK(sum == kFutures * (kFutures - 1) / 2);
        });
        thread.join();
      },
      false);
}

// --- exceptions nobody retrieved ---------------------------------------------------------------------------

// asyncio: test_futures BaseFutureTests.test_tb_logger_exception_unretrieved
// asyncio: test_futures BaseFutureTests.test_future_exception_never_retrieved
TEST_CASE("A future's exception that nobody retrieved is reported once, when the last handle goes",
          "[futures]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    const std::exception_ptr error = error_of("unseen");
    Future<int> future = loop.create_future<int>();
    future.set_exception(error);
    {
      const AnyFuture other = future;
      future = Future<int>();
      CHECK(reports.size() == 0);
    }
    REQUIRE(reports.size() == 1);
    CHECK(reports.exceptions()[0] == error);
    CHECK(reports.messages()[0] == "Future exception was never retrieved");
  });
}

// asyncio: test_futures BaseFutureTests.test_future_exception_never_retrieved_debug
TEST_CASE("In debug mode too an exception that nobody retrieved is reported once", "[futures]") {
  on_loops([](EventLoop& loop) {
    loop.set_debug(true);
    const Reports reports(loop);
    Future<int> future = loop.create_future<int>();
    const std::exception_ptr error = error_of("unseen");
    future.set_exception(error);
    future = Future<int>();
    REQUIRE(reports.size() == 1);
    CHECK(reports.exceptions()[0] == error);
  });
}

TEST_CASE("The report of an exception nobody retrieved has the future, which may be kept", "[futures]") {
  on_loops([](EventLoop& loop) {
    AnyFuture kept;
    int reports = 0;
    loop.set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
      ++reports;
      kept = context.future;
    });
    {
      Future<int> future = loop.create_future<int>();
      future.set_exception(error_of("unseen"));
    }
    REQUIRE(kept.valid());
    CHECK(kept.done());
    CHECK(kept.exception() != nullptr);
    kept = AnyFuture();  // goes, and is not reported again
    CHECK(reports == 1);
    loop.set_exception_handler(nullptr);
  });
}

TEST_CASE("An exception nobody retrieved is written to stderr after the end of its loop", "[futures]") {
  const ChildResult result = run_in_child([] {
    Task<> task;
    Future<> future;
    EventLoop loop(test_config(1));
    loop.run_until_complete([&] {
      task = create_task({.name = "late"}, [] { throw std::runtime_error("lost"); });
      yield();
      future = get_running_loop().create_future();
      future.set_exception(error_of("lost, too"));
    });
    loop.close();
    task = Task<>();
    future = Future<>();
  });
  CHECK(result.exit_code == 0);
  CHECK(result.errors.find("fibrio: Task exception was never retrieved (task 'late'): lost\n") !=
        std::string::npos);
  CHECK(result.errors.find("fibrio: Future exception was never retrieved: lost, too\n") != std::string::npos);
}

TEST_CASE("Handles can be kept in unordered sets: by identity, whatever their type", "[futures]") {
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      std::unordered_set<AnyTask> running;
      for (int i = 0; i < 10; ++i) running.insert(create_task([] { return 1; }));
      TASK_CHECK(running.size() == 10);
      TASK_CHECK(!running.contains(AnyTask()));
      while (!running.empty()) {
        const AnyTask task = *running.begin();
        task.wait();
        TASK_CHECK(running.erase(task) == 1);
      }
      const Future<int> future = loop.create_future<int>();
      TASK_CHECK(std::hash<Future<int>>()(future) == std::hash<AnyFuture>()(future));
    });
  });
}

TEST_CASE("A done-callback that could never run is refused", "[futures]") {
  Future<> pending;
  {
    EventLoop loop(test_config(1));
    pending = loop.create_future();
    loop.close();
    CHECK_THROWS_AS(pending.add_done_callback([](const AnyFuture&) {}), RuntimeError);
  }
  CHECK_THROWS_AS(pending.add_done_callback([](const AnyFuture&) {}), RuntimeError);
  // A loop that runs will call it, whatever became of the future's own.
  EventLoop other(test_config(1));
  bool called = false;
  other.run_until_complete([&] {
    pending.add_done_callback([&](const AnyFuture&) { called = true; });
    pending.set_result();
    yield();
    yield();
  });
  CHECK(called);
}

TEST_CASE("A done-callback may return something", "[futures]") {
  on_loops(
      [](EventLoop& loop) {
        int calls = 0;
        loop.run_until_complete([&] {
          Future<> future = loop.create_future();
          future.add_done_callback([&](const AnyFuture&) { return ++calls; });
          future.set_result();
          yield();
          yield();
        });
        CHECK(calls == 1);
      },
      false);
}

TEST_CASE("An empty task handle becomes an empty AnyTask", "[futures]") {
  const Task<int> none;
  const AnyTask any = none;
  CHECK_FALSE(any.valid());
}

// asyncio: test_futures BaseFutureTests.test_tb_logger_abandoned
// asyncio: test_futures BaseFutureTests.test_tb_logger_result_unretrieved
// asyncio: test_futures BaseFutureTests.test_tb_logger_result_retrieved
// asyncio: test_futures BaseFutureTests.test_tb_logger_exception_retrieved
// asyncio: test_futures BaseFutureTests.test_tb_logger_exception_result_retrieved
// asyncio: test_futures BaseFutureTests.test_tb_logger_not_called_after_cancel
TEST_CASE("A future whose exception was seen, or that has none, is not reported", "[futures]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    const auto failed = [&] {
      Future<int> future = loop.create_future<int>();
      future.set_exception(error_of("seen"));
      return future;
    };
    static_cast<void>(loop.create_future<int>());
    loop.create_future<int>().set_result(1);
    {
      Future<int> future = loop.create_future<int>();
      future.set_result(1);
      static_cast<void>(future.result());
    }
    static_cast<void>(failed().exception());
    CHECK_THROWS_AS(failed().result(), std::runtime_error);
    CHECK_THROWS_AS(await(failed()), std::runtime_error);
    CHECK_FALSE(failed().cancel());
    CHECK(loop.create_future<int>().cancel());
    CHECK(reports.size() == 0);
  });
}

TEST_CASE("Waiting for a failed future does not count as having seen its exception", "[futures]") {
  on_loops([](EventLoop& loop) {  // C53
    const Reports reports(loop);
    {
      Future<int> future = loop.create_future<int>();
      future.set_exception(error_of("waited for"));
      future.wait();
    }
    CHECK(reports.size() == 1);
  });
}
