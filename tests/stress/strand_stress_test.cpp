// Strands with everything at once: random waits, timeouts, messages between strands, cancels from tasks and plain
// threads, strands that come and go. What must hold: plain data of a strand is touched by one at a time, what one
// task sends to another strand arrives in order, nothing is lost, and every strand ends.
#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

// What only one strand touches: plain on purpose, so that ThreadSanitizer watches it too.
struct Owned {
  fibrio::Strand strand;
  std::uint64_t counter = 0;
  bool busy = false;
  std::vector<int> last_from = std::vector<int>(64, -1);

  void touch(Expect& expect) {
    expect(!busy, "two at once on one strand");
    busy = true;
    ++counter;
    busy = false;
  }
};

}  // namespace

TEST_CASE("Strands under random waits, timeouts and cancels: one at a time, nothing lost",
          "[stress][strand]") {
  const int rounds = scaled(20);
  stress("strands", [&](Watchdog& watchdog) {
    Expect expect;
    for (int round = 0; round < rounds; ++round) {
      constexpr int kStrands = 4;
      constexpr int kTasks = 40;
      std::vector<std::unique_ptr<Owned>> owned;
      for (int s = 0; s < kStrands; ++s) owned.push_back(std::make_unique<Owned>());
      std::vector<fibrio::Task<>> tasks;
      for (int t = 0; t < kTasks; ++t) {
        Owned& home = *owned[static_cast<std::size_t>(t % kStrands)];
        tasks.push_back(home.strand.create_task([&, t, round] {
          Random choice(static_cast<std::uint64_t>(round * kTasks + t));
          for (int i = 0; i < 30; ++i) {
            home.touch(expect);
            switch (choice.below(6)) {
              case 0:
                fibrio::yield();
                break;
              case 1:
                fibrio::sleep(std::chrono::microseconds(choice.below(200)));
                break;
              case 2:
                try {
                  fibrio::timeout(std::chrono::microseconds(choice.below(100)), [] { fibrio::sleep(100us); });
                } catch (const fibrio::TimeoutError&) {
                }
                break;
              case 3: {
                Owned& other = *owned[static_cast<std::size_t>(choice.below(kStrands))];
                other.strand.run([&] { other.touch(expect); });
                break;
              }
              case 4:
                fibrio::await(fibrio::create_task(fibrio::TaskOptions{.eager_start = choice.below(2) == 0},
                                                  [&] { home.touch(expect); }));
                break;
              default:
                fibrio::await(fibrio::spawn([] {}));
            }
          }
        }));
      }
      std::thread killer([&] {
        Random choice(static_cast<std::uint64_t>(200'000 + round));
        for (int i = 0; i < kTasks / 2; ++i) tasks[static_cast<std::size_t>(choice.below(kTasks))].cancel();
      });
      killer.join();
      for (const auto& task : tasks) {
        while (!task.done()) task.wait();
      }
      for (const auto& task : tasks) {
        if (!task.cancelled()) fibrio::await(task);
      }
      watchdog.progress();
    }
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Messages from one task to another strand arrive in order", "[stress][strand]") {
  const int count = scaled(3000);
  stress("strand messages", [&](Watchdog& watchdog) {
    Expect expect;
    Owned target;
    std::vector<fibrio::Task<>> senders;
    for (int s = 0; s < 8; ++s) {
      senders.push_back(fibrio::spawn([&, s] {
        std::vector<fibrio::Task<>> sent;
        for (int i = 0; i < count; ++i) {
          sent.push_back(target.strand.create_task([&, s, i] {
            target.touch(expect);
            int& last = target.last_from[static_cast<std::size_t>(s)];
            expect(last == i - 1, "a message overtook another of its sender");
            last = i;
          }));
          if (i % 64 == 0) fibrio::yield();
        }
        for (auto& task : sent) fibrio::await(task);
      }));
    }
    for (auto& sender : senders) fibrio::await(sender);
    const auto total = target.strand.run([&] { return target.counter; });
    expect(total == static_cast<std::uint64_t>(8 * count), "every message arrived");
    watchdog.progress();
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Short-lived strands with timers come and go", "[stress][strand]") {
  const int count = scaled(500);
  stress("short strands", [&](Watchdog& watchdog) {
    Expect expect;
    std::atomic<int> fired{0};
    std::vector<fibrio::Task<>> tasks;
    for (int i = 0; i < count; ++i) {
      fibrio::Strand strand;  // gone before its task has run
      tasks.push_back(strand.create_task([&, i] {
        auto& loop = fibrio::get_running_loop();
        loop.call_later(std::chrono::microseconds(i % 50), [&] { ++fired; });
        auto never = loop.call_later(1h, [] {});
        fibrio::sleep(std::chrono::microseconds(i % 100 + 50));
        never.cancel();
      }));
      if (i % 16 == 0) fibrio::yield();
    }
    for (auto& task : tasks) fibrio::await(task);
    expect(fired == count, "every timer of a strand fires, once");
    watchdog.progress();
    REQUIRE(expect.failures() == "");
  });
}

TEST_CASE("Of two loops that take a strand at the same instant one gets it", "[stress][strand]") {
  const int rounds = scaled(300);
  for (int round = 0; round < rounds; ++round) {
    fibrio::Strand strand;
    std::barrier ready(2);
    std::barrier tried(2);  // until then both loops live
    std::atomic<int> got{0};
    std::atomic<int> refused{0};
    const auto body = [&] {
      ready.arrive_and_wait();
      try {
        fibrio::await(strand.create_task([] {}));
        ++got;
      } catch (const fibrio::RuntimeError&) {
        ++refused;
      }
      tried.arrive_and_wait();
    };
    std::thread other([&] { fibrio::run(body); });
    fibrio::run(body);
    other.join();
    REQUIRE(got == 1);
    REQUIRE(refused == 1);
    fibrio::run([&] { strand.run([&] { ++got; }); });  // both loops are gone
    REQUIRE(got == 2);
  }
}
