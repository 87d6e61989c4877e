#include "support/net_loops.hpp"

#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace fibrio::net_test {

std::string describe(const std::exception_ptr& exception) {
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

std::uint64_t total_polls(EventLoop& loop) {
  std::uint64_t polls = 0;
  for (const WorkerStats& worker : loop.stats().workers) polls += worker.polls;
  return polls;
}
std::uint64_t polls_during(Duration time) {
  EventLoop& loop = get_running_loop();
  const std::uint64_t before = total_polls(loop);
  sleep(time);
  return total_polls(loop) - before;
}
void expect_calm(const std::string& when, Duration time) {
  const std::uint64_t polls = polls_during(time);
  // A worker that the machine keeps from running counts as running, and is watched once in 1 to 4 ms. An fd that
  // is ready all the time makes tens of thousands.
  expect(polls < 1000, "no storm of wake-ups " + when + ", not " + std::to_string(polls));
}

void wait_until(FunctionRef<bool()> condition, const std::string& what) {
  for (int i = 0; i < 5000 * kSlowdown; ++i) {
    if (condition()) return;
    sleep(std::chrono::milliseconds(1));
    yield();  // a task that sleeps as long as we do wakes up with us each time: let it come to its next wait
  }
  throw ExpectationFailed("never came true: " + what);
}
void wait_until_waits(const AnyTask& task, WaitReason reason) {
  const auto waits = [&] {
    const TaskInfo info = inspect(task);
    return info.state == TaskState::kWaiting && (reason == WaitReason::kNothing || info.reason == reason);
  };
  wait_until(waits, "the task waits");
}

LoopStats run_the_rest(EventLoop& loop) {
  for (int i = 0; i < 1000 && loop.stats().tasks_alive + loop.stats().fds > 0; ++i) {
    loop.run_until_complete([] { sleep(std::chrono::milliseconds(1)); });
  }
  return loop.stats();
}

void on_loop(LoopShape shape, TestBody body, bool ignores_reports) {
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

void on_loops(TestBody body, bool ignores_reports) {
  for (const LoopShape shape : kShapes) on_loop(shape, body, ignores_reports);
}

}  // namespace fibrio::net_test
