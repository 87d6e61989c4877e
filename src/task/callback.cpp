#include "task/callback.hpp"

#include <exception>
#include <utility>

#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/loop_services.hpp"
#include "task/slow.hpp"

namespace fibrio::detail {

CallbackState::CallbackState(Scheduler& scheduler, UniqueFunction<void()> function)
    : CallbackState(scheduler, std::move(function), strand_on(scheduler)) {}

CallbackState::CallbackState(Scheduler& scheduler, UniqueFunction<void()> function, StrandState* on)
    : scheduler_(scheduler),
      function_(std::move(function)),
      context_(copy_current_context()),
      loop_id_(scheduler.id),
      created_at_(CreationSite::capture(scheduler)),
      timer_(*this) {
  put_on(on);
}

StrandState* strand_on(const Scheduler& scheduler) noexcept {
  const Worker* worker = this_worker();
  return worker == nullptr || &worker->scheduler != &scheduler ? nullptr : worker->current_strand();
}

StandingCallback::StandingCallback(Scheduler& scheduler, std::function<void()> function)
    : scheduler_(scheduler),
      function_(std::move(function)),
      strand_(strand_on(scheduler)),
      context_(copy_current_context()) {
  if (strand_ != nullptr) strand_->add_ref();
}

StandingCallback::~StandingCallback() {
  if (strand_ != nullptr) strand_->release();
}

std::shared_ptr<CallbackState> StandingCallback::make_call(UniqueFunction<void()> call) const {
  auto made = std::make_shared<CallbackState>(scheduler_, std::move(call), strand_);
  made->set_context(context_.copy());
  return made;
}

FIBRIO_NO_TSAN void forget_callback(const Runnable& callback) noexcept {
  Worker* const worker = this_worker();
  if (worker != nullptr && worker->callback == &callback) worker->callback = nullptr;
}

void CallbackState::schedule() noexcept {
  queued_ = shared_from_this();
  scheduler_.schedule_anywhere(*this);
}

void CallbackState::schedule_at(std::int64_t deadline_ns) noexcept {
  deadline_ns_ = deadline_ns;
  queued_ = shared_from_this();
  scheduler_.arm_timer(timer_, deadline_ns, strand);
}

bool CallbackState::cancel() noexcept {
  if (!take(State::cancelled)) return false;
  // Ours alone now, unless the loop ended and dropped it.
  function_.reset();
  if (timer_.home == nullptr) return true;
  // Off the wheel at once, so that cancelled timers do not pile up.
  const Worker* worker = this_worker();
  if (worker != nullptr && &worker->scheduler == &scheduler_) {
    take_off_wheel();
  } else {
    with_live_loop(
        &scheduler_, loop_id_,
        [](Scheduler&, void* self) { static_cast<CallbackState*>(self)->take_off_wheel(); }, this);
  }
  return true;
}

void CallbackState::take_off_wheel() noexcept {
  // The caller holds a handle, so this object outlives what the wheel held.
  if (timer_.home->cancel(timer_)) queued_.reset();
}

TimerEntry::Action CallbackState::claim_due(TimerEntry& entry, bool drop) noexcept {
  CallbackState& self = static_cast<Timer&>(entry).owner;
  if (drop) {
    self.run(true);
    return {};
  }
  return {
      [](void* context, Worker& worker) noexcept { worker.run_due(*static_cast<CallbackState*>(context)); },
      &self};
}

void CallbackState::run(bool drop) noexcept {
  const std::shared_ptr<CallbackState> self = std::move(queued_);
  if (!take(drop ? State::cancelled : State::running)) return;
  if (!drop) {
    const CallbackTimer timer(scheduler_);
    try {
      function_();
    } catch (const KeyboardInterrupt&) {
      exit_loop(scheduler_, std::current_exception());
    } catch (...) {
      report_exception(scheduler_, "an exception in a callback", std::current_exception(), AnyFuture(),
                       created_at_.get());
    }
    timer.stop(scheduler_, "callback", created_at_.get(), AnyFuture());
  }
  function_.reset();
}

}  // namespace fibrio::detail
