// What: something queued that is not a task: call_soon, call_later, done-callbacks. Callbacks run on the
// loop's own context; they must not wait. Threads: run: the loop. The rest as said.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "fibrio/detail/unique_function.hpp"
#include "queue/runnable.hpp"
#include "sched/strand.hpp"
#include "sched/timers.hpp"
#include "task/capture.hpp"
#include "task/context.hpp"

namespace fibrio::detail {

class Scheduler;

// The strand of the caller, if that runs on this loop; else null.
[[nodiscard]] StrandState* strand_on(const Scheduler& scheduler) noexcept;

// If it is what runs on the calling worker: it is no more, while others that go with it run code of the user's.
void forget_callback(const Runnable& callback) noexcept;

// Base of what stands in a run queue with kind kCallback.
struct QueuedCallback : Runnable {
  QueuedCallback() noexcept : Runnable(RunnableKind::kCallback) {}
  // Runs it and lets go of it, or only lets go of it.
  virtual void run(bool drop) noexcept = 0;
  // For a callback of the user's.
  [[nodiscard]] virtual ContextSlot* context() noexcept { return nullptr; }

  // Before it is queued: it runs on this strand, if it is not null.
  void put_on(StrandState* its_strand) noexcept {
    if (its_strand != nullptr) its_strand->add_ref();
    strand = its_strand;
  }

 protected:
  ~QueuedCallback() {
    forget_callback(*this);
    if (strand != nullptr) strand->release();
  }
};

// call_soon and call_later. Handles and the queue (or the wheel) hold it.
// Protocol: one state word decides between running and cancel: waiting -> running | cancelled. Who cancels
// drops the callable at once; the empty shell stays queued until its turn.
class CallbackState final : public QueuedCallback, public std::enable_shared_from_this<CallbackState> {
 public:
  // On the strand of the caller, in a copy of its context.
  CallbackState(Scheduler& scheduler, UniqueFunction<void()> function);
  CallbackState(Scheduler& scheduler, UniqueFunction<void()> function, StrandState* on);

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
  [[nodiscard]] ContextSlot* context() noexcept override { return &context_; }
  void set_context(ContextSlot context) noexcept { context_ = std::move(context); }

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
    return state_.compare_exchange_strong(expected, to, std::memory_order_acq_rel, std::memory_order_acquire);
  }

  Scheduler& scheduler_;
  UniqueFunction<void()> function_;
  ContextSlot context_;
  ElidingAtomic<State> state_{State::waiting};
  std::int64_t deadline_ns_ = 0;
  std::uint64_t loop_id_;
  std::shared_ptr<CallbackState> queued_;  // holds itself while a queue or the wheel refers to it
  const std::unique_ptr<CreationSite> created_at_;
  Timer timer_;
};

// What is called again and again: a reader, a signal handler. It has the strand and the context of who added it.
class StandingCallback {
 public:
  StandingCallback(Scheduler& scheduler, std::function<void()> function);
  ~StandingCallback();
  StandingCallback(const StandingCallback&) = delete;
  StandingCallback& operator=(const StandingCallback&) = delete;

  void operator()() const { function_(); }
  // One call, to be scheduled; it calls `call`, not yet this.
  [[nodiscard]] std::shared_ptr<CallbackState> make_call(UniqueFunction<void()> call) const;

 private:
  Scheduler& scheduler_;
  const std::function<void()> function_;
  StrandState* const strand_;
  const ContextSlot context_;
};

}  // namespace fibrio::detail
