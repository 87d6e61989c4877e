// What: one load of requests inside a test; what its seed was is in what it throws.
// Threads: a task.
#pragma once

#include <cstdint>
#include <string>

#include "chaos/http_load.hpp"
#include "support/net_loops.hpp"
#include "support/watchdog.hpp"

namespace fibrio::chaos {

inline ProxyCounts storm(HttpLoad load, std::uint64_t requests) {
  using net_test::expect;
  test::Watchdog watchdog("a storm with seed " + std::to_string(load.faults.seed));
  watchdog.watch_loop(&get_running_loop());
  load.progress = [&watchdog] { watchdog.progress(); };
  Ledger ledger(requests);
  const ProxyCounts counts = run_http_load(load, ledger);
  const std::string violations = ledger.violations();
  const std::string what = "seed " + std::to_string(load.faults.seed) + ", " + ledger.text() + ", " +
                           counts.text() + ": " + violations;
  expect(violations.empty(), what);
  expect(ledger.all_ended() == requests, what);
  expect(ledger.of(Outcome::kAnswered) > requests / 4, "many are answered: " + what);
  return counts;
}

// Names the seed in what a body throws that expected something else.
template <class Body>
void with_seed(std::uint64_t seed, Body body) {
  try {
    body();
  } catch (const net_test::ExpectationFailed& failure) {
    throw net_test::ExpectationFailed("seed " + std::to_string(seed) + ": " + failure.what());
  }
}

// Pauses as long as timeouts: for virtual time.
inline PlanOptions long_pauses(std::uint64_t seed) {
  return {.seed = seed, .max_delay = std::chrono::seconds(2), .max_stall = std::chrono::seconds(20)};
}

}  // namespace fibrio::chaos
