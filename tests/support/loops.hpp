// What: loops for tests of behaviour: each test runs on 1, 2, 4 and 8 workers, as it comes and with forced
//   migration, and must leave no task, timer, stack or fd behind.
// Threads: on_loops and report belong to the test's own thread. TASK_CHECK is for every thread: Catch2's
//   assertions are not thread-safe, so it only collects, and on_loops asserts afterwards.
#pragma once

#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"
#include "support/function_ref.hpp"

namespace fibrio::test {

using namespace std::chrono_literals;

// --- assertions from tasks and threads ---------------------------------------------------------------------

class Failures {
 public:
  static Failures& instance() {
    static Failures failures;
    return failures;
  }
  void add(std::string text) {
    const std::lock_guard guard(lock_);
    texts_.push_back(std::move(text));
  }
  std::vector<std::string> take() {
    const std::lock_guard guard(lock_);
    return std::exchange(texts_, {});
  }

 private:
  std::mutex lock_;
  std::vector<std::string> texts_;
};

inline bool note_check(bool passed, const char* file, int line, const char* text) {
  if (!passed) Failures::instance().add(std::string(file) + ":" + std::to_string(line) + ": " + text);
  return passed;
}

// Asserts, on the test's own thread, that no TASK_CHECK failed.
inline void report_failures() {
  for (const std::string& text : Failures::instance().take()) FAIL_CHECK(text);
}

#define TASK_CHECK(...) \
  ::fibrio::test::note_check(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)

// True if the call ends by throwing an E.
template <class E, class F>
bool throws(F&& call) {
  try {
    static_cast<void>(std::forward<F>(call)());
  } catch (const E&) {
    return true;
  } catch (...) {
  }
  return false;
}

// The message of the CancelledError that the call throws; "no" with an explanation if it throws none.
template <class F>
std::string cancel_message(F&& call) {
  try {
    static_cast<void>(std::forward<F>(call)());
  } catch (const CancelledError& error) {
    return error.message();
  } catch (...) {
    return "no: something else was thrown";
  }
  return "no: nothing was thrown";
}

// --- what happened, in order -------------------------------------------------------------------------------

class Log {
 public:
  void add(std::string what) {
    const std::lock_guard guard(lock_);
    entries_.push_back(std::move(what));
  }
  [[nodiscard]] std::vector<std::string> entries() const {
    const std::lock_guard guard(lock_);
    return entries_;
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard guard(lock_);
    return entries_.size();
  }
  // "a b c"
  [[nodiscard]] std::string text() const {
    std::string all;
    for (const std::string& entry : entries()) all += (all.empty() ? "" : " ") + entry;
    return all;
  }

 private:
  mutable std::mutex lock_;
  std::vector<std::string> entries_;
};

// Collects what a loop reports instead of printing it.
class Reports {
 public:
  explicit Reports(EventLoop& loop) {
    loop.set_exception_handler([this](EventLoop&, const ExceptionContext& context) {
      log_.add(context.message);
      const std::lock_guard guard(lock_);
      exceptions_.push_back(context.exception);
    });
  }
  [[nodiscard]] std::size_t size() const { return log_.size(); }
  [[nodiscard]] std::vector<std::string> messages() const { return log_.entries(); }
  [[nodiscard]] std::vector<std::exception_ptr> exceptions() const {
    const std::lock_guard guard(lock_);
    return exceptions_;
  }

 private:
  Log log_;
  mutable std::mutex lock_;
  std::vector<std::exception_ptr> exceptions_;
};

// --- loops -------------------------------------------------------------------------------------------------

// Sets an environment variable as long as it lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = ::getenv(name)) before_ = before, was_set_ = true;
    if (value == nullptr) {
      ::unsetenv(name);
    } else {
      ::setenv(name, value, 1);
    }
  }
  ~ScopedVariable() {
    if (was_set_) {
      ::setenv(name_, before_.c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  std::string before_;
  bool was_set_ = false;
};

struct LoopKind {
  std::size_t workers;
  bool migrates;  // FIBRIO_FORCE_MIGRATION: every wait ends on another worker
};

inline constexpr LoopKind kAllKinds[] = {{1, false}, {2, false}, {4, false}, {8, false},
                                         {2, true},  {4, true},  {8, true}};
inline constexpr LoopKind kParallelKinds[] = {{2, false}, {4, false}, {8, false}, {2, true}, {4, true}};

inline Config test_config(std::size_t workers, bool virtual_time = true) {
  Config config;
  config.workers = workers;
  config.virtual_time = virtual_time;
  config.seed = 1;
  config.max_blocking_threads = 4;
  return config;
}

// Checks that what is made after it is gone before it.
class NothingLeft {
 public:
  NothingLeft() : fds_((warm_up(), open_fds())) {}
  ~NothingLeft() { CHECK(open_fds() == fds_); }
  NothingLeft(const NothingLeft&) = delete;
  NothingLeft& operator=(const NothingLeft&) = delete;

 private:
  // What the process opens once and keeps is no leak.
  static void warm_up() {
    static const bool done = [] {
      EventLoop(test_config(1)).run_until_complete([] {});
      return true;
    }();
    static_cast<void>(done);
  }
  std::size_t fds_;
};

// Between runs: nothing of the test is alive on the loop any more.
void check_idle(EventLoop& loop);

using LoopBody = FunctionRef<void(EventLoop&)>;

void on_loop(LoopKind kind, Config config, LoopBody body);

// Calls `body(loop)` on the test's own thread for every kind of loop.
void on_loops(LoopBody body, bool virtual_time = true);
void on_parallel_loops(LoopBody body, bool virtual_time = true);
// With one worker: where the order of everything is asyncio's.
void on_one_worker(LoopBody body, bool virtual_time = true);

// Runs `main(loop)` as a task on every kind of loop.
void in_tasks(LoopBody main, bool virtual_time = true);

// Runs `main(loop)` where the order of everything is asyncio's: on one worker, and on a strand of 4 workers.
void in_order(LoopBody main);

// --- waiting for other threads -----------------------------------------------------------------------------

// Polls from a plain thread for what others are about to do; false after a long while.
bool eventually(FunctionRef<bool()> condition);

// The same from a task: lets others run meanwhile.
bool eventually_in_task(FunctionRef<bool()> condition);

}  // namespace fibrio::test
