// The wheel's promises one by one. timer_wheel_oracle_test.cpp compares all of them with a sorted set.
#include "time/timer_wheel.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "support/catch.hpp"

namespace fibrio::detail {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLongAgo = std::numeric_limits<std::int64_t>::min();

// The first instant of level `level`: what differs from 0 in its digit first.
constexpr std::int64_t level_start(unsigned level) {
  return std::int64_t{1} << (TimerWheel::kTickBits + TimerWheel::kDigitBits * level);
}

std::vector<TimerNode*> take_due(TimerWheel& wheel, std::int64_t now_ns) {
  DueList due;
  const std::size_t count = wheel.advance(now_ns, due);
  std::vector<TimerNode*> taken;
  while (TimerNode* node = due.pop_front()) taken.push_back(node);
  CHECK(taken.size() == count);
  return taken;
}

using Nodes = std::vector<TimerNode*>;

}  // namespace

TEST_CASE("TimerWheel is empty at first", "[timer_wheel]") {
  TimerWheel wheel(12345);
  CHECK(wheel.empty());
  CHECK(wheel.size() == 0);
  CHECK(wheel.next_bound() == kNever);
  CHECK(wheel.next_deadline() == kNever);
  CHECK(take_due(wheel, kNever).empty());
}

TEST_CASE("TimerWheel is exact to the nanosecond on every level", "[timer_wheel]") {
  for (unsigned level = 0; level + 1 < TimerWheel::kLevels; ++level) {
    for (const std::int64_t offset : {-1, 0, 1}) {
      const std::int64_t deadline = level_start(level) + offset;
      INFO("deadline " << deadline);
      TimerWheel wheel;
      TimerNode node;
      wheel.arm(node, deadline);
      CHECK(wheel.next_bound() == deadline);
      CHECK(wheel.next_deadline() == deadline);
      CHECK(take_due(wheel, deadline - 1).empty());
      CHECK(wheel.next_bound() == deadline);
      CHECK(take_due(wheel, deadline) == Nodes{&node});
      CHECK(wheel.empty());
    }
  }
}

TEST_CASE("TimerWheel orders what is due by deadline, then by arming", "[timer_wheel]") {
  TimerWheel wheel;
  std::array<TimerNode, 6> nodes;
  wheel.arm(nodes[0], 5'000'000);
  wheel.arm(nodes[1], 5'000'001);
  wheel.arm(nodes[2], 5'000'000);
  wheel.arm(nodes[3], 700);
  wheel.arm(nodes[4], 5'000'001);
  wheel.arm(nodes[5], 5'000'000);
  CHECK(take_due(wheel, 1'000'000'000) ==
        Nodes{&nodes[3], &nodes[0], &nodes[2], &nodes[5], &nodes[1], &nodes[4]});
}

TEST_CASE("TimerWheel keeps the order of arming when an equal deadline is armed on a lower level",
          "[timer_wheel]") {
  TimerWheel wheel;
  TimerNode far;
  TimerNode near;
  const std::int64_t deadline = level_start(3) + 777;
  wheel.arm(far, deadline);
  CHECK(take_due(wheel, deadline - 300).empty());
  wheel.arm(near, deadline);
  CHECK(take_due(wheel, deadline) == Nodes{&far, &near});
}

TEST_CASE("TimerWheel takes deadlines in the past", "[timer_wheel]") {
  TimerWheel wheel(1'000'000);
  std::array<TimerNode, 3> nodes;
  wheel.arm(nodes[0], 999'999);
  wheel.arm(nodes[1], kLongAgo);
  wheel.arm(nodes[2], -1);
  CHECK(wheel.next_bound() == kLongAgo);
  CHECK(take_due(wheel, 1'000'000) == Nodes{&nodes[1], &nodes[2], &nodes[0]});
}

TEST_CASE("TimerWheel takes a deadline that never comes", "[timer_wheel]") {
  TimerWheel wheel;
  TimerNode node;
  wheel.arm(node, kNever);
  CHECK(take_due(wheel, kNever - 1).empty());
  CHECK(wheel.next_deadline() == kNever);
  CHECK(take_due(wheel, kNever) == Nodes{&node});
}

TEST_CASE("TimerWheel does not lose its place when time goes back", "[timer_wheel]") {
  TimerWheel wheel;
  std::array<TimerNode, 3> nodes;
  CHECK(take_due(wheel, 10'000'000).empty());
  wheel.arm(nodes[0], 5'000'000);
  wheel.arm(nodes[1], 5'000'001);
  wheel.arm(nodes[2], 11'000'000);
  CHECK(take_due(wheel, 5'000'000) == Nodes{&nodes[0]});
  CHECK(take_due(wheel, 1).empty());
  CHECK(take_due(wheel, 11'000'000) == Nodes{&nodes[1], &nodes[2]});
}

TEST_CASE("TimerWheel::cancel tells whether the timer was armed", "[timer_wheel]") {
  TimerWheel wheel;
  TimerNode node;
  CHECK_FALSE(wheel.cancel(node));
  wheel.arm(node, 1'000'000);
  CHECK(node.is_armed());
  CHECK(wheel.cancel(node));
  CHECK_FALSE(node.is_armed());
  CHECK_FALSE(wheel.cancel(node));
  CHECK(wheel.empty());
  CHECK(wheel.next_bound() == kNever);
  wheel.arm(node, 10);
  CHECK(take_due(wheel, 10) == Nodes{&node});
  CHECK_FALSE(wheel.cancel(node));
}

TEST_CASE("TimerWheel::cancel reaches into a due list", "[timer_wheel]") {
  TimerWheel wheel;
  std::array<TimerNode, 4> nodes;
  for (TimerNode& node : nodes) wheel.arm(node, 10);
  DueList due;
  CHECK(wheel.advance(9, due) == 0);
  CHECK(wheel.advance(10, due) == 4);
  CHECK(wheel.empty());
  CHECK(nodes[1].is_armed());
  CHECK(wheel.cancel(nodes[1]));
  CHECK(wheel.cancel(nodes[0]));
  CHECK(wheel.cancel(nodes[3]));
  CHECK(due.pop_front() == &nodes[2]);
  CHECK_FALSE(nodes[2].is_armed());
  CHECK(due.pop_front() == nullptr);
  CHECK(wheel.size() == 0);
}

TEST_CASE("TimerWheel::cancel of the only due timer leaves the slots alone", "[timer_wheel]") {
  TimerWheel wheel;
  TimerNode due_node;
  TimerNode armed;
  wheel.arm(due_node, 10);
  DueList due;
  CHECK(wheel.advance(20, due) == 1);
  wheel.arm(armed, 30);  // the same slot
  CHECK(wheel.cancel(due_node));
  CHECK(wheel.size() == 1);
  CHECK(wheel.next_deadline() == 30);
  CHECK(wheel.cancel(armed));
}

TEST_CASE("TimerWheel::advance appends to what the due list holds", "[timer_wheel]") {
  TimerWheel wheel;
  std::array<TimerNode, 2> nodes;
  wheel.arm(nodes[0], 10);
  wheel.arm(nodes[1], 20);
  DueList due;
  CHECK(wheel.advance(10, due) == 1);
  CHECK(wheel.advance(20, due) == 1);
  CHECK(due.pop_front() == &nodes[0]);
  CHECK(due.pop_front() == &nodes[1]);
}

TEST_CASE("TimerWheel arms a timer again from its own expiry", "[timer_wheel]") {
  TimerWheel wheel;
  TimerNode node;
  std::int64_t deadline = 0;
  for (int round = 0; round < 1000; ++round) {
    deadline += 999'999;
    wheel.arm(node, deadline);
    REQUIRE(take_due(wheel, deadline) == Nodes{&node});
  }
}

TEST_CASE("TimerWheel::next_bound is exact for a short slot and the slot's start for a long one",
          "[timer_wheel]") {
  TimerWheel wheel;
  std::vector<std::unique_ptr<TimerNode>> nodes;
  const std::int64_t slot_start = level_start(2);
  // Descending, so that the slot is not ordered.
  for (unsigned i = 0; i < TimerWheel::kBoundScan; ++i) {
    nodes.push_back(std::make_unique<TimerNode>());
    wheel.arm(*nodes.back(), slot_start + 1000 - i);
    REQUIRE(wheel.next_bound() == slot_start + 1000 - i);
  }
  nodes.push_back(std::make_unique<TimerNode>());
  wheel.arm(*nodes.back(), slot_start + 2000);
  CHECK(wheel.next_bound() == slot_start);
  const std::int64_t earliest = slot_start + 1001 - TimerWheel::kBoundScan;
  CHECK(wheel.next_deadline() == earliest);
  CHECK(wheel.next_bound() == earliest);  // the slot is ordered now
  for (auto& node : nodes) wheel.cancel(*node);
}

TEST_CASE("TimerWheel::next_bound bounds a long current slot with deadlines in the past", "[timer_wheel]") {
  TimerWheel wheel(level_start(2));
  std::array<TimerNode, 40> nodes;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    wheel.arm(nodes[i], level_start(2) - 1000 * static_cast<std::int64_t>(i));
  }
  CHECK(wheel.next_bound() <= nodes.back().deadline_ns);
  CHECK(wheel.next_deadline() == nodes.back().deadline_ns);
  CHECK(take_due(wheel, level_start(2)).size() == nodes.size());
}

TEST_CASE("TimerWheel::next_deadline lets an earlier timer be armed afterwards", "[timer_wheel]") {
  TimerWheel wheel;
  std::vector<std::unique_ptr<TimerNode>> late;
  for (int i = 0; i < 1000; ++i) {
    late.push_back(std::make_unique<TimerNode>());
    wheel.arm(*late.back(), level_start(4) + 1000 - i);
  }
  REQUIRE(wheel.next_deadline() == level_start(4) + 1);
  TimerNode early;
  wheel.arm(early, 5000);
  CHECK(wheel.next_deadline() == 5000);
  CHECK(wheel.next_bound() == 5000);
  CHECK(take_due(wheel, 4999).empty());
  CHECK(take_due(wheel, 5000) == Nodes{&early});
  CHECK(wheel.next_deadline() == level_start(4) + 1);
  CHECK(take_due(wheel, kNever).size() == late.size());
}

// A thread that sleeps until next_bound must get on: no early wake-up may leave the bound where it was.
TEST_CASE("TimerWheel::next_bound leads to the deadline in at most a wake-up per level", "[timer_wheel]") {
  TimerWheel wheel;
  std::vector<std::unique_ptr<TimerNode>> nodes;
  const std::int64_t deadline = level_start(7) + level_start(5) + 12345;
  for (int i = 0; i < 100; ++i) {
    nodes.push_back(std::make_unique<TimerNode>());
    wheel.arm(*nodes.back(), deadline + 100 - i);
  }
  unsigned wakes = 0;
  std::size_t expired = 0;
  while (expired == 0) {
    const std::int64_t bound = wheel.next_bound();
    REQUIRE(bound <= deadline + 1);
    expired = take_due(wheel, bound).size();
    REQUIRE(++wakes <= TimerWheel::kLevels + 1);
    if (!wheel.empty()) REQUIRE(wheel.next_bound() > bound);
  }
  for (auto& node : nodes) wheel.cancel(*node);
}

TEST_CASE("TimerWheel sorts a large batch in one slot", "[timer_wheel]") {
  constexpr std::size_t kCount = 100'000;
  TimerWheel wheel;
  const std::vector<std::unique_ptr<TimerNode>> nodes = [] {
    std::vector<std::unique_ptr<TimerNode>> made;
    for (std::size_t i = 0; i < kCount; ++i) made.push_back(std::make_unique<TimerNode>());
    return made;
  }();
  std::uint64_t random = 88172645463325252U;
  for (const auto& node : nodes) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    wheel.arm(*node, 100 * 1024 + static_cast<std::int64_t>(random % 1024));
  }
  bool in_order = true;
  std::size_t count = 0;
  const TimerNode* last = nullptr;
  for (const TimerNode* node : take_due(wheel, 101 * 1024)) {
    if (last != nullptr) {
      in_order &= last->deadline_ns < node->deadline_ns ||
                  (last->deadline_ns == node->deadline_ns && last->sequence < node->sequence);
    }
    last = node;
    ++count;
  }
  CHECK(in_order);
  CHECK(count == kCount);
}

}  // namespace fibrio::detail
