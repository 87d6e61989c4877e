// What: keeps a lock of the whole process open for forked children: the thread that forks takes it before and
// opens it again after, in the parent and in the child, so no thread of the parent's can have left it closed.
// Threads: any. Rule: nobody waits for one such lock while holding another, so that the order in which fork
// takes them does not matter.
#pragma once

#include <pthread.h>

namespace fibrio::detail {

// Once per lock, whatever the number of calls. If there is no memory for the handlers, nothing is held.
template <auto& lock>
void hold_over_forks() {
  [[maybe_unused]] static const int error = ::pthread_atfork([] { lock.lock(); }, [] { lock.unlock(); },  //
                                                             [] { lock.unlock(); });
}

}  // namespace fibrio::detail
