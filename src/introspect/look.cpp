#include "introspect/look.hpp"

#include <algorithm>
#include <utility>

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

namespace {

// Who waits for the future, and for whatever else by its means: tasks and compositions.
std::vector<AnyFuture> listed_in(FutureState& future) {
  for (std::size_t capacity = 4;;) {
    WaiterList list(capacity);
    future.for_each_waiter(
        [](FutureWaiter& waiter, void* context) {
          auto& found = *static_cast<WaiterList*>(context);
          if (TaskControl* task = awaiting_task(waiter)) {
            found.add(*task);
          } else if (FutureWatch* watch = FutureWatch::of(waiter)) {
            found.add(watch->waits_for_it());
          }
        },
        &list);
    if (auto* composition = dynamic_cast<Composition*>(&future)) composition->list_waiting(list);
    if (list.count() <= capacity) return {list.found().rbegin(), list.found().rend()};  // the oldest first
    capacity = 2 * list.count();
  }
}

}  // namespace

std::vector<AnyTask> waiting_for(FutureState& future) {
  std::vector<AnyTask> tasks;
  std::vector<AnyFuture> open = listed_in(future);
  std::reverse(open.begin(), open.end());  // taken from the end
  while (!open.empty()) {
    const AnyFuture waiting = std::move(open.back());
    open.pop_back();
    if (waiting.state()->kind() != FutureState::Kind::kTask) {
      std::vector<AnyFuture> more = listed_in(*waiting.state());
      open.insert(open.end(), std::move_iterator(more.rbegin()), std::move_iterator(more.rend()));
    } else if (std::find(tasks.begin(), tasks.end(), waiting) == tasks.end()) {
      waiting.state()->add_ref();
      tasks.emplace_back(waiting.state());
    }
  }
  return tasks;
}

std::vector<StackFrame> task_stack(FutureState& state) {
  Look look;
  look_at(TaskControl::of(state), look);
  return look.stack.frames();
}

}  // namespace fibrio::detail
