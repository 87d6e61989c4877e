// The C++ runtime keeps the exceptions being caught, and how many are in flight, per thread; the switch keeps
// them per fiber. Without that: abort on `throw;`, or another fiber's exception, silently.
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

constexpr int kFibers = 64;
const int kRounds = scaled(200);

// Throws with a frame or two between.
[[gnu::noinline]] void fail(int number) { throw std::runtime_error(std::to_string(number)); }

// A wait that suspends, of changing kinds.
void suspend(int kind) {
  switch (kind % 3) {
    case 0:
      fibrio::yield();
      break;
    case 1:
      fibrio::sleep(1us);
      break;
    default:
      fibrio::await(fibrio::create_task([] {}));
  }
}

// Many tasks that run `step(number, round)`.
template <class Step>
void in_many_tasks(const Setup& setup, Step step) {
  run_with(setup, [&] {
    std::vector<fibrio::Task<>> tasks;
    for (int i = 0; i < kFibers; ++i) {
      tasks.push_back(fibrio::create_task([&step, i] {
        for (int round = 0; round < kRounds; ++round) step(i, round);
      }));
    }
    for (auto& task : tasks) fibrio::await(task);
  });
}

struct WaitsInDestructor {
  int kind;
  Expect& expect;
  ~WaitsInDestructor() {
    expect(std::uncaught_exceptions() == 1, "one exception is in flight before the wait");
    suspend(kind);
    expect(std::uncaught_exceptions() == 1, "one exception is in flight after the wait");
  }
};

}  // namespace

TEST_CASE("A task that waits in a catch block rethrows its own exception, wherever it goes on",
          "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    in_many_tasks(setup, [&](int number, int round) {
      try {
        try {
          fail(number);
        } catch (...) {
          suspend(round);
          throw;
        }
      } catch (const std::runtime_error& error) {
        expect(error.what() == std::to_string(number), "throw; gave another exception");
      }
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("Two tasks in catch blocks on one thread each rethrow their own exception", "[exceptions]") {
  for (const std::size_t workers : {1U, 2U}) {
    Expect expect;
    run_with({workers, false}, [&] {
      auto gate = fibrio::get_running_loop().create_future();
      auto first = fibrio::create_task([&] {
        try {
          fail(1);
        } catch (...) {
          fibrio::await(gate);  // the other one throws and catches meanwhile
          throw;
        }
      });
      auto second = fibrio::create_task([&] {
        try {
          fail(2);
        } catch (...) {
          gate.set_result();
          fibrio::sleep(1ms);
          throw;
        }
      });
      const auto text_of = [](const fibrio::Task<>& task) -> std::string {
        try {
          fibrio::await(task);
        } catch (const std::runtime_error& error) {
          return error.what();
        }
        return "nothing";
      };
      expect(text_of(first) == "1", "the first rethrew the second's");
      expect(text_of(second) == "2", "the second rethrew the first's");
    });
    CHECK(expect.failures() == "");
  }
}

TEST_CASE("A destructor waits while its task unwinds, and others throw, catch and see nothing in flight",
          "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    in_many_tasks(setup, [&](int number, int round) {
      expect(std::uncaught_exceptions() == 0, "another task's exception is in flight here");
      expect(std::current_exception() == nullptr, "another task's exception is caught here");
      try {
        const WaitsInDestructor waits{round, expect};
        fail(number);
      } catch (const std::runtime_error& error) {
        expect(error.what() == std::to_string(number), "caught another exception");
      }
      expect(std::uncaught_exceptions() == 0, "an exception is in flight after it was caught");
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("The callbacks of a loop see no exception of a task that waits while it unwinds", "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      auto& loop = fibrio::get_running_loop();
      try {
        struct CallsBack {
          fibrio::EventLoop& loop;
          Expect& expect;
          ~CallsBack() {
            auto called = loop.create_future();
            loop.call_soon([called, this]() mutable {
              expect(std::uncaught_exceptions() == 0, "a callback sees the task's exception");
              expect(std::current_exception() == nullptr, "a callback is inside the task's catch block");
              try {
                fail(7);
              } catch (const std::runtime_error&) {
              }
              called.set_result();
            });
            fibrio::await(called);
          }
        } const calls{loop, expect};
        fail(1);
      } catch (const std::runtime_error& error) {
        expect(std::string(error.what()) == "1", "caught another exception");
      }
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("current_exception is the same object before and after a wait", "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    in_many_tasks(setup, [&](int number, int round) {
      try {
        fail(number);
      } catch (const std::runtime_error& error) {
        const std::exception_ptr before = std::current_exception();
        suspend(round);
        expect(std::current_exception() == before, "current_exception changed over a wait");
        expect(error.what() == std::to_string(number), "the caught object changed");
      }
      expect(std::current_exception() == nullptr, "something is left behind");
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("One exception_ptr is rethrown by many tasks at once, each of which waits in its handler",
          "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    const std::exception_ptr shared = std::make_exception_ptr(std::runtime_error("shared"));
    in_many_tasks(setup, [&](int, int round) {
      try {
        std::rethrow_exception(shared);
      } catch (const std::runtime_error& error) {
        suspend(round);
        expect(std::string(error.what()) == "shared", "the shared exception changed");
        expect(std::current_exception() == shared, "another exception is being caught");
      }
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("Nested handlers and nested exceptions keep their order over waits", "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    in_many_tasks(setup, [&](int number, int round) {
      try {
        try {
          fail(number);
        } catch (...) {
          suspend(round);
          try {
            fail(number + 1000);
          } catch (const std::runtime_error& inner) {
            suspend(round + 1);
            expect(inner.what() == std::to_string(number + 1000), "the inner exception changed");
          }
          suspend(round + 2);
          std::throw_with_nested(std::logic_error("outer"));
        }
      } catch (const std::logic_error& outer) {
        suspend(round);
        try {
          std::rethrow_if_nested(outer);
          expect(false, "nothing is nested");
        } catch (const std::runtime_error& nested) {
          suspend(round + 1);
          expect(nested.what() == std::to_string(number), "the nested exception changed");
        }
      }
      expect(std::uncaught_exceptions() == 0, "something is in flight at the end");
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("A task that ends with an exception while others unwind hands on its own", "[exceptions]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      std::vector<fibrio::Task<>> tasks;
      for (int i = 0; i < kFibers; ++i) {
        tasks.push_back(fibrio::create_task([i, &expect] {
          const WaitsInDestructor waits{i, expect};
          fail(i);
        }));
      }
      for (int i = 0; i < kFibers; ++i) {
        try {
          fibrio::await(tasks[static_cast<std::size_t>(i)]);
          expect(false, "the exception is gone");
        } catch (const std::runtime_error& error) {
          expect(error.what() == std::to_string(i), "the task ended with another exception");
        }
      }
    });
    CHECK(expect.failures() == "");
  });
}
