// What: what the tests of the model checker share: both searches must find a bug, or find none.
#pragma once

#include <atomic>
#include <cstdint>

#include "support/catch.hpp"
#include "support/model/model.hpp"

namespace fibrio::model::testing {

inline constexpr auto kRelaxed = std::memory_order_relaxed;
inline constexpr auto kAcquire = std::memory_order_acquire;
inline constexpr auto kRelease = std::memory_order_release;
inline constexpr auto kAcqRel = std::memory_order_acq_rel;
inline constexpr auto kSeqCst = std::memory_order_seq_cst;

inline constexpr std::uint64_t kRandomSchedules = 20'000;

// Exhaustively and at random, the body fails in this way, and the choices replay it.
inline void require_found(Failure failure, const Body& body) {
  for (const auto& options : {Options{}, random_search(kRandomSchedules)}) {
    const auto result = explore(options, body);
    CAPTURE(result);
    REQUIRE(result.failure == failure);
    REQUIRE(replay(result.choices, body).failure == failure);
    if (options.random_schedules != 0) {
      REQUIRE(explore(random_search(1, result.seed), body).failure == failure);
    }
  }
}

// Exhaustively within the bounds and at random, the body never fails.
inline void require_clean(const Body& body, const Options& options = {}) {
  const auto exhaustive = explore(options, body);
  CHECK(exhaustive);
  CHECK(exhaustive.exhausted);
  CHECK(explore(random_search(kRandomSchedules), body));
}

}  // namespace fibrio::model::testing
