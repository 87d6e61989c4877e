// Debug mode: slow steps and callbacks, where things were made; and the reports of what was forgotten.
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "fibrio/testing.hpp"
#include "support/frames.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;
using frames_of_test::outermost;

namespace {

constexpr auto kSlow = 200ms;  // the limit is 100 ms

// What a loop reports, with everything.
class Contexts {
 public:
  explicit Contexts(EventLoop& loop) : loop_(loop) {
    loop.set_exception_handler([this](EventLoop&, const ExceptionContext& context) {
      const std::lock_guard guard(lock_);
      contexts_.push_back(context);
    });
  }
  ~Contexts() { loop_.set_exception_handler(nullptr); }
  Contexts(const Contexts&) = delete;
  Contexts& operator=(const Contexts&) = delete;

  [[nodiscard]] std::vector<ExceptionContext> with(const std::string& text) const {
    const std::lock_guard guard(lock_);
    std::vector<ExceptionContext> found;
    for (const ExceptionContext& context : contexts_) {
      if (contains(context.message, text)) found.push_back(context);
    }
    return found;
  }
  [[nodiscard]] std::size_t count(const std::string& text = {}) const { return with(text).size(); }

 private:
  EventLoop& loop_;
  mutable std::mutex lock_;
  std::vector<ExceptionContext> contexts_;
};

bool comes(const Contexts& contexts, const std::string& text) {
  return eventually_in_task([&] { return contexts.count(text) != 0; });
}

}  // namespace

// --- slow steps and callbacks ------------------------------------------------------------------------------

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_log_slow_callbacks
TEST_CASE("A slow step is reported with the task, where it gave way, and where it was made", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const Contexts contexts(loop);
    loop.set_debug(true);
    yield();  // steps are measured from the next switch on
    Event event;
    Task<> task;
    frames_of_test::middle([&] {
      task = create_task(TaskOptions{.name = "hog"}, [&] {
        advance_time(kSlow);
        outermost([&] { event.wait(); });
      });
    });
    TASK_CHECK(comes(contexts, "hog"));
    const std::vector<ExceptionContext> reports = contexts.with("hog");
    TASK_CHECK(reports.size() == 1);
    TASK_CHECK(reports[0].message == "Executing <task 'hog'> took 0.200 s");
    TASK_CHECK(reports[0].future == task);
    TASK_CHECK(reports[0].exception == nullptr);
    TASK_CHECK(has_all_three(reports[0].stack));
    TASK_CHECK(has(reports[0].source_traceback, "frames_of_test::middle"));
    // Its next step is short.
    event.set();
    await(task);
    TASK_CHECK(contexts.count("hog") == 1);
    loop.set_debug(false);
  });
}

TEST_CASE("What eager tasks do at once is a part of their creator's step", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const Contexts contexts(loop);
    loop.set_debug(true);
    yield();
    await(create_task(TaskOptions{.name = "creator"}, [] {
      for (int i = 0; i < 10; ++i) {
        static_cast<void>(create_task(TaskOptions{.eager_start = true}, [] { advance_time(kSlow / 8); }));
      }
      yield();
    }));
    TASK_CHECK(comes(contexts, "creator"));
    TASK_CHECK(contexts.count("creator") == 1);
  });
}

TEST_CASE("A slow last step is reported, without a stack", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const Contexts contexts(loop);
    loop.set_debug(true);
    await(create_task(TaskOptions{.name = "hog"}, [&] { advance_time(kSlow); }));
    TASK_CHECK(comes(contexts, "hog"));
    const std::vector<ExceptionContext> reports = contexts.with("hog");
    TASK_CHECK(reports.size() == 1);
    TASK_CHECK(reports[0].stack.empty());
    loop.set_debug(false);
  });
}

TEST_CASE("Each step is measured by itself, also that of a task that begins on a hot stack", "[debug]") {
  on_one_worker([](EventLoop& loop) {
    const Contexts contexts(loop);
    loop.set_debug(true);
    loop.run_until_complete([&] {
      std::vector<Task<>> tasks;
      for (int i = 0; i < 6; ++i) {
        tasks.push_back(create_task(TaskOptions{.name = "task " + std::to_string(i)}, [i] {
          advance_time(i % 3 == 1 ? kSlow : 60ms);
          if (i % 2 == 0) yield();
          advance_time(60ms);  // with the first part: too slow, where there is no yield between
        }));
      }
      for (const Task<>& task : tasks) await(task);
      yield();
      advance_time(60ms);
      yield();  // alone: the step ends all the same
      advance_time(60ms);
    });
    CHECK(contexts.count("task 0") == 0);
    CHECK(contexts.count("task 1") == 1);
    CHECK(contexts.count("task 2") == 0);
    CHECK(contexts.count("task 3") == 1);
    CHECK(contexts.count("task 4") == 1);
    CHECK(contexts.count("task 5") == 1);
    CHECK(contexts.count() == 4);
  });
}

TEST_CASE("A slow callback is reported with where it was made", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const Contexts contexts(loop);
    loop.set_debug(true);
    const auto slow = [] { advance_time(kSlow); };
    outermost([&] { loop.call_soon(slow); });
    TASK_CHECK(comes(contexts, "<callback> took 0.200 s"));
    TASK_CHECK(has_all_three(contexts.with("<callback>")[0].source_traceback));
    outermost([&] { loop.call_later(1s, slow); });
    sleep(2s);
    TASK_CHECK(eventually_in_task([&] { return contexts.count("<callback>") == 2; }));
    TASK_CHECK(has_all_three(contexts.with("<callback>")[1].source_traceback));
    const Task<> task = create_task(TaskOptions{.name = "done"}, [] {});
    task.add_done_callback([](const AnyFuture&) { advance_time(kSlow); });
    TASK_CHECK(comes(contexts, "<done-callback> took 0.200 s"));
    TASK_CHECK(contexts.with("<done-callback>")[0].future == task);
    loop.set_debug(false);
  });
}

TEST_CASE("Without debug mode nothing is measured, and what began before it is not either", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const Contexts contexts(loop);
    TASK_CHECK(!loop.get_debug());
    advance_time(kSlow);
    yield();
    advance_time(kSlow);
    loop.set_debug(true);
    TASK_CHECK(loop.get_debug());
    yield();  // this step began before
    loop.set_debug(false);
    advance_time(kSlow);
    loop.set_debug(true);  // so did this one: in another round
    yield();
    loop.set_debug(false);
    loop.call_soon([] { advance_time(kSlow); });
    for (int i = 0; i < 5; ++i) yield();
    TASK_CHECK(contexts.count() == 0);
  });
}

TEST_CASE("A slow exception handler does not report itself", "[debug]") {
  on_one_worker([](EventLoop& loop) {
    int reports = 0;
    loop.set_exception_handler([&](EventLoop&, const ExceptionContext&) {
      ++reports;
      advance_time(kSlow);
    });
    loop.set_debug(true);
    loop.run_until_complete([] {
      await(create_task([] { advance_time(kSlow); }));
      for (int i = 0; i < 5; ++i) yield();
    });
    CHECK(reports == 1);
    loop.set_exception_handler(nullptr);
  });
}

// asyncio: test_runners RunTests.test_asyncio_run_debug
// asyncio: test_runners RunnerTests.test_debug
TEST_CASE("Config switches debug mode on and says what is slow; real time counts", "[debug]") {
  for (const std::size_t workers : {1, 2}) {
    Config config = test_config(workers, false);
    config.debug = true;
    config.slow_callback_duration = 20ms;
    EventLoop loop(config);
    CHECK(loop.get_debug());
    const Contexts contexts(loop);
    loop.run_until_complete([&] {
      await(create_task(TaskOptions{.name = "hog"}, [] {
        const auto end = std::chrono::steady_clock::now() + 20ms;
        while (std::chrono::steady_clock::now() < end) {
        }
      }));
      TASK_CHECK(comes(contexts, "hog"));
    });
    report_failures();
  }
}

// --- where things were made --------------------------------------------------------------------------------

// asyncio: test_futures BaseFutureTests.test_future_exception_never_retrieved_debug
// asyncio: test_futures BaseFutureTests.test_future_source_traceback
// asyncio: test_tasks BaseTaskTests.test_task_source_traceback
// asyncio: test_events HandleTests.test_handle_source_traceback
TEST_CASE("In debug mode reports say where the future, the task and the callback were made", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const auto fail = [] { throw std::runtime_error("x"); };
    for (const bool debug : {true, false}) {
      const Contexts contexts(loop);
      loop.set_debug(debug);
      outermost([&] {
        Future<> future = loop.create_future();
        future.set_exception(std::make_exception_ptr(std::runtime_error("x")));
      });
      outermost([&] { create_task(fail).wait(); });
      outermost([&] { loop.call_soon(fail); });
      for (const char* what : {"Future exception was never retrieved", "Task exception was never retrieved",
                               "an exception in a callback"}) {
        TASK_CHECK(comes(contexts, what));
        const std::vector<ExceptionContext> reports = contexts.with(what);
        TASK_CHECK(reports.size() == 1);
        TASK_CHECK(has_all_three(reports[0].source_traceback) == debug);
        if (!debug) TASK_CHECK(reports[0].source_traceback.empty());
      }
    }
  });
}

TEST_CASE("A creation site begins with the user's own call", "[debug]") {
  in_tasks([](EventLoop& loop) {
    loop.set_debug(true);
    const auto nothing = [] {};
    std::vector<AnyTask> tasks;
    outermost([&] {
      tasks.emplace_back(create_task(nothing));
      tasks.emplace_back(loop.create_task(nothing));
      task_group([&](TaskGroup& group) { tasks.emplace_back(group.create_task(nothing)); });
    });
    for (const AnyTask& task : tasks) {
      const std::vector<StackFrame> site = inspect(task).source_traceback;
      TASK_CHECK(has_all_three(site));
      TASK_CHECK(!site.empty() && site[0].function().rfind("fibrio::create_task", 0) == std::string::npos);
      if (!task.done()) task.wait();
    }
    loop.set_debug(false);
  });
}

TEST_CASE("The default handler prints the stack and where it was made", "[debug]") {
  const ChildResult result = run_in_child([] {
    Config config = test_config(1);
    config.debug = true;
    fibrio::run(
        [] {
          await(create_task(TaskOptions{.name = "hog"}, [] {
            advance_time(kSlow);
            outermost([] { yield(); });
          }));
        },
        config);
  });
  CHECK(result.exit_code == 0);
  INFO(result.errors);
  CHECK(contains(result.errors, "fibrio: Executing <task 'hog'> took 0.200 s\n  at:\n"));
  CHECK(contains(result.errors,
                 "    frames_of_test::innermost(std::function<void ()> const&) in api_tests + 0x"));
  CHECK(contains(result.errors, "  created at:\n"));
}

TEST_CASE("Debug mode works on the smallest stacks", "[debug]") {
  in_tasks([](EventLoop& loop) {
    const Contexts contexts(loop);
    loop.set_debug(true);
    const auto options = [](const char* name) {
      return TaskOptions{.name = name, .stack_size = std::size_t{16} * 1024};
    };
    await(create_task(options("outer"), [&] {
      Future<> forgotten = loop.create_future();
      forgotten.set_exception(std::make_exception_ptr(std::runtime_error("x")));
      forgotten = Future<>();  // reported here, on this stack
      const Task<> inner = create_task(options("inner"), [] {
        advance_time(kSlow);
        outermost([] { yield(); });
      });
      yield();  // its step is measured here
      TASK_CHECK(!inner.get_stack().empty() || loop.workers() > 1);
      await(inner);
    }));
    TASK_CHECK(comes(contexts, "inner"));
    TASK_CHECK(contexts.count("Future exception was never retrieved") == 1);
    loop.set_debug(false);
  });
}

// --- what was forgotten ------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_log_destroyed_pending_task
TEST_CASE("A loop that is closed with tasks left reports each, and unwinds them", "[debug]") {
  for (const bool debug : {false, true}) {
    on_loops([debug](EventLoop& loop) {
      const Contexts contexts(loop);
      loop.set_debug(debug);
      std::atomic<int> unwound{0};
      struct Guard {
        std::atomic<int>& count;
        ~Guard() { count.fetch_add(1); }
      };
      Task<> waits;
      Task<> never_began;
      loop.run_until_complete([&] {
        outermost([&] {
          waits = create_task(TaskOptions{.name = "waits"}, [&] {
            const Guard guard{unwound};
            sleep(1h);
          });
        });
        TASK_CHECK(comes_to_wait(waits, WaitReason::kSleep));
      });
      never_began = loop.create_task(TaskOptions{.name = "never began"}, [] {});
      loop.close();
      const std::vector<ExceptionContext> reports = contexts.with("Task was destroyed but it is pending");
      REQUIRE(reports.size() == 2);
      CHECK(contexts.count() == 2);
      const bool in_order = reports[0].future == waits;
      CHECK(reports[in_order ? 0 : 1].future == waits);
      CHECK(reports[in_order ? 1 : 0].future == never_began);
      CHECK(has_all_three(reports[in_order ? 0 : 1].source_traceback) == debug);
      CHECK(unwound.load() == 1);
      CHECK(waits.cancelled());
      CHECK(never_began.cancelled());
    });
  }
}

TEST_CASE("run cancels what is left without a report", "[debug]") {
  Runner runner(test_config(2));
  const Contexts contexts(runner.get_loop());
  runner.run([] { static_cast<void>(create_task([] { sleep(1h); })); });
  runner.close();
  CHECK(contexts.count() == 0);
}

TEST_CASE("A cancel that breaks an await cycle is reported in debug mode", "[debug]") {
  in_tasks([](EventLoop& loop) {
    for (const bool debug : {true, false}) {
      for (const bool by_gather : {false, true}) {
        const Contexts contexts(loop);
        loop.set_debug(debug);
        Future<> go = loop.create_future();
        Task<> tasks[2];
        for (std::size_t i = 0; i < 2; ++i) {
          tasks[i] = create_task(TaskOptions{.name = i == 0 ? "a" : "b"}, [&, i] {
            await(go);
            if (by_gather && i == 1) {
              gather(tasks[0]);
            } else {
              await(tasks[1 - i]);
            }
          });
        }
        go.set_result();
        TASK_CHECK(comes_to_wait(tasks[0], WaitReason::kTask));
        TASK_CHECK(comes_to_wait(tasks[1], by_gather ? WaitReason::kGather : WaitReason::kTask));
        TASK_CHECK(tasks[0].cancel());
        tasks[0].wait();
        tasks[1].wait();
        if (debug) TASK_CHECK(comes(contexts, "await cycle"));
        const std::vector<ExceptionContext> reports = contexts.with("await cycle");
        TASK_CHECK(reports.size() == (debug ? 1 : 0));
        if (debug && !by_gather && !reports.empty()) {
          TASK_CHECK(contains(reports[0].message, "'a'"));
          TASK_CHECK(reports[0].future == tasks[0]);
        }
      }
    }
    loop.set_debug(false);
  });
}

TEST_CASE("In debug mode tasks that are alive when main has returned are named", "[debug]") {
  for (const std::size_t workers : {1, 2, 4}) {
    Config config;
    config.workers = workers;
    config.debug = true;
    Runner runner(config);
    const Contexts contexts(runner.get_loop());
    runner.run([] { create_task({.name = "forgotten"}, [] { sleep(1h); }); });
    CHECK(contexts.count("alive when main had returned") == 0);
    runner.close();
    CHECK(contexts.count("alive when main had returned, and are cancelled now: 'forgotten'") == 1);
  }
}
