// What: what becomes of a task that never has to wait: its sockets are always ready, its queue always full, its lock
// always free. It looks around now and then, gives way, and gets what is pending for it.
//
// Threads: any; on a plain thread and in a callback nothing happens.
//
// Protocol. Each operation that may not have to wait spends one unit before it takes or changes anything: so the
// CancelledError that comes from here loses no data, no item and no turn. Where the budget is spent
//  1. a cancel that is pending is delivered, unless the task unwinds or has a mask, as at any wait;
//  2. the task gives way, so that timers and sockets are looked at, and 1 again: a timeout around it arrives.
// spend_turn is for what keeps asyncio's order: with one worker, and on a strand, such an operation gives way only if
// a timer is due.
//
// Rejected: a look at the task's word with each operation (a cancel comes at most 32 operations late; each would pay);
// delivery after an operation (what it took would vanish).
#pragma once

#include "fibrio/detail/budget.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

// The budget is spent. Throws CancelledError. Returns the worker that the task is on then.
Worker& look_around(Worker& worker, bool is_turn);

// What spend_turn does where the budget is spent, for who counts its turns elsewhere; nothing on a plain thread.
void look_around_in_turn();
void look_around_in_turn(Worker& worker);

// Before an operation on a socket, a pipe, a file. Throws CancelledError.
inline void spend_budget() {
  Worker* const worker = this_worker();
  if (worker != nullptr && worker->spend_budget()) [[unlikely]]
    look_around(*worker, false);
}

}  // namespace fibrio::detail
