// What one sweep has done, and the line of output that tests/ends/figures.sh sums.
//
//   ends: <sweep>: points=12 runs=340 faults=338 survived=338
//
// points: places that a fault was put at, each once; runs: how often the scripted use ran; faults: runs in which
// the fault came; survived: runs whose every check held. A sweep says itself which of its points no run reached.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <utility>

namespace fibrio::test {

// How many times more than in CI: FIBRIO_ENDS_ROUNDS, 1 if it is not set.
inline std::size_t ends_rounds() {
  const char* text = std::getenv("FIBRIO_ENDS_ROUNDS");
  const long rounds = text == nullptr ? 1 : std::atol(text);
  return rounds < 1 ? 1 : static_cast<std::size_t>(rounds);
}

// Threads: the test's.
class Tally {
 public:
  explicit Tally(std::string sweep) : sweep_(std::move(sweep)) {}
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;
  ~Tally() {
    std::printf("ends: %s: points=%zu runs=%zu faults=%zu survived=%zu\n", sweep_.c_str(), points_.size(),
                runs_, faults_, survived_);
    std::fflush(stdout);
  }

  // A run that put a fault at `point`, or meant to.
  void run(const std::string& point, bool fault_came, bool survived) {
    ++runs_;
    if (!fault_came) return;
    points_.insert(point);
    ++faults_;
    if (survived) ++survived_;
  }

  [[nodiscard]] bool reached(const std::string& point) const { return points_.contains(point); }
  [[nodiscard]] std::size_t points() const noexcept { return points_.size(); }
  [[nodiscard]] std::size_t faults() const noexcept { return faults_; }
  [[nodiscard]] std::size_t survived() const noexcept { return survived_; }

 private:
  std::string sweep_;
  std::set<std::string> points_;
  std::size_t runs_ = 0;
  std::size_t faults_ = 0;
  std::size_t survived_ = 0;
};

}  // namespace fibrio::test
