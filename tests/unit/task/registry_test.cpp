// What: the loop's list of tasks: numbers, counts, snapshots.
#include "task/registry.hpp"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "loop/loop_impl.hpp"
#include "support/catch.hpp"
#include "support/loops.hpp"
#include "task/task_control.hpp"

using namespace fibrio::test;  // NOLINT
using fibrio::EventLoop;
using fibrio::detail::LoopAccess;
using fibrio::detail::TaskControl;
using fibrio::detail::TaskRegistry;

TEST_CASE("TaskRegistry numbers each task once, on any number of workers", "[registry]") {
  on_loops([](EventLoop& loop) {
    constexpr int kTasks = 200;
    std::set<std::uint64_t> ids;
    std::vector<fibrio::Task<void>> tasks;
    for (int i = 0; i < kTasks / 2; ++i) tasks.push_back(loop.create_task([] { fibrio::yield(); }));
    loop.run_until_complete([&] {
      for (int i = 0; i < kTasks / 2; ++i) tasks.push_back(fibrio::create_task([] { fibrio::yield(); }));
      for (auto& task : tasks) task.wait();
    });
    for (auto& task : tasks) ids.insert(TaskControl::of(*task.state()).id);
    CHECK(ids.size() == kTasks);
    CHECK(*ids.begin() >= 1);
  });
}

TEST_CASE("TaskRegistry counts what was spawned, ended and cancelled", "[registry]") {
  on_loops([](EventLoop& loop) {
    TaskRegistry& registry = LoopAccess::impl(loop).registry;
    loop.run_until_complete([&] {
      auto ended = fibrio::create_task([] {});
      auto failed = fibrio::create_task([] { throw std::runtime_error("seen"); });
      auto cancelled = fibrio::create_task([] { fibrio::sleep(1h); });
      ended.wait();
      failed.wait();
      static_cast<void>(failed.exception());
      fibrio::sleep(1ms);
      cancelled.cancel();
      cancelled.wait();
    });
    const TaskRegistry::Counts counts = registry.counts();
    CHECK(counts.spawned == 4);
    CHECK(counts.finished == 4);
    CHECK(counts.cancelled == 1);
    CHECK(counts.alive == 0);
    CHECK(registry.snapshot().empty());
  });
}

// asyncio: test_free_threading TestFreeThreading.test_all_tasks_different_thread
TEST_CASE("A snapshot holds its tasks, while threads make tasks that come and go", "[registry]") {
  for (const std::size_t workers : {1, 2, 4}) {
    EventLoop loop(test_config(workers, false));
    TaskRegistry& registry = LoopAccess::impl(loop).registry;
    std::atomic<bool> stop{false};
    std::atomic<std::size_t> seen{0};
    constexpr int kKept = 10;
    fibrio::Future<> release = loop.create_future();
    std::vector<fibrio::Task<>> kept;
    for (int i = 0; i < kKept; ++i) {
      kept.push_back(loop.create_task({.name = "kept"}, [release] { fibrio::await(release); }));
    }
    std::thread outside([&] {
      while (!stop.load()) {
        int listed = 0;
        for (const fibrio::AnyTask& task : registry.snapshot()) {
          if (task.get_name() == "kept") ++listed;
          seen.fetch_add(1);
        }
        TASK_CHECK(listed == kKept);
      }
    });
    loop.run_until_complete([&] {
      for (int round = 0; round < 300 / kSlowdown || seen.load() == 0; ++round) {
        std::vector<fibrio::Task<void>> tasks;
        for (int i = 0; i < 10; ++i) tasks.push_back(fibrio::create_task([] { fibrio::yield(); }));
        for (auto& task : tasks) task.wait();
      }
    });
    stop.store(true);
    outside.join();
    release.set_result();
    loop.run_until_complete([&] {
      for (auto& task : kept) task.wait();
    });
    report_failures();
    CHECK(seen.load() > 0);
    CHECK(registry.counts().alive == 0);
  }
}
