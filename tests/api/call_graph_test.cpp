// Who waits for whom: the edges through every kind of wait, and the graph in words.
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "support/frames.hpp"

using namespace fibrio;
using namespace fibrio::test;
using frames_of_test::outermost;
using Cut = FutureCallGraph::Cut;

namespace {

// A task that waits, and one that waits for it in some way.
struct Pair {
  Event event;
  Task<> inner = create_task(TaskOptions{.name = "inner"}, [this] { outermost([this] { event.wait(); }); });
  Task<> outer;

  explicit Pair(const std::function<void(const Task<>&)>& wait_for_it)
      : outer(create_task(TaskOptions{.name = "outer"}, [this, wait_for_it] { wait_for_it(inner); })) {}
  ~Pair() {
    event.set();
    outer.wait();
    inner.wait();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
};

bool waits(const AnyTask& task) {
  return eventually_in_task([&] { return inspect(task).state == TaskState::kWaiting; });
}

std::size_t count_nodes(const FutureCallGraph& graph) {
  std::size_t count = 1;
  for (const FutureCallGraph& each : graph.awaited_by) count += count_nodes(each);
  return count;
}

}  // namespace

// asyncio: test_graph CallStackTestBase.test_stack_task
// asyncio: test_graph CallStackTestBase.test_stack_gather
// asyncio: test_graph CallStackTestBase.test_stack_shield
// asyncio: test_graph CallStackTestBase.test_stack_timeout
// asyncio: test_graph CallStackTestBase.test_stack_wait
TEST_CASE("A task is awaited by whoever waits for it, in whatever way", "[call_graph]") {
  in_tasks([](EventLoop&) {
    struct Way {
      const char* name;
      std::function<void(const Task<>&)> wait_for_it;
    };
    const std::vector<Way> ways{
        {"await", [](const Task<>& task) { await(task); }},
        {"Future::wait", [](const Task<>& task) { task.wait(); }},
        {"gather", [](const Task<>& task) { gather(task, [] { sleep(1ms); }); }},
        {"gather twice the same", [](const Task<>& task) { gather(task, task); }},
        {"shield", [](const Task<>& task) { shield(task); }},
        {"timeout", [](const Task<>& task) { timeout(1h, [&] { await(task); }); }},
        {"wait_for", [](const Task<>& task) { wait_for(task, 1h); }},
        {"wait", [](const Task<>& task) { static_cast<void>(wait(std::vector{task})); }},
        {"as_completed",
         [](const Task<>& task) { static_cast<void>(as_completed(std::vector{task}).next()); }},
        {"a gather in a gather's callable", [](const Task<>& task) { gather(task); }},
    };
    for (const Way& way : ways) {
      const Pair pair([&](const Task<>& task) { outermost([&] { way.wait_for_it(task); }); });
      TASK_CHECK(waits(pair.inner));
      TASK_CHECK(waits(pair.outer));
      const FutureCallGraph graph = capture_call_graph(pair.inner);
      TASK_CHECK(graph.future == pair.inner);
      TASK_CHECK(has_all_three(graph.call_stack));
      const bool is_right = graph.awaited_by.size() == 1 && graph.awaited_by[0].future == pair.outer &&
                            has_all_three(graph.awaited_by[0].call_stack) &&
                            graph.awaited_by[0].awaited_by.empty();
      if (!is_right) test::Failures::instance().add(way.name + std::string(": ") + format_call_graph(graph));
    }
  });
}

// asyncio: test_graph CallStackTestBase.test_stack_tgroup
TEST_CASE("A child is awaited by the parent of its group, and by others", "[call_graph]") {
  in_tasks([](EventLoop&) {
    Event event;
    Task<> child;
    const Task<> parent = create_task(TaskOptions{.name = "parent"}, [&] {
      task_group([&](TaskGroup& group) {
        child = group.create_task(TaskOptions{.name = "child"}, [&] { event.wait(); });
        group.create_task(TaskOptions{.name = "sibling"}, [&] { await(child); });
      });
    });
    TASK_CHECK(comes_to_wait(parent, WaitReason::kTaskGroup));
    TASK_CHECK(comes_to_wait(child, WaitReason::kEvent));
    TASK_CHECK(eventually_in_task([&] { return capture_call_graph(child).awaited_by.size() == 2; }));
    const FutureCallGraph graph = capture_call_graph(child);
    std::string names;
    for (const FutureCallGraph& each : graph.awaited_by) {
      names += static_cast<const AnyTask&>(AnyTask(parent)) == each.future ? "parent " : "sibling ";
    }
    TASK_CHECK(names == "parent sibling ");
    // The sibling's own waiter stands there once with its waiters, of which it has none.
    TASK_CHECK(graph.awaited_by[1].awaited_by.size() == 1);
    TASK_CHECK(graph.awaited_by[1].awaited_by[0].future == parent);
    TASK_CHECK(graph.awaited_by[1].awaited_by[0].cut == Cut::kRepeated);
    event.set();
    await(parent);
  });
}

// asyncio: test_graph CallStackTestBase.test_stack_future
TEST_CASE("The graph of a future has the tasks that wait for it, the first of them first", "[call_graph]") {
  in_tasks([](EventLoop& loop) {
    Future<> future = loop.create_future();
    const auto wait_for_it = [&] { outermost([&] { await(future); }); };
    const Task<> first = create_task(wait_for_it);
    TASK_CHECK(comes_to_wait(first, WaitReason::kFuture));
    const Task<> second = create_task(wait_for_it);
    TASK_CHECK(comes_to_wait(second, WaitReason::kFuture));
    future.add_done_callback([](const AnyFuture&) {});  // no task
    const FutureCallGraph graph = capture_call_graph(future);
    TASK_CHECK(graph.call_stack.empty());
    TASK_CHECK(graph.awaited_by.size() == 2);
    TASK_CHECK(graph.awaited_by[0].future == first);
    TASK_CHECK(graph.awaited_by[1].future == second);
    TASK_CHECK(has_all_three(graph.awaited_by[1].call_stack));
    future.set_result();
    TASK_CHECK(capture_call_graph(future).awaited_by.empty());
    await(first);
    await(second);
  });
}

TEST_CASE("A task can capture its own graph", "[call_graph]") {
  in_tasks([](EventLoop& loop) {
    std::optional<FutureCallGraph> graph;
    std::string text;
    Future<> go = loop.create_future();
    const Task<> inner = create_task([&] {
      await(go);
      outermost([&] { graph = capture_call_graph(); });
      text = format_call_graph();
    });
    const Task<> outer = create_task([&] { await(inner); });
    TASK_CHECK(comes_to_wait(outer, WaitReason::kTask));
    go.set_result();
    await(outer);
    TASK_CHECK(graph.has_value());
    TASK_CHECK(graph->future == inner);
    TASK_CHECK(has_all_three(graph->call_stack));
    TASK_CHECK(graph->awaited_by.size() == 1);
    TASK_CHECK(graph->awaited_by[0].future == outer);
    TASK_CHECK(contains(text, "+ Awaited by:"));
    // A callback is no task.
    Future<bool> in_callback = loop.create_future<bool>();
    loop.call_soon([=]() mutable {
      in_callback.set_result(!capture_call_graph().has_value() && format_call_graph().empty());
    });
    TASK_CHECK(await(in_callback));
  });
  CHECK_THROWS_AS(capture_call_graph(), RuntimeError);
}

TEST_CASE("A limit keeps so many frames, of the outer or the inner end", "[call_graph]") {
  in_tasks([](EventLoop&) {
    const Pair pair([](const Task<>& task) { await(task); });
    TASK_CHECK(waits(pair.inner));
    TASK_CHECK(waits(pair.outer));
    const std::vector<StackFrame> all = capture_call_graph(pair.inner).call_stack;
    TASK_CHECK(all.size() >= 4);
    TASK_CHECK(capture_call_graph(pair.inner, 2).call_stack == std::vector(all.end() - 2, all.end()));
    TASK_CHECK(capture_call_graph(pair.inner, -2).call_stack == std::vector(all.begin(), all.begin() + 2));
    TASK_CHECK(capture_call_graph(pair.inner, 1000).call_stack == all);
    TASK_CHECK(capture_call_graph(pair.inner, -1000).call_stack == all);
    const FutureCallGraph bare = capture_call_graph(pair.inner, 0);
    TASK_CHECK(bare.call_stack.empty());
    TASK_CHECK(bare.awaited_by.size() == 1);
    TASK_CHECK(bare.awaited_by[0].call_stack.empty());
  });
}

// As asyncio's test_tools TestAsyncioToolsBasic.test_cycle_detection.
TEST_CASE("A cycle ends where it closes", "[call_graph]") {
  in_tasks([](EventLoop& loop) {
    Future<> go = loop.create_future();
    Task<> tasks[2];
    for (std::size_t i = 0; i < 2; ++i) {
      tasks[i] = create_task([&, i] {
        await(go);
        await(tasks[1 - i]);
      });
    }
    go.set_result();
    TASK_CHECK(comes_to_wait(tasks[0], WaitReason::kTask));
    TASK_CHECK(comes_to_wait(tasks[1], WaitReason::kTask));
    const FutureCallGraph graph = capture_call_graph(tasks[0]);
    TASK_CHECK(graph.awaited_by.size() == 1);
    TASK_CHECK(graph.awaited_by[0].future == tasks[1]);
    TASK_CHECK(graph.awaited_by[0].awaited_by.size() == 1);
    const FutureCallGraph& again = graph.awaited_by[0].awaited_by[0];
    TASK_CHECK(again.future == tasks[0]);
    TASK_CHECK(again.cut == Cut::kCycle);
    TASK_CHECK(again.awaited_by.empty());
    TASK_CHECK(contains(format_call_graph(graph), "a cycle: it waits for itself"));
    tasks[0].cancel();
    tasks[0].wait();
    tasks[1].wait();
  });
}

// As asyncio's test_tools TestAsyncioToolsBasic.test_complex_tree.
TEST_CASE("A ladder of gathers is captured in the time of its rungs", "[call_graph]") {
  in_tasks([](EventLoop&) {
    constexpr std::size_t kRungs = 30;  // 2^30 paths
    Event event;
    std::vector<Task<>> rung{create_task([&] { event.wait(); }), create_task([&] { event.wait(); })};
    const Task<> bottom = rung[0];
    for (std::size_t i = 0; i < kRungs; ++i) {
      std::vector<Task<>> next;
      for (int side = 0; side < 2; ++side) {
        next.push_back(create_task([below = rung] { gather(below[0], below[1]); }));
        TASK_CHECK(comes_to_wait(next.back(), WaitReason::kGather));
      }
      rung = next;
    }
    const FutureCallGraph graph = capture_call_graph(bottom, 0);
    TASK_CHECK(count_nodes(graph) > 2 * kRungs);
    TASK_CHECK(count_nodes(graph) <= 4 * kRungs + 1);
    event.set();
    gather(rung[0], rung[1]);
  });
}

// As asyncio's test_tools TestAsyncioToolsBasic.test_deep_coroutine_chain.
TEST_CASE("A chain that is too long is cut, and says so", "[call_graph]") {
  in_tasks([](EventLoop&) {
    Event event;
    std::vector<Task<>> chain{create_task([&] { event.wait(); })};
    for (int i = 0; i < 200; ++i)
      chain.push_back(create_task([previous = chain.back()] { await(previous); }));
    for (const Task<>& task : chain) TASK_CHECK(waits(task));
    const FutureCallGraph graph = capture_call_graph(chain[0], 0);
    const FutureCallGraph* last = &graph;
    std::size_t depth = 1;
    for (; !last->awaited_by.empty(); last = &last->awaited_by[0]) ++depth;
    TASK_CHECK(last->cut == Cut::kTooDeep);
    TASK_CHECK(depth == 51);
    event.set();
    await(chain.back());
  });
}

TEST_CASE("A graph in words has asyncio's form", "[call_graph]") {
  in_tasks([](EventLoop&) {
    const Pair pair([](const Task<>& task) { outermost([&] { await(task); }); });
    TASK_CHECK(comes_to_wait(pair.inner, WaitReason::kEvent));
    TASK_CHECK(comes_to_wait(pair.outer, WaitReason::kTask));
    std::ostringstream out;
    print_call_graph(pair.inner, out);
    TASK_CHECK(out.str() == format_call_graph(pair.inner));
    std::istringstream lines(out.str());
    std::vector<std::string> seen;
    for (std::string line; std::getline(lines, line);) seen.push_back(line);
    const auto begins = [&](std::size_t i, const std::string& text) { return seen[i].rfind(text, 0) == 0; };
    TASK_CHECK(begins(0, "* Task(name='inner', id=0x"));
    TASK_CHECK(begins(1, "  + Call stack:"));
    TASK_CHECK(begins(2, "  |   fibrio::Event::wait() in "));
    std::size_t i = 2;
    while (i < seen.size() && begins(i, "  |   ")) ++i;
    TASK_CHECK(i + 2 < seen.size());
    TASK_CHECK(seen[i] == "  + Awaited by:");
    TASK_CHECK(begins(i + 1, "    * Task(name='outer', id=0x"));
    TASK_CHECK(seen[i + 2] == "      + Call stack:");
    TASK_CHECK(begins(i + 3, "      |   "));
    TASK_CHECK(contains(out.str(), "frames_of_test::outermost"));
  });
}
