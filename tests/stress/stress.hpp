// What: the frame of a stress test: a seed that is printed, a watchdog, a loop for each setup.
// FIBRIO_TEST_SEED repeats a run; else the seed is the clock's.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>

#include "support/setups.hpp"
#include "support/watchdog.hpp"

namespace fibrio::test {

inline std::uint64_t test_seed() {
  static const std::uint64_t seed = [] {
    const char* text = std::getenv("FIBRIO_TEST_SEED");
    const std::uint64_t made =
        text != nullptr
            ? std::strtoull(text, nullptr, 10)
            : static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    std::printf("FIBRIO_TEST_SEED=%llu\n", static_cast<unsigned long long>(made));
    std::fflush(stdout);
    return made;
  }();
  return seed;
}

// One generator per task or thread: `stream` tells them apart.
class Random {
 public:
  explicit Random(std::uint64_t stream) : engine_(test_seed() * 0x9e3779b97f4a7c15U + stream) {}
  // From 0 to bound - 1.
  int below(int bound) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(bound)); }

 private:
  std::mt19937_64 engine_;
};

// Runs `body(watchdog)` as the main task on a fresh loop for each setup; every task has ended, each once, and
// no fd is left.
template <class Body>
void stress(const char* name, Body&& body, const std::vector<Setup>& setups = all_setups()) {
  for (const Setup& setup : setups) {
    INFO(name << ", " << setup << ", FIBRIO_TEST_SEED=" << test_seed());
    const std::size_t fds = open_fds();
    {
      Watchdog watchdog(name);
      const ForcedMigration migration(setup.migrate);
      Config config = config_of(setup);
      config.seed = test_seed();
      EventLoop loop(config);
      watchdog.watch_loop(&loop);
      loop.run_until_complete([&] { body(watchdog); });
      const LoopStats stats = loop.stats();
      CHECK(stats.tasks_alive == 0);
      CHECK(stats.tasks_spawned == stats.tasks_finished);
      CHECK(stats.stacks_in_use == 0);
      watchdog.watch_loop(nullptr);
      loop.close();
    }
    CHECK(open_fds() == fds);
  }
}

}  // namespace fibrio::test
