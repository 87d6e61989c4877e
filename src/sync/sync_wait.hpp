// What: one wait of the calling task, or plain thread, in a WaitQueue: what suspends and resumes around it.
//
// Threads: made and destroyed by who waits; `arm` and `make_ready` by anybody's worker or thread.
//
// Use: make a SyncWait (refused in a callback), add it under the primitive's lock, wait(lock), then
// take_cancellation(), then under the lock again end the wait, with hand-on if it is to be cancelled.
//
// A plain thread goes the same way: its commit is wait() itself, and instead of a wait word it has a place to
// sleep (Park), which is there before it counts as armed.
#pragma once

#include "base/spin_lock.hpp"
#include "fibrio/errors.hpp"
#include "sched/task_core.hpp"
#include "sync/wait_queue.hpp"

namespace fibrio::detail {

class Worker;

class SyncWait : public Waiter {
 public:
  // Throws RuntimeError, which names `what`, in a callback.
  SyncWait(const char* what, WaitReason reason);
  SyncWait(const SyncWait&) = delete;
  SyncWait& operator=(const SyncWait&) = delete;

  // Returns when it was woken or cancelled. `spin` guards the list it was added to, and is free.
  void wait(SpinLock& spin);
  // After wait, if it was not woken: off the list. (`woken` may be read without the lock then: who wins
  // against the wait word writes it, before he makes the task ready.)
  void leave(SpinLock& spin, WaitQueue& list) noexcept;
  // After wait: true if CancelledError is to be thrown: cancellation() is what.
  [[nodiscard]] bool take_cancellation() noexcept;
  [[nodiscard]] CancelledError cancellation() const;
  [[noreturn, gnu::always_inline]] void throw_cancelled() const { throw cancellation(); }

 private:
  friend void make_ready_all(Woken& woken) noexcept;
  struct Park;

  static void commit(void* argument, Worker& worker) noexcept;
  void block(SpinLock& spin);

  TaskCore* core_ = nullptr;  // null: a plain thread
  Worker* worker_ = nullptr;
  SpinLock* spin_ = nullptr;
  Park* park_ = nullptr;
  WaitPhase phase_ = WaitPhase::waiting;
  const WaitReason reason_;
};

// Makes ready, in order, whom a primitive has woken. Without any lock.
void make_ready_all(Woken& woken) noexcept;
inline void make_ready(Woken& woken) noexcept {
  if (!woken.empty()) make_ready_all(woken);
}

}  // namespace fibrio::detail
