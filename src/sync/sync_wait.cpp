#include "sync/sync_wait.hpp"

#include <condition_variable>
#include <mutex>

#include "base/delay.hpp"
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

void SyncWait::commit(void* argument, Worker& worker) noexcept {
  auto& self = *static_cast<SyncWait*>(argument);
  TaskCore& core = *self.core_;
  if (self.arm()) [[unlikely]]
    worker.make_ready(core);  // if not, the frame may be gone
}

void SyncWait::block() {
  Park park;
  park_ = &park;
  if (!arm_thread()) return;
  std::unique_lock guard(park.lock);
  park.changed.wait(guard, [&] { return park.told; });
}

CancelledError SyncWait::cancellation() const {
  return CancelledError(TaskControl::of(*core_).cancel_message());
}

void SyncWait::throw_abandoned(bool cancelled) const {
  if (cancelled) throw_cancelled();
  throw RuntimeError("what the task waited for was destroyed");
}

void make_ready_all(Woken& woken) noexcept {
  Worker* const worker = this_worker();
  for (Waiter* waiter = woken.first(); waiter != nullptr;) {
    auto& wait = static_cast<SyncWait&>(*waiter);
    waiter = waiter->next_woken;
    FIBRIO_MAY_DELAY(kWoken);
    if (wait.core_ == nullptr) {
      wait.park_->tell();
    } else if (worker != nullptr && &worker->scheduler == wait.core_->scheduler) [[likely]] {
      worker->make_ready(*wait.core_);
    } else {
      make_ready_anywhere(*wait.core_);
    }
  }
}

}  // namespace fibrio::detail
