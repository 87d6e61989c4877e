#include "structured/timeout_scope.hpp"

#include <mutex>

#include "base/atomic.hpp"
#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

TimeoutScope::TimeoutScope(std::optional<TimePoint> when, const char* what)
    : FrameTimer(&request),
      task_(TaskControl::of(*require_task(what).current)),
      requests_before_(task_.word.count()) {
  if (!arm_at(when)) expire();
}

bool TimeoutScope::arm_at(std::optional<TimePoint> when) {
  when_ = when;
  if (!when) return true;
  Scheduler& scheduler = *task_.FutureState::scheduler();
  const std::int64_t at_ns = when->time_since_epoch().count();
  if (at_ns <= scheduler.now_ns()) {
    // The first wait that suspends is to end. A callback does that in asyncio's order; but of a free task, with
    // several workers, it might run after that wait.
    if (task_.strand == nullptr && scheduler.size() > 1) {
      begin();
      return false;
    }
    soon_ = std::make_shared<CallbackState>(
        scheduler, [this] { expire(); }, task_.strand);
    soon_->schedule();
    return true;
  }
  arm(scheduler, at_ns, task_.strand);
  return true;
}

bool TimeoutScope::disarm_all() noexcept {
  if (soon_ == nullptr) return disarm();
  if (!soon_->cancel()) return false;  // kept: asked again, it gives the same answer
  soon_.reset();
  return true;
}

void TimeoutScope::request(FrameTimer& timer) noexcept {
  auto& self = static_cast<TimeoutScope&>(timer);
  static_cast<void>(self.task_.cancel_task(std::string(), &self.epoch_));
}

bool TimeoutScope::leave() noexcept {
  if (left_) return false;
  left_ = true;
  {
    std::lock_guard guard(lock_);
    if (disarm_all()) return false;
  }
  settle();
  return task_.word.withdraw(epoch_) <= requests_before_;
}

std::optional<TimePoint> TimeoutScope::deadline() const noexcept {
  std::lock_guard guard(lock_);
  return when_;
}

void TimeoutScope::set_deadline(std::optional<TimePoint> when) {
  bool taken = false;
  bool fires = false;
  {
    std::lock_guard guard(lock_);
    taken = disarm_all();
    fires = taken && !arm_at(when);
  }
  if (fires) expire();
  if (!taken) throw RuntimeError("reschedule: cannot change the deadline of an expiring timeout");
}

void run_with_timeout(std::optional<TimePoint> when, TimeoutBody body, void* context) {
  TimeoutScope scope(when, "timeout");
  try {
    body(context, scope);
  } catch (const CancelledError&) {
    if (scope.leave()) std::throw_with_nested(TimeoutError());
    throw;
  }
}

TimePoint deadline_after(Duration delay) {
  std::int64_t when = 0;
  if (__builtin_add_overflow(require_task("timeout").read_clock(), delay.count(), &when))
    return delay < Duration::zero() ? TimePoint::min() : TimePoint::max();
  return TimePoint(Duration(when));
}

}  // namespace fibrio::detail

namespace fibrio {

using detail::TimeoutScope;

std::optional<TimePoint> Timeout::when() const { return static_cast<const TimeoutScope&>(*this).deadline(); }
void Timeout::reschedule(TimePoint when) { static_cast<TimeoutScope&>(*this).set_deadline(when); }
void Timeout::reschedule(Never) { static_cast<TimeoutScope&>(*this).set_deadline(std::nullopt); }
bool Timeout::expired() const noexcept { return static_cast<const TimeoutScope&>(*this).is_expired(); }

}  // namespace fibrio
