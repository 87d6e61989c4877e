// Time as fibrio counts it: nanoseconds of the loop's monotonic clock.
#pragma once

#include <chrono>

namespace fibrio {

using Duration = std::chrono::nanoseconds;

// The clock of EventLoop::time(). With Config::virtual_time its points start at zero and jump; otherwise they
// are those of std::chrono::steady_clock. There is no static now(): time belongs to a loop.
struct LoopClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<LoopClock>;
  static constexpr bool is_steady = true;
};

using TimePoint = LoopClock::time_point;

}  // namespace fibrio
