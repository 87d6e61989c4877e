// What: a hierarchical timer wheel: arm and cancel in O(1), expiry in exact (deadline, order of arming). It
// is pure: it has no clock, no lock, and never allocates; a timer is a node inside what waits.
//
// Threads: none of its own. The lock of the wheel's owner guards the wheel, its nodes, and every DueList its
// nodes are in (so `pop_front` on a due list needs that lock as much as `cancel` does).
//
// Invariant, with tick(ns) = ns / 2^10 counted from the smallest int64 (54 bits = 9 digits of 6 bits):
//  1. A node whose tick is at or before the wheel's current tick is in the current slot: level 0, the
//     current tick's lowest digit. It is compared by its exact deadline, so what was armed late, or for the
//     past, is neither lost nor early.
//  2. Any other node is at the level of the highest digit in which its tick differs from the current tick,
//     in the slot of that digit. That digit is greater than the current tick's, so no slot is ever reused
//     for a later lap, the first occupied slot is the lowest bit of the lowest occupied level, and all of
//     its nodes are earlier than those of any other slot.
//  3. Two nodes of one tick are always in one slot, in the order of arming.
//  4. A slot whose `unsorted` bit is clear is ordered by (deadline, sequence).
// `advance` walks occupied slots only, so a jump of 30 days costs what a jump of 1 us costs.
//
// Rejected: a heap (O(log n) and a cache miss per step for timeouts, which are nearly all cancelled); lazy
// deletion (cancelled timeouts pile up for the length of the timeout); ticks as coarse as the wake-up
// (1 ms, late by up to that much); a top level that wraps (deadlines past the last lap fire early or never);
// moving the current tick forward in `next_deadline` (all that is armed later for an earlier time would pile
// up in the current slot).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.hpp"

namespace fibrio::detail {

struct TimerLink {
  TimerLink* next = nullptr;
  TimerLink* prev = nullptr;
};

// A timer. Lives inside what waits; must not move or die while armed.
struct TimerNode : TimerLink {
  TimerNode() noexcept = default;
  ~TimerNode() { FIBRIO_DCHECK(!is_armed(), "a timer died while it was armed"); }
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  // In a slot of a wheel, or in a due list and not taken yet.
  [[nodiscard]] bool is_armed() const noexcept { return next != nullptr; }

  std::int64_t deadline_ns = 0;  // set by arm
  std::uint64_t sequence = 0;    // set by arm: the order of arming in one wheel
  std::uint16_t place = 0;       // the wheel's: level * 64 + slot, or kDuePlace
};

// What expired, in order. A node in it can still be cancelled, through the wheel.
class DueList {
 public:
  DueList() noexcept { head_.next = head_.prev = &head_; }
  ~DueList() { FIBRIO_DCHECK(empty(), "timers that expired were never taken"); }
  DueList(const DueList&) = delete;
  DueList& operator=(const DueList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return head_.next == &head_; }
  // Null if the list is empty, or has no second.
  [[nodiscard]] TimerNode* front() const noexcept {
    return empty() ? nullptr : static_cast<TimerNode*>(head_.next);
  }
  [[nodiscard]] TimerNode* second() const noexcept {
    return empty() || head_.next->next == &head_ ? nullptr : static_cast<TimerNode*>(head_.next->next);
  }
  // The node is then no longer armed. Null if the list is empty.
  TimerNode* pop_front() noexcept {
    if (empty()) return nullptr;
    TimerLink* link = head_.next;
    head_.next = link->next;
    link->next->prev = &head_;
    link->next = link->prev = nullptr;
    return static_cast<TimerNode*>(link);
  }

 private:
  friend class TimerWheel;
  TimerLink head_;
};

class TimerWheel {
 public:
  explicit TimerWheel(std::int64_t now_ns = 0) noexcept;
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // O(1). The node must not be armed. Any deadline will do, also one that has passed: it is due at the next
  // `advance`.
  void arm(TimerNode& node, std::int64_t deadline_ns) noexcept;

  // O(1). True if the node was armed, also if it sat in a due list; false if it was not, or was taken.
  bool cancel(TimerNode& node) noexcept;

  // Moves every node with deadline_ns <= now_ns to the tail of `due`, ordered by (deadline, order of arming),
  // and returns how many. `now_ns` may go back: nothing new is due then, except what was armed for before it.
  std::size_t advance(std::int64_t now_ns, DueList& due) noexcept;

  // A time no deadline is before; INT64_MAX if the wheel is empty. Exact if the first slot is ordered or has
  // at most kBoundScan nodes, else the slot's start. After `advance(now)` it is later than `now`, so a thread
  // that sleeps until it never spins: it wakes at most once per level before the timer's own time.
  [[nodiscard]] std::int64_t next_bound() const noexcept;

  // The earliest deadline, exactly; INT64_MAX if the wheel is empty. May sort the first slot: O(k log k)
  // once, then O(1) until something is armed there out of order. For virtual time.
  [[nodiscard]] std::int64_t next_deadline() noexcept;

  // Nodes in slots; those already in a due list do not count.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  // 2^10 ns: the slots need not be finer, since deadlines are compared exactly; coarser ones would hold more
  // nodes to sort.
  static constexpr unsigned kTickBits = 10;
  static constexpr unsigned kDigitBits = 6;  // one 64-bit occupancy word per level
  static constexpr unsigned kSlots = 1U << kDigitBits;
  static constexpr unsigned kLevels = (64 - kTickBits) / kDigitBits;  // every int64 has its slot
  static constexpr unsigned kBoundScan = 16;  // guess: about the cost of one cache miss

 private:
  static constexpr std::uint16_t kDuePlace = 0xFFFF;

  // A slot is occupied if its bit is set; unsorted is a subset of occupied.
  struct Level {
    std::uint64_t occupied = 0;
    std::uint64_t unsorted = 0;
  };

  static std::uint64_t tick_of(std::int64_t ns) noexcept;
  static std::int64_t start_of(std::uint64_t tick) noexcept;
  void move_to(std::uint64_t tick) noexcept;
  void put(TimerNode& node) noexcept;
  void put_all(TimerLink* first) noexcept;
  void mark_empty(unsigned place) noexcept;
  [[nodiscard]] unsigned first_place() const noexcept;
  [[nodiscard]] std::uint64_t start_tick(unsigned place) const noexcept;
  [[nodiscard]] bool is_sorted(unsigned place) const noexcept;
  TimerLink* detach_slot(unsigned place) noexcept;
  void sort_slot(unsigned place) noexcept;
  std::size_t move_due(unsigned place, std::int64_t now_ns, DueList& due) noexcept;

  std::uint64_t now_tick_;
  std::int64_t floor_ns_;  // nothing in the current slot is earlier
  std::uint64_t sequence_ = 0;
  std::size_t size_ = 0;
  std::uint32_t occupied_levels_ = 0;
  Level levels_[kLevels];
  TimerLink slots_[kLevels * kSlots];  // the heads of rings
};

}  // namespace fibrio::detail
