#include "introspect/look.hpp"

#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "structured/composition.hpp"
#include "task/loop_services.hpp"

namespace fibrio::detail {
namespace {

bool runs_somewhere(TaskControl& task) noexcept {
  struct Question {
    const TaskCore* task;
    bool runs = false;
  } question{&task};
  with_live_loop(
      task.FutureState::scheduler(), task.loop_id(),
      [](Scheduler& scheduler, void* context) {
        auto& asked = *static_cast<Question*>(context);
        for (std::size_t i = 0; i < scheduler.live_workers(); ++i) {
          asked.runs = asked.runs || scheduler.worker(i).current == asked.task;
        }
      },
      &question);
  return question.runs;
}

}  // namespace

void look_at(TaskControl& task, Look& look) noexcept {
  if (task.done()) return;
  Worker* const here = this_worker();
  if (here != nullptr && here->current == static_cast<TaskCore*>(&task)) {
    look.state = TaskState::kRunning;
    look.cancel_masks = task.cancel_masks;
    capture_own(look.stack);
    return;
  }
  if (task.word.hold()) {
    look.state = TaskState::kWaiting;
    look.reason = task.reason;
    look.suspended_ms = task.suspended_ms;
    look.cancel_masks = task.cancel_masks;
    capture_suspended(task.fiber, look.stack);
    if (look.reason == WaitReason::kFuture) {
      auto* awaited = static_cast<FutureState*>(task.awaited);
      awaited->add_ref();
      look.awaited = AnyFuture(awaited);
    }
    task.word.unlock();
    if (look.awaited.valid()) {
      look.reason = look.awaited.state()->waited_as();
      // Nobody has a handle to a composition.
      if (dynamic_cast<Composition*>(look.awaited.state()) != nullptr) look.awaited = AnyFuture();
    }
    return;
  }
  look.state = runs_somewhere(task) ? TaskState::kRunning : TaskState::kReady;
  const bool lies_still = here != nullptr && here->solo && here->has_saved_all() &&
                          &here->scheduler == task.FutureState::scheduler();
  if (lies_still && look.state == TaskState::kReady && task.stack != nullptr) {
    look.cancel_masks = task.cancel_masks;
    capture_suspended(task.fiber, look.stack);
  }
}

std::vector<StackFrame> shown_stack(const Look& look) {
  return user_frames(look.stack.frames(),
                     look.state == TaskState::kRunning ? LibraryCall::kHide : LibraryCall::kShow);
}

std::vector<StackFrame> task_stack(FutureState& state) {
  Look look;
  look_at(TaskControl::of(state), look);
  return look.stack.frames();
}

}  // namespace fibrio::detail
