// What: a time limit inside a composition: on the wheel, without an allocation. Threads: arm, disarm: any one
// at a time. Invariant: firing holds a reference on the composition from the claim on, under the wheel's
// lock; before that, whoever lets go of the composition disarms.
#pragma once

#include <atomic>
#include <cstdint>

#include "fibrio/clock.hpp"
#include "sched/scheduler.hpp"
#include "sched/timers.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"

namespace fibrio::detail {

template <class Owner>
class Expiry final : public TimerEntry {
 public:
  explicit Expiry(Owner& owner) noexcept : TimerEntry(&claim_due), owner_(owner) {}
  ~Expiry() {
    if (strand_ != nullptr) strand_->release();
  }
  Expiry(const Expiry&) = delete;
  Expiry& operator=(const Expiry&) = delete;

  void arm(Scheduler& scheduler, Duration delay) noexcept {
    std::int64_t at_ns = 0;
    if (__builtin_add_overflow(scheduler.now_ns(), delay.count(), &at_ns))
      at_ns = delay < Duration::zero() ? 0 : Timers::kNever;
    is_armed_.store(true, std::memory_order_relaxed);
    if (strand_ == nullptr) {
      strand_ = current_strand();
      if (strand_ != nullptr) strand_->add_ref();
    }
    scheduler.arm_timer(*this, at_ns, strand_);
  }
  // acquire: partner of the release in claim_due: at the end of the loop the wheel lets go of it, and is
  // gone.
  void disarm() noexcept {
    if (is_armed_.load(std::memory_order_acquire)) home->cancel(*this);
  }

 private:
  static Action claim_due(TimerEntry& entry, bool drop) noexcept {
    auto& self = static_cast<Expiry&>(entry);
    self.is_armed_.store(false, std::memory_order_release);
    if (drop) return {};
    self.owner_.add_ref();
    return {[](void* context, Worker&) noexcept {
              auto& owner = *static_cast<Owner*>(context);
              owner.on_time();
              owner.release();
            },
            &self.owner_};
  }

  Owner& owner_;
  StrandState* strand_ = nullptr;      // whose timer it is
  std::atomic<bool> is_armed_{false};  // writers: who arms, the claim; reader: who disarms
};

}  // namespace fibrio::detail
