// What: what is known of one direction of an fd that is registered edge-triggered: may the next call succeed?
//
// Threads: any. Protocol. One word: ready bit, hang-up bit, and a tick that counts events.
//  1. An event sets ready and adds a tick (on_event).
//  2. Who calls the system loads the word before the call. If the call says "would block", or gives less than
//     was asked, there is nothing more: would_block(seen), drained(seen) clear ready, but only if no event
//     came since (the tick tells). So an event between call and clear is never lost.
//  3. After a hang-up, an error or urgent data, less than was asked says nothing (the end, or more behind the
//     urgent byte, comes with no further edge): drained leaves ready set. "Would block" is true even then: an
//     entry in a socket's error queue is an EPOLLERR too, and a task would spin on it.
// A tick has 29 bits: an event is overlooked only if 2^29 of them come between one call and its clear.
//
// Rejected: an 8-bit tick (tokio#6133: 256 events in between and the clear hits the wrong one).
#pragma once

#include <cstdint>

#include "base/atomic.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = ElidingAtomic>
class Readiness {
 public:
  using Seen = std::uint32_t;

  // acquire: partner of on_event's release.
  [[nodiscard]] Seen look() const noexcept { return word_.load(std::memory_order_acquire); }
  [[nodiscard]] static bool is_ready(Seen seen) noexcept { return (seen & kReady) != 0; }
  [[nodiscard]] bool is_ready() const noexcept { return is_ready(look()); }

  void on_event(bool hang_up) noexcept {
    std::uint32_t old = word_.load(std::memory_order_relaxed);
    std::uint32_t now = 0;
    do {
      now = (old + kOneTick) | kReady | (hang_up ? kHangUp : 0);
      // release: partner of look's acquire.
    } while (!word_.compare_exchange_weak(old, now, std::memory_order_acq_rel, std::memory_order_relaxed));
  }

  void drained(Seen seen) noexcept {
    if ((seen & kHangUp) == 0) would_block(seen);
  }
  void would_block(Seen seen) noexcept {
    // Fails if an event came: then it is ready again.
    static_cast<void>(word_.compare_exchange_strong(seen, seen & ~kReady, std::memory_order_acq_rel,
                                                    std::memory_order_relaxed));
  }

  // For a new registration of a recycled object.
  void reset(bool ready) noexcept { word_.store(ready ? kReady : 0, std::memory_order_release); }

 private:
  static constexpr std::uint32_t kReady = 1;
  static constexpr std::uint32_t kHangUp = 2;
  static constexpr std::uint32_t kOneTick = 4;

  // Writers: pollers (on_event), the direction's user (drained).
  Atomic<std::uint32_t> word_{0};
};

}  // namespace fibrio::detail
