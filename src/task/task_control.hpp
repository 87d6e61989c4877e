// What: the control block of a task: a future's state, what the scheduler knows, name and place in the
// registry. The callable and the result lie behind it in the same allocation (TaskPayload in
// fibrio/tasks.hpp).
//
// Threads: as FutureState; run() on the task's fiber.
//
// References: one for the handle that create_task returns, one for the loop from start to completion.
//
// Cancelling walks down the chain of awaits (hard_cases C11): each task on the way counts a request; the last
// one's wait ends, or the future it awaits is cancelled. Links are held by references, never by two locks at
// once. What a request was passed on to may be done when it comes there: then it goes back to who awaited it,
// whose next wait may have begun (renew).
#pragma once

#include <cstdint>
#include <string>

#include "base/atomic.hpp"
#include "base/spin_lock.hpp"
#include "fibrio/detail/future_state.hpp"
#include "fibrio/tasks.hpp"
#include "sched/task_core.hpp"
#include "task/context.hpp"

namespace fibrio::detail {

class CancelWalk;
struct StackFailure;
class Worker;

// Between the future and what the scheduler touches, so that the latter begins a cache line: the blocks begin one,
// too (FrameCache::rounded).
struct TaskId {
  std::uint64_t id = 0;  // "Task-<id>"; set by the registry
};

class TaskControl final : public FutureState, public TaskId, public TaskCore {
 public:
  // With one reference for the handle and one for the loop. `bytes`: with the payload.
  TaskControl(Scheduler& scheduler, std::uint64_t loop_id, const TaskOps& ops, void* payload,
              std::size_t bytes) noexcept;

  // Hooks of the scheduler.
  void run() noexcept;
  void fail(const StackFailure& failure) noexcept;

  // See Task::cancel.
  bool cancel_task(const std::string& message) noexcept { return cancel_task(message, nullptr); }
  // For a scope of this task, which takes the request back with word.withdraw(epoch).
  bool cancel_task(const std::string& message, std::uint32_t* epoch) noexcept;
  // For a request that is counted, and was passed on to `ended`, which was done by then: the task may have gone on.
  void renew_request(const AnyFuture& ended, std::uint32_t* epoch = nullptr) noexcept;
  // cancel_task, as a part of a walk that goes on with the composed futures it comes to. With `ended`: renew_request.
  // Without memory for the way the wait ends here, as in cancel_here.
  bool pass_request(const std::string& message, std::uint32_t* epoch, AnyFuture ended,
                    CancelWalk& walk) noexcept;
  // As cancel_task, but an await ends here instead of passing the request on. For the loop's end, where what is
  // awaited is cancelled too, and may in its turn wait for this task to end.
  void cancel_here() noexcept;
  // Inline, as is what calls it: each frame that the exception leaves costs 0.1 us.
  [[noreturn, gnu::always_inline]] void throw_cancelled() { throw CancelledError(cancel_message()); }
  // What the last cancel() said.
  [[nodiscard]] std::string cancel_message() const;
  // The same, empty if there is no memory for it.
  [[nodiscard]] std::string cancel_message_or_none() const noexcept;

  // Ends a wait for a future as cancelled, without the future being done. True: make the task ready.
  [[nodiscard]] bool break_await(FutureState& awaited_future) noexcept;

  [[nodiscard]] std::string name() const;
  void set_name(std::string name);
  // Async-signal-safe.
  std::size_t copy_name(char* buffer, std::size_t size) const noexcept;

  [[nodiscard]] static TaskControl& of(TaskCore& core) noexcept { return static_cast<TaskControl&>(core); }
  [[nodiscard]] static TaskControl& of(FutureState& state) noexcept {
    return static_cast<TaskControl&>(state);
  }
  [[nodiscard]] static const TaskControl& of(const FutureState& state) noexcept {
    return static_cast<const TaskControl&>(state);
  }

  [[nodiscard]] WaitReason waited_as() const noexcept override { return WaitReason::kTask; }

  ContextSlot context;  // the task's own; of who creates it, before it starts

  // Instead of start_task: nobody else knows it.
  void free() noexcept;

 private:
  ~TaskControl() override;
  void destroy() noexcept override;
  void destroy_callable() noexcept {
    if (ops_.destroy_callable != nullptr) ops_.destroy_callable(payload_);
  }
  void destroy_value() noexcept {
    if (ops_.destroy_value != nullptr) ops_.destroy_value(payload_);
  }
  void complete(Outcome outcome, std::exception_ptr& exception, bool value_is_lost) noexcept;
  void set_cancel_message(const std::string& message) noexcept;
  void break_or_record(FutureState& awaited_future) noexcept;

  const TaskOps& ops_;
  void* payload_;
  const std::size_t bytes_;

 public:
  // Of the registry; here, where there is room.
  ElidingAtomic<std::uintptr_t>* slot = nullptr;
  std::uint32_t shard = 0;
  bool starts_eagerly = false;

 private:
  mutable SpinLock text_lock_;
  std::string* name_ = nullptr;            // null: made from the id; guarded by text_lock_
  std::string* cancel_message_ = nullptr;  // null: none; guarded by text_lock_
};

#if !defined(FIBRIO_ASAN) && !defined(FIBRIO_TSAN)
static_assert(sizeof(FutureState) + sizeof(TaskId) == kCacheLine && sizeof(TaskCore) == kCacheLine + 16);
#endif

// The task that waits by it, if it is a task's await; null otherwise. See FutureState::for_each_waiter.
[[nodiscard]] TaskControl* awaiting_task(FutureWaiter& waiter) noexcept;

}  // namespace fibrio::detail
