// What: the waits of a task that concern nobody else: sleep, yield, masks.
#include <mutex>

#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"
#include "fibrio/threads.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/registry.hpp"
#include "task/task_control.hpp"

namespace fibrio {

namespace detail {
namespace {

// A sleeping task's timer, on its own stack. Nothing touches it after the wheel let go of it and the wait
// word was resolved, both under the wheel's lock.
struct SleepTimer : TimerEntry {
  SleepTimer(TaskCore& its_core, Timers& its_timers, std::int64_t its_deadline_ns,
             WaitPhase its_phase) noexcept
      : TimerEntry(&claim_due),
        core(its_core),
        timers(its_timers),
        wanted_ns(its_deadline_ns),
        phase(its_phase) {
    home = &its_timers;
    touches = static_cast<const Runnable*>(&its_core);
  }
  TaskCore& core;
  Timers& timers;
  const std::int64_t wanted_ns;
  const WaitPhase phase;

  static Action claim_due(TimerEntry& entry, bool) noexcept {
    TaskCore& core = static_cast<SleepTimer&>(entry).core;
    if (!core.word.resolve()) return {};  // cancelled: whoever did it makes the task ready
    return {
        [](void* context, Worker& worker) noexcept { worker.make_ready(*static_cast<TaskCore*>(context)); },
        &core};
  }

  static void commit(void* argument, Worker& worker) noexcept {
    auto& self = *static_cast<SleepTimer*>(argument);
    TaskCore& core = self.core;
    {
      std::lock_guard guard(self.timers.lock());
      if (core.word.arm(self.phase) != WaitWord<>::Armed::cancelled) {
        // A cancel may have come by now; the task then waits for this lock before it takes the timer away.
        // (The worker, or the strand, is this one, and awake: nobody to unpark.)
        static_cast<void>(self.timers.arm_locked(self, self.wanted_ns));
        return;
      }
    }
    worker.make_ready(core);
  }
};

__attribute__((always_inline)) inline void sleep_until_ns(Worker& worker, std::int64_t deadline_ns) {
  auto& task = TaskControl::of(*worker.current);
  SleepTimer timer(task, worker.timers_here(), deadline_ns, wait_phase(worker));
  suspend(worker, WaitReason::kSleep, &SleepTimer::commit, &timer);
  if (timer.phase != WaitPhase::waiting || !task.word.take_cancellation()) return;
  timer.home->cancel(timer);
  task.throw_cancelled();
}

// The last thing of a yield, entered by a jump, so that neither is yield's frame one that the exception has to leave,
// nor has yield the registers to save that throwing takes.
__attribute__((noinline, cold)) void end_as_cancelled(TaskControl& task) { task.throw_cancelled(); }

}  // namespace

void require_running_task(const char* what) { static_cast<void>(require_task(what)); }

}  // namespace detail

using detail::TaskControl;
using detail::Worker;

void yield() {
  Worker& worker = detail::require_task("yield");
  auto& task = TaskControl::of(*worker.current);
  const bool masked = detail::is_masked(worker);
  detail::yield_current(worker);
  if (!masked && task.word.take_cancellation()) detail::end_as_cancelled(task);
}

void sleep(AnyDuration delay) {
  if (delay <= Duration::zero()) {
    yield();
    return;
  }
  Worker& worker = detail::require_task("sleep");
  const Duration now(worker.read_clock());
  detail::sleep_until_ns(worker, detail::saturated_sum(now, delay).count());
}

void sleep_until(TimePoint deadline) {
  Worker& worker = detail::require_task("sleep_until");
  const std::int64_t deadline_ns = deadline.time_since_epoch().count();
  if (deadline_ns <= worker.read_clock()) {
    yield();
    return;
  }
  detail::sleep_until_ns(worker, deadline_ns);
}

AnyTask current_task() {
  Worker* worker = detail::this_worker();
  if (worker == nullptr) throw RuntimeError("current_task: no loop runs on this thread");
  if (worker->current == nullptr) return AnyTask();
  detail::FutureState& state = TaskControl::of(*worker->current);
  state.add_ref();
  return AnyTask(&state);
}

std::vector<AnyTask> all_tasks() {
  Worker* worker = detail::this_worker();
  if (worker == nullptr) throw RuntimeError("all_tasks: no loop runs on this thread");
  return worker->scheduler.registry->snapshot();
}

CancelMask::CancelMask() { ++detail::require_task("CancelMask").current->cancel_masks; }
CancelMask::~CancelMask() { --detail::this_worker()->current->cancel_masks; }

}  // namespace fibrio
