// What: a look at one task, from wherever: what it does, what it waits for, its stack; and who waits for it.
//
// Threads: any. The caller holds a reference.
//
// Protocol of a look at a task that waits: its wait word is locked (WaitWord::hold), so nobody can end the
// wait; what the task left behind for its wait, and its stack, lie still; nothing is allocated and no lock is
// taken (but the loader's, by the unwinder) until it is unlocked. The futures it names are referenced before
// that.
// A task in a run queue cannot be held. With one worker nothing moves while the caller runs there, so it
// looks; with several, and from other threads, such a task has no stack to show.
#pragma once

#include <cstdint>
#include <vector>

#include "fibrio/introspection.hpp"
#include "structured/waiting_tasks.hpp"
#include "task/capture.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

struct Look {
  TaskState state = TaskState::kDone;
  WaitReason reason = WaitReason::kNothing;
  AnyFuture awaited;
  std::uint32_t suspended_ms = 0;
  int cancel_masks = 0;
  RawStack stack;
};
void look_at(TaskControl& task, Look& look) noexcept;
// Its stack as it is shown to people.
[[nodiscard]] std::vector<StackFrame> shown_stack(const Look& look);

}  // namespace fibrio::detail
