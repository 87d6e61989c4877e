// What: one worker's timers: the wheel, its lock, and what is due.
//
// Threads: any. Armed on the caller's worker, cancelled from anywhere, expired by the owner or a claimer.
//
// Protocol.
//  1. The lock guards the wheel, the due list and every node in them.
//  2. advance moves what is due to the due list; fire_one takes one node, decides under the lock who wins
//     (TimerEntry::claim), and acts after it. A node in the due list can still be cancelled.
//  3. What waits detaches (cancel takes the lock) before its frame goes, so claim never touches a dead frame.
//  4. parked_until is the time until which the owner sleeps, or "awake". Who arms something earlier unparks
//     it; both sides look under the lock, so no deadline is slept over.
//
// Rejected: one wheel for all workers (its lock was tokio's hottest, #6504); expiring straight from advance
// (the due callbacks of a pass run after what was ready before them, as in asyncio).
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>

#include "base/spin_lock.hpp"
#include "time/timer_wheel.hpp"

namespace fibrio::detail {

class Worker;
class Timers;

// A node that knows what to do. claim runs under the lock and says whether act is to be called, after it.
// claim may hand the frame over to somebody else: act gets the context that claim left, never the entry.
struct TimerEntry : TimerNode {
  struct Action {
    void (*act)(void* context, Worker& worker) noexcept = nullptr;  // null: nothing to do
    void* context = nullptr;
  };
  // With `drop` the loop ends: let go of the entry, there is nothing to do.
  using Claim = Action (*)(TimerEntry& entry, bool drop) noexcept;
  explicit TimerEntry(Claim function) noexcept : claim(function) {}

  Claim claim;
  Timers* home = nullptr;         // where it was armed last
  const void* touches = nullptr;  // what firing it will read, to be fetched ahead; null: nothing far away
};

class Timers {
 public:
  explicit Timers(std::int64_t now_ns) noexcept : wheel_(now_ns) {}

  static constexpr std::int64_t kAwake = std::numeric_limits<std::int64_t>::min();
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  // True: the owner sleeps past this deadline and must be unparked.
  [[nodiscard]] bool arm(TimerEntry& entry, std::int64_t deadline_ns) noexcept {
    std::lock_guard guard(lock_);
    return arm_locked(entry, deadline_ns);
  }
  [[nodiscard]] bool arm_locked(TimerEntry& entry, std::int64_t deadline_ns) noexcept {
    entry.home = this;
    wheel_.arm(entry, deadline_ns);
    size_.store(wheel_.size(), std::memory_order_relaxed);
    if (deadline_ns < earliest_.load(std::memory_order_relaxed))
      earliest_.store(deadline_ns, std::memory_order_relaxed);
    return deadline_ns < parked_until_;
  }
  // True if it was armed or due and will now not fire.
  bool cancel(TimerEntry& entry) noexcept {
    std::lock_guard guard(lock_);
    const bool was_armed = wheel_.cancel(entry);
    size_.store(wheel_.size(), std::memory_order_relaxed);
    return was_armed;
  }
  [[nodiscard]] SpinLock& lock() noexcept { return lock_; }

  // Moves what is due to the due list; true if that is not empty. Cheap if nothing is.
  bool advance(std::int64_t now_ns) noexcept {
    if (now_ns < earliest_.load(std::memory_order_relaxed)) return has_due();
    std::lock_guard guard(lock_);
    wheel_.advance(now_ns, due_);
    size_.store(wheel_.size(), std::memory_order_relaxed);
    earliest_.store(wheel_.next_bound(), std::memory_order_relaxed);
    has_due_.store(!due_.empty(), std::memory_order_relaxed);
    return !due_.empty();
  }
  [[nodiscard]] bool has_due() const noexcept { return has_due_.load(std::memory_order_relaxed); }
  // Fires the first due one; false if there is none.
  bool fire_one(Worker& worker) noexcept {
    TimerEntry::Action action;
    {
      std::lock_guard guard(lock_);
      auto* entry = static_cast<TimerEntry*>(due_.pop_front());
      has_due_.store(!due_.empty(), std::memory_order_relaxed);
      if (entry == nullptr) return false;
      fetch_ahead();
      action = entry->claim(*entry, false);
    }
    if (action.act != nullptr) action.act(action.context, worker);
    return true;
  }

  // Something may be due at this time: a bound, never too late for what this thread armed.
  [[nodiscard]] bool may_be_due(std::int64_t now_ns) const noexcept {
    return earliest_.load(std::memory_order_relaxed) <= now_ns;
  }

  // The owner is about to sleep: returns until when at most. Followed by unpark().
  [[nodiscard]] std::int64_t park() noexcept {
    std::lock_guard guard(lock_);
    parked_until_ = due_.empty() ? wheel_.next_bound() : kAwake;
    return parked_until_;
  }
  void unpark() noexcept {
    std::lock_guard guard(lock_);
    parked_until_ = kAwake;
  }
  // The earliest deadline, exactly: for virtual time.
  [[nodiscard]] std::int64_t next_deadline() noexcept {
    std::lock_guard guard(lock_);
    return wheel_.next_deadline();
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  // For shutdown: drops one armed or due entry without firing it; null if there is none. `claim` is called,
  // so that owners of callbacks can let go.
  [[nodiscard]] TimerEntry* take_any() noexcept {
    std::lock_guard guard(lock_);
    wheel_.advance(kNever, due_);
    size_.store(wheel_.size(), std::memory_order_relaxed);
    auto* entry = static_cast<TimerEntry*>(due_.pop_front());
    has_due_.store(!due_.empty(), std::memory_order_relaxed);
    return entry;
  }

 private:
  // Of a million sleeping tasks each entry, and each task, is out of the cache: asked for one or two fires before
  // they are needed, they come while others run.
  void fetch_ahead() const noexcept {
    if (due_.empty()) return;
    const auto* next = static_cast<const TimerEntry*>(due_.front());
    __builtin_prefetch(next->touches);
    __builtin_prefetch(static_cast<const std::byte*>(next->touches) + kCacheLine);
    __builtin_prefetch(due_.second());
  }

  SpinLock lock_;
  TimerWheel wheel_;
  DueList due_;
  std::int64_t parked_until_ = kAwake;
  // Written under the lock, read without it by the owner and claimers: hints, checked again under the lock.
  std::atomic<std::int64_t> earliest_{kNever};
  std::atomic<bool> has_due_{false};
  std::atomic<std::size_t> size_{0};
};

}  // namespace fibrio::detail
