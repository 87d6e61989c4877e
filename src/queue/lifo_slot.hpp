// What: a worker's one hot place: what was readied last runs next, with its data still in the cache.
// Threads: exchange and take: the owner. steal: a thief, in its last pass only. empty: any.
// Protocol: one word, null or a Runnable. The owner alone makes it non-null; all take by exchange, so each
// Runnable is taken once. Nobody is woken for the slot, so nothing here is seq_cst: what is stuck in it
// behind a long task is found by workers that are awake anyway (the sentinel among them).
// Rejected: waking a thief for it (about 30 % of throughput, tokio#8065); never letting it be stolen (a task
// can be stuck behind a neighbour that never waits, tokio#4941).
#pragma once

#include "base/atomic.hpp"
#include "queue/runnable.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = std::atomic>
class LifoSlot {
 public:
  LifoSlot() noexcept = default;
  LifoSlot(const LifoSlot&) = delete;
  LifoSlot& operator=(const LifoSlot&) = delete;

  // Puts `item` in; returns what was there (it goes to the run queue), or null.
  [[nodiscard]] Runnable* exchange(Runnable* item) noexcept {
    // Null stays null until we change it, so no locked instruction is needed to fill an empty slot.
    if (item_.load(std::memory_order_relaxed) == nullptr) {
      item_.store(item, std::memory_order_release);  // partner: steal's acquire
      return nullptr;
    }
    // release: partner of steal's acquire. What comes back is our own: no acquire.
    return item_.exchange(item, std::memory_order_release);
  }

  [[nodiscard]] Runnable* take() noexcept {
    if (item_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return item_.exchange(nullptr, std::memory_order_relaxed);  // our own: nothing to acquire
  }

  [[nodiscard]] Runnable* steal() noexcept {
    if (item_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return item_.exchange(nullptr, std::memory_order_acquire);  // partner: the owner's release
  }

  // A guess, unless it is the owner who asks and it is true.
  [[nodiscard]] bool empty() const noexcept { return item_.load(std::memory_order_relaxed) == nullptr; }

 private:
  // Writers: the owner (any value), thieves (null). Readers: all.
  alignas(kCacheLine) Atomic<Runnable*> item_{nullptr};
};

}  // namespace fibrio::detail
