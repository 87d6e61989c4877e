#include "chaos/plan.hpp"

#include <algorithm>

namespace fibrio::chaos {

namespace {

constexpr std::uint64_t kStreamsPerConnection = 4;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::uint64_t kMaxSplit = 256;
// One connection of so many ends before its first byte.
constexpr std::uint64_t kRefusals = 200;

Duration up_to(Random& random, Duration most) {
  return Duration(static_cast<Duration::rep>(random.below(static_cast<std::uint64_t>(most.count()) + 1)));
}

Fault any_ending(Random& random) {
  constexpr std::array kEndings = {Fault::kHalfClose,  Fault::kHalfClose, Fault::kClose,
                                   Fault::kReset,      Fault::kReset,     Fault::kResetReceiver,
                                   Fault::kResetSender};
  return kEndings[random.below(kEndings.size())];
}

}  // namespace

std::uint64_t Random::mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

std::uint64_t Random::any_size(std::uint64_t most) {
  std::uint64_t bits = 0;
  while (bits < 63 && (most >> bits) > 0) ++bits;
  const std::uint64_t below_power = std::uint64_t{1} << (1 + below(bits));
  return 1 + below(std::min(most, below_power));
}

const char* name_of(Fault fault) {
  constexpr std::array<const char*, kFaults> kNames = {
      "delays", "stalls", "splits",          "corruptions",   "half-closes",
      "closes", "resets", "resets receiver", "resets sender", "refusals"};
  return kNames[static_cast<std::size_t>(fault)];
}

Plan::Plan(const PlanOptions& options, std::uint64_t connection, Direction direction)
    : options_(options),
      random_(options.seed, connection * kStreamsPerConnection + static_cast<std::uint64_t>(direction)) {
  if (options_.cut) {
    const Cut cut = options_.cut(connection);
    step_ = {.at = cut.direction == direction ? cut.at : kNever, .fault = cut.fault};
    return;
  }
  // Many near the beginning, where headers and handshakes are; most after some requests.
  const bool is_early = random_.one_in(4);
  ending_.at = is_early ? random_.any_size(options_.max_length) : 1 + random_.below(options_.max_length);
  ending_.fault = any_ending(random_);
  advance();
}

void Plan::advance() {
  const std::uint64_t from = step_.at + step_.bytes;
  step_ = {.at = from + random_.any_size(options_.max_calm) - 1};
  if (step_.at >= ending_.at) {
    step_ = ending_;
    return;
  }
  const std::uint64_t kind = random_.below(100);
  if (kind < 10 && options_.corrupts) {
    step_.fault = Fault::kCorrupt;
  } else if (kind < 55) {
    step_.fault = Fault::kDelay;
    step_.pause = up_to(random_, options_.max_delay);
  } else if (kind < 70) {
    step_.fault = Fault::kStall;
    step_.pause = up_to(random_, options_.max_stall);
  } else {
    step_.fault = Fault::kSplit;
    step_.bytes = std::min(random_.any_size(kMaxSplit), ending_.at - step_.at);
  }
}

bool is_refused(const PlanOptions& options, std::uint64_t connection) {
  return !options.cut && Random(options.seed, connection * kStreamsPerConnection + 2).one_in(kRefusals);
}

}  // namespace fibrio::chaos
