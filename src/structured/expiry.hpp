// What: the time limit of a composition: on the wheel, without an allocation. The composition has on_time() noexcept,
// which runs once, when the time is up.
// Threads: arm: the task that composes. disarm: any one at a time; on_time: the loop.
// Invariant: see sched/frame_timer.hpp; after disarm on_time does not run, and none is under way.
#pragma once

#include <cstdint>

#include "fibrio/clock.hpp"
#include "sched/frame_timer.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"

namespace fibrio::detail {

template <class Owner>
class Expiry final : public FrameTimer {
 public:
  explicit Expiry(Owner& owner) noexcept
      : FrameTimer([](FrameTimer& timer) noexcept { static_cast<Expiry&>(timer).owner_.on_time(); }),
        owner_(owner) {}
  ~Expiry() {
    if (strand_ != nullptr) strand_->release();
  }

  // Once.
  void start(Scheduler& scheduler, Duration delay) noexcept {
    std::int64_t at_ns = 0;
    if (__builtin_add_overflow(scheduler.now_ns(), delay.count(), &at_ns))
      at_ns = delay < Duration::zero() ? 0 : Timers::kNever;
    strand_ = current_strand();
    if (strand_ != nullptr) strand_->add_ref();
    arm(scheduler, at_ns, strand_);
  }
  // On the worker of a loop, or while the loop of the owner lives for sure.
  void stop() noexcept {
    if (!disarm()) settle();
  }
  // From anywhere: the loop may be closing, and the wheel going, at this moment.
  void stop_from_anywhere(Scheduler* scheduler, std::uint64_t loop_id) noexcept {
    const Worker* const worker = this_worker();
    if (worker != nullptr && &worker->scheduler == scheduler) return stop();
    with_live_loop(
        scheduler, loop_id, [](Scheduler&, void* expiry) { static_cast<Expiry*>(expiry)->stop(); }, this);
  }

 private:
  Owner& owner_;
  StrandState* strand_ = nullptr;  // whose timer it is
};

}  // namespace fibrio::detail
