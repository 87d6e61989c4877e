// Many tasks: spawning, yielding, exchanging, stealing, parking.
#include <numeric>
#include <thread>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

long skynet(long number, long size) {
  if (size == 1) return number;
  std::vector<fibrio::Task<long>> children;
  children.reserve(10);
  for (long i = 0; i < 10; ++i)
    children.push_back(fibrio::create_task(skynet, number + i * size / 10, size / 10));
  long sum = 0;
  for (auto& child : children) sum += fibrio::await(child);
  return sum;
}

}  // namespace

TEST_CASE("Spawn-a-lot: every task runs exactly once", "[stress]") {
  const int count = scaled(100'000);
  stress("spawn-a-lot", [&](Watchdog& watchdog) {
    Expect expect;
    std::vector<std::atomic<std::uint8_t>> runs(static_cast<std::size_t>(count));
    std::vector<fibrio::Task<>> spawners;
    constexpr int kSpawners = 10;
    for (int spawner = 0; spawner < kSpawners; ++spawner) {
      spawners.push_back(fibrio::create_task([&, spawner] {
        std::vector<fibrio::Task<>> batch;
        for (int i = spawner; i < count; i += kSpawners) {
          batch.push_back(fibrio::create_task([&runs, i] { ++runs[static_cast<std::size_t>(i)]; }));
          if (batch.size() < 100) continue;
          for (auto& task : batch) fibrio::await(task);
          batch.clear();
          watchdog.progress();
        }
        for (auto& task : batch) fibrio::await(task);
      }));
    }
    for (auto& task : spawners) fibrio::await(task);
    for (const auto& ran : runs) expect(ran == 1, "a task did not run exactly once");
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Spawn-a-lot: dropped handles stop no task", "[stress]") {
  const int count = scaled(20'000);
  stress("dropped handles", [&](Watchdog& watchdog) {
    std::atomic<int> ran{0};
    for (int i = 0; i < count; ++i) {
      fibrio::create_task([&] {
        fibrio::yield();
        ++ran;
      });
      if (i % 1000 == 0) fibrio::yield();
    }
    while (ran < count) {
      fibrio::sleep(1ms);
      watchdog.progress();
    }
  });
}

TEST_CASE("Yield-a-lot: no task is left behind", "[stress]") {
  const int rounds = scaled(1000);
  stress("yield-a-lot", [&](Watchdog& watchdog) {
    Expect expect;
    constexpr int kTasks = 100;
    std::vector<fibrio::Task<>> tasks;
    std::atomic<long> sum{0};
    for (int i = 0; i < kTasks; ++i) {
      tasks.push_back(fibrio::create_task([&] {
        for (int round = 0; round < rounds; ++round) {
          fibrio::yield();
          sum.fetch_add(1, std::memory_order_relaxed);
        }
        watchdog.progress();
      }));
    }
    for (auto& task : tasks) fibrio::await(task);
    expect(sum == long{kTasks} * rounds, "steps are missing");
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Ping-pong: two tasks and a chain of futures", "[stress]") {
  const int rounds = scaled(5000);
  stress("ping-pong", [&](Watchdog& watchdog) {
    Expect expect;
    constexpr int kPairs = 8;
    std::vector<fibrio::Task<>> tasks;
    for (int pair = 0; pair < kPairs; ++pair) {
      struct Table {
        std::vector<fibrio::Future<int>> ping, pong;
      };
      auto table = std::make_shared<Table>();
      auto& loop = fibrio::get_running_loop();
      for (int i = 0; i < rounds; ++i) {
        table->ping.push_back(loop.create_future<int>());
        table->pong.push_back(loop.create_future<int>());
      }
      tasks.push_back(fibrio::create_task([=, &expect, &watchdog] {
        for (std::size_t i = 0; i < static_cast<std::size_t>(rounds); ++i) {
          table->ping[i].set_result(static_cast<int>(i));
          expect(fibrio::await(table->pong[i]) == static_cast<int>(i) + 1, "a wrong answer");
        }
        watchdog.progress();
      }));
      tasks.push_back(fibrio::create_task([=] {
        for (std::size_t i = 0; i < static_cast<std::size_t>(rounds); ++i) {
          table->pong[i].set_result(fibrio::await(table->ping[i]) + 1);
        }
      }));
    }
    for (auto& task : tasks) fibrio::await(task);
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Skynet: 100,000 leaves add up", "[stress]") {
  const long leaves = kSlowdown > 1 ? 10'000 : 100'000;
  stress("skynet", [&](Watchdog& watchdog) {
    const long sum = fibrio::await(fibrio::create_task(skynet, 0L, leaves));
    watchdog.progress();
    REQUIRE(sum == leaves * (leaves - 1) / 2);
  });
}

TEST_CASE("Steal-a-lot: short and long tasks of few parents spread over more workers than CPUs", "[stress]") {
  const int count = scaled(5000);
  stress("steal-a-lot", [&](Watchdog& watchdog) {
    Expect expect;
    std::atomic<int> ran{0};
    std::vector<fibrio::Task<>> parents;
    for (int parent = 0; parent < 3; ++parent) {
      parents.push_back(fibrio::create_task([&, parent] {
        Random random(static_cast<std::uint64_t>(parent));
        std::vector<fibrio::Task<>> children;
        for (int i = 0; i < count; ++i) {
          const int spin = random.below(50) == 0 ? 2000 : random.below(20);
          const bool waits = random.below(3) == 0;
          children.push_back(fibrio::create_task([&ran, spin, waits] {
            volatile int steps = 0;
            while (steps < spin) steps = steps + 1;
            if (waits) fibrio::yield();
            ++ran;
          }));
          if (random.below(100) == 0) {
            for (auto& child : children) fibrio::await(child);
            children.clear();
            watchdog.progress();
          }
        }
        for (auto& child : children) fibrio::await(child);
      }));
    }
    for (auto& parent : parents) fibrio::await(parent);
    expect(ran == 3 * count, "tasks are missing");
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Park-a-lot: workers go to sleep and are woken all the time, no wake-up is lost", "[stress]") {
  const int rounds = scaled(2000);
  stress("park-a-lot", [&](Watchdog& watchdog) {
    Expect expect;
    auto& loop = fibrio::get_running_loop();
    Random random(1);
    for (int round = 0; round < rounds; ++round) {
      // All workers sleep, then something comes: from a thread, a timer, or both at once.
      auto gate = loop.create_future<int>();
      std::vector<fibrio::Task<int>> waiting;
      const int waiters = 1 + random.below(4);
      for (int i = 0; i < waiters; ++i)
        waiting.push_back(fibrio::create_task([gate] { return fibrio::await(gate); }));
      const int way = random.below(3);
      if (way != 0)
        loop.call_later(std::chrono::microseconds(random.below(200)),
                        [gate]() mutable { static_cast<void>(gate.try_set_result(1)); });
      if (way != 1)
        static_cast<void>(
            loop.run_in_executor(nullptr, [gate]() mutable { static_cast<void>(gate.try_set_result(1)); }));
      for (auto& task : waiting) expect(fibrio::await(task) == 1, "a wrong value");
      watchdog.progress();
    }
    loop.shutdown_default_executor(10s);
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Threads outside of the loop inject tasks and callbacks and complete futures", "[stress]") {
  const int rounds = scaled(3000);
  stress("external threads", [&](Watchdog& watchdog) {
    Expect expect;
    auto& loop = fibrio::get_running_loop();
    constexpr int kThreads = 4;
    std::atomic<long> tasks_run{0};
    std::atomic<long> callbacks_run{0};
    auto all_done = loop.create_future();
    std::atomic<int> left{kThreads};
    std::vector<std::thread> threads;
    for (int number = 0; number < kThreads; ++number) {
      threads.emplace_back([&, number] {
        Random random(static_cast<std::uint64_t>(100 + number));
        for (int round = 0; round < rounds; ++round) {
          auto answer = loop.create_future<int>();
          auto task = loop.create_task([&, answer] {
            const int got = fibrio::await(answer);
            ++tasks_run;
            return got;
          });
          loop.call_soon([&] { ++callbacks_run; });
          if (random.below(4) == 0) std::this_thread::yield();
          answer.set_result(round);
          if (random.below(8) == 0) expect(fibrio::await(task) == round, "a thread got a wrong value");
          watchdog.progress();
        }
        if (--left == 0) all_done.set_result();
      });
    }
    fibrio::await(all_done);
    while (tasks_run + callbacks_run < 2L * kThreads * rounds) fibrio::sleep(1ms);
    for (auto& thread : threads) thread.join();
    expect(tasks_run == long{kThreads} * rounds, "tasks are missing");
    expect(callbacks_run == long{kThreads} * rounds, "callbacks are missing");
    REQUIRE(expect.failures() == "");
  });
}
