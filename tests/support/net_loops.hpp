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
#include "support/function_ref.hpp"

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

[[nodiscard]] std::string describe(const std::exception_ptr& exception);

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

std::uint64_t total_polls(EventLoop& loop);
// How often the workers come out of epoll during `time`, while the body sleeps.
std::uint64_t polls_during(Duration time);
void expect_calm(const std::string& when, Duration time = std::chrono::milliseconds(200));
// Waits for a condition that other tasks bring about, for some seconds at most.
void wait_until(FunctionRef<bool()> condition, const std::string& what);
// Waits until the task waits: for `reason`, if one is given.
void wait_until_waits(const AnyTask& task, WaitReason reason = WaitReason::kNothing);
template <class Tasks>
void wait_until_all_wait(const Tasks& tasks, WaitReason reason = WaitReason::kNothing) {
  for (const auto& task : tasks) wait_until_waits(task, reason);
}
// Time for what must not happen, or is likely then: nothing else may depend on it.
inline void let_others_wait() { sleep(std::chrono::milliseconds(3)); }

// What was not awaited may need a moment to end. Returns what is left then.
LoopStats run_the_rest(EventLoop& loop);

struct LoopShape {
  std::size_t workers;
  bool migrates;
  bool virtual_time = false;
};

// Runs `body` as the main task of one loop. A test that hangs ends with its shape on stderr.
using TestBody = FunctionRef<void()>;

void on_loop(LoopShape shape, TestBody body, bool ignores_reports = false);

inline constexpr LoopShape kShapes[] = {{1, false}, {2, false}, {4, false}, {2, true}, {4, true}};

void on_loops(TestBody body, bool ignores_reports = false);

}  // namespace fibrio::net_test
