// What: of a task, what the scheduler must know: its place in a queue, its fiber, its wait.
// Threads: the fields belong to whoever runs the task or holds it in a queue; `word` is anybody's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fiber/switch.hpp"
#include "fibrio/wait_reason.hpp"
#include "queue/runnable.hpp"
#include "sched/wait_word.hpp"

namespace fibrio::detail {

class Scheduler;
using fibrio::WaitReason;

// A point of the loop's clock, for TaskCore::suspended_ms: plus one, and once in 49 days from the start.
[[nodiscard]] constexpr std::uint32_t milliseconds_of(std::int64_t now_ns) noexcept {
  return static_cast<std::uint32_t>(now_ns / 1'000'000 + 1);
}

struct TaskCore : Runnable {
  explicit TaskCore(Scheduler* its_scheduler) noexcept
      : Runnable(RunnableKind::kTask), scheduler(its_scheduler) {}

  WaitReason reason = WaitReason::kNothing;
  std::uint8_t stack_class = 0;
  std::uint16_t cancel_masks = 0;  // CancelMask objects alive, owner only
  // In debug mode: since when it is suspended; see milliseconds_of. 0: not known.
  std::uint32_t suspended_ms = 0;

  Fiber fiber;
  WaitWord<> word;
  Stack* stack = nullptr;  // from the first run to the last switch away
  // What a switch and a wake-up touch ends here: one cache line (see TaskControl).
  Scheduler* scheduler;
  void* awaited = nullptr;  // the future's state in an awaiting wait; written before arm(awaiting)
};

}  // namespace fibrio::detail
