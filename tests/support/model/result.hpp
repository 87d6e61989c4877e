// What: what a search of the model checker is asked for and what it answers.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

namespace fibrio::model {

class Execution;

// Each bound counts per execution; -1 is no bound.
struct Options {
  // Involuntary switches away from a thread that could go on. Most known bugs need one or two.
  int preemption_bound = 2;
  // Loads that do not return the newest store. Finite by default, so that every store is seen at last.
  int stale_bound = 2;
  // compare_exchange_weak that fails although it could succeed.
  int spurious_bound = 1;
  // wait_timed that gives up. When they are used up, a timeout never comes: who relies on it is stuck.
  int timeout_bound = 1;
  // Report a store that a load before it, in the order of cause and effect, might see: see model.hpp.
  bool report_load_buffering = false;
  // Operations of one execution; more is reported as a livelock. At most 31,000.
  std::uint32_t max_steps = 10'000;
  // An exhaustive search stops here, with `exhausted` false.
  std::uint64_t max_schedules = 10'000'000;
  // Not 0: that many random executions instead of an exhaustive search, without a preemption bound.
  std::uint64_t random_schedules = 0;
  std::uint64_t seed = 1;
};

// Options for `schedules` random executions.
[[nodiscard]] inline Options random_search(std::uint64_t schedules, std::uint64_t seed = 1) {
  Options options;
  options.random_schedules = schedules;
  options.seed = seed;
  return options;
}

enum class Failure : std::uint8_t {
  kNone,
  kCheck,             // model::check was false
  kDeadlock,          // everybody waits: also what a lost wake-up looks like
  kLivelock,          // everybody spins, or too many steps
  kDataRace,          // plain data, or construction or destruction, not ordered with another access
  kLoadBuffering,     // Options::report_load_buffering
  kDeadObject,        // an object was used after its destruction
  kException,         // an exception left a thread or the body
  kMisuse,            // the test or the code breaks a rule of std::atomic or of the checker
  kNondeterministic,  // the same choices led elsewhere: the body depends on something else
};

[[nodiscard]] const char* to_string(Failure failure) noexcept;

struct Result {
  Failure failure = Failure::kNone;
  std::string message;          // what failed
  std::string trace;            // the failing execution, one operation per line
  std::string choices;          // for replay()
  std::uint64_t seed = 0;       // of the failing random execution, for random_search(1, seed)
  std::uint64_t schedules = 0;  // executions
  std::uint64_t steps = 0;      // operations in all of them
  bool exhausted = false;       // every execution within the bounds was seen

  [[nodiscard]] explicit operator bool() const noexcept { return failure == Failure::kNone; }
};

// All of it, for the test's report.
std::ostream& operator<<(std::ostream& out, const Result& result);

}  // namespace fibrio::model
