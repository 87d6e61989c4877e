// What: a joined thread may still be in the system's list (/proc/self/task, a cgroup's count) for a moment: it wakes
// its joiner before it is taken off. Threads: any.
#pragma once

#include <sys/types.h>

namespace fibrio::detail {

// After the join of the thread with this id (0: unknown): returns when the system has forgotten it, after a tenth of
// a second at the latest.
void await_thread_exit(pid_t thread) noexcept;

}  // namespace fibrio::detail
