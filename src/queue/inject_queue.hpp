// What: the run queue all workers share: for what comes from outside the loop and for what overflows.
// Threads: any. The lock is held for a few instructions, or n steps of a list in pop.
// Protocol:
//  1. The list is guarded by the lock; first in, first out. What one thread pushes is popped in its order; a
//     chain stays together.
//  2. size_ mirrors the list's length. It is written under the lock and read without it.
//  3. No wake-up is lost: push stores size_ seq_cst, then the pusher loads the idle word seq_cst; a parker
//     does a seq_cst RMW of the idle word, then calls is_empty_seq_cst. One of them sees the other. (A zero
//     written by a pop means that somebody who is awake has the items.)
// Rejected: a lock-free list: this is the slow path, a batch costs one lock, and strict order comes for free.
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>

#include "base/atomic.hpp"
#include "base/sanitizers.hpp"
#include "base/spin_lock.hpp"
#include "queue/runnable.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

template <template <class> class Atomic = std::atomic>
class InjectQueue {
 public:
  InjectQueue() noexcept = default;
  InjectQueue(const InjectQueue&) = delete;
  InjectQueue& operator=(const InjectQueue&) = delete;

  // Look at the idle word after it.
  void push(Runnable* item) noexcept {
    std::lock_guard guard(lock_);
    items_.push_back(item);
    publish_size_locked();
  }

  // Look at the idle word after it.
  void push_chain(RunnableChain chain) noexcept {
    if (chain.empty()) return;
    std::lock_guard guard(lock_);
    items_.splice_back(chain);
    publish_size_locked();
  }

  // Up to `limit` of the oldest.
  [[nodiscard]] RunnableChain pop(std::size_t limit) noexcept {
    if (empty() || limit == 0) return {};
    std::lock_guard guard(lock_);
    const std::size_t count = std::min(limit, items_.count);
    if (count == 0) return {};
    RunnableChain taken = items_;
    if (count == items_.count) {  // no walk under the lock
      items_ = RunnableChain{};
      size_.store(0, std::memory_order_release);  // partner: IdleSet::all_asleep_during
      return taken;
    }
    for (std::size_t i = 1; i < count; ++i) items_.first = items_.first->next;
    taken.last = items_.first;
    taken.count = count;
    items_.first = taken.last->next;
    items_.count -= count;
    taken.last->next = nullptr;
    // Who sees the old size only takes the lock for nothing.
    size_.store(items_.count, std::memory_order_release);
    return taken;
  }

  // The oldest, or null.
  [[nodiscard]] Runnable* pop_front() noexcept { return pop(1).first; }

  // Guesses: others push and pop.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  // For who is about to park (protocol 3).
  [[nodiscard]] bool is_empty_seq_cst() const noexcept { return size_.load(std::memory_order_seq_cst) == 0; }

 private:
  void publish_size_locked() noexcept { size_.store(items_.count, std::memory_order_seq_cst); }

  alignas(kCacheLine) BasicSpinLock<Atomic> lock_;
  RunnableChain items_;
  // On its own line: every worker reads it now and then, and should not disturb who holds the lock.
  alignas(kCacheLine) Atomic<std::size_t> size_{0};
};

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
