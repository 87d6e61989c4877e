// Eager tasks: they run inside create_task up to their first wait.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {
const TaskOptions kEager{.eager_start = true};

template <class F>
auto eagerly(F&& function) {
  return create_task(TaskOptions(kEager), std::forward<F>(function));
}
}  // namespace

// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_eager_completion
// asyncio: test_eager_task_factory DefaultTaskFactoryEagerStart.test_eager_start_true_with_default_factory
// asyncio: test_tasks BaseTaskTests.test_eager_start_true
TEST_CASE("An eager task that does not wait is done when create_task returns", "[eager]") {
  in_tasks([](EventLoop&) {
    const auto task = eagerly([] { return 4; });
    TASK_CHECK(task.done());
    TASK_CHECK(task.result() == 4);
    const auto failed = eagerly([] { throw std::runtime_error("x"); });
    TASK_CHECK(failed.done());
    TASK_CHECK(throws<std::runtime_error>([&] { await(failed); }));
  });
}

// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_block_after_eager_step
// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_await_future_during_eager_step
// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_all_tasks_with_blocking
TEST_CASE("An eager task that waits goes on later, as any other", "[eager]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    int steps = 0;
    const auto task = eagerly([&] {
      ++steps;
      const int value = await(future);
      ++steps;
      return value;
    });
    TASK_CHECK(steps == 1);
    TASK_CHECK(!task.done());
    TASK_CHECK(all_tasks().size() == 2);
    eagerly([&] { future.set_result(3); });
    TASK_CHECK(await(task) == 3);
    TASK_CHECK(steps == 2);
    TASK_CHECK(all_tasks().size() == 1);
  });
}

// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_current_task
// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_all_tasks_with_eager_completion
// asyncio: test_eager_task_factory CEagerTaskFactoryLoopTests.test_name
TEST_CASE("In its eager step it is the current task, has its name, and is among all tasks", "[eager]") {
  in_tasks([](EventLoop&) {
    const AnyTask creator = current_task();
    std::size_t during = 0;
    TaskOptions options = kEager;
    options.name = "early";
    const auto task = create_task(std::move(options), [&] {
      TASK_CHECK(current_task() != creator);
      TASK_CHECK(current_task().get_name() == "early");
      during = all_tasks().size();
      yield();
      TASK_CHECK(current_task().get_name() == "early");
    });
    TASK_CHECK(current_task() == creator);
    TASK_CHECK(during == 2);
    await(task);
    TASK_CHECK(all_tasks().size() == 1);
  });
}

// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_cancellation_after_eager_completion
// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_cancellation_after_eager_step_blocks
TEST_CASE("An eager task can be cancelled once it waits", "[eager]") {
  in_tasks([](EventLoop&) {
    const auto over = eagerly([] {});
    TASK_CHECK(!over.cancel());
    const auto task = eagerly([] { sleep(1h); });
    TASK_CHECK(task.cancel("enough"));
    TASK_CHECK(cancel_message([&] { await(task); }) == "enough");
  });
}

// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_context_vars
TEST_CASE("The eager step runs in a copy of the creator's context", "[eager]") {
  ContextVar<int> var("var", 0);
  in_tasks([&](EventLoop&) {
    var.set(1);
    const auto task = eagerly([&] {
      TASK_CHECK(var.get() == 1);
      var.set(2);
      yield();
      TASK_CHECK(var.get() == 2);
    });
    TASK_CHECK(var.get() == 1);
    await(task);
    TASK_CHECK(var.get() == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_eager_start_false
TEST_CASE("C58: the eager step, then its creator, then what was ready", "[eager]") {
  in_order([](EventLoop& loop) {
    Log order;
    const auto normal = create_task([&] { order.add("n"); });
    loop.call_soon([&] { order.add("soon"); });
    const auto eager = eagerly([&] {
      order.add("e");
      yield();
      order.add("e2");
    });
    order.add("after");
    await(eager);
    await(normal);
    TASK_CHECK(order.text() == "e after n soon e2");
  });
}

TEST_CASE("Eager tasks may create eager tasks, a thousand deep", "[eager]") {
  in_tasks([](EventLoop&) {
    struct Nest {
      static int depth(int left) {
        if (left == 0) return 0;
        const auto task = create_task(TaskOptions(kEager), [left] { return depth(left - 1); });
        TASK_CHECK(task.done());
        return 1 + task.result();
      }
    };
    TASK_CHECK(Nest::depth(1000) == 1000);
  });
}

TEST_CASE("An eager task in the middle of a nest that waits lets its creator go on", "[eager]") {
  in_order([](EventLoop&) {
    Log log;
    std::vector<Task<>> tasks(3);
    tasks[0] = eagerly([&] {
      log.add("a");
      tasks[1] = eagerly([&] {
        log.add("b");
        tasks[2] = eagerly([&] {
          log.add("c");
          sleep(1ms);
          log.add("c2");
        });
        log.add("b1");
        yield();
        log.add("b2");
      });
      log.add("a1");
      sleep(2ms);
      log.add("a2");
    });
    log.add("main");
    for (auto& task : tasks) await(task);
    TASK_CHECK(log.text() == "a b c b1 a1 main b2 c2 a2");
  });
}

TEST_CASE("A callback may start an eager task, which may wait", "[eager]") {
  in_tasks([](EventLoop& loop) {
    Future<> over = loop.create_future();
    std::string text;
    loop.call_soon([&] {
      TASK_CHECK(!current_task().valid());
      const auto task = eagerly([&] {
        text += "1";
        TASK_CHECK(current_task().valid());
        sleep(1ms);
        text += "3";
        over.set_result();
      });
      TASK_CHECK(!current_task().valid());
      text += "2";
      TASK_CHECK(!task.done());
      TASK_CHECK(eagerly([] { return 1; }).done());
    });
    loop.call_later(1us, [&] { TASK_CHECK(eagerly([] { return 1; }).done()); });
    await(over);
    sleep(1ms);
    TASK_CHECK(text == "123");
  });
}

TEST_CASE("Eager start is for the loop's own tasks and callbacks: from outside the task waits for its turn",
          "[eager]") {
  on_loops([](EventLoop& loop) {
    bool ran = false;
    const auto task = loop.create_task(TaskOptions(kEager), [&] { ran = true; });
    CHECK(!ran);
    loop.run_until_complete(task);
    CHECK(ran);
  });
}

TEST_CASE("An eager task for another strand waits for its turn there; a free one begins at once", "[eager]") {
  on_parallel_loops([](EventLoop& loop) {
    loop.run_until_complete([] {
      Strand strand;
      Strand other;
      strand.run([&] {
        const auto here = eagerly([] { return Strand::current(); });
        TASK_CHECK(here.done());
        TASK_CHECK(here.result() == Strand::current());
        const auto free = spawn(TaskOptions(kEager), [] { return Strand::current(); });
        TASK_CHECK(free.done());
        TASK_CHECK(free.result() == nullptr);
        const auto there = other.create_task(
            TaskOptions(kEager), [&] { TASK_CHECK(Strand::current()->state() == other.state()); });
        await(there);
      });
    });
  });
}

TEST_CASE("Children of a group may start eagerly", "[eager]") {
  in_tasks([](EventLoop&) {
    const int sum = task_group([](TaskGroup& group) {
      const auto one = group.create_task(TaskOptions(kEager), [] { return 1; });
      const auto two = group.create_task(TaskOptions(kEager), [] {
        sleep(1ms);
        return 2;
      });
      TASK_CHECK(one.done());
      return one.result() + await(two);
    });
    TASK_CHECK(sum == 3);
  });
}

TEST_CASE("C40: an eager child that fails inside create_task interrupts the body at its next wait",
          "[eager]") {
  in_order([](EventLoop&) {
    Log log;
    TASK_CHECK(throws<ExceptionGroup>([&] {
      task_group([&](TaskGroup& group) {
        group.create_task(TaskOptions(kEager), [] { throw std::runtime_error("x"); });
        log.add("body");
        yield();
        log.add("not here");
      });
    }));
    TASK_CHECK(log.text() == "body");
  });
}

// asyncio: test_taskgroups BaseTestTaskGroup.test_cancels_task_if_created_during_creation
TEST_CASE("C40: an eager child that cancels the group during its own creation is cancelled too", "[eager]") {
  in_tasks([](EventLoop&) {
    bool was_cancelled = false;
    task_group([&](TaskGroup& group) {
      group.create_task(TaskOptions(kEager), [&] {
        group.cancel();
        try {
          sleep(1h);
        } catch (const CancelledError&) {
          was_cancelled = true;
          throw;
        }
      });
    });
    TASK_CHECK(was_cancelled);
  });
}

TEST_CASE("An exception in flight in the creator does not mask the eager task", "[eager]") {
  in_tasks([](EventLoop&) {
    try {
      throw 1;
    } catch (int) {
      const auto task = eagerly([] {
        TASK_CHECK(std::current_exception() == nullptr);
        TASK_CHECK(std::uncaught_exceptions() == 0);
        try {
          throw std::runtime_error("inner");
        } catch (const std::runtime_error&) {
          yield();
        }
      });
      TASK_CHECK(std::current_exception() != nullptr);
      await(task);
      TASK_CHECK(std::current_exception() != nullptr);
    }
  });
}

// --- what takes no pass ------------------------------------------------------------------------------------

namespace {

// Returns how many of the tasks were done when create_task returned.
int tree_of_groups(int width, int depth) {
  if (depth == 0) return 0;
  return task_group([=](TaskGroup& group) {
    int at_once = 0;
    for (int i = 0; i < width; ++i) {
      const auto child =
          group.create_task(TaskOptions(kEager), [=] { return tree_of_groups(width, depth - 1); });
      at_once += child.done() ? 1 : 0;
      at_once += await(child);
    }
    return at_once;
  });
}

int tree_of_gathers(int width, int depth) {
  if (depth == 0) return 0;
  std::vector<Task<int>> children;
  for (int i = 0; i < width; ++i) {
    children.push_back(eagerly([=] { return 1 + tree_of_gathers(width, depth - 1); }));
  }
  int tasks = 0;
  for (const int below : gather(std::move(children))) tasks += below;
  return tasks;
}

}  // namespace

// asyncio: test_eager_task_factory BaseTaskCountingTests.test_awaitables_chain
TEST_CASE("Calls of calls are no tasks, however deep", "[eager]") {
  struct Nest {
    static int depth(int left) { return left == 0 ? (yield(), 1) : depth(left - 1); }
  };
  on_loops([](EventLoop& loop) {
    CHECK(loop.run_until_complete([] { return Nest::depth(100); }) == 1);
    CHECK(loop.stats().tasks_spawned == 1);
  });
}

// asyncio: test_eager_task_factory BaseTaskCountingTests.test_recursive_taskgroups
TEST_CASE("In a tree of groups of eager tasks the leaves never wait for a pass, groups do", "[eager]") {
  in_order([](EventLoop&) { TASK_CHECK(tree_of_groups(5, 4) == 625); });
}

// asyncio: test_eager_task_factory BaseTaskCountingTests.test_recursive_gather
TEST_CASE("A tree of gathers of eager tasks that do not wait is over before anything else runs", "[eager]") {
  in_order([](EventLoop& loop) {
    Handle other = loop.call_soon([] { TASK_CHECK(false); });
    TASK_CHECK(tree_of_gathers(5, 4) == 5 + 25 + 125 + 625);
    TASK_CHECK(other.cancel());
  });
}

// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_staggered_race_with_eager_tasks
// asyncio: test_eager_task_factory EagerTaskFactoryLoopTests.test_staggered_race_with_eager_tasks_no_delay
TEST_CASE("staggered_race of eager tasks: an error, and the delay, start the next", "[eager][staggered]") {
  in_tasks([](EventLoop&) {
    const auto fails = []() -> std::string { throw std::runtime_error("no good"); };
    const auto slow = [] { return sleep(2s), std::string("slow"); };
    const auto quick = [] { return std::string("quick"); };
    const auto race = [&](auto first, std::optional<Duration> delay) {
      return staggered_race(std::vector<std::function<std::string()>>{[&] { return await(eagerly(first)); },
                                                                      [&] { return await(eagerly(quick)); },
                                                                      [&] { return await(eagerly(fails)); }},
                            delay);
    };
    for (const std::optional<Duration> delay : {std::optional<Duration>(1s), std::optional<Duration>()}) {
      const auto after_error = race(fails, delay);
      TASK_CHECK(after_error.value == "quick");
      TASK_CHECK(after_error.index == 1);
      TASK_CHECK(after_error.exceptions.size() == 2);
      TASK_CHECK(throws<std::runtime_error>([&] { std::rethrow_exception(after_error.exceptions[0]); }));
    }
    const auto after_delay = race(slow, 1s);
    TASK_CHECK(after_delay.value == "quick");
    TASK_CHECK(after_delay.index == 1);
    TASK_CHECK(throws<CancelledError>([&] { std::rethrow_exception(after_delay.exceptions[0]); }));
  });
}
