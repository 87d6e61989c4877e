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
    std::atomic<int> ended{0};
    {
      Runner runner(test_config(workers, false));
      runner.run([&] {
        EventLoop& loop = get_running_loop();
        std::atomic<bool> begun{false};
        spawn([&] {
          to_thread([&, keeps = &loop] {
            begun = true;
            std::this_thread::sleep_for(20ms);
            keeps->create_task([&] { ended.fetch_add(1); }).wait();
          });
        });
        while (!begun.load()) sleep(1ms);
      });
    }
    CHECK(ended.load() == 1);
  }
}
