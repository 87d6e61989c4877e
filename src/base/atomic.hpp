// What: the two things lock-free parts need besides std::atomic, so that they can be templates over the
// atomic type: `template <template <class> class Atomic = std::atomic> class RunQueue`. The model checker
// in tests/model puts its own Atomic there and runs the real code under every interleaving.
#pragma once

#include <sched.h>
#include <sys/syscall.h>

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

// sched_yield without a call, for which a function that hardly ever spins would save registers each time it runs.
inline void yield_cpu() noexcept {
#if defined(__x86_64__) && defined(__linux__)
  asm volatile("mov %0, %%eax\n\tsyscall" : : "i"(SYS_sched_yield) : "rax", "rcx", "r11", "memory");
#else
  ::sched_yield();
#endif
}

// One wait by looking again and again, for what another thread is about to do. It may have been preempted in the middle
// of that, perhaps by this one: so now and then the CPU is given to others.
template <template <class> class Atomic>
class SpinWait {
 public:
  void pause() noexcept {
    spin_pause<Atomic>();
    if (++looks_ % kLooksBeforeYield == 0) yield_cpu();
  }

 private:
  static constexpr unsigned kLooksBeforeYield =
      64;  // some microseconds: longer than what is waited for takes
  unsigned looks_ = 0;
};

}  // namespace fibrio::detail
