// What: one wait of the calling task, or plain thread, in a WaitQueue: what suspends and resumes around it.
//
// Threads: made and destroyed by who waits; `arm` and `make_ready` by anybody's worker or thread.
//
// Use: make a SyncWait (refused in a callback), add it under the primitive's lock, wait(), claim(), take_cancellation();
// then, if the claim succeeded, end the wait under the lock, with hand-on if it is to be cancelled. If it failed the
// primitive is gone, and throw_abandoned() is all that is left.
//
// A plain thread goes the same way: its commit is wait() itself, and instead of a wait word it has a place to
// sleep (Park), which is there before it counts as armed.
#pragma once

#include <mutex>

#include "fibrio/errors.hpp"
#include "sched/worker.hpp"
#include "sync/wait_queue.hpp"

namespace fibrio::detail {

class SyncWait : public Waiter {
 public:
  // Throws RuntimeError, which names `what`, in a callback.
  SyncWait(const char* what, WaitReason reason) : worker_(this_worker()), reason_(reason) {
    if (worker_ == nullptr) return;
    core_ = worker_->current;
    if (core_ == nullptr) refuse_without_task(what, worker_);
    word = &core_->word;
    is_masked = detail::is_masked(*worker_);
  }
  SyncWait(const SyncWait&) = delete;
  SyncWait& operator=(const SyncWait&) = delete;

  // Returns when it was woken or cancelled. Touches nothing of the primitive.
  void wait() {
    if (core_ == nullptr) [[unlikely]]
      return block();
    suspend(*worker_, reason_, &SyncWait::commit, this);
  }
  // After wait, instead of a claim, for a primitive that who was woken needs no more: off the list.
  template <class Spin>
  void leave_unless_woken(Spin& spin, WaitQueue& list) noexcept {
    if (is_woken() || !claim()) return;
    const std::lock_guard guard(spin);
    list.leave(*this);
  }
  // After wait: true if CancelledError is to be thrown: cancellation() is what.
  [[nodiscard]] bool take_cancellation() noexcept {
    return core_ != nullptr && !is_masked && core_->word.take_cancellation();
  }
  [[nodiscard]] CancelledError cancellation() const;
  [[noreturn, gnu::always_inline]] void throw_cancelled() const { throw cancellation(); }
  // After a claim that failed, and take_cancellation(). RuntimeError: the request was taken back meanwhile.
  [[noreturn]] void throw_abandoned(bool cancelled) const;

 private:
  friend void make_ready_all(Woken& woken) noexcept;
  struct Park;

  static void commit(void* argument, Worker& worker) noexcept;
  void block();

  TaskCore* core_ = nullptr;  // null: a plain thread
  Worker* const worker_;      // the one on which it was made
  Park* park_ = nullptr;
  const WaitReason reason_;
};

// After the call that waits: not a jump, so that who waits is seen in the function that it called.
inline void stay_in_call_graph() noexcept { asm volatile(""); }

// Makes ready, in order, whom a primitive has woken. Without any lock.
void make_ready_all(Woken& woken) noexcept;
inline void make_ready(Woken& woken) noexcept {
  if (!woken.empty()) make_ready_all(woken);
}

}  // namespace fibrio::detail
