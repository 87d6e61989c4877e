// Cancel-a-lot: random cancels, from tasks and plain threads, of tasks in every state.
#include <thread>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

struct Victim {
  std::atomic<int> bodies_ended{0};
  std::atomic<int> requests{0};  // cancels that returned true
  std::atomic<int> told{0};      // done-callbacks
  fibrio::Task<int> task;
};

// Ends, by any of many ways; counts how often.
int live(Victim& victim, fibrio::Future<> shared, int way, int micros) {
  struct Count {
    Victim& victim;
    ~Count() { ++victim.bodies_ended; }
  } const count{victim};
  switch (way) {
    case 0:
      fibrio::sleep(std::chrono::microseconds(micros));
      break;
    case 1:
      fibrio::await(shared);
      break;
    case 2:
      for (int i = 0; i < 10; ++i) fibrio::yield();
      break;
    case 3: {
      auto inner = fibrio::create_task([micros] { fibrio::sleep(std::chrono::microseconds(micros)); });
      fibrio::await(inner);
      break;
    }
    case 4:
      return 1;  // ends while it is being cancelled
    case 5: {
      const fibrio::CancelMask mask;
      fibrio::sleep(std::chrono::microseconds(micros));
      break;
    }
    case 6:
      try {
        fibrio::sleep(1h);
      } catch (const fibrio::CancelledError&) {
        fibrio::yield();  // clean-up that waits, and may be cut short
        throw;
      }
      break;
    case 7:
      try {
        fibrio::sleep(1h);
      } catch (const fibrio::CancelledError&) {
        return 2;  // swallowed
      }
      break;
    default:
      static_cast<void>(fibrio::to_thread([micros] {
        std::this_thread::sleep_for(std::chrono::microseconds(micros));
        return 0;
      }));
  }
  return 0;
}

}  // namespace

TEST_CASE("Cancel-a-lot: every task ends exactly once, and a cancel that returns true is counted",
          "[stress]") {
  const int rounds = scaled(60);
  stress("cancel-a-lot", [&](Watchdog& watchdog) {
    Expect expect;
    auto& loop = fibrio::get_running_loop();
    constexpr int kVictims = 100;
    for (int round = 0; round < rounds; ++round) {
      Random random(static_cast<std::uint64_t>(round));
      std::vector<Victim> victims(kVictims);
      // The shared future keeps those who await it in one list; a cancel of one of them cancels it.
      auto shared = loop.create_future();
      std::vector<fibrio::Future<>> own;
      for (int i = 0; i < kVictims; ++i) own.push_back(i % 3 == 0 ? shared : loop.create_future());
      for (int i = 0; i < kVictims; ++i) {
        Victim& victim = victims[static_cast<std::size_t>(i)];
        const int way = random.below(9);
        const int micros = random.below(300);
        victim.task = fibrio::create_task([&victim, way, micros, future = own[static_cast<std::size_t>(i)]] {
          return live(victim, future, way, micros);
        });
        victim.task.add_done_callback([&victim](const fibrio::AnyFuture&) { ++victim.told; });
      }
      const auto cancel_some = [&](int killer) {
        Random choice(static_cast<std::uint64_t>(1000 * round + killer));
        for (int i = 0; i < kVictims; ++i) {
          Victim& victim = victims[static_cast<std::size_t>(choice.below(kVictims))];
          const fibrio::Task<int> task = victim.task;
          const int before = task.cancelling();
          if (task.cancel()) {
            ++victim.requests;
            expect(task.cancelling() > before, "cancel() returned true, but nothing is counted");
          } else {
            expect(task.done(), "cancel() returned false, but the task goes on");
          }
        }
      };
      std::vector<std::thread> threads;
      for (int i = 0; i < 2; ++i) threads.emplace_back(cancel_some, i);
      std::vector<fibrio::Task<>> killers;
      for (int i = 2; i < 4; ++i) {
        killers.push_back(fibrio::create_task([&, i] {
          if (i == 3) fibrio::sleep(50us);
          cancel_some(i);
        }));
      }
      for (auto& killer : killers) fibrio::await(killer);
      for (auto& thread : threads) thread.join();
      // Who is left gets what it waits for, or is cancelled at last.
      for (auto& future : own) static_cast<void>(future.try_set_result());
      for (Victim& victim : victims) {
        if (!victim.task.done() && victim.task.cancel()) ++victim.requests;
        for (;;) {
          try {
            fibrio::await(victim.task);
          } catch (const fibrio::CancelledError&) {
          }
          if (victim.task.done()) break;
        }
        expect(victim.bodies_ended <= 1, "a body ended twice");
        expect(victim.bodies_ended == 1 || victim.task.cancelled(),
               "a body never ran, and the task is not cancelled");
        expect(victim.task.cancelling() == victim.requests,
               "the count is not that of the cancels that returned true");
      }
      for (Victim& victim : victims) {
        while (victim.told == 0) fibrio::yield();
        expect(victim.told == 1, "a done-callback ran twice");
      }
      watchdog.progress();
    }
    loop.shutdown_default_executor(30s);
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Cancel-a-lot: chains and cycles of awaiting tasks", "[stress]") {
  const int rounds = scaled(300);
  stress("cancel chains", [&](Watchdog& watchdog) {
    Expect expect;
    for (int round = 0; round < rounds; ++round) {
      Random random(static_cast<std::uint64_t>(5000 + round));
      constexpr std::size_t kLength = 12;
      const bool is_cycle = random.below(2) == 0;
      std::vector<fibrio::Task<>> chain(kLength);
      auto go = fibrio::get_running_loop().create_future();
      for (std::size_t i = 0; i < kLength; ++i) {
        chain[i] = fibrio::create_task([&chain, &go, i, is_cycle] {
          go.wait();
          if (i + 1 < kLength) {
            fibrio::await(chain[i + 1]);
          } else if (is_cycle) {
            fibrio::await(chain[0]);
          } else {
            fibrio::sleep(1h);
          }
        });
      }
      go.set_result();
      for (int i = random.below(4); i > 0; --i) fibrio::yield();
      auto killer = fibrio::create_task(
          [&, at = static_cast<std::size_t>(random.below(kLength))] { chain[at].cancel(); });
      chain[static_cast<std::size_t>(random.below(kLength))].cancel();
      fibrio::await(killer);
      for (auto& task : chain) task.cancel();
      for (auto& task : chain) {
        while (!task.done()) {
          try {
            task.wait();
          } catch (const fibrio::CancelledError&) {
          }
        }
        expect(task.cancelled(), "a member of the chain is not cancelled");
      }
      watchdog.progress();
    }
    REQUIRE(expect.failures() == "");
  });
}
