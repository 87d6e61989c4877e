#include "base/asymmetric_fence.hpp"

#include <linux/membarrier.h>
#include <time.h>

#include "base/sanitizers.hpp"
#include "base/syscalls.hpp"

namespace fibrio::detail {

constinit std::atomic<bool> AsymmetricFence::is_free_{false};
constinit std::atomic<bool> AsymmetricFence::is_settled_{true};
constinit std::atomic<unsigned> AsymmetricFence::word_{0};

#if !defined(FIBRIO_TSAN)
// When the library is loaded: with one thread it costs least. What is earlier still goes by rule 2.
const bool AsymmetricFence::is_registered = [] {
  const bool can = sys::membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  is_free_.store(can, std::memory_order_relaxed);
  return can;
}();
#endif

void AsymmetricFence::let_stores_arrive() noexcept {
  const timespec millisecond{.tv_sec = 0, .tv_nsec = 1'000'000};
  static_cast<void>(::nanosleep(&millisecond, nullptr));
}

void AsymmetricFence::heavy() noexcept {
  // acquire: partner of the release below: who finds rule 2 in force finds that it is not settled yet.
  if (is_free_.load(std::memory_order_acquire)) {
    if (sys::membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;
    is_settled_.store(false, std::memory_order_relaxed);
    is_free_.store(false, std::memory_order_release);
    let_stores_arrive();
    is_settled_.store(true, std::memory_order_release);
  } else if (!is_settled_.load(std::memory_order_acquire)) {
    let_stores_arrive();  // of a second loop, or a second look
  }
  meet();
}

}  // namespace fibrio::detail
