// Function-local statics whose initialisers wait: the tasks that need them wait too, and not their worker.
#include <signal.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include <fibrio/once.hpp>

#include "support/net_loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using namespace std::chrono_literals;

namespace {

// In ThreadSanitizer's builds statics are that tool's, and in those of other C++ libraries theirs.
bool has_guards() { return !kThreadSanitizer; }

// A static each: a function that is called with another Number has a variable of its own.
template <int Number, class Make>
int& value(Make& make) {
  static int made = make();
  return made;
}

template <int Number>
void check_waiting_initialiser(std::size_t workers) {
  on_loop({workers, false}, [] {
    std::atomic<int> calls{0};
    auto make = [&] {
      ++calls;
      sleep(20ms);
      return 42;
    };
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 8; ++i) tasks.push_back(create_task([&] { return value<Number>(make); }));
    wait_until([&] { return calls == 1; }, "a task makes it");  // a plain thread could not sleep
    auto thread =
        create_task([&] { return to_thread([&] { return value<Number>(make); }); });  // a plain thread
    for (auto& task : tasks) expect_equal(await(task), 42, "the value");
    expect_equal(await(thread), 42, "the value of the thread");
    expect_equal(calls.load(), 1, "calls");
  });
}

template <int Number>
void check_failing_initialiser(std::size_t workers) {
  on_loop({workers, false}, [] {
    std::atomic<int> calls{0};
    auto make = [&] {
      const int call = ++calls;
      sleep(5ms);
      if (call == 1) throw std::runtime_error("the first one fails");
      if (call == 2) await(get_running_loop().create_future<void>());  // until it is cancelled
      return call;
    };
    auto first = create_task([&] { return value<Number>(make); });
    wait_until([&] { return calls == 1; }, "the first call");
    auto second = create_task([&] { return value<Number>(make); });
    wait_until([&] { return calls == 2; }, "the second call");
    auto third = create_task([&] { return value<Number>(make); });
    wait_until_waits(third, WaitReason::kStatic);
    third.cancel();  // has no effect yet: what makes a static cannot be left
    second.cancel();
    first.wait();
    second.wait();
    third.wait();
    expect_throws<std::runtime_error>([&] { await(first); }, "the first one");
    expect(second.cancelled(), "the second one is cancelled");
    expect_equal(calls.load(), 3, "calls");
    expect(third.cancelled(), "the third is cancelled at the wait of its own call");
    expect_equal(value<Number>(make), 4, "the value that stays");
  });
}

}  // namespace

TEST_CASE("Tasks wait for a static whose initialiser waits, and its worker goes on", "[static]") {
  if (!has_guards()) skip("ThreadSanitizer has guards of its own");
  check_waiting_initialiser<1>(1);
  check_waiting_initialiser<2>(2);
  check_waiting_initialiser<4>(4);
}

TEST_CASE("A static whose initialiser fails or is cancelled is made by the next task", "[static]") {
  if (!has_guards()) skip("ThreadSanitizer has guards of its own");
  check_failing_initialiser<11>(1);
  check_failing_initialiser<12>(2);
  check_failing_initialiser<14>(4);
}

// Compilers take what is called around a static's initialiser for functions that do not throw: the process ends.
void check_ends_with(const char* text, void (*body)()) {
  const ChildResult result = run_in_child([body] {
    ::alarm(20);
    Config config;
    config.workers = 1;
    run(body, config);
  });
  INFO(result.errors);
  CHECK(result.signal == SIGABRT);
  CHECK(result.errors.find(text) != std::string::npos);
}

TEST_CASE("What is made once and needs itself is a RuntimeError, for a static at the end of the process",
          "[static]") {
  if (!has_guards()) skip("ThreadSanitizer has guards of its own");
  on_loop({1, false}, [] {
    std::once_flag flag;
    std::function<void()> make = [&] {
      yield();
      std::call_once(flag, make);
    };
    expect_throws<RuntimeError>([&] { std::call_once(flag, make); }, "recursion");
    std::call_once(flag, [] {});
  });
  check_ends_with("needs itself", [] {
    std::function<int()> make = [&] {
      yield();
      return value<21>(make);
    };
    value<21>(make);
  });
}

TEST_CASE("A callback that needs what a task of its one worker makes is told so, and does not hang",
          "[static]") {
  if (!has_guards()) skip("ThreadSanitizer has guards of its own");
  on_loop({1, false}, [] {
    Future<> go = get_running_loop().create_future<void>();
    std::once_flag flag;
    auto maker = create_task([&] { std::call_once(flag, [&] { await(go); }); });
    wait_until_waits(maker);
    std::string text;
    get_running_loop().call_soon([&] {
      try {
        std::call_once(flag, [] {});
      } catch (const RuntimeError& error) {
        text = error.what();
      }
      go.set_result();
    });
    await(maker);
    expect(text.find("callback") != std::string::npos, "what to do instead in: " + text);
  });
  check_ends_with("a callback needs", [] {
    auto make = [] {
      sleep(1h);
      return 7;
    };
    auto maker = create_task([&] { return value<31>(make); });
    wait_until_waits(maker);
    get_running_loop().call_soon([&] { value<31>(make); });
    await(maker);
  });
}

TEST_CASE("Tasks wait for a std::call_once whose function waits, and its worker goes on", "[static]") {
  if (!has_guards()) skip("ThreadSanitizer has guards of its own");
  for (const std::size_t workers : {1, 2, 4}) {
    on_loop({workers, workers > 1}, [] {
      std::once_flag flags[3];
      int made[3] = {};
      std::vector<Task<>> tasks;
      for (int i = 0; i < 24; ++i) {
        tasks.push_back(create_task([&, i] {
          const int which = i % 3;
          for (;;) {
            try {
              // Each its own callable: one that waited calls the right one, if the first ones fail.
              std::call_once(flags[which], [&, i] {
                sleep(1ms);
                if (i < 9) throw std::runtime_error("fails");
                made[which] += 100 + which;
              });
              break;
            } catch (const std::runtime_error&) {
              expect(i < 9, "its own function fails");
              break;
            }
          }
        }));
      }
      for (auto& task : tasks) await(task);
      for (int which = 0; which < 3; ++which) expect_equal(made[which], 100 + which, "what is made");
      expect_equal(to_thread([&] { return std::call_once(flags[0], [] { std::abort(); }), 7; }), 7,
                   "a plain thread");
    });
  }
}

TEST_CASE("What a parent process was making at a fork is made by the child", "[static]") {
  if (!has_guards()) skip("ThreadSanitizer has guards of its own");
  const ChildResult result = run_in_child([] {
    static std::once_flag flag;
    static int calls = 0;
    std::call_once(flag, [] {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(20);
        std::thread([] { std::call_once(flag, [] { ++calls; }); }).join();
        ::_exit(calls == 1 ? 0 : 1);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      ::_exit(WEXITSTATUS(status));
    });
  });
  CHECK(result.exit_code == 0);
}
