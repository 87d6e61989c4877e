// Loops that close while other threads want something of them.
#include <atomic>
#include <thread>
#include <vector>

#include "support/loops.hpp"

using namespace fibrio;
using namespace fibrio::test;

TEST_CASE("A loop closes while other threads create tasks, each of which ends or is refused",
          "[event_loop][close]") {
  for (const std::size_t workers : {1, 2, 4}) {
    for (int round = 0; round < 200 / kSlowdown; ++round) {
      EventLoop loop(test_config(workers, false));
      loop.set_exception_handler([](EventLoop&, const ExceptionContext&) {});  // of pending tasks
      std::atomic<int> ready{0};
      std::atomic<int> refused{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
          ready.fetch_add(1);
          try {
            for (;;) loop.create_task([] { yield(); }).wait();
          } catch (const RuntimeError& error) {
            TASK_CHECK(std::string(error.what()).find("closed") != std::string::npos);
            refused.fetch_add(1);
          }
        });
      }
      while (ready.load() < 2) std::this_thread::yield();
      loop.run_until_complete([] { yield(); });
      loop.close();
      for (std::thread& thread : threads) thread.join();
      TASK_CHECK(refused.load() == 2);
      report_failures();
    }
  }
}

TEST_CASE("A Runner's default executor drains while its calls still create tasks", "[runner][close]") {
  for (const std::size_t workers : {1, 2}) {
    std::atomic<bool> has_begun{false};
    std::atomic<bool> has_left{false};
    std::atomic<int> ended{0};
    const auto call = [&](EventLoop& loop) {
      has_begun = true;
      while (!has_left.load()) std::this_thread::yield();
      // Until the tasks that were left are cancelled it is refused, or cancelled as well.
      while (ended.load() == 0) {
        try {
          loop.create_task([&] { ended.fetch_add(1); }).wait();
        } catch (const RuntimeError&) {
          std::this_thread::yield();
        }
      }
    };
    {
      Runner runner(test_config(workers, false));
      runner.run([&] {
        spawn([&call, &loop = get_running_loop()] { to_thread([&call, &loop] { call(loop); }); });
        while (!has_begun.load()) yield();
      });
      has_left = true;
    }
    CHECK(ended.load() == 1);
  }
}
