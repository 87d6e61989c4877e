// What: runs one test body as the main task of loops of 1, 2 and 4 workers, with and without forced
// migration, and looks afterwards whether anything is left: tasks, registered fds, stacks, open fds. Threads:
// on_loops on the test's own thread. Inside the body (a task, on any worker) Catch's assertions are not
// allowed: expect() throws instead, and the test's thread reports it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

namespace fibrio::net_test {

using namespace fibrio::test;  // NOLINT

class ExpectationFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Fails the test from inside a task.
inline void expect(bool holds, const std::string& what) {
  if (!holds) throw ExpectationFailed("expected: " + what);
}
template <class A, class B>
void expect_equal(const A& is, const B& wanted, const std::string& what) {
  if (!(is == static_cast<A>(wanted))) {
    throw ExpectationFailed(what + ": is " + std::to_string(is) + ", expected " + std::to_string(wanted));
  }
}

// The errno with which `call` failed (std::system_error); 0 if it did not. `text` gets what().
template <class Call>
int error_of(Call&& call, std::string* text = nullptr) {
  try {
    call();
  } catch (const std::system_error& error) {
    if (text != nullptr) *text = error.what();
    return error.code().value();
  }
  return 0;
}

template <class Error, class Call>
void expect_throws(Call&& call, const std::string& what) {
  try {
    call();
  } catch (const Error&) {
    return;
  } catch (const std::exception& error) {
    throw ExpectationFailed(what + ": it throws " + error.what());
  }
  throw ExpectationFailed(what + ": it throws nothing");
}

inline std::string describe(const std::exception_ptr& exception) {
  if (exception == nullptr) return {};
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  } catch (const CancelledError& error) {
    return error.what();
  } catch (...) {
    return "an exception of another type";
  }
}

// What the exception handlers of loops are told.
class Reports {
 public:
  void collect(EventLoop& loop) {
    loop.set_exception_handler([this](EventLoop&, const ExceptionContext& context) {
      std::lock_guard guard(lock_);
      texts_.push_back(context.message + ": " + describe(context.exception));
    });
  }
  [[nodiscard]] std::vector<std::string> take() {
    std::lock_guard guard(lock_);
    return std::exchange(texts_, {});
  }

 private:
  std::mutex lock_;
  std::vector<std::string> texts_;
};

// In place of the test's own, as long as it lives.
class ReportsHere {
 public:
  ReportsHere() : before_(get_running_loop().get_exception_handler()) {
    reports_.collect(get_running_loop());
  }
  ~ReportsHere() { get_running_loop().set_exception_handler(before_); }
  ReportsHere(const ReportsHere&) = delete;
  ReportsHere& operator=(const ReportsHere&) = delete;
  [[nodiscard]] std::vector<std::string> take() { return reports_.take(); }

 private:
  EventLoop::ExceptionHandler before_;
  Reports reports_;
};

inline std::uint64_t total_polls(EventLoop& loop) {
  std::uint64_t polls = 0;
  for (const WorkerStats& worker : loop.stats().workers) polls += worker.polls;
  return polls;
}
// How often the workers come out of epoll during `time`, while the body sleeps.
inline std::uint64_t polls_during(Duration time) {
  EventLoop& loop = get_running_loop();
  const std::uint64_t before = total_polls(loop);
  sleep(time);
  return total_polls(loop) - before;
}
inline void expect_calm(const std::string& when, Duration time = std::chrono::milliseconds(200)) {
  const std::uint64_t polls = polls_during(time);
  // A worker that the machine keeps from running counts as running, and is watched once in 1 to 4 ms. An fd that
  // is ready all the time makes tens of thousands.
  expect(polls < 1000, "no storm of wake-ups " + when + ", not " + std::to_string(polls));
}
// Waits for a condition that other tasks bring about, for some seconds at most.
template <class Condition>
void wait_until(Condition&& condition, const std::string& what) {
  for (int i = 0; i < 5000 * kSlowdown; ++i) {
    if (condition()) return;
    sleep(std::chrono::milliseconds(1));
    yield();  // a task that sleeps as long as we do wakes up with us each time: let it come to its next wait
  }
  throw ExpectationFailed("never came true: " + what);
}
// Waits until the task waits: for `reason`, if one is given.
inline void wait_until_waits(const AnyTask& task, WaitReason reason = WaitReason::kNothing) {
  const auto waits = [&] {
    const TaskInfo info = inspect(task);
    return info.state == TaskState::kWaiting && (reason == WaitReason::kNothing || info.reason == reason);
  };
  wait_until(waits, "the task waits");
}
template <class Tasks>
void wait_until_all_wait(const Tasks& tasks, WaitReason reason = WaitReason::kNothing) {
  for (const auto& task : tasks) wait_until_waits(task, reason);
}
// Time for what must not happen, or is likely then: nothing else may depend on it.
inline void let_others_wait() { sleep(std::chrono::milliseconds(3)); }

// What was not awaited may need a moment to end. Returns what is left then.
inline LoopStats run_the_rest(EventLoop& loop) {
  for (int i = 0; i < 1000 && loop.stats().tasks_alive + loop.stats().fds > 0; ++i) {
    loop.run_until_complete([] { sleep(std::chrono::milliseconds(1)); });
  }
  return loop.stats();
}

struct LoopShape {
  std::size_t workers;
  bool migrates;
  bool virtual_time = false;
};

// Runs `body` as the main task of one loop. A test that hangs ends with its shape on stderr.
template <class Body>
void on_loop(LoopShape shape, Body&& body, bool ignores_reports = false) {
  const std::string name = std::to_string(shape.workers) + " worker(s)" +
                           (shape.migrates ? ", forced migration" : "") +
                           (shape.virtual_time ? ", virtual time" : "");
  INFO(name);
  const std::size_t fds_before = open_fds();
  ::setenv("FIBRIO_FORCE_MIGRATION", shape.migrates ? "1" : "0", 1);
  Config config;
  config.workers = shape.workers;
  config.virtual_time = shape.virtual_time;
  Reports reports;
  std::string failure;
  LoopStats left;
  {
    EventLoop loop(config);
    ::unsetenv("FIBRIO_FORCE_MIGRATION");
    reports.collect(loop);
    TimerHandle watchdog;
    if (!shape.virtual_time) {  // there time passes at once, and a loop that waits for nothing ends by itself
      watchdog = loop.call_later(std::chrono::seconds(40) * (kSlowdown > 1 ? 3 : 1), [&] {
        std::fprintf(stderr, "the test hangs: %s\n", name.c_str());
        dump_tasks(std::cerr, loop);
        std::abort();
      });
    }
    try {
      loop.run_until_complete(body);
    } catch (const std::exception& error) {
      failure = error.what();
    } catch (const CancelledError&) {
      failure = "the main task was cancelled";
    }
    watchdog.cancel();
    left = run_the_rest(loop);
    if (left.tasks_alive > 0) dump_tasks(std::cerr, loop);
  }
  CHECK(failure == "");
  CHECK(left.tasks_alive == 0);
  CHECK(left.fds == 0);
  CHECK(left.stacks_in_use == 0);
  CHECK(open_fds() == fds_before);
  if (!ignores_reports) {
    const std::vector<std::string> texts = reports.take();
    CHECK((texts.empty() ? std::string() : texts.front()) == "");
  }
}

inline constexpr LoopShape kShapes[] = {{1, false}, {2, false}, {4, false}, {2, true}, {4, true}};

template <class Body>
void on_loops(Body&& body, bool ignores_reports = false) {
  for (const LoopShape shape : kShapes) on_loop(shape, body, ignores_reports);
}

}  // namespace fibrio::net_test
