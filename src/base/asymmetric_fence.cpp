#include "base/asymmetric_fence.hpp"

#include <linux/membarrier.h>
#include <time.h>

#include "base/sanitizers.hpp"
#include "base/syscalls.hpp"

namespace fibrio::detail {

constinit std::atomic<bool> AsymmetricFence::is_free_{false};
constinit std::atomic<unsigned> AsymmetricFence::word_{0};

#if !defined(FIBRIO_TSAN)
// When the library is loaded: with one thread it costs least. What is earlier still goes by rule 2.
const bool AsymmetricFence::is_registered = [] {
  const bool can = sys::membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  is_free_.store(can, std::memory_order_relaxed);
  return can;
}();
#endif

void AsymmetricFence::heavy() noexcept {
  if (is_free_.load(std::memory_order_relaxed)) {
    if (sys::membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;
    is_free_.store(false, std::memory_order_relaxed);
    const timespec millisecond{.tv_sec = 0, .tv_nsec = 1'000'000};
    static_cast<void>(::nanosleep(&millisecond, nullptr));
  }
  meet();
}

}  // namespace fibrio::detail
