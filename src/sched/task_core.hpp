// What: of a task, what the scheduler must know: its place in a queue, its fiber, its wait.
// Threads: the fields belong to whoever runs the task or holds it in a queue; `word` is anybody's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fiber/switch.hpp"
#include "queue/runnable.hpp"
#include "sched/wait_word.hpp"

namespace fibrio::detail {

class Scheduler;

// What a suspended task waits for; shown in dumps.
enum class WaitReason : std::uint8_t {
  kNothing,
  kYield,
  kSleep,
  kFuture,
  kReadable,
  kWritable,
  kLock,
  kEvent,
  kCondition,
  kSemaphore,
  kBarrier,
  kQueue,
  kOther
};

struct TaskCore : Runnable {
  explicit TaskCore(Scheduler* its_scheduler) noexcept
      : Runnable(RunnableKind::kTask), scheduler(its_scheduler) {}

  WaitReason reason = WaitReason::kNothing;
  std::uint8_t stack_class = 0;
  std::uint16_t cancel_masks = 0;  // CancelMask objects alive, owner only

  Fiber fiber;
  Stack* stack = nullptr;  // from the first run to the last switch away
  WaitWord<> word;
  Scheduler* scheduler;
  void* awaited = nullptr;  // the future's state in an awaiting wait; written before arm(awaiting)
};

}  // namespace fibrio::detail
