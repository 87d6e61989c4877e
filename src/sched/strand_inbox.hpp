// What: the word of a strand: idle, or on its way through the run queues; and what others gave it meanwhile.
// Templated over the atomic type for the model checker; StrandState holds it.
//
// Threads: push, wake: any. take, try_rest: whoever runs the strand (its runner).
//
// Protocol. The word is kIdle alone; or a pointer to the newest item pushed (linked by `next` to older ones),
// or'ed with kPoked.
//  1. push and wake leave kIdle by one compare-and-swap; who does that, and nobody else, puts the strand into a
//     run queue, so it is in at most one, and runs in at most one place.
//  2. Only the runner goes back to kIdle, and only from an empty word: what was pushed, or poked, since its last
//     take makes that fail, and the runner goes on. So nothing waits in a strand that is idle.
//  3. After try_rest has succeeded the runner touches nothing of the strand but the reference it holds.
//  4. What one thread pushes is taken in its order.
//
// Rejected: the inject queue and a flag (a lock, and four read-modify-writes per push instead of one).
#pragma once

#include <cstdint>

#include "base/atomic.hpp"
#include "base/sanitizers.hpp"
#include "queue/runnable.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

template <template <class> class Atomic>
class StrandInbox {
 public:
  // True: it was idle, and the caller puts the strand into a run queue. False: do not touch the strand any more.
  [[nodiscard]] bool push(Runnable& item) noexcept {
    std::uintptr_t old = word_.load(std::memory_order_relaxed);
    std::uintptr_t now = 0;
    do {
      item.next = old == kIdle ? nullptr : pointer(old);
      now = reinterpret_cast<std::uintptr_t>(&item) | (old & kPoked);
      // release: partner of take's acquire. acquire: who finds it idle goes on with what the last runner left.
    } while (!word_.compare_exchange_weak(old, now, std::memory_order_acq_rel, std::memory_order_relaxed));
    return old == kIdle;
  }

  // Makes the strand run once more, with nothing new. True as push.
  [[nodiscard]] bool wake() noexcept {
    std::uintptr_t old = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(old, old == kIdle ? 0 : old | kPoked, std::memory_order_acq_rel,
                                        std::memory_order_relaxed)) {
    }
    return old == kIdle;
  }

  // By the runner: everything that was pushed, oldest first. It ends a poke: look after it at what may have changed.
  [[nodiscard]] RunnableChain take() noexcept {
    // relaxed: what is pushed after it makes try_rest fail.
    if (word_.load(std::memory_order_relaxed) == 0) return {};
    RunnableChain oldest_first;
    // acquire: partner of push's release.
    for (Runnable* item = pointer(word_.exchange(0, std::memory_order_acquire)); item != nullptr;) {
      Runnable* older = item->next;
      oldest_first.push_front(item);
      item = older;
    }
    return oldest_first;
  }

  // By the runner, with nothing left to do: true, the strand is idle and somebody else may run it from now on.
  [[nodiscard]] bool try_rest() noexcept {
    std::uintptr_t expected = 0;
    // release: partner of the acquire of who wakes it next. acquire: partner of wake: the pass that follows a
    // poke sees what was done before it.
    return word_.compare_exchange_strong(expected, kIdle, std::memory_order_acq_rel,
                                         std::memory_order_acquire);
  }

 private:
  static constexpr std::uintptr_t kIdle = 1;
  static constexpr std::uintptr_t kPoked = 2;
  static Runnable* pointer(std::uintptr_t word) noexcept {
    return reinterpret_cast<Runnable*>(word & ~kPoked);
  }

  // Writers: everybody. Readers: everybody.
  Atomic<std::uintptr_t> word_{kIdle};
};

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
