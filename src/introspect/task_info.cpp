// What: one task in words. Threads: any.
#include <chrono>
#include <cstdint>
#include <utility>

#include "fibrio/introspection.hpp"
#include "introspect/look.hpp"
#include "sched/scheduler.hpp"

namespace fibrio {

const char* to_string(WaitReason reason) noexcept {
  switch (reason) {
    case WaitReason::kNothing:
      return "nothing";
    case WaitReason::kYield:
      return "its turn";
    case WaitReason::kSleep:
      return "a point in time";
    case WaitReason::kFuture:
      return "a future";
    case WaitReason::kThread:
      return "a call on a thread pool";
    case WaitReason::kTask:
      return "a task";
    case WaitReason::kGather:
      return "a gather";
    case WaitReason::kWait:
      return "a wait";
    case WaitReason::kShield:
      return "a shield";
    case WaitReason::kAsCompleted:
      return "the next of as_completed";
    case WaitReason::kTaskGroup:
      return "its task group";
    case WaitReason::kReadable:
      return "a readable fd";
    case WaitReason::kWritable:
      return "a writable fd";
    case WaitReason::kLock:
      return "a lock";
    case WaitReason::kEvent:
      return "an event";
    case WaitReason::kCondition:
      return "a condition";
    case WaitReason::kSemaphore:
      return "a semaphore";
    case WaitReason::kBarrier:
      return "a barrier";
    case WaitReason::kQueue:
      return "a queue";
    case WaitReason::kAwaitable:
      return "an awaitable";
    case WaitReason::kStatic:
      return "the initialiser of a static variable";
  }
  return "something unknown";
}

namespace {

// Now, if the task's loop lives and is in debug mode.
std::uint32_t debug_now_ms(const detail::FutureState& task) {
  std::uint32_t now_ms = 0;
  detail::with_live_loop(
      task.scheduler(), task.loop_id(),
      [](detail::Scheduler& scheduler, void* context) {
        if (scheduler.is_debugging())
          *static_cast<std::uint32_t*>(context) = detail::milliseconds_of(scheduler.now_ns());
      },
      &now_ms);
  return now_ms;
}

}  // namespace

TaskInfo inspect(const AnyTask& task) {
  auto& control = detail::TaskControl::of(*task.state());
  detail::Look look;
  detail::look_at(control, look);
  TaskInfo info;
  info.name = control.name();
  info.state = look.state;
  info.cancelling = task.cancelling();
  info.reason = look.reason;
  info.awaited = std::move(look.awaited);
  info.cancel_masks = look.cancel_masks;
  if (const std::uint32_t now_ms = debug_now_ms(*task.state()); now_ms != 0 && look.suspended_ms != 0) {
    info.waiting_time = std::chrono::milliseconds(now_ms - look.suspended_ms);
  }
  info.stack = detail::shown_stack(look);
  info.source_traceback = detail::CreationSite::frames_of(control.created_at());
  return info;
}

}  // namespace fibrio
