// What: the scope behind fibrio::timeout: at the deadline its task gets one cancellation request, and the
// scope takes exactly that one back. Lives on the task's stack; allocates only for a deadline that is over
// already.
//
// Threads: made and left by its task. when, reschedule, expired: any, while it lives. The timer's part: the
// loop.
//
// Protocol.
//  1. Armed, it has one timer: itself on a worker's wheel (sched/frame_timer.hpp), or, for a deadline in the past, a
//     queued callback (asyncio runs that before what becomes ready after it; a wheel would run it at the end of the
//     pass).
//  2. Who disarms the timer, under the wheel's lock or by the callback's state word, knows that it will not
//     fire. Who fails knows that it fired, or will, and waits until it has, which takes as long as one cancel(). So
//     nothing touches the scope after leave().
//  3. leave: disarmed -> finished; else the request is there, and is withdrawn together with its flag.
//  4. lock_ serialises reschedule() with leave(); the timer never takes it.
//
// Rejected: a shared control block and a callback for each scope (two allocations and a queue entry for each
// request of a server); firing through the body's strand (there the timer is behind the body, as in asyncio;
// free tasks have none).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/spin_lock.hpp"
#include "fibrio/timeouts.hpp"
#include "sched/frame_timer.hpp"
#include "task/callback.hpp"

namespace fibrio::detail {

class TaskControl;

class TimeoutScope final : public Timeout, private FrameTimer {
 public:
  // RuntimeError, naming `what`, outside a task.
  TimeoutScope(std::optional<TimePoint> when, const char* what);
  ~TimeoutScope() { static_cast<void>(leave()); }

  // By the task, at the end of the scope; the second call does nothing. True: the time was up, and there are
  // no requests but those from before: a CancelledError that leaves the scope is its own.
  [[nodiscard]] bool leave() noexcept;

  [[nodiscard]] std::optional<TimePoint> deadline() const noexcept;
  void set_deadline(std::optional<TimePoint> when);
  [[nodiscard]] bool is_expired() const noexcept { return has_begun(); }

 private:
  // False: the time is up, and the caller lets it expire, without the lock.
  [[nodiscard]] bool arm_at(std::optional<TimePoint> when);
  // False: it fired, or does so now.
  [[nodiscard]] bool disarm_all() noexcept;
  static void request(FrameTimer& timer) noexcept;

  TaskControl& task_;
  const std::uint32_t requests_before_;
  bool left_ = false;
  std::uint32_t epoch_ = 0;  // of its request: written before the timer is "fired"
  mutable SpinLock lock_;
  std::optional<TimePoint> when_;        // guarded by lock_
  std::shared_ptr<CallbackState> soon_;  // guarded by lock_; null: the wheel's, or none
};

}  // namespace fibrio::detail
