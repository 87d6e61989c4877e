// Task: results, names, arguments, errors, who is current, who is alive.
#include <array>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

int twice(int x) { return 2 * x; }
const std::string& name_by_reference(const std::string& text) { return text; }

struct Tracer {
  Tracer(Log& its_log, std::string its_name) : log(&its_log), name(std::move(its_name)) {}
  Tracer(Tracer&& other) noexcept : log(std::exchange(other.log, nullptr)), name(std::move(other.name)) {}
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;
  ~Tracer() {
    if (log != nullptr) log->add("~" + name);
  }
  Log* log;
  std::string name;
};

}  // namespace

// --- results -----------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_task_basics
// asyncio: test_tasks BaseTaskTests.test_create_task_with_async_function
// asyncio: test_tasks BaseTaskTests.test_bare_create_task
TEST_CASE("A task returns what its callable returns", "[tasks]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(await(create_task(twice, 21)) == 42);
    TASK_CHECK(await(create_task([] { return std::string("text"); })) == "text");
    await(create_task([] {}));
    TASK_CHECK(*await(create_task([] { return std::make_unique<int>(5); })) == 5);
    const std::string text = "kept";
    TASK_CHECK(await(create_task(name_by_reference, text)) == "kept");  // a reference becomes a value
    int target = 0;
    int& result = *await(create_task([&target] { return &target; }));
    TASK_CHECK(&result == &target);
    // Nested waits hand values up.
    TASK_CHECK(await(create_task(
                   [] { return await(create_task([] { return await(create_task(twice, 4)); })); })) == 8);
  });
}

TEST_CASE("A task's value lies where it was made until it is moved out", "[tasks]") {
  in_tasks([](EventLoop&) {
    Task<std::unique_ptr<int>> task = create_task([] { return std::make_unique<int>(1); });
    const std::unique_ptr<int>& seen = await(task);
    TASK_CHECK(*seen == 1);
    TASK_CHECK(seen.get() == task.result().get());
    const std::unique_ptr<int> taken = await(std::move(task));
    TASK_CHECK(*taken == 1);
  });
}

// asyncio: test_tasks BaseTaskTests.test_coroutine_non_gen_function_return_future
TEST_CASE("A task that returns a future does not await it", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    const Future<int> inner = loop.create_future<int>();
    const Future<int> returned = await(create_task([inner] { return inner; }));
    TASK_CHECK(returned == inner);
    TASK_CHECK(!inner.done());
  });
}

TEST_CASE("A task whose value cannot be constructed ends with that exception", "[tasks]") {
  struct Hostile {
    Hostile() = default;
    Hostile(const Hostile&) { throw std::bad_alloc(); }
  };
  in_tasks([](EventLoop&) {
    static Hostile original;
    Task<Hostile> task = create_task([]() -> const Hostile& { return original; });
    TASK_CHECK(throws<std::bad_alloc>([&] { await(task); }));
  });
}

// asyncio: test_tasks BaseTaskTests.test_task_set_methods
TEST_CASE("A task's result cannot be set from outside", "[tasks]") {
  in_tasks([](EventLoop&) {
    Task<int> task = create_task([] { return 1; });
    TASK_CHECK(throws<RuntimeError>([&] { task.set_result(2); }));
    TASK_CHECK(throws<RuntimeError>([&] { task.set_exception(std::make_exception_ptr(1)); }));
    Future<int>& as_future = task;
    TASK_CHECK(throws<RuntimeError>([&] { as_future.set_result(2); }));
    TASK_CHECK(throws<RuntimeError>([&] { as_future.try_set_result(2); }));
    TASK_CHECK(throws<RuntimeError>([&] { as_future.set_exception(std::make_exception_ptr(1)); }));
    TASK_CHECK(await(task) == 1);
  });
}

// asyncio: test_tasks GenericTaskTests.test_future_subclass
TEST_CASE("A task is a future and converts to the handles without a type", "[tasks]") {
  in_tasks([](EventLoop&) {
    Task<int> task = create_task({.name = "whose"}, [] { return 3; });
    const Future<int> future = task;
    const AnyFuture any = task;
    const AnyTask any_task = task;
    TASK_CHECK(any == task);
    TASK_CHECK(any_task == any);
    TASK_CHECK(any_task.get_name() == "whose");
    TASK_CHECK(await(future) == 3);
    TASK_CHECK(any.done());
  });
}

// --- errors ------------------------------------------------------------------------------------------------

TEST_CASE("A task keeps the exception of its callable for everyone who asks", "[tasks]") {
  in_tasks([](EventLoop&) {
    Task<int> task = create_task([]() -> int { throw std::out_of_range("far out"); });
    for (int i = 0; i < 3; ++i) TASK_CHECK(throws<std::out_of_range>([&] { await(task); }));
    TASK_CHECK(task.exception() != nullptr);
    TASK_CHECK(!task.cancelled());
    TASK_CHECK(throws<int>([] { await(create_task([] { throw 5; })); }));
  });
}

// asyncio: test_base_events BaseEventLoopTests.test_default_exc_handler_coro
TEST_CASE("A task's exception that nobody retrieved is reported once, with the task's name", "[tasks]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    std::string name;
    const auto handler = loop.get_exception_handler();
    loop.set_exception_handler([&](EventLoop& its_loop, const ExceptionContext& context) {
      if (name.empty()) name = detail::task_name(*context.future.state());
      handler(its_loop, context);
    });
    loop.run_until_complete([&] {
      {
        Task<> task = create_task({.name = "unlucky"}, [] { throw std::runtime_error("unseen"); });
        task.wait();
        TASK_CHECK(reports.size() == 0);
      }
      // The task's own worker may still hold it for a moment.
      TASK_CHECK(eventually_in_task([&] { return reports.size() == 1; }));
      {
        const auto dropped = create_task([] { throw std::runtime_error("handle dropped first"); });
      }
      TASK_CHECK(eventually_in_task([&] { return reports.size() == 2; }));
      Task<> seen = create_task([] { throw std::runtime_error("seen"); });
      TASK_CHECK(throws<std::runtime_error>([&] { await(seen); }));
    });
    REQUIRE(reports.size() == 2);
    CHECK(name == "unlucky");
    CHECK(reports.messages()[0] == "Task exception was never retrieved");
    CHECK_THROWS_WITH(std::rethrow_exception(reports.exceptions()[0]), "unseen");
  });
}

// asyncio: test_tasks BaseTaskTests.test_tb_logger_not_called_after_cancel
TEST_CASE("A failed task that is cancelled later is not reported", "[tasks]") {
  on_loops([](EventLoop& loop) {
    const Reports reports(loop);
    {
      Task<> task = loop.create_task([] { throw std::runtime_error("cancelled later"); });
      loop.run_until_complete([&] { task.wait(); });
      CHECK_FALSE(task.cancel());
    }
    CHECK(reports.size() == 0);
  });
}

// --- arguments and lifetimes -------------------------------------------------------------------------------

TEST_CASE("A task decay-copies its callable and arguments", "[tasks]") {
  in_tasks([](EventLoop&) {
    std::string text = "before";
    Task<std::string> copied = create_task([](const std::string& given) { return given; }, text);
    int counter = 0;
    Task<> referred = create_task([](int& given) { ++given; }, std::ref(counter));
    Task<int> array = create_task([](const char* given) { return given[1] - 'a'; }, "abc");
    Task<int> moved =
        create_task([](std::unique_ptr<int> given) { return *given; }, std::make_unique<int>(6));
    struct Object {
      int add(int n) { return value += n; }
      int value = 1;
    } object;
    Task<int> member = create_task(&Object::add, &object, 2);
    text = "after";
    TASK_CHECK(await(copied) == "before");
    await(referred);
    TASK_CHECK(counter == 1);
    TASK_CHECK(await(array) == 1);
    TASK_CHECK(await(moved) == 6);
    TASK_CHECK(await(member) == 3);
    TASK_CHECK(object.value == 3);
  });
}

// asyncio: test_tasks RunCoroutineThreadsafeTests.test_run_coroutine_threadsafe_task_factory_exception
TEST_CASE("A task whose arguments cannot be copied is not created", "[tasks]") {
  struct Throws {
    Throws() = default;
    Throws(const Throws&) { throw std::runtime_error("no copy"); }
  };
  on_loops([](EventLoop& loop) {
    loop.run_until_complete([&] {
      const Throws argument;
      TASK_CHECK(
          throws<std::runtime_error>([&] { auto task = create_task([](const Throws&) {}, argument); }));
      std::thread([&] {
        TASK_CHECK(throws<std::runtime_error>(
            [&] { auto task = loop.create_task([](const Throws&) {}, argument); }));
      }).join();
      TASK_CHECK(all_tasks().size() == 1);
    });
    CHECK(loop.stats().tasks_spawned == 1);
  });
}

TEST_CASE("A task destroys locals, then arguments, then it is done, then its value goes with the last handle",
          "[tasks]") {
  in_tasks([](EventLoop&) {
    Log log;
    {
      Task<Tracer> task = create_task(
          [&log](const Tracer&) {
            const Tracer local(log, "local");
            yield();
            return Tracer(log, "value");
          },
          Tracer(log, "argument"));
      task.add_done_callback([&log](const AnyFuture&) { log.add("done"); });
      TASK_CHECK(await(task).name == "value");
      TASK_CHECK(eventually_in_task([&] { return log.size() == 3; }));
    }
    TASK_CHECK(eventually_in_task([&] { return log.size() == 4; }));
    TASK_CHECK(log.text() == "~local ~argument done ~value");
  });
}

TEST_CASE("A task that never ran destroys its arguments", "[tasks]") {
  on_one_worker([](EventLoop& loop) {
    Log log;
    loop.run_until_complete([&] {
      Task<> task = create_task([](const Tracer&) { TASK_CHECK(false); }, Tracer(log, "argument"));
      task.cancel();
      task.wait();
      TASK_CHECK(task.cancelled());
      TASK_CHECK(log.text() == "~argument");
    });
  });
}

TEST_CASE("A task goes on when every handle is dropped", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    Future<int> future = loop.create_future<int>();
    {
      const auto dropped = create_task([future]() mutable {
        sleep(1s);
        future.set_result(1);
      });
    }
    TASK_CHECK(await(future) == 1);
  });
}

TEST_CASE("A task's callable may be large", "[tasks]") {
  in_tasks([](EventLoop&) {
    std::array<int, 20'000> numbers{};
    numbers.back() = 7;
    TASK_CHECK(await(create_task([numbers] { return numbers.back(); })) == 7);
  });
}

TEST_CASE("A task's stack size can be chosen and is checked", "[tasks]") {
  in_tasks([](EventLoop&) {
    for (const std::size_t size :
         {16UL * 1024, 64UL * 1024, 256UL * 1024, 1024UL * 1024 + 1, 64UL * 1024 * 1024}) {
      TaskOptions options;
      options.stack_size = size;
      TASK_CHECK(await(create_task(options, [] { return 5; })) == 5);
      TASK_CHECK(await(spawn(options, [] { return 6; })) == 6);
    }
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{16} * 1024 - 1, std::size_t{64} * 1024 * 1024 + 1, SIZE_MAX}) {
      TaskOptions options;
      options.stack_size = size;
      TASK_CHECK(throws<std::invalid_argument>([&] { auto task = create_task(options, [] {}); }));
    }
    // A deep stack that would not fit into the smallest.
    TaskOptions big;
    big.stack_size = 4 * 1024 * 1024;
    TASK_CHECK(await(create_task(big, [] {
                 volatile char space[2 * 1024 * 1024];
                 space[0] = 1;
                 space[sizeof space - 1] = 2;
                 yield();
                 return space[0] + space[sizeof space - 1];
               })) == 3);
    TASK_CHECK(all_tasks().size() == 1);
  });
}

TEST_CASE("A task created on a closed loop is refused and its callable destroyed", "[tasks]") {
  // asyncio: test_base_events BaseEventLoopTests.test_create_task_error_closes_coro
  const NothingLeft nothing_left;
  Log log;
  EventLoop loop(test_config(1));
  loop.close();
  CHECK_THROWS_AS(loop.create_task([tracer = Tracer(log, "callable")] {}), RuntimeError);
  CHECK(log.text() == "~callable");
}

// --- names -------------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_task_repr_autogenerated
// asyncio: test_tasks BaseTaskTests.test_bare_create_named_task
// asyncio: test_base_events BaseEventLoopTests.test_create_named_task_with_default_factory
TEST_CASE("A task has the name it was given, or one of its own", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    TASK_CHECK(create_task({.name = "mine"}, [] {}).get_name() == "mine");
    TASK_CHECK(spawn({.name = "free"}, [] {}).get_name() == "free");
    TASK_CHECK(loop.create_task({.name = "of the loop"}, [] {}).get_name() == "of the loop");
    std::set<std::string> names;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 100; ++i) {
      tasks.push_back(create_task([] {}));
      TASK_CHECK(tasks.back().get_name().starts_with("Task-"));
      names.insert(tasks.back().get_name());
    }
    TASK_CHECK(names.size() == 100);
    Task<> renamed;
    Event is_assigned;
    renamed = create_task({.name = "first"}, [&renamed, &is_assigned] {
      is_assigned.wait();
      renamed.set_name("second");
      TASK_CHECK(current_task().get_name() == "second");
    });
    is_assigned.set();
    await(renamed);
    TASK_CHECK(renamed.get_name() == "second");
    for (const Task<>& task : tasks) await(task);
  });
}

TEST_CASE("Tasks are numbered from 1 in the order of their creation with one worker", "[tasks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      TASK_CHECK(current_task().get_name() == "Task-1");
      Task<> second = create_task([] {});
      Task<> third = create_task([] {});
      TASK_CHECK(second.get_name() == "Task-2");
      TASK_CHECK(third.get_name() == "Task-3");
      await(third);
    });
  });
}

// --- who is running ----------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_current_task
// asyncio: test_tasks BaseCurrentLoopTests.test_current_task_with_implicit_loop
// asyncio: test_events GetEventLoopTestsMixin.test_get_event_loop_returns_running_loop
TEST_CASE("current_task names the running task, and nobody in a callback", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    Future<> called = loop.create_future();
    loop.call_soon([called]() mutable {
      TASK_CHECK(!current_task().valid());
      TASK_CHECK(get_running_loop().is_running());
      called.set_result();
    });
    await(called);
    Future<> assigned = loop.create_future();  // with several workers it may run before it has its name here
    Task<> other;
    other = create_task([&] {
      TASK_CHECK(current_task().valid());
      await(assigned);
      TASK_CHECK(current_task() == other);
    });
    assigned.set_result();
    TASK_CHECK(!(current_task() == other));
    await(other);
  });
}

// asyncio: test_tasks BaseTaskTests.test_current_task_with_interleaving_tasks
TEST_CASE("current_task is right across the waits of interleaved tasks", "[tasks]") {
  in_tasks([](EventLoop&) {
    std::vector<Task<>> tasks;
    for (int i = 0; i < 50; ++i) {
      tasks.push_back(create_task({.name = "t" + std::to_string(i)}, [i] {
        const AnyTask self = current_task();
        for (int k = 0; k < 20; ++k) {
          yield();
          TASK_CHECK(current_task() == self);
          TASK_CHECK(current_task().get_name() == "t" + std::to_string(i));
        }
      }));
    }
    for (const Task<>& task : tasks) await(task);
  });
}

// asyncio: test_tasks BaseTaskIntrospectionTests.test__register_task_3
TEST_CASE("all_tasks lists exactly what is not done", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    TASK_CHECK(all_tasks().size() == 1);
    TASK_CHECK(all_tasks()[0] == current_task());
    Future<> release = loop.create_future();
    std::vector<Task<>> tasks;
    for (int i = 0; i < 30; ++i) tasks.push_back(create_task([release] { await(release); }));
    std::vector<AnyTask> all = all_tasks();
    TASK_CHECK(all.size() == 31);
    for (const Task<>& task : tasks)
      TASK_CHECK(std::find(all.begin(), all.end(), AnyTask(task)) != all.end());
    all.clear();
    release.set_result();
    for (const Task<>& task : tasks) await(task);
    TASK_CHECK(all_tasks().size() == 1);
    Future<> called = loop.create_future();
    loop.call_soon([called]() mutable {
      TASK_CHECK(all_tasks().size() == 1);
      called.set_result();
    });
    await(called);
  });
}

// --- awaiting ----------------------------------------------------------------------------------------------

// asyncio: test_tasks BaseTaskTests.test_task_awaits_on_itself
TEST_CASE("A task that awaits itself gets RuntimeError", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    Future<> ready = loop.create_future();
    Task<> task;
    task = create_task([&] {
      await(ready);
      TASK_CHECK(throws<RuntimeError>([&] { await(task); }));
      TASK_CHECK(throws<RuntimeError>([&] { task.wait(); }));
    });
    ready.set_result();
    await(task);
  });
}

TEST_CASE("A chain of a thousand awaiting tasks unwinds in order", "[tasks]") {
  in_tasks([](EventLoop& loop) {
    Future<int> source = loop.create_future<int>();
    TaskOptions options;
    options.stack_size = 16 * 1024;
    Task<int> last = create_task(options, [source] { return await(source); });
    for (int i = 0; i < 1000; ++i) last = create_task(options, [before = last] { return await(before) + 1; });
    yield();
    source.set_result(0);
    TASK_CHECK(await(last) == 1000);
  });
}

TEST_CASE("A hundred thousand short tasks run and leave nothing", "[tasks]") {
  on_loops([](EventLoop& loop) {
    constexpr int kTasks = 100'000 / kSlowdown;
    std::atomic<int> ran{0};
    loop.run_until_complete([&] {
      for (int i = 0; i < kTasks; ++i) {
        {
          const auto task = create_task([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
        }
        if (i % 1000 == 0) yield();
      }
      TASK_CHECK(eventually_in_task([&] { return ran == kTasks && all_tasks().size() == 1; }));
    });
    CHECK(ran == kTasks);
    const LoopStats stats = loop.stats();
    CHECK(stats.tasks_spawned == kTasks + 1);
    CHECK(stats.tasks_finished == kTasks + 1);
    CHECK(stats.tasks_cancelled == 0);
  });
}

TEST_CASE("Tasks that spawn tasks form a tree that all comes home", "[tasks]") {
  struct Tree {
    static int grow(int depth) {
      if (depth == 0) return 1;
      Task<int> left = spawn(&Tree::grow, depth - 1);
      Task<int> right = create_task(&Tree::grow, depth - 1);
      return await(left) + await(right);
    }
  };
  in_tasks([](EventLoop&) { TASK_CHECK(Tree::grow(8) == 256); });
}

// asyncio: test_tasks SleepTests.test_sleep_zero
TEST_CASE("yield and sleep of nothing let others run", "[tasks]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([] {
      Log log;
      const auto step = [&log](std::string name, auto wait) {
        return create_task([&log, name, wait] {
          for (int i = 0; i < 3; ++i) {
            log.add(name + std::to_string(i));
            wait();
          }
        });
      };
      Task<> a = step("a", [] { yield(); });
      Task<> b = step("b", [] { sleep(0s); });
      Task<> c = step("c", [] { sleep(-5s); });
      Task<> d = step("d", [] { sleep_until(TimePoint()); });
      await(a), await(b), await(c), await(d);
      TASK_CHECK(log.text() == "a0 b0 c0 d0 a1 b1 c1 d1 a2 b2 c2 d2");
    });
  });
}

// --- exceptions in flight ----------------------------------------------------------------------------------

TEST_CASE("A task may wait inside a catch block and rethrow, wherever it goes on", "[tasks]") {
  in_tasks([](EventLoop&) {
    std::vector<Task<>> tasks;
    for (int i = 0; i < 50; ++i) {
      tasks.push_back(create_task([i] {
        const std::string mine = "error " + std::to_string(i);
        try {
          try {
            throw std::runtime_error(mine);
          } catch (const std::runtime_error& outer) {
            for (int k = 0; k < 5; ++k) yield();
            TASK_CHECK(outer.what() == mine);
            try {
              throw std::logic_error("inner");
            } catch (const std::logic_error&) {
              yield();
            }
            TASK_CHECK(std::uncaught_exceptions() == 0);
            throw;
          }
        } catch (const std::exception& error) {
          TASK_CHECK(error.what() == mine);
        }
        TASK_CHECK(std::current_exception() == nullptr);
      }));
    }
    for (const Task<>& task : tasks) await(task);
  });
}

TEST_CASE("A task may wait in a destructor while an exception unwinds it", "[tasks]") {
  struct Waits {
    ~Waits() {
      TASK_CHECK(std::uncaught_exceptions() == 1);
      for (int i = 0; i < 3; ++i) yield();
      sleep(1ms);
      TASK_CHECK(std::uncaught_exceptions() == 1);
    }
  };
  in_tasks([](EventLoop&) {
    std::vector<Task<>> tasks;
    for (int i = 0; i < 20; ++i) {
      tasks.push_back(create_task([i] {
        try {
          const Waits waits;
          throw i;
        } catch (int caught) {
          TASK_CHECK(caught == i);
        }
        TASK_CHECK(std::uncaught_exceptions() == 0);
      }));
    }
    for (const Task<>& task : tasks) await(task);
  });
}

// asyncio: test_tasks BaseTaskTests.test_exception_chaining_after_await
TEST_CASE("An exception awaited inside a catch block leaves the outer one alone", "[tasks]") {
  in_tasks([](EventLoop&) {
    try {
      throw std::runtime_error("outer");
    } catch (const std::runtime_error& outer) {
      TASK_CHECK(
          throws<std::logic_error>([] { await(create_task([] { throw std::logic_error("inner"); })); }));
      TASK_CHECK(std::string(outer.what()) == "outer");
    }
  });
}

// --- what is no task ---------------------------------------------------------------------------------------

namespace {
template <class F>
concept CanBeATask = requires(F callable) {
  create_task(callable);
};
}  // namespace

// asyncio: test_tasks BaseTaskTests.test_ensure_future_neither
TEST_CASE("What cannot be called is refused by the compiler", "[tasks]") {
  STATIC_REQUIRE(CanBeATask<int (*)()>);
  STATIC_REQUIRE_FALSE(CanBeATask<int>);
  STATIC_REQUIRE_FALSE(CanBeATask<int (*)(int)>);
  STATIC_REQUIRE_FALSE(CanBeATask<Future<>>);
}

// asyncio: test_tasks BaseTaskTests.test_baseexception_during_cancel
TEST_CASE("A KeyboardInterrupt in reaction to a cancel leaves the loop, and is the task's outcome",
          "[tasks]") {
  on_loops([](EventLoop& loop) {
    Task<> task = loop.create_task([] {
      try {
        sleep(10s);
      } catch (const CancelledError&) {
        throw KeyboardInterrupt();
      }
    });
    loop.run_until_complete([] { sleep(1s); });
    task.cancel();
    CHECK_FALSE(task.done());
    CHECK_THROWS_AS(loop.run_until_complete([] { sleep(100s); }), KeyboardInterrupt);
    CHECK(task.done());
    CHECK_FALSE(task.cancelled());
    CHECK_THROWS_AS(task.result(), KeyboardInterrupt);
    loop.run_until_complete([] { sleep(200s); });
  });
}
