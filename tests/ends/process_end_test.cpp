// The end of the process: static destructors, atexit handlers, thread-locals that end, exit() in a task.
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "ends/leak_check.hpp"
#include "support/loops.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// For children: ends the process at once, with a code that nobody else uses, if something is not as it should be.
void require_in_child(bool is_true, const char* what) {
  if (is_true) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::_Exit(99);
}

// Runs what it was given when it is destroyed.
struct AtEnd {
  ~AtEnd() {
    if (call) call();
  }
  std::function<void()> call;
};

// Outlives what follows: never destroyed.
ContextVar<std::string>& variable() {
  static auto& made = *new ContextVar<std::string>("variable", "none");
  return made;
}

// What a library that logs, counts or drains at its end may do.
void use_everything() {
  require_in_child(variable().get() == "main", "the value is what it was");
  const Context context = copy_context();
  require_in_child(context.run([] { return variable().get(); }) == "main", "a copy of the context has it");
  variable().set("late");
  require_in_child(variable().get() == "late", "it can be set");
  variable().set("main");
  const Future<int> future;
  Lock lock;
  Event event;
  event.set();
  Queue<int> queue;
  queue.put_nowait(1);
  require_in_child(queue.get_nowait() == 1, "a queue works");
  require_in_child(throws<RuntimeError>([] { create_task([] {}); }), "create_task is refused");
  require_in_child(throws<RuntimeError>([] { sleep(1ms); }), "sleep is refused");
  for (const std::size_t workers : {1, 2}) {
    EventLoop loop(test_config(workers, false));
    const auto answer = [] {
      yield();
      sleep(1us);
      return variable().get();
    };
    require_in_child(loop.run_until_complete(answer) == "main", "a loop runs");
    require_in_child(
        fibrio::run([] { return to_thread([] { return 7; }); }, test_config(workers, false)) == 7,
        "run works");
  }
}

int code_of(const std::function<void()>& body) {
  const ChildResult child = run_in_child(body);
  INFO(child.errors);
  CHECK(child.signal == 0);
  return child.exit_code;
}

}  // namespace

TEST_CASE("The destructor of a static object may use the library", "[ends][process]") {
  CHECK(code_of([] {
          static AtEnd at_end;
          at_end.call = &use_everything;
          variable().set("main");
          fibrio::run([] { yield(); }, test_config(2, false));
          std::exit(7);
        }) == 7);
}

TEST_CASE("An atexit handler may use the library", "[ends][process]") {
  CHECK(code_of([] {
          variable().set("main");
          std::atexit(&use_everything);
          std::exit(7);
        }) == 7);
}

TEST_CASE("The destructor of a thread-local may use the library", "[ends][process]") {
  CHECK(code_of([] {
          for (int i = 0; i < 3; ++i) {
            std::thread([] {
              // Before and after the library's own.
              thread_local AtEnd first;
              first.call = &use_everything;
              variable().set("main");
              thread_local AtEnd second;
              second.call = &use_everything;
            }).join();
          }
          std::_Exit(7);
        }) == 7);
}

TEST_CASE("The values of a thread are destroyed when it ends", "[ends][process]") {
  const auto token = std::make_shared<int>(0);
  ContextVar<std::shared_ptr<int>> held("held", nullptr);
  std::thread([&] { held.set(token); }).join();
  CHECK(token.use_count() == 1);
}

TEST_CASE("exit() in a task ends the process with its code, also if the loop is a static object",
          "[ends][process]") {
  for (const std::size_t workers : {1, 2, 4}) {
    INFO("workers " << workers);
    CHECK(code_of([&] {
            static EventLoop loop(test_config(workers, false));
            loop.run_until_complete([] {
              spawn([] {
                for (;;) sleep(10us);
              });
              sleep(1ms);
              check_no_leaks();
              std::exit(3);
            });
          }) == 3);
    CHECK(code_of([&] {
            static EventLoop loop(test_config(workers, false));
            loop.call_soon([] { std::exit(4); });
            loop.run_forever();
          }) == 4);
    CHECK(code_of([&] {
            fibrio::run([] { to_thread([] { std::exit(5); }); }, test_config(workers, false));
          }) == 5);
    CHECK(code_of([&] {  // with what is left in it
            static EventLoop loop(test_config(workers, false));
            loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});
            loop.run_until_complete([] { spawn([] { sleep(1h); }); });
            std::exit(6);
          }) == 6);
  }
}
