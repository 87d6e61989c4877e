#include "structured/deadline.hpp"

#include "base/atomic.hpp"
#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

Deadline::Deadline(Duration delay) {
  if (delay < Duration::zero()) return;
  Worker& worker = require_task("a timeout");
  shared_ = std::make_shared<Shared>();
  shared_->task = current_task();
  requests_before_ = shared_->task.cancelling();
  timer_ = std::make_shared<CallbackState>(worker.scheduler, [shared = shared_] {
    State expected = State::armed;
    // Expiry and exit race; who wins decides whether there is a request to take back.
    if (!shared->state.compare_exchange_strong(expected, State::firing, std::memory_order_acq_rel)) return;
    shared->task.cancel();
    shared->state.store(State::fired, std::memory_order_release);
  });
  std::int64_t when = 0;
  if (__builtin_add_overflow(worker.read_clock(), delay.count(), &when)) when = Timers::kNever;
  timer_->schedule_at(when);
}

bool Deadline::finish() noexcept {
  if (shared_ == nullptr) return false;
  const std::shared_ptr<Shared> shared = std::move(shared_);
  timer_->cancel();
  State expected = State::armed;
  if (shared->state.compare_exchange_strong(expected, State::finished, std::memory_order_acq_rel))
    return false;
  // acquire: partner of the release above: the request is there to be taken back. It takes as long as one
  // cancel().
  while (shared->state.load(std::memory_order_acquire) != State::fired) spin_pause<std::atomic>();
  return shared->task.uncancel() <= requests_before_;
}

void Deadline::rethrow_as_timeout() {
  if (finish()) throw TimeoutError();
}

}  // namespace fibrio::detail
