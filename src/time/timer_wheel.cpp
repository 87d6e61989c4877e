#include "time/timer_wheel.hpp"

#include <algorithm>
#include <bit>
#include <limits>

namespace fibrio::detail {
namespace {

constexpr std::uint64_t kSignBit = std::uint64_t{1} << 63;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// A list up to this long is sorted where it is rather than cascaded (a guess; log2 of it compares per node).
constexpr std::size_t kSortDirectly = 16;

// What a second-level cache surely holds at a cache line each (512 KiB).
constexpr std::size_t kWarmNodes = 8192;

TimerNode* node_of(TimerLink* link) noexcept { return static_cast<TimerNode*>(link); }

bool is_before(const TimerNode& a, const TimerNode& b) noexcept {
  return a.deadline_ns != b.deadline_ns ? a.deadline_ns < b.deadline_ns : a.sequence < b.sequence;
}

// How many nodes are in a ring that has some, its head not counted; no more than about `limit`. It walks from
// both ends: in a big wheel each step waits for memory, and two waits at a time bring the nodes of a cascade
// into the cache sooner.
std::size_t count_ring(const TimerLink& head, std::size_t limit) noexcept {
  const TimerLink* front = head.next;
  const TimerLink* back = head.prev;
  std::size_t count = 0;
  while (front != back && front->next != back && count < limit) {
    front = front->next;
    back = back->prev;
    count += 2;
  }
  return count + (front == back ? 1 : 2);
}

// Chains below are singly linked by `next` and end in null; `prev` is rebuilt when they become a slot again.

TimerLink* merge(TimerLink* a, TimerLink* b) noexcept {
  TimerLink head;
  TimerLink* tail = &head;
  while (a != nullptr && b != nullptr) {
    TimerLink*& first = is_before(*node_of(b), *node_of(a)) ? b : a;
    tail->next = first;
    tail = first;
    first = first->next;
  }
  tail->next = a != nullptr ? a : b;
  return head.next;
}

// Cuts the longest ordered prefix off `rest` and returns it.
TimerLink* cut_run(TimerLink*& rest) noexcept {
  TimerLink* run = rest;
  TimerLink* tail = run;
  while (tail->next != nullptr && !is_before(*node_of(tail->next), *node_of(tail))) tail = tail->next;
  rest = tail->next;
  tail->next = nullptr;
  return run;
}

// Natural merge sort: O(k) if the chain is ordered, O(k log k) at worst, nothing allocated. heaps[i] holds
// 2^i runs merged into one, like the digits of a binary counter.
TimerLink* sort_chain(TimerLink* rest) noexcept {
  constexpr unsigned kHeaps = 40;  // more runs than nodes fit in memory
  TimerLink* heaps[kHeaps] = {};
  while (rest != nullptr) {
    TimerLink* run = cut_run(rest);
    unsigned i = 0;
    for (; heaps[i] != nullptr; ++i) {
      run = merge(heaps[i], run);
      heaps[i] = nullptr;
    }
    heaps[i] = run;
  }
  TimerLink* sorted = nullptr;
  for (TimerLink* heap : heaps) {
    if (heap != nullptr) sorted = sorted != nullptr ? merge(heap, sorted) : heap;
  }
  return sorted;
}

}  // namespace

TimerWheel::TimerWheel(std::int64_t now_ns) noexcept
    : now_tick_(tick_of(now_ns)), floor_ns_(start_of(now_tick_)) {
  for (TimerLink& head : slots_) head.next = head.prev = &head;
}

// A node left behind would unlink itself from freed memory later.
TimerWheel::~TimerWheel() { FIBRIO_CHECK(empty(), "a timer wheel died before its timers"); }

// The flipped sign bit maps int64 to uint64 in order, so negative times need no case of their own.
std::uint64_t TimerWheel::tick_of(std::int64_t ns) noexcept {
  return (static_cast<std::uint64_t>(ns) ^ kSignBit) >> kTickBits;
}

std::int64_t TimerWheel::start_of(std::uint64_t tick) noexcept {
  return static_cast<std::int64_t>((tick << kTickBits) ^ kSignBit);
}

void TimerWheel::arm(TimerNode& node, std::int64_t deadline_ns) noexcept {
  FIBRIO_DCHECK(!node.is_armed(), "the timer is armed already");
  node.deadline_ns = deadline_ns;
  node.sequence = ++sequence_;
  ++size_;
  put(node);
}

bool TimerWheel::cancel(TimerNode& node) noexcept {
  if (!node.is_armed()) return false;
  TimerLink* next = node.next;
  TimerLink* prev = node.prev;
  next->prev = prev;
  prev->next = next;
  node.next = node.prev = nullptr;
  if (node.place != kDuePlace) {
    --size_;
    if (next == prev) mark_empty(node.place);  // both are the head of the slot
  }
  return true;
}

std::size_t TimerWheel::advance(std::int64_t now_ns, DueList& due) noexcept {
  const std::uint64_t target = std::max(tick_of(now_ns), now_tick_);
  std::size_t count = 0;
  while (occupied_levels_ != 0) {
    const unsigned place = first_place();
    const std::uint64_t start = start_tick(place);
    if (start > target) break;
    if (!is_sorted(place)) {
      if (place >= kSlots && count_ring(slots_[place], kWarmNodes) > kSortDirectly) {
        // Cascading sorts like a radix sort: cheaper than comparing a long list, and each node goes down at
        // least one level.
        TimerLink* chain = detach_slot(place);
        move_to(start);
        put_all(chain);
        continue;
      }
      sort_slot(place);
    }
    count += move_due(place, now_ns, due);
    if (slots_[place].next == &slots_[place]) continue;
    // What is left is later than now_ns, and so is every other slot. On level 0 it is in its place: it
    // could not be left unless its slot is the one of `target`.
    if (place >= kSlots) {
      TimerLink* chain = detach_slot(place);
      move_to(target);
      put_all(chain);
    }
    break;
  }
  move_to(target);
  return count;
}

std::int64_t TimerWheel::next_bound() const noexcept {
  if (occupied_levels_ == 0) return kNever;
  const unsigned place = first_place();
  const TimerLink& head = slots_[place];
  if (is_sorted(place)) return node_of(head.next)->deadline_ns;
  std::int64_t earliest = kNever;
  unsigned looks = 0;
  for (TimerLink* link = head.next; link != &head; link = link->next) {
    if (++looks > kBoundScan) {
      const std::uint64_t start = start_tick(place);
      return start == now_tick_ ? floor_ns_ : start_of(start);
    }
    earliest = std::min(earliest, node_of(link)->deadline_ns);
  }
  return earliest;
}

std::int64_t TimerWheel::next_deadline() noexcept {
  if (occupied_levels_ == 0) return kNever;
  const unsigned place = first_place();
  if (!is_sorted(place)) sort_slot(place);
  return node_of(slots_[place].next)->deadline_ns;
}

// The caller has emptied every slot that starts at or before `tick`, but that of `tick` itself on level 0:
// the slots of all other nodes are then right for the new current tick too (invariant 2).
void TimerWheel::move_to(std::uint64_t tick) noexcept {
  if (tick == now_tick_) return;
  now_tick_ = tick;
  floor_ns_ = start_of(tick);
}

void TimerWheel::put(TimerNode& node) noexcept {
  std::uint64_t tick = tick_of(node.deadline_ns);
  if (tick < now_tick_) {
    tick = now_tick_;
    floor_ns_ = std::min(floor_ns_, node.deadline_ns);
  }
  const unsigned highest_bit = 63U - static_cast<unsigned>(std::countl_zero((tick ^ now_tick_) | 1U));
  const unsigned level = highest_bit / kDigitBits;
  const unsigned slot = static_cast<unsigned>(tick >> (level * kDigitBits)) % kSlots;
  const unsigned place = level * kSlots + slot;
  const std::uint64_t bit = std::uint64_t{1} << slot;

  TimerLink& head = slots_[place];
  TimerLink* tail = head.prev;
  // Equal deadlines come in the order of arming (invariant 3), so they leave the slot ordered.
  if (tail != &head && node.deadline_ns < node_of(tail)->deadline_ns) levels_[level].unsorted |= bit;
  node.place = static_cast<std::uint16_t>(place);
  node.next = &head;
  node.prev = tail;
  tail->next = &node;
  head.prev = &node;
  levels_[level].occupied |= bit;
  occupied_levels_ |= 1U << level;
}

void TimerWheel::put_all(TimerLink* first) noexcept {
  while (first != nullptr) {
    TimerNode* node = node_of(first);
    first = first->next;
    put(*node);
  }
}

void TimerWheel::mark_empty(unsigned place) noexcept {
  Level& level = levels_[place / kSlots];
  const std::uint64_t bit = std::uint64_t{1} << (place % kSlots);
  level.occupied &= ~bit;
  level.unsorted &= ~bit;
  if (level.occupied == 0) occupied_levels_ &= ~(1U << (place / kSlots));
}

unsigned TimerWheel::first_place() const noexcept {
  const unsigned level = static_cast<unsigned>(std::countr_zero(occupied_levels_));
  return level * kSlots + static_cast<unsigned>(std::countr_zero(levels_[level].occupied));
}

std::uint64_t TimerWheel::start_tick(unsigned place) const noexcept {
  const unsigned shift = place / kSlots * kDigitBits;
  const std::uint64_t higher_digits = now_tick_ >> (shift + kDigitBits) << kDigitBits;
  return (higher_digits | place % kSlots) << shift;
}

bool TimerWheel::is_sorted(unsigned place) const noexcept {
  return (levels_[place / kSlots].unsorted >> (place % kSlots) & 1U) == 0;
}

// Empties an occupied slot; returns its nodes as a chain that ends in null.
TimerLink* TimerWheel::detach_slot(unsigned place) noexcept {
  TimerLink& head = slots_[place];
  TimerLink* first = head.next;
  head.prev->next = nullptr;
  head.next = head.prev = &head;
  mark_empty(place);
  return first;
}

void TimerWheel::sort_slot(unsigned place) noexcept {
  TimerLink& head = slots_[place];
  head.prev->next = nullptr;
  head.next = sort_chain(head.next);
  TimerLink* prev = &head;
  for (TimerLink* link = head.next; link != nullptr; link = link->next) {
    link->prev = prev;
    prev = link;
  }
  prev->next = &head;
  head.prev = prev;
  levels_[place / kSlots].unsorted &= ~(std::uint64_t{1} << (place % kSlots));
}

// Moves the nodes of an ordered slot that are due.
std::size_t TimerWheel::move_due(unsigned place, std::int64_t now_ns, DueList& due) noexcept {
  TimerLink& head = slots_[place];
  TimerLink* first = head.next;
  TimerLink* rest = first;
  std::size_t count = 0;
  for (; rest != &head && node_of(rest)->deadline_ns <= now_ns; rest = rest->next) {
    node_of(rest)->place = kDuePlace;
    ++count;
  }
  if (count == 0) return 0;
  TimerLink* last = rest->prev;
  head.next = rest;
  rest->prev = &head;
  TimerLink* due_tail = due.head_.prev;
  due_tail->next = first;
  first->prev = due_tail;
  last->next = &due.head_;
  due.head_.prev = last;
  size_ -= count;
  if (rest == &head) mark_empty(place);
  return count;
}

}  // namespace fibrio::detail
