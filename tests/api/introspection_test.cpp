// Looking at tasks: stacks, states, what they wait for.
#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/frames.hpp"

using namespace fibrio;
using namespace fibrio::test;
using frames_of_test::outermost;

namespace {

void cancel_and_wait(const std::vector<AnyTask>& tasks) {
  for (const AnyTask& task : tasks) task.cancel();
  for (const AnyTask& task : tasks) {
    try {
      task.wait();
    } catch (const CancelledError&) {
    }
  }
}

}  // namespace

// --- stacks ------------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_get_stack
TEST_CASE("The stack of a task that waits is where it waits", "[introspection]") {
  in_tasks([](EventLoop& loop) {
    Event event;
    const Task<> task = create_task([&] { outermost([&] { event.wait(); }); });
    TASK_CHECK(comes_to_wait(task, WaitReason::kEvent));
    const std::vector<StackFrame> stack = task.get_stack();
    TASK_CHECK(has_all_three(stack));
    TASK_CHECK(has(stack, "fibrio::Event::wait"));
    TASK_CHECK(AnyTask(task).get_stack() == stack);
    // From elsewhere: a plain thread, and a callback.
    std::vector<StackFrame> from_thread;
    std::thread([&] { from_thread = task.get_stack(); }).join();
    TASK_CHECK(from_thread == stack);
    Future<bool> from_callback = loop.create_future<bool>();
    loop.call_soon([=]() mutable { from_callback.set_result(task.get_stack() == stack); });
    TASK_CHECK(await(from_callback));
    event.set();
    await(task);
    TASK_CHECK(task.get_stack().empty());
  });
}

TEST_CASE("The stack of the running task is its own", "[introspection]") {
  in_tasks([](EventLoop&) {
    std::vector<StackFrame> stack;
    outermost([&] { stack = current_task().get_stack(); });
    TASK_CHECK(has_all_three(stack));
    TASK_CHECK(inspect(current_task()).state == TaskState::kRunning);
    TASK_CHECK(index_of(inspect(current_task()).stack, "fibrio::inspect") == kNowhere);
  });
}

TEST_CASE("A task's stack is the same before and after another that recursed on the same worker",
          "[introspection]") {
  in_tasks([](EventLoop&) {
    Event event;
    const Task<> task = create_task([&] { outermost([&] { event.wait(); }); });
    TASK_CHECK(comes_to_wait(task, WaitReason::kEvent));
    const std::vector<StackFrame> before = task.get_stack();
    const std::function<int(int)> recurse = [&](int depth) -> int {
      if (depth == 0) yield();
      return depth == 0 ? 0 : recurse(depth - 1) + 1;
    };
    TASK_CHECK(await(create_task([&] { return recurse(200); })) == 200);
    TASK_CHECK(task.get_stack() == before);
    event.set();
    await(task);
  });
}

TEST_CASE("A stack that is too deep is cut at its outer end", "[introspection]") {
  in_tasks([](EventLoop&) {
    Event event;
    const std::function<int(int)> recurse = [&](int depth) -> int {
      if (depth == 0) event.wait();
      return depth == 0 ? 0 : recurse(depth - 1) + 1;
    };
    const Task<int> task = create_task([&] { return recurse(300); });
    TASK_CHECK(comes_to_wait(task, WaitReason::kEvent));
    const std::vector<StackFrame> stack = task.get_stack();
    TASK_CHECK(stack.size() == 100);
    TASK_CHECK(has(stack, "fibrio::Event::wait"));
    event.set();
    await(task);
  });
}

TEST_CASE("A task that waits while it unwinds has a stack, and goes on unwinding", "[introspection]") {
  in_tasks([](EventLoop&) {
    struct Waits {
      Event& event;
      [[gnu::noinline]] ~Waits() {
        const CancelMask mask;
        event.wait();
      }
    };
    Event event;
    const Task<> task = create_task([&] {
      outermost([&] {
        const Waits waits{event};
        throw std::runtime_error("on its way");
      });
    });
    TASK_CHECK(comes_to_wait(task, WaitReason::kEvent));
    const std::vector<StackFrame> stack = task.get_stack();
    TASK_CHECK(has(stack, "Waits"));
    TASK_CHECK(has_all_three(stack));
    TASK_CHECK(inspect(task).cancel_masks == 1);
    event.set();
    TASK_CHECK(throws<std::runtime_error>([&] { await(task); }));
  });
}

TEST_CASE("Before its first step and after its last a task has no stack", "[introspection]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      const Task<> task = create_task([] {});
      TASK_CHECK(inspect(task).state == TaskState::kReady);
      TASK_CHECK(task.get_stack().empty());
      await(task);
      TASK_CHECK(inspect(task).state == TaskState::kDone);
      TASK_CHECK(task.get_stack().empty());
    });
  });
}

TEST_CASE("With one worker a task whose turn is to come has a stack", "[introspection]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Event event;
      const Task<> woken = create_task([&] { outermost([&] { event.wait(); }); });
      const Task<> yields = create_task([] { outermost([] { yield(); }); });
      yield();
      event.set();
      for (const Task<>& task : {woken, yields}) {
        TASK_CHECK(inspect(task).state == TaskState::kReady);
        TASK_CHECK(has_all_three(task.get_stack()));
      }
      // Others may not look: it could begin to run.
      std::size_t frames = 1;
      std::thread([&] { frames = woken.get_stack().size(); }).join();
      TASK_CHECK(frames == 0);
      await(woken);
      await(yields);
    });
  });
}

TEST_CASE("A frame knows its function, its file and its place there", "[introspection]") {
  StackFrame frame;
  in_tasks([&](EventLoop&) {
    outermost([&] {
      const std::vector<StackFrame> stack = current_task().get_stack();
      const std::size_t index = index_of(stack, "frames_of_test::innermost");
      if (TASK_CHECK(index != kNowhere)) frame = stack[index];
    });
  });
  CHECK(contains(frame.function(), "frames_of_test::innermost(std::function<void ()> const&)"));
  CHECK(contains(frame.module(), "api_tests"));
  CHECK(frame.offset() != 0);
  std::ostringstream text;
  text << frame << 10;
  CHECK(contains(text.str(), "frames_of_test::innermost"));
  CHECK(contains(text.str(), " in api_tests + 0x"));
  CHECK(contains(text.str(), "10"));  // the stream is decimal still
  const StackFrame nowhere;
  CHECK(nowhere.function().empty());
  CHECK(nowhere.module().empty());
  CHECK(nowhere.offset() == 0);
}

// --- what it waits for -------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_task_repr_wait_for
TEST_CASE("Each wait has its own reason", "[introspection]") {
  in_tasks([](EventLoop& loop) {
    const int fd = ::eventfd(0, EFD_NONBLOCK);
    const int full_fd = ::eventfd(0, EFD_NONBLOCK);
    const std::uint64_t most = ~std::uint64_t{0} - 1;
    TASK_CHECK(::write(full_fd, &most, sizeof most) == sizeof most);
    Future<> future = loop.create_future();
    const auto await_future = [&] { await(future); };
    const Task<> other = create_task(await_future);
    Lock lock;
    lock.lock();
    Event event;
    Lock of_condition;
    Condition condition(of_condition);
    Semaphore semaphore(0);
    Barrier barrier(2);
    Queue<int> empty;
    Queue<int> full(1);
    full.put_nowait(1);
    struct Case {
      WaitReason reason;
      std::function<void()> wait;
    };
    const std::vector<Case> cases{
        {WaitReason::kSleep, [] { sleep(1h); }},
        {WaitReason::kFuture, await_future},
        {WaitReason::kTask, [&] { await(other); }},
        {WaitReason::kGather, [&] { gather(other); }},
        {WaitReason::kWait, [&] { static_cast<void>(wait(std::vector{other})); }},
        {WaitReason::kShield, [&] { shield(other); }},
        {WaitReason::kAsCompleted, [&] { static_cast<void>(as_completed(std::vector{other}).next()); }},
        {WaitReason::kTaskGroup,
         [&] { task_group([&](TaskGroup& group) { group.create_task([] { sleep(1h); }); }); }},
        {WaitReason::kTask, [&] { wait_for(other, 1h); }},
        {WaitReason::kReadable, [&] { wait_readable(fd); }},
        {WaitReason::kWritable, [&] { wait_writable(full_fd); }},
        {WaitReason::kLock, [&] { lock.lock(); }},
        {WaitReason::kEvent, [&] { event.wait(); }},
        {WaitReason::kCondition,
         [&] {
           const std::lock_guard guard(of_condition);
           condition.wait();
         }},
        {WaitReason::kSemaphore, [&] { semaphore.acquire(); }},
        {WaitReason::kBarrier, [&] { barrier.wait(); }},
        {WaitReason::kQueue, [&] { static_cast<void>(empty.get()); }},
        {WaitReason::kQueue, [&] { full.put(2); }},
    };
    for (const Case& each : cases) {
      const Task<> task = create_task([&] { outermost(each.wait); });
      const bool waits = comes_to_wait(task, each.reason);
      if (!waits) test::Failures::instance().add(std::string("not waiting for ") + to_string(each.reason));
      TASK_CHECK(has_all_three(task.get_stack()));
      // wait_for and gather pass the cancel on; the others' future must live.
      const bool passes_on = each.reason == WaitReason::kFuture || each.reason == WaitReason::kTask ||
                             each.reason == WaitReason::kGather;
      if (each.reason == WaitReason::kTask) {
        TASK_CHECK(inspect(task).awaited == other);
      } else if (each.reason == WaitReason::kFuture) {
        TASK_CHECK(inspect(task).awaited == future);
      } else {
        TASK_CHECK(!inspect(task).awaited.valid());
      }
      if (passes_on) continue;
      cancel_and_wait({task});
    }
    future.cancel();
    const std::vector<AnyTask> left = all_tasks();
    for (const AnyTask& task : left) {
      if (task != current_task()) task.wait();
    }
    lock.unlock();
    ::close(fd);
    ::close(full_fd);
  });
}

TEST_CASE("A wait for an offloaded call has a reason of its own", "[introspection]") {
  in_tasks([](EventLoop& loop) {
    std::atomic<bool> goes_on{false};
    const Task<> task = create_task([&] {
      to_thread([&] {
        while (!goes_on.load()) std::this_thread::yield();
      });
    });
    TASK_CHECK(comes_to_wait(task, WaitReason::kThread));
    goes_on.store(true);
    await(task);
    loop.shutdown_default_executor(10s);
  });
}

TEST_CASE("Every reason has words of its own", "[introspection]") {
  std::vector<std::string> texts;
  for (int reason = 0; reason <= static_cast<int>(WaitReason::kQueue); ++reason) {
    texts.emplace_back(to_string(static_cast<WaitReason>(reason)));
    CHECK_FALSE(texts.back().empty());
  }
  std::sort(texts.begin(), texts.end());
  CHECK(std::unique(texts.begin(), texts.end()) == texts.end());
}

TEST_CASE("A look shows the name, the requests to cancel and the masks", "[introspection]") {
  in_tasks([](EventLoop&) {
    Event event;
    const Task<> task = create_task(TaskOptions{.name = "stubborn"}, [&] {
      const CancelMask outer;
      const CancelMask inner;
      event.wait();
    });
    TASK_CHECK(comes_to_wait(task, WaitReason::kEvent));
    task.cancel();
    task.cancel();
    const TaskInfo info = inspect(task);
    TASK_CHECK(info.name == "stubborn");
    TASK_CHECK(info.cancelling == 2);
    TASK_CHECK(info.cancel_masks == 2);
    TASK_CHECK(!info.waiting_time.has_value());  // not in debug mode
    TASK_CHECK(info.source_traceback.empty());
    event.set();
    task.wait();
    TASK_CHECK(inspect(task).state == TaskState::kDone);
    TASK_CHECK(inspect(task).cancelling == 2);
  });
}

TEST_CASE("In debug mode a look shows since when a task waits", "[introspection]") {
  in_tasks([](EventLoop& loop) {
    loop.set_debug(true);
    Event event;
    const Task<> task = create_task([&] { event.wait(); });
    TASK_CHECK(comes_to_wait(task, WaitReason::kEvent));
    sleep(5s);
    TaskInfo info = inspect(task);
    TASK_CHECK(info.waiting_time.has_value());
    TASK_CHECK(info.waiting_time.value_or(0s) == 5s);
    // What began to wait while debug mode was off has no time, also when it is on again.
    loop.set_debug(false);
    TASK_CHECK(!inspect(task).waiting_time.has_value());
    const Task<> second = create_task([&] { event.wait(); });
    TASK_CHECK(comes_to_wait(second, WaitReason::kEvent));
    loop.set_debug(true);
    TASK_CHECK(!inspect(second).waiting_time.has_value());
    event.set();
    await(task);
    await(second);
  });
}

// --- dumps -------------------------------------------------------------------------------------------------

// As asyncio's test_tools TestAsyncioToolsTable.test_asyncio_utils.
TEST_CASE("A dump lists every task with its state, its wait and its waiters", "[introspection]") {
  in_tasks([](EventLoop& loop) {
    loop.set_debug(true);
    Lock lock;
    lock.lock();
    const Task<> inner = create_task(TaskOptions{.name = "inner"}, [&] { outermost([&] { lock.lock(); }); });
    const Task<> outer = create_task(TaskOptions{.name = "outer\n"}, [&] { await(inner); });
    TASK_CHECK(comes_to_wait(inner, WaitReason::kLock));
    TASK_CHECK(comes_to_wait(outer, WaitReason::kTask));
    sleep(2s);
    const auto check = [&](const std::string& text) {
      TASK_CHECK(contains(text, "3 tasks, " + std::to_string(loop.workers()) + " worker"));
      TASK_CHECK(contains(text, "* Task 'inner': waiting for a lock, for 2.000 s\n"));
      TASK_CHECK(contains(text, "* Task 'outer?': waiting for a task 'inner', for 2.000 s\n"));
      TASK_CHECK(contains(text, "  |   fibrio::Lock::lock() in api_tests + 0x"));
      TASK_CHECK(contains(text, "frames_of_test::outermost"));
      TASK_CHECK(contains(text, "  + Created at:\n"));
      TASK_CHECK(contains(text, "  + Awaited by: 'outer?'\n"));
      TASK_CHECK(!contains(text, "await cycle"));
    };
    std::ostringstream here;
    dump_tasks(here);
    check(here.str());
    TASK_CHECK(contains(here.str(), ": running\n"));
    std::ostringstream elsewhere;
    std::thread([&] { dump_tasks(elsewhere, loop); }).join();
    check(elsewhere.str());
    TASK_CHECK(contains(elsewhere.str(), ": running\n"));
    Future<std::string> in_callback = loop.create_future<std::string>();
    loop.call_soon([=]() mutable {
      std::ostringstream out;
      dump_tasks(out);
      in_callback.set_result(out.str());
    });
    check(await(in_callback));
    lock.unlock();
    await(outer);
    lock.unlock();
    loop.set_debug(false);
  });
}

// As asyncio's test_tools TestAsyncioToolsBasic.test_empty_input_table.
TEST_CASE("A loop without tasks has an empty dump; outside of a loop one must be named", "[introspection]") {
  EventLoop loop(test_config(1));
  std::ostringstream out;
  dump_tasks(out, loop);
  CHECK(out.str() == "0 tasks, 1 worker\n");
  CHECK_THROWS_AS(dump_tasks(out), RuntimeError);
}

// As asyncio's test_tools TestAsyncioToolsTree.test_asyncio_utils_cycles.
TEST_CASE("A dump names the tasks that wait for each other", "[introspection]") {
  in_tasks([](EventLoop& loop) {
    Future<> go = loop.create_future();
    Task<> tasks[3];
    tasks[0] = create_task(TaskOptions{.name = "a"}, [&] {
      await(go);
      await(tasks[1]);
    });
    tasks[1] = create_task(TaskOptions{.name = "b"}, [&] {
      await(go);
      gather(tasks[0], tasks[2]);
    });
    tasks[2] = create_task(TaskOptions{.name = "c"}, [&] {
      await(go);
      await(tasks[1]);
    });
    go.set_result();
    TASK_CHECK(comes_to_wait(tasks[0], WaitReason::kTask));
    TASK_CHECK(comes_to_wait(tasks[1], WaitReason::kGather));
    TASK_CHECK(comes_to_wait(tasks[2], WaitReason::kTask));
    std::ostringstream out;
    dump_tasks(out);
    const std::string text = out.str();
    const std::string title = "await cycle, none of these can ever go on: ";
    TASK_CHECK(contains(text, title));
    const std::size_t first = text.find(title);
    TASK_CHECK(text.find(title, first + 1) != std::string::npos);  // a and b, b and c
    TASK_CHECK(contains(text, "'a' is awaited by 'b'") || contains(text, "'b' is awaited by 'a'"));
    TASK_CHECK(contains(text, "'c' is awaited by 'b'") || contains(text, "'b' is awaited by 'c'"));
    cancel_and_wait({tasks[0], tasks[1], tasks[2]});
  });
}
