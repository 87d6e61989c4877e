// Time as fibrio counts it: nanoseconds of the loop's monotonic clock, 292 years each way.
#pragma once

#include <chrono>
#include <stdexcept>
#include <type_traits>

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

namespace detail {

__extension__ typedef __int128 WideTicks;

// The nearest Duration: what 64 bits of nanoseconds cannot hold is the longest one, or the shortest.
template <class Rep, class Period>
constexpr Duration saturate(const std::chrono::duration<Rep, Period>& time) {
  constexpr WideTicks kLongest = Duration::max().count();
  constexpr WideTicks kNumerator = static_cast<WideTicks>(Period::num) * std::nano::den;
  constexpr WideTicks kDenominator = Period::den;
  if constexpr (std::is_same_v<std::chrono::duration<Rep, Period>, Duration>) {
    return time;
  } else if constexpr (std::is_floating_point_v<Rep>) {
    const long double ticks = static_cast<long double>(time.count()) * static_cast<long double>(kNumerator) /
                              static_cast<long double>(kDenominator);
    if (ticks != ticks) throw std::invalid_argument("a duration that is not a number");
    if (ticks >= static_cast<long double>(kLongest)) return Duration::max();
    if (ticks <= -static_cast<long double>(kLongest)) return Duration::min();
    return Duration(static_cast<Duration::rep>(ticks < 0 ? ticks - 0.5L : ticks + 0.5L));
  } else if constexpr (kNumerator % kDenominator == 0 && kNumerator / kDenominator <= kLongest) {
    constexpr auto kTick = static_cast<Duration::rep>(kNumerator / kDenominator);
    Duration::rep ticks = 0;
    if (!__builtin_mul_overflow(time.count(), kTick, &ticks)) [[likely]]
      return Duration(ticks);
    return static_cast<WideTicks>(time.count()) < 0 ? Duration::min() : Duration::max();
  } else {
    constexpr WideTicks kMost = kLongest * kDenominator / kNumerator;  // so that no product overflows
    const auto ticks = static_cast<WideTicks>(time.count());
    if (ticks > kMost) return Duration::max();
    if (ticks < -kMost) return Duration::min();
    return Duration(static_cast<Duration::rep>(ticks * kNumerator / kDenominator));
  }
}

constexpr Duration saturated_sum(Duration a, Duration b) noexcept {
  Duration::rep sum = 0;
  if (!__builtin_add_overflow(a.count(), b.count(), &sum)) return Duration(sum);
  return b < Duration::zero() ? Duration::min() : Duration::max();
}
constexpr Duration saturated_difference(Duration a, Duration b) noexcept {
  Duration::rep difference = 0;
  if (!__builtin_sub_overflow(a.count(), b.count(), &difference)) return Duration(difference);
  return b < Duration::zero() ? Duration::max() : Duration::min();
}

}  // namespace detail

// A Duration as a parameter or an option: takes a std::chrono duration of any unit, of integers or of floating
// point. One that is longer than a Duration can be, as std::chrono::hours::max(), means "for ever": it becomes
// Duration::max(), or, if it is negative, Duration::min().
// Throws: std::invalid_argument for a floating-point duration that is not a number.
class AnyDuration : public Duration {
 public:
  constexpr AnyDuration() noexcept : Duration(Duration::zero()) {}
  template <class Rep, class Period>
  requires std::is_arithmetic_v<Rep>
  // NOLINTNEXTLINE(google-explicit-constructor)
  constexpr AnyDuration(const std::chrono::duration<Rep, Period>& time) : Duration(detail::saturate(time)) {}
};

// Sums with points in time end at the ends of time too.
template <class Rep, class Period>
constexpr TimePoint operator+(const TimePoint& point, const std::chrono::duration<Rep, Period>& time) {
  return TimePoint(detail::saturated_sum(point.time_since_epoch(), detail::saturate(time)));
}
template <class Rep, class Period>
constexpr TimePoint operator+(const std::chrono::duration<Rep, Period>& time, const TimePoint& point) {
  return point + time;
}
template <class Rep, class Period>
constexpr TimePoint operator-(const TimePoint& point, const std::chrono::duration<Rep, Period>& time) {
  return TimePoint(detail::saturated_difference(point.time_since_epoch(), detail::saturate(time)));
}
constexpr Duration operator-(const TimePoint& a, const TimePoint& b) noexcept {
  return detail::saturated_difference(a.time_since_epoch(), b.time_since_epoch());
}

}  // namespace fibrio
