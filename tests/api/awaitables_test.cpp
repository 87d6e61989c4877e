// Awaitables: tasks and threads await C++20 awaiters; coroutines co_await futures and tasks.
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "support/coroutines.hpp"
#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Awaiters that do what each test needs.
struct Ready {
  int value;
  bool await_ready() const { return true; }
  void await_suspend(std::coroutine_handle<>) const { throw std::logic_error("suspended although ready"); }
  int await_resume() const { return value; }
};

template <class OnSuspend>
struct Suspending {
  OnSuspend on_suspend;
  int value = 7;
  bool await_ready() const { return false; }
  auto await_suspend(std::coroutine_handle<> handle) { return on_suspend(handle); }
  int await_resume() const { return value; }
};
template <class F>
Suspending(F) -> Suspending<F>;

struct WithMember {
  Ready operator co_await() const { return {1}; }
};
struct WithFree {};
Ready operator co_await(const WithFree&) { return {2}; }

struct Throws {
  int where;
  bool await_ready() const { return at(1); }
  bool await_suspend(std::coroutine_handle<>) const { return at(2); }
  void await_resume() const { at(3); }
  bool at(int place) const {
    if (where == place) throw std::runtime_error("thrown at " + std::to_string(place));
    return false;
  }
};

// A coroutine that starts at once; resume() throws what it throws. Its frame goes with the object.
struct Throwing {
  struct promise_type {
    Throwing get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
  ~Throwing() {
#ifndef __clang__  // 14 and 19 destroy what the coroutine awaited last a second time
    coroutine.destroy();
#endif
  }
  std::coroutine_handle<promise_type> coroutine;
};

// A lazy coroutine with a value: started by who awaits it, and by symmetric transfer back to him at its end.
class LazyAnswer {
 public:
  struct promise_type {
    int value = 0;
    std::exception_ptr error;
    std::coroutine_handle<> awaiting;
    LazyAnswer get_return_object() {
      return LazyAnswer(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Back {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept {
        return ended.promise().awaiting;
      }
      void await_resume() noexcept {}
    };
    Back final_suspend() noexcept { return {}; }
    void return_value(int result) { value = result; }
    void unhandled_exception() { error = std::current_exception(); }
  };
  explicit LazyAnswer(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  LazyAnswer(LazyAnswer&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  LazyAnswer& operator=(LazyAnswer&&) = delete;
  ~LazyAnswer() {
    if (coroutine_) coroutine_.destroy();
  }
  bool await_ready() const { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) {
    coroutine_.promise().awaiting = awaiting;
    return coroutine_;
  }
  int await_resume() {
    if (coroutine_.promise().error) std::rethrow_exception(coroutine_.promise().error);
    return coroutine_.promise().value;
  }
  [[nodiscard]] std::coroutine_handle<> handle() const { return coroutine_; }

 private:
  std::coroutine_handle<promise_type> coroutine_;
};

static_assert(Awaitable<Ready>);
static_assert(Awaitable<WithMember>);
static_assert(Awaitable<const WithFree&>);
static_assert(Awaitable<LazyAnswer>);
static_assert(Awaitable<Future<int>>);
static_assert(Awaitable<Task<>&>);
static_assert(Awaitable<std::suspend_never>);
static_assert(!Awaitable<int>);
static_assert(!Awaitable<AnyFuture>);

}  // namespace

// --- tasks await awaiters ----------------------------------------------------------------------------------

TEST_CASE("await takes an awaiter, and member and free operator co_await", "[awaitables]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(await(Ready{3}) == 3);
    Ready ready{4};
    TASK_CHECK(await(ready) == 4);
    TASK_CHECK(await(WithMember()) == 1);
    TASK_CHECK(await(WithFree()) == 2);
    await(std::suspend_never());
  });
}

TEST_CASE("await does not suspend if the handle is resumed inside await_suspend", "[awaitables]") {
  on_one_worker([](EventLoop& loop) {
    Log log;
    loop.run_until_complete([&] {
      loop.call_soon([&] { log.add("pass"); });
      TASK_CHECK(await(Suspending{[](std::coroutine_handle<> handle) { handle.resume(); }}) == 7);
      TASK_CHECK(await(Suspending{[](std::coroutine_handle<>) { return false; }}) == 7);
      TASK_CHECK(await(Suspending{[](std::coroutine_handle<> handle) { return handle; }}) == 7);
      log.add("awaited");
    });
    CHECK(log.text() == "awaited pass");
  });
}

TEST_CASE("A task goes on when its handle is resumed by a callback", "[awaitables]") {
  in_tasks([](EventLoop& loop) {
    Suspending by_void{
        [&](std::coroutine_handle<> handle) { loop.call_later(1s, [handle] { handle.resume(); }); }};
    TASK_CHECK(await(by_void) == 7);
    TASK_CHECK(loop.time() == TimePoint(1s));
    Suspending by_bool{[&](std::coroutine_handle<> handle) {
      loop.call_later(1s, [handle] { handle.resume(); });
      return true;
    }};
    TASK_CHECK(await(by_bool) == 7);
    Suspending by_handle{[&](std::coroutine_handle<> handle) -> std::coroutine_handle<> {
      loop.call_later(1s, [handle] { handle.resume(); });
      return std::noop_coroutine();
    }};
    TASK_CHECK(await(by_handle) == 7);
    TASK_CHECK(loop.time() == TimePoint(3s));
  });
}

TEST_CASE("A task goes on when its handle is resumed by another thread", "[awaitables]") {
  in_tasks(
      [](EventLoop&) {
        for (int i = 0; i < 50; ++i) {
          std::thread resumer;
          int written = 0;
          TASK_CHECK(await(Suspending{[&](std::coroutine_handle<> handle) {
                       resumer = std::thread([handle, &written] {
                         written = 1;
                         handle.resume();
                       });
                     }}) == 7);
          TASK_CHECK(written == 1);
          resumer.join();
        }
      },
      false);
}

TEST_CASE("A task may wait inside await_suspend, and its handle be resumed meanwhile", "[awaitables]") {
  in_tasks([](EventLoop& loop) {
    TASK_CHECK(await(Suspending{[&](std::coroutine_handle<> handle) {
                 loop.call_later(1s, [handle] { handle.resume(); });
                 sleep(2s);
               }}) == 7);
    TASK_CHECK(loop.time() == TimePoint(2s));
  });
}

TEST_CASE("await runs the coroutine that await_suspend returns, which hands back at its end",
          "[awaitables]") {
  in_tasks([](EventLoop&) {
    auto two = []() -> LazyAnswer { co_return 2; };
    auto sum = [&]() -> LazyAnswer { co_return co_await two() + co_await two(); };
    TASK_CHECK(await(sum()) == 4);
    auto fails = [&]() -> LazyAnswer {
      co_await two();
      throw std::runtime_error("from the coroutine");
    };
    TASK_CHECK(throws<std::runtime_error>([&] { await(fails()); }));
    auto waits = []() -> LazyAnswer { co_return await(create_task([] { return sleep(1s), 5; })); };
    TASK_CHECK(await(waits()) == 5);  // it runs on the task, so it may wait as tasks do
    auto suspends = []() -> LazyAnswer { co_return co_await create_task([] { return sleep(1s), 6; }); };
    TASK_CHECK(await(suspends()) == 6);  // resumed as a callback; its end makes the task ready
  });
}

TEST_CASE("What an awaiter's functions throw comes out of await", "[awaitables]") {
  in_tasks([](EventLoop&) {
    for (int place = 1; place <= 3; ++place) {
      TASK_CHECK(throws<std::runtime_error>([&] { await(Throws{place}); }));
    }
    await(Throws{0});
  });
}

TEST_CASE("await throws if the awaiter destroys the handle", "[awaitables]") {
  in_tasks([](EventLoop& loop) {
    TASK_CHECK(throws<RuntimeError>(
        [] { await(Suspending{[](std::coroutine_handle<> handle) { handle.destroy(); }}); }));
    TASK_CHECK(throws<RuntimeError>([&] {
      await(Suspending{
          [&](std::coroutine_handle<> handle) { loop.call_later(1s, [handle] { handle.destroy(); }); }});
    }));
  });
}

TEST_CASE("A cancel does not end the wait for an awaiter, but the next wait", "[awaitables][cancellation]") {
  in_tasks([](EventLoop& loop) {
    bool finished = false;
    Task<> task = create_task([&] {
      TASK_CHECK(await(Suspending{[&](std::coroutine_handle<> handle) {
                   loop.call_later(2s, [handle] { handle.resume(); });
                 }}) == 7);
      finished = true;
      sleep(10s);
    });
    sleep(1s);
    TASK_CHECK(task.cancel("stop"));
    TASK_CHECK(cancel_message([&] { await(task); }) == "stop");
    TASK_CHECK(finished);
    TASK_CHECK(loop.time() == TimePoint(2s));
  });
}

TEST_CASE("Awaiting an awaiter in a callback throws unless it is ready", "[awaitables]") {
  in_tasks([](EventLoop& loop) {
    Future<> done = loop.create_future();
    loop.call_soon([done]() mutable {
      TASK_CHECK(await(Ready{1}) == 1);
      bool asked = false;
      TASK_CHECK(
          throws<RuntimeError>([&] { await(Suspending{[&](std::coroutine_handle<>) { asked = true; }}); }));
      TASK_CHECK(!asked);
      done.set_result();
    });
    await(done);
  });
}

TEST_CASE("A plain thread that awaits an awaiter blocks until it is resumed", "[awaitables]") {
  CHECK(await(Ready{1}) == 1);
  CHECK(await(Suspending{[](std::coroutine_handle<> handle) { handle.resume(); }}) == 7);
  std::thread resumer;
  std::atomic<bool> may_resume{false};
  int written = 0;
  CHECK(await(Suspending{[&](std::coroutine_handle<> handle) {
          resumer = std::thread([&written, &may_resume, handle] {
            while (!may_resume) std::this_thread::yield();
            written = 1;
            handle.resume();
          });
          may_resume = true;
        }}) == 7);
  CHECK(written == 1);
  resumer.join();
  CHECK_THROWS_AS(await(Suspending{[](std::coroutine_handle<> handle) { handle.destroy(); }}), RuntimeError);
}

TEST_CASE("A value that an awaiter holds itself is moved out of it", "[awaitables]") {
  struct Holder {
    std::unique_ptr<int> value = std::make_unique<int>(5);
    struct Awaiter {
      std::unique_ptr<int> value;
      bool await_ready() const { return true; }
      void await_suspend(std::coroutine_handle<>) {}
      std::unique_ptr<int>&& await_resume() { return std::move(value); }
    };
    Awaiter operator co_await() && { return {std::move(value)}; }
  };
  const std::unique_ptr<int> value = await(Holder());
  CHECK(*value == 5);
}

// --- coroutines await futures ------------------------------------------------------------------------------

TEST_CASE("A coroutine that awaits a future is resumed on the loop when it is done", "[awaitables]") {
  on_loops([](EventLoop& loop) {
    Log log;
    Future<int> future = loop.create_future<int>();
    auto coroutine = [&]() -> Detached {
      log.add("begins");
      const int& value = co_await future;
      TASK_CHECK(&value == &future.result());
      TASK_CHECK(&get_running_loop() == &loop);
      TASK_CHECK(throws<RuntimeError>([] { sleep(1s); }));  // as in a callback
      log.add(std::to_string(value));
    };
    loop.run_until_complete([&] {
      coroutine();
      log.add("sets");
      future.set_result(42);
      if (loop.workers() == 1) TASK_CHECK(log.size() == 2);  // not inline
      TASK_CHECK(eventually_in_task([&] { return log.size() == 3; }));
    });
    CHECK(log.text() == "begins sets 42");
  });
}

TEST_CASE("A coroutine that awaits a future that is done is not suspended", "[awaitables]") {
  Future<int> future = EventLoop(test_config(1)).create_future<int>();
  future.set_result(3);
  int seen = 0;
  auto coroutine = [&]() -> Detached { seen = co_await future; };
  coroutine();  // no loop is needed
  CHECK(seen == 3);
}

TEST_CASE("A coroutine gets what a task or future ended with", "[awaitables]") {
  in_tasks([](EventLoop& loop) {
    Log log;
    auto coroutine = [&](auto future) -> Detached {
      try {
        co_await future;
        log.add("value");
      } catch (const std::runtime_error& error) {
        log.add(error.what());
      } catch (const CancelledError& error) {
        log.add("cancelled:" + error.message());
      }
    };
    coroutine(create_task([] { sleep(1s); }));
    coroutine(create_task([] {
      sleep(2s);
      throw std::runtime_error("failed");
    }));
    Future<> cancelled = loop.create_future();
    coroutine(cancelled);
    sleep(3s);
    cancelled.cancel("why");
    coroutine(cancelled);  // done already
    TASK_CHECK(eventually_in_task([&] { return log.size() == 4; }));
    TASK_CHECK(log.entries()[0] == "value");
    TASK_CHECK(log.entries()[1] == "failed");
    TASK_CHECK(log.entries()[2] == "cancelled:why");
    TASK_CHECK(log.entries()[3] == "cancelled:why");
  });
}

TEST_CASE("co_await of an rvalue moves the value out", "[awaitables]") {
  in_tasks([](EventLoop&) {
    std::unique_ptr<int> only;
    std::shared_ptr<int> shared;
    std::atomic<int> ended{0};
    auto coroutine = [&]() -> Detached {
      only = co_await create_task([] { return sleep(1s), std::make_unique<int>(1); });
      // Nobody else holds this one, so the value is moved and not copied.
      shared = co_await create_task([] { return sleep(1s), std::make_shared<int>(2); });
      ended = 1;
    };
    coroutine();
    sleep(3s);
    if (!TASK_CHECK(eventually_in_task([&] { return ended == 1; }))) return;
    TASK_CHECK(*only == 1);
    TASK_CHECK(*shared == 2);
    TASK_CHECK(shared.use_count() == 1);
  });
}

TEST_CASE("A future that is set by a plain thread resumes the coroutine on the future's loop",
          "[awaitables]") {
  on_loops(
      [](EventLoop& loop) {
        Future<int> future = loop.create_future<int>();
        Future<> seen = loop.create_future();
        auto coroutine = [](Future<int> awaited, Future<> told) -> Detached {
          TASK_CHECK(co_await awaited == 9);
          TASK_CHECK(&get_running_loop() == &told.get_loop());
          told.set_result();
        };
        coroutine(future, seen);  // on a thread without a loop
        std::thread setter([future]() mutable { future.set_result(9); });
        loop.run_until_complete([&] { await(seen); });
        setter.join();
      },
      false);
}

TEST_CASE("co_await of a pending future without any loop throws", "[awaitables]") {
  bool threw = false;
  auto coroutine = [&](Future<> future) -> Detached {
    try {
      co_await future;
    } catch (const RuntimeError&) {
      threw = true;
    }
  };
  ThreadPool pool(1);
  std::atomic<bool> release{false};
  Future<> pending = pool.submit([&] {
    while (!release) std::this_thread::yield();
  });
  coroutine(pending);
  CHECK(threw);
  release = true;
  pending.wait();
}

TEST_CASE("An exception that leaves a resumed coroutine is reported", "[awaitables]") {
  on_loops([](EventLoop& loop) {
    Reports reports(loop);
    loop.run_until_complete([&] {
      const Task<> task = create_task([] { sleep(1s); });
      auto coroutine = [&]() -> Throwing {
        co_await task;
        throw std::runtime_error("left");
      };
      const Throwing waiting = coroutine();
      sleep(2s);
      TASK_CHECK(eventually_in_task([&] { return reports.size() == 1; }));
    });
    CHECK(reports.messages().at(0) == "an exception in a coroutine that awaited a future");
  });
}

TEST_CASE("A coroutine that is destroyed while it waits is never resumed", "[awaitables]") {
  on_one_worker([](EventLoop& loop) {
    Future<int> listed = loop.create_future<int>();
    Future<int> queued = loop.create_future<int>();
    bool resumed = false;
    auto coroutine = [&](Future<int> future) -> LazyAnswer {
      co_await future;
      resumed = true;
      co_return 0;
    };
    loop.run_until_complete([&] {
      {
        const LazyAnswer first = coroutine(listed);
        first.handle().resume();
        const LazyAnswer second = coroutine(queued);
        second.handle().resume();
        queued.set_result(1);  // its turn comes in the next pass
      }
      listed.set_result(1);
      yield();
      yield();
    });
    CHECK(!resumed);
  });
}

TEST_CASE("A coroutine whose loop is closed first stays suspended", "[awaitables]") {
  std::optional<EventLoop> loop(std::in_place, test_config(1));
  Future<int> future = loop->create_future<int>();
  bool resumed = false;
  auto coroutine = [&]() -> LazyAnswer {
    co_await future;
    resumed = true;
    co_return 0;
  };
  const LazyAnswer waiting = coroutine();
  waiting.handle().resume();
  loop.reset();
  future.set_result(1);
  CHECK(!resumed);
}

TEST_CASE("Tasks and coroutines await each other in a chain", "[awaitables]") {
  in_tasks([](EventLoop&) {
    // task -> coroutine -> task -> coroutine -> future
    Future<int> first = get_running_loop().create_future<int>();
    auto inner = [&]() -> LazyAnswer { co_return co_await first + 1; };
    auto outer = [&]() -> LazyAnswer {
      co_return co_await create_task([&] { return await(inner()) + 1; }) + 1;
    };
    Task<int> last = create_task([&] { return await(outer()) + 1; });
    sleep(1s);
    first.set_result(1);
    TASK_CHECK(await(last) == 5);
  });
}

TEST_CASE("A coroutine goes on on the strand on which it awaited", "[awaitables][strand]") {
  in_order([](EventLoop&) {
    const detail::StrandState* const before =
        Strand::current() == nullptr ? nullptr : Strand::current()->state();
    std::atomic<bool> ended{false};
    const auto task = spawn([] { sleep(1ms); });
    const auto coroutine = [&]() -> Detached {
      co_await task;
      const Strand* const now = Strand::current();
      TASK_CHECK((now == nullptr ? nullptr : now->state()) == before);
      ended = true;
    };
    coroutine();
    sleep(2ms);
    TASK_CHECK(eventually_in_task([&] { return ended.load(); }));
  });
}
