// What: a worker's run queue: a bounded ring, first in first out (the owner may also take back what it pushed last),
// from which idle workers steal half.
//
// Threads: push, pop_front, pop_back, take_all and room: the owner. steal_into: any worker but the owner, which is the
// owner of `thief_own`. size, empty, is_empty_seq_cst: any.
//
// Protocol. Only the owner writes slots and moves the tail; whoever takes moves the head by compare-and-swap.
// Counter c uses slot c % Capacity; [head, tail) is queued; tail - head <= Capacity. The head's word also has an epoch,
// which every take raises; counters wrap.
//  1. Push: write slot[tail], then store tail + 1. A thief that loads that tail (acquire) sees the slot and
//     what the Runnable points to.
//  2. Take: load head, load tail, read the slots [head, head + n), then CAS head -> head + n. Until the CAS
//     the slots read are a guess; if it fails they are dropped.
//  3. Each item is taken once. Takers' CASes on head succeed one after the other on disjoint ranges.
//  4. The guess is right if the CAS succeeds. Suppose a slot i in [head, head + n) was read with the value of
//     i + Capacity. The owner wrote that after it loaded (acquire) a head h2 > i. The CAS found head
//     unchanged, so h2 is later than the CAS in head's modification order and, all changes of head being
//     RMWs, in its release sequence: the CAS (release), with the reads before it, happens before the
//     overwriting write. A read cannot see a write that happens after it. Contradiction. The same holds for a
//     slot that was taken back and pushed again: taking back raises the epoch.
//     "Unchanged" needs a word that never comes back to an old value: the epoch has 40 bits, hours of takes for
//     a thief that is not scheduled. (32 bits would be a minute.)
//  5. tail >= head in the eyes of a thief that loads head (acquire) before tail: whoever moved the head there
//     had seen such a tail, and released it with the CAS. But the tail may be newer than the head by more
//     than Capacity; then the head has moved and the thief has lost. For the moment of a pop_back that loses its
//     item to a thief the tail is one before the head: that looks like more than Capacity too.
//  6. No wake-up is lost. Push stores the tail seq_cst, then the pusher loads the idle word seq_cst. A parker
//     does a seq_cst RMW of the idle word, then asks is_empty_seq_cst of every queue. In the single order of
//     seq_cst operations either the tail's store is before the parker's load, which sees it (and a head past
//     the item means that somebody who is awake has it), or the RMW is before the pusher's load.
//     Items between a thief's CAS and its own tail's store are in no queue, but that thief is awake, and asks
//     after its store, by the same rule, whom to wake.
//
//  7. Take back: store tail - 1, then raise the epoch by CAS, which releases that store. A thief whose CAS comes
//     before the owner's had the old tail and may have the item: then the owner's CAS fails, sees the head, and
//     puts the tail back if the item is gone. A thief whose CAS would come later fails, and begins anew with a
//     head that shows it the new tail.
//
// Order promised: what one owner pushes is popped in that order. A full ring moves its older half and after
// it the new item to the overflow as one chain; those keep their order among themselves, as the rest of the
// ring does, but the rest now goes first. A thief runs the oldest it stole first and queues the others in
// order; across workers nothing is promised.
//
// Rejected: Tokio's two heads in one word: a thief that is preempted between claim and release locks out all
// others and makes the owner overflow item by item; machines with more threads than CPUs do that. Chase-Lev:
// the owner's end is last in first out, and a thief cannot take half. Growing: thieves would read freed rings
// (crossbeam#726). Waiting for room: deadlocks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/atomic.hpp"
#include "base/check.hpp"
#include "queue/runnable.hpp"

namespace fibrio::detail {

enum class StealResult : std::uint8_t {
  none,       // nothing there
  lost_race,  // somebody else took some meanwhile; there may be more
  got,
};

// Four times what tokio and Go have: what overflows goes through the queue that all share, and half of it goes on
// elsewhere. With 1,000 tasks that yield on two workers a ring of 256 flows over all the time: 22 ns per yield, now 12.
// (4,096 gain nothing more.)
inline constexpr std::uint32_t kRunQueueCapacity = 1024;

// Sink, below, is anything with `void push_chain(RunnableChain)`, like InjectQueue.
template <template <class> class Atomic = std::atomic, std::uint32_t Capacity = kRunQueueCapacity>
class RunQueue {
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0, "the capacity is a power of two");
  static constexpr std::uint64_t kCounter = (std::uint64_t{1} << 24) - 1;
  static constexpr std::uint64_t kOneEpoch = kCounter + 1;
  static_assert(Capacity < kCounter / 2);

 public:
  // The counters' start is for tests of their wrapping.
  explicit RunQueue(std::uint64_t start = 0) noexcept : head_(start & kCounter), tail_(start & kCounter) {}
  RunQueue(const RunQueue&) = delete;
  RunQueue& operator=(const RunQueue&) = delete;

  // Never fails. Look at the idle word after it: the tail is published seq_cst (protocol 6).
  template <class Sink>
  void push_back(Runnable* item, Sink& overflow) {
    push_back_ordered(item, overflow, std::memory_order_seq_cst);
  }

  // For what nobody needs to be woken for, like a task that yields on a worker whose queue was told of
  // already: a plain store instead of a locked instruction. Thieves see it, a parker may not.
  template <class Sink>
  void push_back_quiet(Runnable* item, Sink& overflow) {
    push_back_ordered(item, overflow, std::memory_order_release);
  }

  // Appends the chain with one publication; what finds no room goes to the overflow as one chain.
  template <class Sink>
  void push_chain(RunnableChain chain, Sink& overflow) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // own
    const std::size_t fitting = std::min(room(), chain.count);
    for (std::size_t i = 0; i < fitting; ++i) {
      slot(tail + i).store(chain.pop_front(), std::memory_order_relaxed);  // published by the tail
    }
    // seq_cst: protocol 6; as a release, partner of the thief's load of the tail.
    if (fitting != 0) tail_.store(tail + fitting, std::memory_order_seq_cst);
    if (!chain.empty()) overflow.push_chain(chain);
  }

  // The oldest, or null.
  Runnable* pop_front() noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // own
    std::uint64_t head = head_.load(std::memory_order_relaxed);        // a guess: the CAS checks it
    while (between(head, tail) != 0) {
      Runnable* item = slot(head).load(std::memory_order_relaxed);  // own
      // release: a thief that loads this head sees a tail at least as new (protocol 5).
      if (head_.compare_exchange_weak(head, moved(head, 1), std::memory_order_release,
                                      std::memory_order_relaxed)) {
        return item;
      }
    }
    return nullptr;
  }

  // Where the next push goes: larger than that is what was pushed since. Owner only.
  [[nodiscard]] std::uint64_t end() const noexcept { return tail_.load(std::memory_order_relaxed); }
  // The newest, or null.
  Runnable* pop_back() noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // own
    std::uint64_t head = head_.load(std::memory_order_relaxed);        // a guess: the CAS checks it
    if (between(head, tail) == 0) return nullptr;
    tail_.store(tail - 1, std::memory_order_release);                 // protocol 7; and 1, for what is left
    Runnable* item = slot(tail - 1).load(std::memory_order_relaxed);  // own
    while (!head_.compare_exchange_weak(head, moved(head, 0), std::memory_order_release,
                                        std::memory_order_relaxed)) {
      if (between(head, tail) != 0) continue;
      tail_.store(tail, std::memory_order_release);  // a thief has it
      return nullptr;
    }
    return item;
  }

  // Takes half of what is here, rounded up: the oldest into `first`, the rest into the thief's own queue as
  // far as it has room. One try, no waiting.
  [[nodiscard]] StealResult steal_into(RunQueue& thief_own, Runnable*& first) noexcept {
    FIBRIO_DCHECK(&thief_own != this, "a worker steals from itself");
    // acquire: partner of the takers' release on head (protocol 5).
    std::uint64_t head = head_.load(std::memory_order_acquire);
    // acquire: partner of the owner's store of the tail (protocol 1).
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    const std::uint64_t queued = between(head, tail);
    if (queued == 0) return StealResult::none;
    if (queued > Capacity) return StealResult::lost_race;
    const std::uint64_t taken = std::min<std::uint64_t>(queued - queued / 2, 1 + thief_own.room());

    // Straight into the free slots of the thief's own ring; they are nobody's until its tail moves.
    Runnable* oldest = slot(head).load(std::memory_order_relaxed);                   // checked by the CAS
    const std::uint64_t own_tail = thief_own.tail_.load(std::memory_order_relaxed);  // own
    for (std::uint64_t i = 1; i < taken; ++i) {
      thief_own.slot(own_tail + i - 1)
          .store(slot(head + i).load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    // release: the reads above happen before the owner's reuse of the slots, which follows its acquire load
    // of head (protocol 4).
    if (!head_.compare_exchange_strong(head, moved(head, taken), std::memory_order_release,
                                       std::memory_order_relaxed)) {
      return StealResult::lost_race;
    }
    // seq_cst: protocol 6, for the thief now is the owner of what it stole; as a release, protocol 1.
    if (taken > 1) thief_own.tail_.store(own_tail + taken - 1, std::memory_order_seq_cst);
    first = oldest;
    return StealResult::got;
  }

  // Owner only, for shutdown. Thieves may still be about.
  [[nodiscard]] RunnableChain take_all() noexcept {
    RunnableChain all;
    while (Runnable* item = pop_front()) all.push_back(item);
    return all;
  }

  // Owner only: how many more surely fit.
  [[nodiscard]] std::size_t room() const noexcept {
    // acquire: partner of the thieves' release on head; the free slots may be overwritten (protocol 4).
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    return static_cast<std::size_t>(Capacity - between(head, tail_.load(std::memory_order_relaxed)));
  }

  // A guess unless the owner asks and nobody steals.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_acquire);  // as in steal_into
    const std::uint64_t queued = between(head, tail_.load(std::memory_order_acquire));
    return static_cast<std::size_t>(std::min<std::uint64_t>(queued, Capacity));
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  // For who is about to park (protocol 6). "Empty" means: all that was pushed before, in the single order of
  // seq_cst operations, has been taken.
  [[nodiscard]] bool is_empty_seq_cst() const noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_seq_cst);
    const std::uint64_t head = head_.load(std::memory_order_seq_cst);
    return between(head, tail) - 1 >= kCounter / 2;  // 0, or the head, loaded later, has passed that tail
  }

  static constexpr std::uint32_t capacity() noexcept { return Capacity; }

 private:
  // How many counters from the head, or where it was, to the tail.
  static std::uint64_t between(std::uint64_t head, std::uint64_t tail) noexcept {
    return (tail - head) & kCounter;
  }
  // The head's word after a take.
  static std::uint64_t moved(std::uint64_t head, std::uint64_t taken) noexcept {
    return ((head & ~kCounter) + kOneEpoch) | ((head + taken) & kCounter);
  }
  Atomic<Runnable*>& slot(std::uint64_t counter) noexcept { return slots_[counter % Capacity]; }

  template <class Sink>
  void push_back_ordered(Runnable* item, Sink& overflow, std::memory_order publication) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // own
    // acquire: partner of the thieves' release on head (protocol 4).
    std::uint64_t head = head_.load(std::memory_order_acquire);
    while (between(head, tail) == Capacity) {
      if (overflow_half(head, item, overflow)) return;
    }
    slot(tail).store(item, std::memory_order_relaxed);  // published by the tail
    // release at least: partner of the thieves' load of the tail (protocol 1).
    tail_.store(tail + 1, publication);
  }

  // The ring was full at `head`. False, with the new head, if a thief made room meanwhile.
  template <class Sink>
  [[nodiscard]] __attribute__((noinline)) bool overflow_half(std::uint64_t& head, Runnable* item,
                                                             Sink& overflow) {
    constexpr std::uint64_t kHalf = Capacity / 2;
    // release: as in pop_front. acquire on failure: the caller then overwrites a slot a thief has read.
    if (!head_.compare_exchange_strong(head, moved(head, kHalf), std::memory_order_release,
                                       std::memory_order_acquire)) {
      return false;
    }
    RunnableChain chain;
    for (std::uint64_t i = head; i != head + kHalf; ++i) {
      chain.push_back(slot(i).load(std::memory_order_relaxed));  // own
    }
    chain.push_back(item);
    overflow.push_chain(chain);
    return true;
  }

  // Writers: the owner and thieves, by CAS. Readers: all. On its own line: thieves fight for it.
  alignas(kCacheLine) Atomic<std::uint64_t> head_;
  // Writer: the owner. Readers: all.
  alignas(kCacheLine) Atomic<std::uint64_t> tail_;
  // Writer: the owner. Readers: all; atomic because a thief's guess may be read while it is overwritten.
  alignas(kCacheLine) Atomic<Runnable*> slots_[Capacity] = {};
};

}  // namespace fibrio::detail
