// What: something queued that is not a task: call_soon, call_later, done-callbacks. Callbacks run on the
// loop's own context; they must not wait. Threads: run: the loop. The rest as said.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "fibrio/detail/unique_function.hpp"
#include "queue/runnable.hpp"
#include "sched/timers.hpp"
#include "task/capture.hpp"

namespace fibrio::detail {

class Scheduler;

// Base of what stands in a run queue with kind kCallback.
struct QueuedCallback : Runnable {
  QueuedCallback() noexcept : Runnable(RunnableKind::kCallback) {}
  // Runs it and lets go of it, or only lets go of it.
  virtual void run(bool drop) noexcept = 0;

 protected:
  ~QueuedCallback() = default;
};

// call_soon and call_later. Handles and the queue (or the wheel) hold it.
// Protocol: one state word decides between running and cancel: waiting -> running | cancelled. Who cancels
// drops the callable at once; the empty shell stays queued until its turn.
class CallbackState final : public QueuedCallback, public std::enable_shared_from_this<CallbackState> {
 public:
  CallbackState(Scheduler& scheduler, UniqueFunction<void()> function) noexcept;

  // Queues it now. Any thread.
  void schedule() noexcept;
  // Queues it for when its time has come. Any thread.
  void schedule_at(std::int64_t deadline_ns) noexcept;
  // True: it will not run. Any thread.
  bool cancel() noexcept;
  [[nodiscard]] bool cancelled() const noexcept {
    return state_.load(std::memory_order_acquire) == State::cancelled;
  }
  [[nodiscard]] std::int64_t deadline_ns() const noexcept { return deadline_ns_; }

  void run(bool drop) noexcept override;

 private:
  enum class State : std::uint8_t { waiting, running, cancelled };
  struct Timer : TimerEntry {
    explicit Timer(CallbackState& its_owner) noexcept : TimerEntry(&claim_due), owner(its_owner) {}
    CallbackState& owner;
  };
  static TimerEntry::Action claim_due(TimerEntry& entry, bool drop) noexcept;

  void take_off_wheel() noexcept;
  [[nodiscard]] bool take(State to) noexcept {
    State expected = State::waiting;
    // acq_rel: the winner owns the callable.
    return state_.compare_exchange_strong(expected, to, std::memory_order_acq_rel);
  }

  Scheduler& scheduler_;
  UniqueFunction<void()> function_;
  std::atomic<State> state_{State::waiting};
  std::int64_t deadline_ns_ = 0;
  std::uint64_t loop_id_;
  std::shared_ptr<CallbackState> queued_;  // holds itself while a queue or the wheel refers to it
  const std::unique_ptr<CreationSite> created_at_;
  Timer timer_;
};

}  // namespace fibrio::detail
