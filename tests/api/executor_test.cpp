// Offload as tasks see it: to_thread, run_in_executor, the default executor. The pool's inside:
// tests/unit/offload.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Calls that enter it stay until it is opened, at the latest at its end.
class Gate {
 public:
  ~Gate() { open(); }
  void enter() {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] int entered() const {
    const std::lock_guard lock(mutex_);
    return entered_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int entered_ = 0;
  bool open_ = false;
};

}  // namespace

// asyncio: test_threads ToThreadTests.test_to_thread
// asyncio: test_threads ToThreadTests.test_to_thread_args_kwargs
// asyncio: test_threads ToThreadTests.test_to_thread_once
TEST_CASE("to_thread returns what the call returns on another thread", "[offload]") {
  in_tasks([](EventLoop&) {
    const std::thread::id here = std::this_thread::get_id();
    std::atomic<int> calls{0};
    TASK_CHECK(to_thread(
                   [&](int a, const std::string& b) {
                     ++calls;
                     TASK_CHECK(std::this_thread::get_id() != here);
                     TASK_CHECK(throws<RuntimeError>([] { static_cast<void>(get_running_loop()); }));
                     return a + static_cast<int>(b.size());
                   },
                   40, "ab") == 42);
    TASK_CHECK(calls == 1);
    to_thread([] {});
    TASK_CHECK(*to_thread([](std::unique_ptr<int> p) { return p; }, std::make_unique<int>(3)) == 3);
  });
}

// asyncio: test_threads ToThreadTests.test_to_thread_exception
TEST_CASE("to_thread throws what the call throws", "[offload]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<std::out_of_range>([] { to_thread([] { throw std::out_of_range("x"); }); }));
    TASK_CHECK(throws<CancelledError>([] { to_thread([] { throw CancelledError("from the call"); }); }));
    yield();  // nothing was left to be delivered
  });
}

// asyncio: test_threads ToThreadTests.test_to_thread_concurrent
TEST_CASE("Offloaded calls run beside each other, up to the executor's threads", "[offload]") {
  in_tasks([](EventLoop& loop) {
    Gate gate;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 10; ++i) {
      tasks.push_back(create_task([&gate] { to_thread([&gate] { gate.enter(); }); }));
    }
    TASK_CHECK(eventually_in_task([&] { return gate.entered() == 4; }));  // Config::max_blocking_threads
    for (int i = 0; i < 100; ++i) yield();
    TASK_CHECK(gate.entered() == 4);
    TASK_CHECK(loop.stats().blocking_threads == 4);
    gate.open();
    for (const Task<>& task : tasks) await(task);
    TASK_CHECK(gate.entered() == 10);
  });
}

// asyncio: test_events EventLoopTestsMixin.test_run_in_executor
// asyncio: test_futures BaseFutureTests.test_wrap_future_use_running_loop
TEST_CASE("run_in_executor submits at once, to the default executor or a given one", "[offload]") {
  in_tasks([](EventLoop& loop) {
    ThreadPool own(1, 1s, "own");
    Future<int> by_own = loop.run_in_executor(&own, [] { return 1; });
    Future<int> by_default = loop.run_in_executor(
        nullptr, [](int a) { return a; }, 2);
    TASK_CHECK(&by_own.get_loop() == &loop);
    TASK_CHECK(await(by_own) == 1);
    TASK_CHECK(await(by_default) == 2);
    TASK_CHECK(own.threads() == 1);
    Future<int> submitted = own.submit([] { return 3; });
    TASK_CHECK(await(submitted) == 3);
    TASK_CHECK(own.shutdown() == 0);
    TASK_CHECK(throws<RuntimeError>([&] { static_cast<void>(loop.run_in_executor(&own, [] {})); }));
  });
}

TEST_CASE("run_in_executor works from a plain thread and before the loop runs", "[offload]") {
  on_loops([](EventLoop& loop) {
    Future<int> future = loop.run_in_executor(nullptr, [] { return 4; });
    CHECK(await(future) == 4);
    CHECK(loop.run_until_complete(loop.run_in_executor(nullptr, [] { return 5; })) == 5);
  });
}

// asyncio: test_futures BaseFutureTests.test_wrap_future
TEST_CASE("A future of a pool gives its value to a task, computed on another thread", "[offload]") {
  in_tasks([](EventLoop&) {
    ThreadPool pool(1);
    const std::thread::id before = std::this_thread::get_id();
    const auto [text, thread] = await(pool.submit(
        [](std::string given) { return std::pair(std::move(given), std::this_thread::get_id()); }, "oi"));
    TASK_CHECK(text == "oi");
    TASK_CHECK(thread != before);
    TASK_CHECK(thread != std::this_thread::get_id());
    TASK_CHECK(current_task().valid());
  });
}

// asyncio: test_futures BaseFutureTests.test_wrap_future_without_loop
TEST_CASE("run_until_complete takes a future of a pool that has no loop", "[offload]") {
  on_loops(
      [](EventLoop& loop) {
        ThreadPool pool(1);
        CHECK(loop.run_until_complete(pool.submit([] { return 6; })) == 6);
      },
      false);
}

TEST_CASE("Cancelling a task in to_thread frees it at once, the call goes on unseen", "[offload]") {
  on_loops([](EventLoop& loop) {  // C59
    const Reports reports(loop);
    Gate gate;
    std::atomic<bool> ended{false};
    loop.run_until_complete([&] {
      Task<> task = create_task([&] {
        to_thread([&] {
          gate.enter();
          ended = true;
          throw std::runtime_error("nobody hears it");
        });
      });
      TASK_CHECK(eventually_in_task([&] { return gate.entered() == 1; }));
      TASK_CHECK(task.cancel("enough"));
      TASK_CHECK(cancel_message([&] { await(task); }) == "enough");
      TASK_CHECK(!ended);
      gate.open();
      TASK_CHECK(eventually_in_task([&] { return ended.load(); }));
      loop.shutdown_default_executor(10s * kSlowdown);
    });
    CHECK(reports.size() == 0);
  });
}

// asyncio: test_futures BaseFutureTests.test_wrap_future_cancel
TEST_CASE("Cancelling an offloaded call that waits for a thread takes it back and destroys it", "[offload]") {
  in_tasks([](EventLoop& loop) {
    Gate gate;
    ThreadPool pool(1);
    Future<> running = loop.run_in_executor(&pool, [&] { gate.enter(); });
    TASK_CHECK(eventually_in_task([&] { return gate.entered() == 1; }));
    const auto token = std::make_shared<int>(1);
    Future<> queued = loop.run_in_executor(&pool, [token] { TASK_CHECK(false); });
    TASK_CHECK(pool.queued() == 1);
    TASK_CHECK(queued.cancel());
    TASK_CHECK(pool.queued() == 0);
    TASK_CHECK(token.use_count() == 1);
    gate.open();
    await(running);
    pool.shutdown();
  });
}

// asyncio: test_events EventLoopTestsMixin.test_run_in_executor_cancel
TEST_CASE("A call that was cancelled while it ran calls nothing on a loop that is closed by then",
          "[offload]") {
  for (const std::size_t workers : {1, 4}) {
    const NothingLeft nothing_left;
    Gate gate;
    ThreadPool pool(1);
    {
      EventLoop loop(test_config(workers, false));
      const Reports reports(loop);
      Future<> running = loop.run_in_executor(&pool, [&] {
        gate.enter();
        throw std::runtime_error("unseen");
      });
      running.add_done_callback([](const AnyFuture& done) { TASK_CHECK(done.cancelled()); });
      loop.run_until_complete([&] { TASK_CHECK(eventually_in_task([&] { return gate.entered() == 1; })); });
      CHECK(running.cancel());
      loop.close();
      CHECK(reports.size() == 0);
    }
    gate.open();
    CHECK(pool.shutdown() == 0);
    report_failures();
  }
}

TEST_CASE("A task cancelled before it offloads calls nothing or drops the result", "[offload]") {
  in_tasks([](EventLoop&) {
    Task<> task = create_task([] {
      current_task().cancel();
      to_thread([] {});
      TASK_CHECK(false);
    });
    TASK_CHECK(throws<CancelledError>([&] { await(task); }));
  });
}

TEST_CASE("A masked task waits for its offloaded call to the end", "[offload]") {
  in_tasks([](EventLoop&) {
    Gate gate;
    std::atomic<bool> got{false};
    Task<> task = create_task([&] {
      {
        const CancelMask mask;
        TASK_CHECK(to_thread([&] {
                     gate.enter();
                     return 8;
                   }) == 8);
        got = true;
      }
      yield();
    });
    TASK_CHECK(eventually_in_task([&] { return gate.entered() == 1; }));
    TASK_CHECK(task.cancel());
    yield();
    gate.open();
    task.wait();
    TASK_CHECK(got);
    TASK_CHECK(task.cancelled());
  });
}

TEST_CASE("to_thread in a callback throws RuntimeError", "[offload]") {
  in_tasks([](EventLoop& loop) {
    Gate gate;
    Future<> called = loop.create_future();
    loop.call_soon([&, called]() mutable {
      TASK_CHECK(throws<RuntimeError>([&] { to_thread([&gate] { gate.enter(); }); }));
      called.set_result();
    });
    await(called);
    gate.open();
  });
}

TEST_CASE("An offloaded call completes futures and creates tasks of the loop", "[offload]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    to_thread([&, future]() mutable { future.set_result(1); });
    TASK_CHECK(await(future) == 1);
    TASK_CHECK(to_thread([&] { return await(loop.create_task([] { return 2; })); }) == 2);
  });
}

// asyncio: test_base_events BaseEventLoopTests.test_set_default_executor
TEST_CASE("The default executor can be replaced", "[offload]") {
  in_tasks([](EventLoop& loop) {
    TASK_CHECK(throws<std::invalid_argument>([&] { loop.set_default_executor(nullptr); }));
    const auto mine = std::make_shared<ThreadPool>(1, 1s, "mine");
    loop.set_default_executor(mine);
    TASK_CHECK(loop.default_executor() == mine);
    TASK_CHECK(to_thread([] { return 1; }) == 1);
    TASK_CHECK(mine->threads() == 1);
    loop.set_default_executor(std::make_shared<ThreadPool>(1));
    TASK_CHECK(to_thread([] { return 2; }) == 2);
  });
}

TEST_CASE("shutdown_default_executor in a callback is refused and changes nothing", "[offload]") {
  in_tasks([](EventLoop& loop) {
    Future<> called = loop.create_future();
    loop.call_soon([&, called]() mutable {
      TASK_CHECK(throws<RuntimeError>([&] { loop.shutdown_default_executor(1s); }));
      called.set_result();
    });
    await(called);
    TASK_CHECK(to_thread([] { return 1; }) == 1);
  });
}

TEST_CASE("After shutdown_default_executor offloads are refused", "[offload]") {
  on_loops(
      [](EventLoop& loop) {
        const Reports reports(loop);
        loop.run_until_complete([&] {
          to_thread([] {});
          loop.shutdown_default_executor(10s);
          TASK_CHECK(loop.stats().blocking_threads == 0);
          TASK_CHECK(throws<RuntimeError>([] { to_thread([] {}); }));
          TASK_CHECK(throws<RuntimeError>([&] { static_cast<void>(loop.run_in_executor(nullptr, [] {})); }));
          loop.shutdown_default_executor(10s);
        });
        CHECK(reports.size() == 0);
      },
      false);
}

// asyncio: test_base_events BaseEventLoopTests.test_shutdown_default_executor_timeout
TEST_CASE("shutdown_default_executor gives up after its timeout and reports what still runs", "[offload]") {
  on_loops(
      [](EventLoop& loop) {
        const Reports reports(loop);
        Gate gate;
        std::atomic<bool> ended{false};
        loop.run_until_complete([&] {
          Future<> call = loop.run_in_executor(nullptr, [&] {
            gate.enter();
            ended = true;
          });
          TASK_CHECK(eventually_in_task([&] { return gate.entered() == 1; }));
          loop.shutdown_default_executor(1ms);
          TASK_CHECK(!ended);
          gate.open();
          await(call);
        });
        REQUIRE(reports.size() == 1);
        CHECK(reports.messages()[0].find("1 blocking call") != std::string::npos);
      },
      false);
}

TEST_CASE("Many tasks offload many short calls", "[offload]") {
  in_tasks([](EventLoop&) {
    std::atomic<int> sum{0};
    std::vector<Task<>> tasks;
    for (int t = 0; t < 20; ++t) {
      tasks.push_back(create_task([&] {
        for (int i = 0; i < 20; ++i) sum += to_thread([i] { return i; });
      }));
    }
    for (const Task<>& task : tasks) await(task);
    TASK_CHECK(sum == 20 * 190);
  });
}

TEST_CASE("Cancels race with offloaded calls and their results", "[offload]") {
  in_tasks([](EventLoop&) {
    for (int i = 0; i < 100; ++i) {
      Task<int> task = create_task([] { return to_thread([] { return 1; }); });
      if (i % 2 == 0) yield();
      const bool asked = task.cancel();
      task.wait();
      if (!asked) TASK_CHECK(!task.cancelled());
      if (!task.cancelled()) TASK_CHECK(task.result() == 1);
    }
  });
}
