#include "base/delay.hpp"

#ifdef FIBRIO_DELAY_POINTS

#include <sched.h>

#include <array>
#include <chrono>
#include <cstddef>

namespace fibrio::detail {

std::atomic<DelayPoint> delayed_point{DelayPoint::kNone};

namespace {

constinit std::atomic<std::uint32_t> delay_us{0};
constinit std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(DelayPoint::kCount)> visits{};

}  // namespace

void set_delay(DelayPoint point, std::uint32_t microseconds) noexcept {
  delay_us.store(microseconds, std::memory_order_relaxed);
  delayed_point.store(point, std::memory_order_relaxed);
}

std::uint64_t delays_at(DelayPoint point) noexcept {
  return visits[static_cast<std::size_t>(point)].load(std::memory_order_relaxed);
}

void delay_here(DelayPoint point) noexcept {
  visits[static_cast<std::size_t>(point)].fetch_add(1, std::memory_order_relaxed);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::microseconds(delay_us.load(std::memory_order_relaxed));
  while (std::chrono::steady_clock::now() < end) ::sched_yield();
}

}  // namespace fibrio::detail

#endif
