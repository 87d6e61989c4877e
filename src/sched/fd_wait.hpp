// What: a task's wait for a direction of a registered fd (the protocol is in sched/reactor.hpp).
//
// Threads: the task; commit: whoever runs it once the task's context is saved.
//
// Inline, so that it is part of the caller's frame: see net/socket_operation.hpp.
#pragma once

#include <mutex>

#include "sched/reactor.hpp"
#include "sched/wait_word.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

struct FdWait {
  Registration* registration;
  Direction direction;
  WaitPhase phase;
  FdWaiter waiter;

  // Runs once the task's context is saved.
  static void commit(void* argument, Worker& worker) noexcept;
};

[[gnu::always_inline]] inline bool Registration::wait(Worker*& worker, Direction direction) {
  TaskCore& self = *worker->current;
  if (direction == Direction::write && !asks_for_room_.load(std::memory_order_acquire)) ask_for_room();
  FdWait wait{this, direction, wait_phase(*worker), {}};
  wait.waiter.core = &self;
  worker = &suspend(*worker, direction == Direction::read ? WaitReason::kReadable : WaitReason::kWritable,
                    &FdWait::commit, &wait);
  {
    // Also the partner of the resolver's unlock: it is done with our frame.
    std::lock_guard guard(lock_);
    if (wait.waiter.listed) unlist_locked(wait.waiter, direction);
  }
  return !(wait.phase == WaitPhase::waiting && self.word.take_cancellation());
}

}  // namespace fibrio::detail
