// The wheel against a std::set ordered by (deadline, order of arming), over millions of random operations.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "support/catch.hpp"
#include "time/timer_wheel.hpp"

namespace fibrio::detail {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLongAgo = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kFar = kNever / 2;  // random runs jump to deadlines before it only
constexpr std::int64_t kDay = std::int64_t{24} * 3600 * 1'000'000'000;

std::int64_t saturating_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return b > 0 ? kNever : kLongAgo;
  return sum;
}

struct Mix {
  unsigned arm = 40;
  unsigned cancel = 20;
  unsigned advance = 40;
  unsigned next_deadline_in_100 = 30;  // after how many operations it is asked for
  int longest_delay_bits = 62;
  int longest_jump_bits = 50;  // 13 days; more would soon arrive at the end of time
  std::size_t nodes = 300;
};

// Runs the wheel and the oracle side by side; the first difference ends the run.
class Rig {
 public:
  Rig(std::uint64_t seed, std::int64_t start_ns, const Mix& mix)
      : random_(seed), mix_(mix), now_(start_ns), wheel_(start_ns) {
    for (std::size_t i = 0; i < mix.nodes; ++i) idle_.push_back(std::make_unique<TimerNode>());
  }
  ~Rig() {
    for (auto& node : armed_) wheel_.cancel(*node);
  }

  std::string run(int operations) {
    for (int i = 0; i < operations && error_.empty(); ++i) {
      const unsigned pick = below(mix_.arm + mix_.cancel + mix_.advance);
      if (pick < mix_.arm) {
        arm();
      } else if (pick < mix_.arm + mix_.cancel) {
        cancel();
      } else {
        advance(next_now());
      }
      check();
      if (!error_.empty()) error_ += " (operation " + std::to_string(i) + ")";
    }
    return error_;
  }

  // Virtual time: always exactly to the next deadline.
  std::string run_virtual(std::int64_t until_ns) {
    while (error_.empty() && now_ < until_ns) {
      while (idle_.size() > mix_.nodes / 4) arm();
      if (below(4) == 0) cancel();
      const std::int64_t next = wheel_.next_deadline();
      if (next != earliest()) fail("next_deadline");
      if (next > until_ns) break;
      advance(std::max(next, now_));
      check();
    }
    return error_;
  }

  // So that a run that expires next to nothing is noticed.
  [[nodiscard]] std::uint64_t expired() const { return expired_; }

 private:
  using Key = std::tuple<std::int64_t, std::uint64_t, TimerNode*>;

  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }

  // Lengths of every magnitude, many of them at or one beside the width of a slot of some level.
  std::int64_t random_length(int longest_bits) {
    const int bits = static_cast<int>(below(static_cast<unsigned>(longest_bits)));
    const std::int64_t power = std::int64_t{1} << bits;
    switch (below(4)) {
      case 0:
        return power + static_cast<std::int64_t>(below(3)) - 1;
      case 1:
        return static_cast<std::int64_t>(below(5000));
      default:
        return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(power));
    }
  }

  std::int64_t random_deadline() {
    switch (below(20)) {
      case 0:
        return below(8) == 0 ? kNever : saturating_add(kNever - 1, -random_length(62));
      case 1:
        return saturating_add(now_, -random_length(62));
      case 2:
        return now_ + static_cast<std::int64_t>(below(2)) - (now_ == kNever ? 1 : 0);
      case 3:
      case 4:
      case 5:
        if (last_deadline_ >= now_) return last_deadline_;  // many equal ones
        [[fallthrough]];
      default:
        return saturating_add(now_, random_length(mix_.longest_delay_bits));
    }
  }

  std::int64_t next_now() {
    switch (below(8)) {
      case 0:
        return saturating_add(now_, 1);
      case 1:
        return earliest() > kFar ? now_ : std::max(now_, saturating_add(earliest(), -1));
      case 2:
      case 3:
        return earliest() > kFar ? now_ : std::max(now_, earliest());
      case 4: {  // beside the next boundary of some level
        const int digits = (mix_.longest_jump_bits - static_cast<int>(TimerWheel::kTickBits)) /
                           static_cast<int>(TimerWheel::kDigitBits);
        const unsigned bits =
            TimerWheel::kTickBits + TimerWheel::kDigitBits * below(static_cast<unsigned>(digits) + 1);
        const std::int64_t length = std::int64_t{1} << bits;
        const std::int64_t boundary = saturating_add(now_ & -length, length);
        return std::max(now_, saturating_add(boundary, static_cast<std::int64_t>(below(3)) - 1));
      }
      case 5:
        return saturating_add(now_, -static_cast<std::int64_t>(below(3000)));  // back
      default:
        return saturating_add(now_, random_length(mix_.longest_jump_bits));
    }
  }

  void arm() {
    if (idle_.empty()) return;
    std::swap(idle_[below(static_cast<unsigned>(idle_.size()))], idle_.back());
    std::unique_ptr<TimerNode> node = std::move(idle_.back());
    idle_.pop_back();
    last_deadline_ = random_deadline();
    wheel_.arm(*node, last_deadline_);
    oracle_.emplace(last_deadline_, ++armings_, node.get());
    if (!node->is_armed() || node->deadline_ns != last_deadline_) fail("arm");
    arming_of_.emplace_back(node.get(), armings_);
    armed_.push_back(std::move(node));
  }

  void cancel() {
    if (armed_.empty()) return;
    const std::size_t index = below(static_cast<unsigned>(armed_.size()));
    TimerNode* node = armed_[index].get();
    oracle_.erase({node->deadline_ns, arming_of_[index].second, node});
    if (!wheel_.cancel(*node) || node->is_armed() || wheel_.cancel(*node)) fail("cancel");
    retire(index);
  }

  void retire(std::size_t index) {
    std::swap(armed_[index], armed_.back());
    std::swap(arming_of_[index], arming_of_.back());
    idle_.push_back(std::move(armed_.back()));
    armed_.pop_back();
    arming_of_.pop_back();
  }

  void retire(const TimerNode* node) {
    for (std::size_t i = 0; i < armed_.size(); ++i) {
      if (armed_[i].get() == node) return retire(i);
    }
    fail("an unknown node was due");
  }

  void advance(std::int64_t now_ns) {
    const bool goes_back = now_ns < now_;
    now_ = std::max(now_, now_ns);
    DueList due;
    const std::size_t count = wheel_.advance(now_ns, due);
    std::vector<Key> expected;
    while (!oracle_.empty() && std::get<0>(*oracle_.begin()) <= now_ns) {
      expected.push_back(*oracle_.begin());
      oracle_.erase(oracle_.begin());
    }
    if (count != expected.size()) fail("the number of due timers");
    if (!goes_back && wheel_.next_bound() <= now_ns && !wheel_.empty()) fail("the bound is not ahead");
    // Some are cancelled while they are due.
    while (!expected.empty() && below(4) == 0) {
      const auto victim = expected.begin() + below(static_cast<unsigned>(expected.size()));
      TimerNode* node = std::get<2>(*victim);
      if (!wheel_.cancel(*node)) fail("cancel of a due timer");
      retire(node);
      expected.erase(victim);
    }
    expired_ += expected.size();
    for (const Key& key : expected) {
      TimerNode* node = due.pop_front();
      if (node != std::get<2>(key)) fail("the order of due timers");
      if (node == nullptr) return;
      if (node->is_armed()) fail("a taken timer is armed");
      retire(node);
    }
    while (due.pop_front() != nullptr) fail("too many due timers");
  }

  [[nodiscard]] std::int64_t earliest() const {
    return oracle_.empty() ? kNever : std::get<0>(*oracle_.begin());
  }

  void check() {
    if (wheel_.size() != oracle_.size() || wheel_.empty() != oracle_.empty()) fail("size");
    if (wheel_.next_bound() > earliest()) fail("next_bound is too late");
    if (below(100) < mix_.next_deadline_in_100 && wheel_.next_deadline() != earliest()) fail("next_deadline");
  }

  void fail(const std::string& what) {
    if (error_.empty()) error_ = what + " at " + std::to_string(now_);
  }

  std::mt19937_64 random_;
  Mix mix_;
  std::int64_t now_;
  TimerWheel wheel_;
  std::vector<std::unique_ptr<TimerNode>> idle_;
  std::vector<std::unique_ptr<TimerNode>> armed_;
  std::vector<std::pair<TimerNode*, std::uint64_t>> arming_of_;  // parallel to armed_
  std::set<Key> oracle_;
  std::uint64_t armings_ = 0;
  std::uint64_t expired_ = 0;
  std::int64_t last_deadline_ = 0;
  std::string error_;
};

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WHEEL_TEST_IS_SLOW
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WHEEL_TEST_IS_SLOW
#endif
#ifdef WHEEL_TEST_IS_SLOW
constexpr int kRuns = 20;
#else
constexpr int kRuns = 200;
#endif
constexpr int kOperations = 20'000;  // per run

void check_runs(std::uint64_t first_seed, int runs, std::int64_t start_ns, const Mix& mix, int operations) {
  std::uint64_t expired = 0;
  for (int i = 0; i < runs; ++i) {
    const std::uint64_t seed = first_seed + static_cast<std::uint64_t>(i);
    INFO("seed " << seed << ", start " << start_ns);
    Rig rig(seed, start_ns, mix);
    REQUIRE(rig.run(operations) == "");
    expired += rig.expired();
  }
  CHECK(expired > static_cast<std::uint64_t>(runs) * static_cast<std::uint64_t>(operations) / 20);
}

}  // namespace

TEST_CASE("TimerWheel agrees with a sorted set over random operations", "[timer_wheel]") {
  check_runs(1, kRuns, 0, Mix{}, kOperations);
}

TEST_CASE("TimerWheel agrees with a sorted set when deadlines are near", "[timer_wheel]") {
  Mix mix;
  mix.longest_delay_bits = 24;
  mix.longest_jump_bits = 22;
  check_runs(1000, kRuns, 1'000'000'000, mix, kOperations);
}

TEST_CASE("TimerWheel agrees with a sorted set when slots are long", "[timer_wheel]") {
  Mix mix;
  mix.arm = 70;
  mix.cancel = 5;
  mix.advance = 3;
  mix.next_deadline_in_100 = 1;
  mix.nodes = 3000;
  for (const int bits : {12, 20, 45}) {
    mix.longest_delay_bits = mix.longest_jump_bits = bits;
    check_runs(2000, kRuns / 20, 0, mix, kOperations * 3);
  }
}

// tokio#8334: a wheel whose top level wraps loses timers at the end of a lap.
TEST_CASE("TimerWheel agrees with a sorted set from one before every level's boundary", "[timer_wheel]") {
  for (unsigned level = 0; level < TimerWheel::kLevels; ++level) {
    const std::int64_t boundary = std::int64_t{1} << (TimerWheel::kTickBits + TimerWheel::kDigitBits * level);
    for (const std::int64_t start : {boundary - 1, -boundary - 1, boundary * 15 - 1}) {
      check_runs(3000 + level, 5, start, Mix{}, kOperations / 5);
    }
  }
}

TEST_CASE("TimerWheel runs 30 virtual days from one before every level's boundary", "[timer_wheel]") {
  Mix mix;
  mix.longest_delay_bits = 52;  // up to 52 days
  mix.nodes = 40;
  for (unsigned level = 0; level < TimerWheel::kLevels; ++level) {
    const std::int64_t boundary = std::int64_t{1} << (TimerWheel::kTickBits + TimerWheel::kDigitBits * level);
    for (const std::int64_t start : {boundary - 1, boundary - 1 - 15 * kDay}) {
      INFO("start " << start);
      CHECK(Rig(20 + level, start, mix).run_virtual(start + 30 * kDay) == "");
    }
  }
}

}  // namespace fibrio::detail
