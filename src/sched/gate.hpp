// What: the gate of a loop: every call that is promised for any thread goes through it, or is refused.
//
// Threads: enter, leave, is_closed: any. close: one thread, once or more often.
//
// Protocol. One word holds the closed bit and the number of those inside.
//  1. A caller looks first, and is refused without a write if the bit is set. So callers that go on calling
//     cannot keep a closer waiting: only those that looked before the bit was set still come in, or turn round.
//  2. A caller then adds itself, and is inside if the word had no bit at that moment; else it takes itself off.
//  3. The closer sets the bit, and waits until nobody is inside. What they did comes before what it frees.
// Between entering and leaving nothing waits and no code of the user runs, so the closer waits for a few
// microseconds.
//
// Rejected: a look at a flag (the loop may close between the look and the use: a freed worker was written); a lock
// (two calls from outside would wait for each other).
#pragma once

#include <cstdint>

#include "base/atomic.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = std::atomic>
class Gate {
 public:
  // False: it is closed. True: leave() has to follow.
  [[nodiscard]] bool enter() noexcept {
    if (is_closed()) return false;
    // acq_rel: one place in the order of the word, before the closed bit or after it.
    if ((word_.fetch_add(1, std::memory_order_acq_rel) & kClosed) == 0) return true;
    leave();
    return false;
  }
  // release: partner of the acquire in close, for all that was done inside.
  void leave() noexcept { word_.fetch_sub(1, std::memory_order_release); }

  // From now on nobody enters. For a loop that this process does not own it is all there is to do.
  void refuse() noexcept { word_.fetch_or(kClosed, std::memory_order_acq_rel); }
  // The same, and returns when nobody is inside.
  void close() noexcept {
    refuse();
    for (SpinWait<Atomic> wait; word_.load(std::memory_order_acquire) != kClosed;) wait.pause();
  }
  // acquire: partner of refuse: a caller that is refused sees what came before.
  [[nodiscard]] bool is_closed() const noexcept {
    return (word_.load(std::memory_order_acquire) & kClosed) != 0;
  }

 private:
  static constexpr std::uint32_t kClosed = std::uint32_t{1} << 31;

  // Writers: callers from outside, the closer. Readers: the same, and what asks whether the loop is closed.
  alignas(kCacheLine) Atomic<std::uint32_t> word_{0};
};

}  // namespace fibrio::detail
