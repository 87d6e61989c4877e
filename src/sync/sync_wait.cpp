#include "sync/sync_wait.hpp"

#include <condition_variable>
#include <mutex>

#include "sched/worker.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

struct SyncWait::Park {
  std::mutex lock;
  std::condition_variable changed;
  bool told = false;

  void tell() {
    std::lock_guard guard(lock);
    told = true;
    changed.notify_one();  // under the lock: this is gone right after it
  }
};

SyncWait::SyncWait(const char* what, WaitReason reason) : reason_(reason) {
  worker_ = this_worker();
  if (worker_ == nullptr) return;
  if (worker_->current == nullptr) refuse_without_task(what, worker_);
  core_ = worker_->current;
  word = &core_->word;
  phase_ = wait_phase(*worker_);
}

void SyncWait::commit(void* argument, Worker& worker) noexcept {
  auto& self = *static_cast<SyncWait*>(argument);
  TaskCore& core = *self.core_;
  bool resume = false;
  {
    std::lock_guard guard(*self.spin_);
    resume = self.arm(self.phase_);
  }
  if (resume) worker.make_ready(core);  // if not, the frame may be gone
}

void SyncWait::wait(SpinLock& spin) {
  if (core_ == nullptr) {
    block(spin);
    return;
  }
  spin_ = &spin;
  suspend(*worker_, reason_, &SyncWait::commit, this);
}

void SyncWait::block(SpinLock& spin) {
  Park park;
  {
    std::lock_guard guard(spin);
    if (woken) return;
    park_ = &park;
    armed = true;
  }
  std::unique_lock guard(park.lock);
  park.changed.wait(guard, [&] { return park.told; });
}

void SyncWait::leave(SpinLock& spin, WaitQueue& list) noexcept {
  std::lock_guard guard(spin);
  list.leave(*this);
}

bool SyncWait::take_cancellation() noexcept {
  return core_ != nullptr && phase_ == WaitPhase::waiting && core_->word.take_cancellation();
}

CancelledError SyncWait::cancellation() const {
  return CancelledError(TaskControl::of(*core_).cancel_message());
}

void make_ready_all(Woken& woken) noexcept {
  while (Waiter* waiter = woken.pop()) {
    auto& wait = static_cast<SyncWait&>(*waiter);
    if (wait.core_ != nullptr) {
      make_ready_anywhere(*wait.core_);
    } else {
      wait.park_->tell();
    }
  }
}

}  // namespace fibrio::detail
