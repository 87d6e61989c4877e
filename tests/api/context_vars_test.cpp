// Context variables: each task and callback has its own, copied from who started it.
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/coroutines.hpp"
#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

TEST_CASE("A variable has its default, what was set, and what it was before after reset", "[context]") {
  ContextVar<int> with_default("with_default", 1);
  ContextVar<std::string> without("without");
  in_tasks([&](EventLoop&) {
    TASK_CHECK(with_default.get() == 1);
    TASK_CHECK(with_default.get(5) == 5);
    TASK_CHECK(throws<LookupError>([&] { return without.get(); }));
    TASK_CHECK(without.get("other") == "other");
    const auto token = without.set("first");
    without.set("second");
    TASK_CHECK(without.get() == "second");
    without.reset(token);
    TASK_CHECK(throws<LookupError>([&] { return without.get(); }));
    const auto one = with_default.set(2);
    const auto two = with_default.set(3);
    with_default.reset(two);
    TASK_CHECK(with_default.get() == 2);
    with_default.reset(one);
    TASK_CHECK(with_default.get() == 1);
  });
}

TEST_CASE("A token is good once, for its variable, in its context", "[context]") {
  ContextVar<int> first("first");
  ContextVar<int> second("second");
  in_tasks([&](EventLoop&) {
    const auto token = first.set(1);
    TASK_CHECK(throws<std::invalid_argument>([&] { second.reset(token); }));
    TASK_CHECK(
        await(create_task([&] { return throws<std::invalid_argument>([&] { first.reset(token); }); })));
    const Context copy = copy_context();
    TASK_CHECK(copy.run([&] { return throws<std::invalid_argument>([&] { first.reset(token); }); }));
    first.reset(token);
    TASK_CHECK(throws<RuntimeError>([&] { first.reset(token); }));
    TASK_CHECK(await(create_task([&] { return throws<RuntimeError>([&] { first.reset(token); }); })));
  });
}

// asyncio: test_tasks BaseTaskTests.test_context_1
TEST_CASE("A task has a copy of its creator's context, made at its creation", "[context]") {
  ContextVar<std::string> var("var", "default");
  in_tasks([&](EventLoop&) {
    var.set("outer");
    auto child = create_task([&] {
      TASK_CHECK(var.get() == "outer");
      var.set("inner");
      yield();
      auto grandchild = create_task([&] { return var.get(); });
      TASK_CHECK(await(grandchild) == "inner");
      return var.get();
    });
    var.set("later");
    yield();
    TASK_CHECK(await(child) == "inner");
    TASK_CHECK(var.get() == "later");
  });
}

// asyncio: test_tasks BaseTaskTests.test_context_2
TEST_CASE("Callbacks have a copy of the context in which they were registered", "[context]") {
  ContextVar<int> var("var", 0);
  in_tasks([&](EventLoop& loop) {
    Future<> called = loop.create_future();
    std::atomic<int> left{3};
    const auto check = [&](int expected) {
      TASK_CHECK(var.get() == expected);
      var.set(99);
      if (--left == 0) called.set_result();
    };
    Future<> done = loop.create_future();
    var.set(1);
    loop.call_soon([&] { check(1); });
    var.set(2);
    loop.call_later(1ms, [&] { check(2); });
    var.set(3);
    done.add_done_callback([&](const AnyFuture&) { check(3); });
    var.set(4);
    done.set_result();
    await(called);
    TASK_CHECK(var.get() == 4);
  });
}

// asyncio: test_tasks BaseTaskTests.test_context_4
// asyncio: test_tasks BaseTaskTests.test_context_5
// asyncio: test_tasks BaseTaskTests.test_context_6
TEST_CASE("A task that was given a context runs in it: what it sets stays there", "[context]") {
  ContextVar<int> var("var", 0);
  in_tasks([&](EventLoop& loop) {
    var.set(1);
    const Context context = copy_context();
    var.set(2);
    await(create_task(TaskOptions{.context = context}, [&] {
      TASK_CHECK(var.get() == 1);
      var.set(10);
      yield();
      TASK_CHECK(var.get() == 10);
      TASK_CHECK(throws<RuntimeError>([&] { context.run([] {}); }));
    }));
    TASK_CHECK(var.get() == 2);
    TASK_CHECK(context.get(var) == 10);
    await(create_task(TaskOptions{.context = context}, [&] { TASK_CHECK(var.get() == 10); }));
    await(loop.create_task(TaskOptions{.context = context}, [&] {
      TASK_CHECK(var.get() == 10);
      var.set(11);
    }));
    TASK_CHECK(context.get(var) == 11);
  });
}

TEST_CASE("Context::run enters a context, also over waits, and comes back", "[context]") {
  ContextVar<int> var("var");
  ContextVar<int> other("other");
  in_tasks([&](EventLoop&) {
    var.set(1);
    const Context context = copy_context();
    const int result = context.run([&] {
      var.set(2);
      other.set(3);
      sleep(1ms);
      TASK_CHECK(throws<RuntimeError>([&] { context.run([] {}); }));
      TASK_CHECK(await(create_task([&] { return var.get() + other.get(); })) == 5);
      return var.get();
    });
    TASK_CHECK(result == 2);
    TASK_CHECK(var.get() == 1);
    TASK_CHECK(throws<LookupError>([&] { return other.get(); }));
    TASK_CHECK(context.size() == 2);
    TASK_CHECK(context.get(other) == 3);
    TASK_CHECK(throws<int>([&] { context.run([] { throw 1; }); }));
    context.run([&] { TASK_CHECK(var.get() == 2); });
    const Context copy = context.copy();
    copy.run([&] { var.set(7); });
    TASK_CHECK(copy.get(var) == 7);
    TASK_CHECK(context.get(var) == 2);
    TASK_CHECK(!Context().get(var));
    TASK_CHECK(context == context);
    TASK_CHECK(copy != context);
  });
}

// asyncio: test_threads ToThreadTests.test_to_thread_contextvars
TEST_CASE("to_thread runs its function in a copy of the caller's context", "[context]") {
  ContextVar<std::string> var("var", "unset");
  in_tasks([&](EventLoop& loop) {
    var.set("parrot");
    TASK_CHECK(to_thread([&] {
                 const std::string seen = var.get();
                 var.set("changed");
                 return seen;
               }) == "parrot");
    TASK_CHECK(var.get() == "parrot");
    TASK_CHECK(await(loop.run_in_executor(nullptr, [&] { return var.get(); })) == "unset");
  });
}

TEST_CASE("A plain thread has a context of its own, and what it starts a copy of that", "[context]") {
  ContextVar<int> var("var", 0);
  on_loops([&](EventLoop& loop) {
    std::thread([&] {
      TASK_CHECK(var.get() == 0);
      const auto token = var.set(5);
      auto task = loop.create_task([&] { return var.get(); });
      TASK_CHECK(loop.run_until_complete(task) == 5);
      var.reset(token);
      TASK_CHECK(var.get() == 0);
    }).join();
    CHECK(var.get() == 0);
  });
}

// asyncio: test_runners RunnerTests.test_run_keeps_context
TEST_CASE("All runs of a Runner have one context", "[context]") {
  ContextVar<int> var("var", 1);
  for (const std::size_t workers : {1U, 4U}) {
    Runner runner(test_config(workers));
    CHECK(runner.run([&] {
      const int old = var.get();
      var.set(2);
      return old;
    }) == 1);
    CHECK(runner.run([&] { return var.get(); }) == 2);
    CHECK(var.get() == 1);
  }
}

TEST_CASE("Values are dropped with the last context that has them", "[context]") {
  ContextVar<std::shared_ptr<int>> var("var");
  auto value = std::make_shared<int>(1);
  in_tasks([&](EventLoop& loop) {
    await(create_task([&] {
      var.set(value);
      loop.call_soon([] {});
      await(create_task([] {}));
    }));
  });
  CHECK(value.use_count() == 1);
}

// asyncio: test_context DecimalContextTest.test_asyncio_task_decimal_context
// asyncio: test_tasks BaseTaskTests.test_context_3
TEST_CASE("Tasks that set the same variable in turn do not disturb each other", "[context]") {
  ContextVar<int> var("var");
  in_tasks([&](EventLoop&) {
    std::vector<Task<>> tasks;
    for (int i = 0; i < 100; ++i) {
      tasks.push_back(create_task([&var, i] {
        for (int round = 0; round < 20; ++round) {
          var.set(i * 100 + round);
          yield();
          TASK_CHECK(var.get() == i * 100 + round);
        }
      }));
    }
    for (auto& task : tasks) await(task);
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_taskgroup_task_context
TEST_CASE("A child of a group may be given a context", "[context]") {
  ContextVar<int> var("var");
  in_tasks([&](EventLoop&) {
    const Context context = copy_context();
    task_group(
        [&](TaskGroup& group) { group.create_task(TaskOptions{.context = context}, [&] { var.set(1); }); });
    TASK_CHECK(context.get(var) == 1);
    TASK_CHECK(var.get(0) == 0);
  });
}

// asyncio: test_futures2 FutureTests.test_handle_exc_handler_correct_context
TEST_CASE("The exception handler for a callback that failed runs in the callback's context", "[context]") {
  ContextVar<std::string> var("var", "unset");
  on_loops([&](EventLoop& loop) {
    Log seen;
    loop.set_exception_handler([&](EventLoop&, const ExceptionContext&) { seen.add(var.get()); });
    loop.run_until_complete([&] {
      var.set("main's");
      loop.call_soon([&] {
        var.set("soon's");
        throw std::runtime_error("bad");
      });
      sleep(1ms);
      loop.call_later(1ms, [&] {
        var.set("timer's");
        throw std::runtime_error("bad");
      });
      sleep(2ms);
      Future<> done = loop.create_future();
      done.add_done_callback([&](const AnyFuture&) {
        var.set("future's");
        throw std::runtime_error("bad");
      });
      done.set_result();
      sleep(1ms);
    });
    CHECK(seen.text() == "soon's timer's future's");
  });
}

// asyncio: test_futures2 FutureTests.test_task_exc_handler_correct_context
TEST_CASE("The exception handler for a task's exception that nobody retrieved runs in the task's context",
          "[context]") {
  ContextVar<std::string> var("var", "unset");
  on_loops([&](EventLoop& loop) {
    Log seen;
    loop.set_exception_handler([&](EventLoop&, const ExceptionContext&) { seen.add(var.get()); });
    const auto fails = [&] {
      var.set("task's");
      throw std::runtime_error("bad");
    };
    loop.run_until_complete([&] {
      var.set("main's");
      static_cast<void>(create_task(fails));  // the loop has the last handle
      sleep(1ms);
      Task<> kept = create_task(fails);
      sleep(1ms);
      kept = {};
      TASK_CHECK(var.get() == "main's");
    });
    CHECK(seen.text() == "task's task's");
  });
}

TEST_CASE("A coroutine goes on in a copy of the context in which it awaited", "[context][awaitables]") {
  ContextVar<int> var("var", 0);
  in_tasks([&](EventLoop&) {
    std::atomic<bool> ended{false};
    const auto first = create_task([] { sleep(1ms); });
    const auto second = create_task([] { sleep(2ms); });
    const auto coroutine = [&]() -> Detached {
      co_await first;
      TASK_CHECK(var.get() == 1);
      var.set(2);
      co_await second;
      TASK_CHECK(var.get() == 2);
      ended = true;
    };
    var.set(1);
    coroutine();
    var.set(3);
    sleep(3ms);
    TASK_CHECK(eventually_in_task([&] { return ended.load(); }));
    TASK_CHECK(var.get() == 3);
  });
}
