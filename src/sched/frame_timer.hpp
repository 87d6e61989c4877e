// What: a timer that lies in somebody's frame or object and does something when its time has come: that of a timeout,
// of a wait with a limit.
//
// Threads: arm, disarm, settle, expire: one at a time, as its owner orders them. Its action: the loop.
//
// Protocol.
//  1. idle -> armed -> firing -> fired. The step to firing is taken under the wheel's lock; `fired` is the last touch of
//     the action.
//  2. disarm takes the timer off the wheel, under that lock: then it has not fired, and will not. If it fails, the
//     action has begun; who lets go of the timer waits it out first (settle), which takes as long as the action does.
//     An action never waits and calls no user code.
//  3. When the loop ends, its wheel lets go of the timer (idle): the wheel is gone after that.
//
// Rejected: a reference on the owner, taken by the action (it came after the step that made disarm succeed: the owner
// could be gone in between); a flag "is armed" in place of the states.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/atomic.hpp"
#include "base/delay.hpp"
#include "sched/scheduler.hpp"
#include "sched/timers.hpp"

namespace fibrio::detail {

// The states. `Atomic`: for the model checker.
template <template <class> class Atomic = std::atomic>
class FrameTimerState {
 public:
  void arm() noexcept { state_.store(kArmed, std::memory_order_relaxed); }
  // `take_off` takes it off the wheel, under the lock under which claim() is called; false if it was not there.
  template <class TakeOff>
  [[nodiscard]] bool disarm(TakeOff take_off) noexcept {
    // acquire: partner of the claim's release, when the loop ends: the wheel may be gone.
    const std::uint8_t state = state_.load(std::memory_order_acquire);
    if (state != kArmed) [[unlikely]]
      return state == kIdle;
    if (take_off()) [[likely]] {
      state_.store(kIdle, std::memory_order_relaxed);
      return true;
    }
    return state_.load(std::memory_order_acquire) == kIdle;
  }
  void settle() const noexcept {
    // acquire: partner of finish's release: what the action did is seen.
    for (SpinWait<Atomic> wait; state_.load(std::memory_order_acquire) != kFired;) wait.pause();
  }
  // Under the lock of the wheel, which has let go of it. True: the action follows.
  [[nodiscard]] bool claim(bool drop) noexcept {
    state_.store(drop ? kIdle : kFiring, std::memory_order_release);
    return !drop;
  }
  void begin() noexcept { state_.store(kFiring, std::memory_order_relaxed); }
  void finish() noexcept { state_.store(kFired, std::memory_order_release); }
  [[nodiscard]] bool has_begun() const noexcept { return state_.load(std::memory_order_acquire) >= kFiring; }

 private:
  static constexpr std::uint8_t kIdle = 0, kArmed = 1, kFiring = 2, kFired = 3;
  Atomic<std::uint8_t> state_{kIdle};  // writers: the owner, the claim, the action
};

class FrameTimer : public TimerEntry {
 public:
  using Act = void (*)(FrameTimer& timer) noexcept;
  explicit FrameTimer(Act act) noexcept : TimerEntry(&claim_due), act_(act) {}
  FrameTimer(const FrameTimer&) = delete;
  FrameTimer& operator=(const FrameTimer&) = delete;

  // Only if it is idle. On the wheel of `on`, if that is not null.
  void arm(Scheduler& scheduler, std::int64_t at_ns, StrandState* on) noexcept {
    state_.arm();
    scheduler.arm_timer(*this, at_ns, on);
  }
  // True: it is idle, and may be armed again. False: it fires, or has fired.
  [[nodiscard]] bool disarm() noexcept {
    return state_.disarm([this] {
      FIBRIO_MAY_DELAY(kTimerDisarm);
      return home->cancel(*this);
    });
  }
  // After a disarm that failed: returns when nothing touches the timer any more.
  [[gnu::noinline, gnu::cold]] void settle() const noexcept { state_.settle(); }
  // Its time has come without a wheel. Only if it is idle, or after begin().
  void expire() noexcept {
    begin();
    act_(*this);
    FIBRIO_MAY_DELAY(kTimerActed);
    state_.finish();
  }
  // It counts as firing from now on: expire() follows.
  void begin() noexcept { state_.begin(); }
  // It fires, or has fired.
  [[nodiscard]] bool has_begun() const noexcept { return state_.has_begun(); }

 protected:
  ~FrameTimer() = default;

 private:
  static Action claim_due(TimerEntry& entry, bool drop) noexcept {
    auto& self = static_cast<FrameTimer&>(entry);
    if (!self.state_.claim(drop)) return {};
    return {[](void* timer, Worker&) noexcept {
              FIBRIO_MAY_DELAY(kTimerClaimed);
              static_cast<FrameTimer*>(timer)->expire();
            },
            &self};
  }

  const Act act_;
  FrameTimerState<> state_;
};

}  // namespace fibrio::detail
