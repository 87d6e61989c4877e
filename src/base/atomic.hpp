// What: the two things lock-free parts need besides std::atomic, so that they can be templates over the
// atomic type: `template <template <class> class Atomic = std::atomic> class RunQueue`. The model checker
// in tests/model puts its own Atomic there and runs the real code under every interleaving.
#pragma once

#include <atomic>
#include <cstddef>

#include "fibrio/detail/eliding_atomic.hpp"

namespace fibrio::detail {

// The size of what two cores must not share by accident (x86-64 and the aarch64 machines we know).
inline constexpr std::size_t kCacheLine = 64;

inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// What a spinning thread does between two looks. The model checker specialises it: a spinning model thread
// must let the others run.
template <template <class> class Atomic>
inline void spin_pause() noexcept {
  relax();
}

}  // namespace fibrio::detail
