// fail-at-k: the k-th allocation and the k-th thread are refused.
#include <string>

#include "ends/fail_at_k.hpp"
#include "ends/refusals.hpp"
#include "support/catch.hpp"

namespace fibrio::test {
namespace {

// Each k up to 24, then every step-th, with an offset of the round, up to where none is reached.
void sweep_countdown(Tally& tally, Countdown& countdown, std::size_t workers, const char* what, long step) {
  for (const FailScript& script : fail_scripts()) {
    Survival survival = Survival::kSurvived;
    for (long k = 1; survival != Survival::kNotReached && k < 20'000; k += k < 24 ? 1 : step) {
      const std::string point = std::string(script.name) + " " + what + " " + std::to_string(k);
      survival = survive(
          script, workers, point, [&] { countdown.arm(k); }, [&] { countdown.arm(0); },
          [&] { return countdown.came(); });
      tally.run(point, survival != Survival::kNotReached, survival == Survival::kSurvived);
      if (survival == Survival::kFailed && tally.faults() - tally.survived() > 20) return;
    }
  }
}

}  // namespace
}  // namespace fibrio::test

TEST_CASE("fail-at-k: a refused allocation is an error of who asked, whichever it is", "[ends]") {
  using namespace fibrio::test;
  Tally tally("fail_at_k_allocation");
  const long step = ends_rounds() > 1 ? 1 : 17;
  for (const std::size_t workers : {1, 2}) sweep_countdown(tally, allocations, workers, "allocation", step);
  CHECK(tally.points() > 50);
}

TEST_CASE("fail-at-k: a refused thread is an error of who asked, whichever it is", "[ends]") {
  using namespace fibrio::test;
  Tally tally("fail_at_k_thread");
  for (const std::size_t workers : {1, 2, 4}) sweep_countdown(tally, threads, workers, "thread", 1);
  CHECK(tally.points() > 5);
}
