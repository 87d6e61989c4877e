// What: named points at which tests make a thread wait, so that what may happen between two steps does happen. In
// builds with FIBRIO_DELAY_POINTS only; without it a point is nothing.
//
// Threads: any. One point is set at a time; whoever comes to it spins, giving the CPU to others, for the set time.
#pragma once

#include <atomic>
#include <cstdint>

namespace fibrio::detail {

enum class DelayPoint : std::uint8_t {
  kNone,
  kTimerClaimed,       // a timer has left its wheel and does not act yet
  kTimerActed,         // it has acted and does not say so yet
  kTimerDisarm,        // it was seen to be armed, and is about to be taken off the wheel
  kGroupMarked,        // a group's cancel is counted and has reached nobody yet
  kGroupChildrenTold,  // it has reached the children, not the parent
  kGroupChildDone,     // the last child has left its group and has not made the parent ready yet
  kEventSet,           // an event is set and who waited is not woken yet
  kWaking,             // who waits at a primitive was seen to wait, and is about to be woken
  kWoken,              // who waits at a primitive was woken and is not ready yet
  kFutureDone,         // a future is done and nobody was told
  kFutureClaimed,      // a future is about to get its value
  kTaskResolved,       // a wait was ended, and its task is not ready yet
  kThreadTold,         // a plain thread was told, and the teller has not left yet
  kCount
};

#ifdef FIBRIO_DELAY_POINTS

// For tests. `microseconds` at this point, for all who come to it; kNone: nowhere.
void set_delay(DelayPoint point, std::uint32_t microseconds) noexcept;
// How often somebody came to the point since the program began, while it was set.
[[nodiscard]] std::uint64_t delays_at(DelayPoint point) noexcept;

extern std::atomic<DelayPoint> delayed_point;
void delay_here(DelayPoint point) noexcept;
inline void may_delay(DelayPoint point) noexcept {
  if (delayed_point.load(std::memory_order_relaxed) == point) [[unlikely]]
    delay_here(point);
}
#define FIBRIO_MAY_DELAY(point) ::fibrio::detail::may_delay(::fibrio::detail::DelayPoint::point)

#else

#define FIBRIO_MAY_DELAY(point) static_cast<void>(0)

#endif

}  // namespace fibrio::detail
