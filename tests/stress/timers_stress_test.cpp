// Timer-a-lot: never early, none lost, with cancels from everywhere.
#include <algorithm>
#include <thread>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

TEST_CASE("Timer-a-lot: 100,000 timers, none early, none lost, a cancelled one never fires", "[stress]") {
  const int count = scaled(100'000);
  const auto body = [&](Watchdog& watchdog) {
    Expect expect;
    auto& loop = fibrio::get_running_loop();
    enum class State : std::uint8_t { armed, fired, cancelled };
    struct Entry {
      std::atomic<State> state{State::armed};
      std::atomic<int> fires{0};
      fibrio::TimerHandle handle;
    };
    std::vector<Entry> entries(static_cast<std::size_t>(count));
    std::atomic<int> fired{0};
    std::atomic<int> taken_back{0};
    constexpr int kArmers = 10;
    std::vector<fibrio::Task<>> armers;
    for (int number = 0; number < kArmers; ++number) {
      armers.push_back(fibrio::create_task([&, number] {
        Random random(static_cast<std::uint64_t>(number));
        for (int i = number; i < count; i += kArmers) {
          Entry& entry = entries[static_cast<std::size_t>(i)];
          const auto delay = std::chrono::microseconds(random.below(200'000));
          const fibrio::TimePoint due = loop.time() + delay;
          entry.handle = loop.call_later(delay, [&entry, &expect, &loop, &fired, due] {
            expect(loop.time() >= due, "a timer fired early");
            ++entry.fires;
            ++fired;
          });
          if (i % 500 == number) fibrio::yield();
        }
        // A third is cancelled, while they fire.
        for (int i = number; i < count; i += kArmers) {
          if (random.below(3) != 0) continue;
          Entry& entry = entries[static_cast<std::size_t>(i)];
          if (!entry.handle.cancel()) continue;
          entry.state = State::cancelled;
          ++taken_back;
        }
      }));
    }
    for (auto& armer : armers) fibrio::await(armer);
    while (fired + taken_back < count) {
      fibrio::sleep(1ms);
      watchdog.progress();
    }
    fibrio::sleep(5ms);
    for (Entry& entry : entries) {
      const bool is_cancelled = entry.state == State::cancelled;
      expect(entry.fires == (is_cancelled ? 0 : 1), "a timer fired twice, or after its cancel, or never");
    }
    REQUIRE(expect.failures() == "");
  };
  stress("timer-a-lot", body, {{1, false}, {2, false}, {4, false}, {8, false}});
}

TEST_CASE("Sleep-a-lot: sleeping tasks never wake early, and are cancelled from other threads", "[stress]") {
  const int count = scaled(5'000);
  stress("sleep-a-lot", [&](Watchdog& watchdog) {
    Expect expect;
    auto& loop = fibrio::get_running_loop();
    std::vector<fibrio::Task<>> tasks;
    std::atomic<int> cancelled{0};
    std::atomic<int> slept{0};
    Random random(1);
    for (int i = 0; i < count; ++i) {
      const auto delay = std::chrono::microseconds(random.below(50'000));
      tasks.push_back(fibrio::create_task([&, delay] {
        const fibrio::TimePoint due = loop.time() + delay;
        try {
          fibrio::sleep(delay);
          expect(loop.time() >= due, "a task woke early");
          ++slept;
        } catch (const fibrio::CancelledError&) {
          ++cancelled;
          throw;
        }
      }));
    }
    std::thread canceller([&, tasks] {
      Random choice(2);
      for (int i = 0; i < count / 2; ++i) tasks[static_cast<std::size_t>(choice.below(count))].cancel();
    });
    int never_started = 0;
    for (auto& task : tasks) {
      task.wait();
      watchdog.progress();
    }
    canceller.join();
    for (auto& task : tasks) never_started += task.cancelled() ? 1 : 0;
    never_started -= cancelled;
    expect(slept + cancelled + never_started >= count, "a task did not end");
    REQUIRE(expect.failures() == "");
  });
}
