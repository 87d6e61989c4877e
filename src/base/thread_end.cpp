#include "base/thread_end.hpp"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "base/syscalls.hpp"

namespace fibrio::detail {

void await_thread_exit(pid_t thread) noexcept {
  if (thread == 0) return;
  constexpr int kYields = 20;  // as a rule it is gone at the first look
  constexpr int kSleeps = 100;
  constexpr timespec kMillisecond{.tv_sec = 0, .tv_nsec = 1'000'000};
  for (int looks = 0; looks < kYields + kSleeps; ++looks) {
    if (sys::tgkill(::getpid(), thread, 0) != 0) return;
    if (looks < kYields) {
      ::sched_yield();
    } else {
      static_cast<void>(::nanosleep(&kMillisecond, nullptr));
    }
  }
}

}  // namespace fibrio::detail
