// What: what is done to one direction of one connection, decided by a seed: where it is split, delayed and
//   stalled, and where and how it ends. The same seed makes the same plan, whatever the timing.
// Threads: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "fibrio/clock.hpp"

namespace fibrio::chaos {

// Random numbers that are the same everywhere (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : state_(mix(seed) ^ mix(~stream)) {}
  std::uint64_t next() { return mix(state_ += kStep); }
  // From 0 up to `bound` - 1.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  bool one_in(std::uint64_t count) { return below(count) == 0; }
  // From 1 to `most`, each order of magnitude as likely as the others.
  std::uint64_t any_size(std::uint64_t most);

 private:
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15U;
  static std::uint64_t mix(std::uint64_t value);
  std::uint64_t state_;
};

enum class Fault : std::uint8_t {
  kDelay,          // some milliseconds before the next byte
  kStall,          // the same, longer: whoever sends meets a full buffer
  kSplit,          // the next bytes one by one
  kCorrupt,        // one bit is turned over; only where that must be found (TLS)
  kHalfClose,      // the receiver is told the end; the rest is dropped, the other direction goes on
  kClose,          // both sides are told the end
  kReset,          // both sides are reset
  kResetReceiver,  // the receiver is reset, the sender told the end
  kResetSender,
  kRefuse,  // reset before a byte has passed
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::kRefuse) + 1;
[[nodiscard]] const char* name_of(Fault fault);

enum class Direction : std::uint8_t { kUp, kDown };  // client to server, server to client

// One ending and nothing else.
struct Cut {
  Direction direction = Direction::kUp;
  std::uint64_t at = 0;  // so many bytes pass
  Fault fault = Fault::kReset;
};

struct PlanOptions {
  std::uint64_t seed = 1;
  Duration max_delay = std::chrono::milliseconds(5);
  Duration max_stall = std::chrono::milliseconds(20);
  std::uint64_t max_calm = 64 * 1024;     // bytes between two disturbances
  std::uint64_t max_length = 256 * 1024;  // bytes before a direction ends
  bool corrupts = false;
  // Instead of all that: what is done to each connection, by its number.
  std::function<Cut(std::uint64_t connection)> cut = {};
};

// Disturbances of one direction, in the order of its bytes.
class Plan {
 public:
  struct Step {
    std::uint64_t at = 0;  // so many bytes pass before it
    Fault fault = Fault::kDelay;
    Duration pause = Duration::zero();  // kDelay, kStall
    std::uint64_t bytes = 0;            // kSplit: how many
  };
  Plan(const PlanOptions& options, std::uint64_t connection, Direction direction);

  [[nodiscard]] const Step& next() const { return step_; }
  void advance();
  // Whether the direction is over after this step.
  [[nodiscard]] static bool is_ending(Fault fault) { return fault >= Fault::kHalfClose; }

 private:
  PlanOptions options_;
  Random random_;
  Step ending_;
  Step step_;
};

// Whether the connection is reset before anything else.
[[nodiscard]] bool is_refused(const PlanOptions& options, std::uint64_t connection);

}  // namespace fibrio::chaos
