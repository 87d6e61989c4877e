// What: tasks that wait inside a primitive's own lock until somebody takes them off a list: the joiner of a
// task group, the readers of as_completed.
//
// Threads: park: tasks. take_parked: who holds the lock.
//
// Protocol.
//  1. park lists the task, once its context is saved, under the lock, unless there is nothing to wait for
//  then.
//  2. Whoever takes it off resolves its wait word under the lock, and makes it ready after the lock. If a
//     cancel was first, the word says so, and the next in the list is taken.
//  3. Before park returns the task is off the list: no stale waker can resolve a later wait.
//
// Rejected: a plain future for each wait, as asyncio has it (an allocation, a reference count and a second
// list for each).
#pragma once

#include <mutex>

#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "sched/worker.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

struct ParkedTask : ListHook<> {
  explicit ParkedTask(TaskControl& its_task) noexcept : task(its_task) {}
  TaskControl& task;
};

using ParkedTasks = IntrusiveList<ParkedTask, void>;

// Under the lock: takes the first whose wait is not over. Make it ready after the lock. Null: there is none.
[[nodiscard]] inline TaskCore* take_parked(ParkedTasks& list) noexcept {
  while (ParkedTask* parked = list.pop_front()) {
    TaskCore& core = parked->task;
    if (core.word.resolve()) return &core;
  }
  return nullptr;
}

// Suspends the calling task until it is taken. `may_wait` is asked under the lock. Returns true if a cancel
// is to be delivered now; the caller throws, after it has handed on what it may have been given.
template <class MayWait>
[[nodiscard]] bool park(WaitReason reason, SpinLock& lock, ParkedTasks& list, MayWait may_wait) {
  struct Parking : ParkedTask {
    Parking(TaskControl& its_task, SpinLock& its_lock, ParkedTasks& its_list, MayWait& its_condition,
            WaitPhase its_phase) noexcept
        : ParkedTask(its_task), lock(its_lock), list(its_list), may_wait(its_condition), phase(its_phase) {}
    SpinLock& lock;
    ParkedTasks& list;
    MayWait& may_wait;
    const WaitPhase phase;

    static void run(void* argument, Worker& worker) noexcept {
      auto& self = *static_cast<Parking*>(argument);
      TaskCore& core = self.task;
      {
        std::lock_guard guard(self.lock);
        if (self.may_wait() && core.word.arm(self.phase) != WaitWord<>::Armed::cancelled) {
          self.list.push_back(&self);
          return;
        }
      }
      worker.make_ready(core);
    }
  };
  Worker& worker = *this_worker();
  auto& task = TaskControl::of(*worker.current);
  Parking parking(task, lock, list, may_wait, wait_phase(worker));
  suspend(worker, reason, &Parking::run, &parking);
  {
    std::lock_guard guard(lock);
    if (parking.is_linked()) ParkedTasks::remove(&parking);
  }
  return parking.phase == WaitPhase::waiting && task.word.take_cancellation();
}

}  // namespace fibrio::detail
