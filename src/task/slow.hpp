// What: debug mode's reports of what held its worker for too long: a step of a task, a callback.
//
// Threads: the loop's own.
//
// A slow step is found in the middle of a switch, where no user code may run: its report is a callback,
// queued as call_soon would. Callbacks are measured where they are called, and reported at once.
#pragma once

#include <cstdint>

#include "fibrio/futures.hpp"
#include "sched/scheduler.hpp"

namespace fibrio::detail {

class CreationSite;

// Hook of the scheduler.
void report_slow_step(TaskCore& core, std::int64_t took_ns) noexcept;

// Around the call of a callback.
class CallbackTimer {
 public:
  explicit CallbackTimer(const Scheduler& scheduler) noexcept
      : start_ns_(scheduler.is_debugging() ? scheduler.now_ns() : kOff) {}
  // `what` it was, where that was made, and the future it is about; both may be null.
  void stop(Scheduler& scheduler, const char* what, const CreationSite* site,
            const AnyFuture& future) const noexcept {
    if (start_ns_ == kOff) [[likely]]
      return;
    const std::int64_t took_ns = scheduler.now_ns() - start_ns_;
    if (took_ns >= scheduler.slow_ns) report(scheduler, took_ns, what, site, future);
  }

 private:
  static constexpr std::int64_t kOff = -1;
  static void report(Scheduler& scheduler, std::int64_t took_ns, const char* what, const CreationSite* site,
                     const AnyFuture& future) noexcept;
  const std::int64_t start_ns_;
};

}  // namespace fibrio::detail
