// What: call_once's turns: a Lock that is held while the function is called.
#include "fibrio/once.hpp"

#include <pthread.h>

#include "base/atomic.hpp"
#include "fibrio/errors.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

namespace {

// The task; in a callback, or without a loop, the thread, which does nothing else then.
const void* caller_here() noexcept {
  const Worker* const worker = this_worker();
  if (worker != nullptr && worker->current != nullptr) return static_cast<const TaskCore*>(worker->current);
  return reinterpret_cast<const void*>(::pthread_self());
}

}  // namespace

OnceTurn::OnceTurn(OnceFlag& flag) : flag_(flag) {
  const void* const caller = caller_here();
  if (flag.caller_.load(std::memory_order_relaxed) == caller)
    throw RuntimeError("call_once: the function that is called once needs its own result: it called itself");
  flag.lock_.lock();
  if (flag.is_done_.load(std::memory_order_acquire)) {
    flag.lock_.unlock();
    return;
  }
  flag.caller_.store(caller, std::memory_order_relaxed);
  is_mine_ = true;
}

OnceTurn::~OnceTurn() {
  if (!is_mine_) return;
  flag_.caller_.store(nullptr, std::memory_order_relaxed);
  flag_.lock_.unlock();
}

}  // namespace fibrio::detail

namespace fibrio {

// Who found it done may be here while the one who called is on its last steps in ~OnceTurn, without a wait: the lock is
// free after those, and the lock's destructor sees the last.
OnceFlag::~OnceFlag() {
  if (!is_done_.load(std::memory_order_acquire)) return;
  for (detail::SpinWait<std::atomic> wait; lock_.locked();) wait.pause();
}

}  // namespace fibrio
