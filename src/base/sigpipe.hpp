// What: writing to what may have nobody at the other end, without the SIGPIPE that would end the process. For
// calls that have no MSG_NOSIGNAL: write and writev to a pipe, sendfile.
// Threads: any; the call must not leave the thread (suspend).
// Protocol: SIGPIPE of a write goes to the writing thread. It is blocked over the call; if the call says
// EPIPE, the one that is pending now is taken back, unless one was pending before (then it is the user's).
// Rejected: ignoring SIGPIPE for the whole process (a library must not); checking the disposition first (a
// system call as well, and it may change).
#pragma once

#include <errno.h>
#include <signal.h>

#include "base/syscalls.hpp"

namespace fibrio::sys {

// `call` returns -errno. Costs two system calls.
template <class Call>
auto without_sigpipe(Call&& call) {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  sigset_t before;
  if (sys::thread_sigmask(SIG_BLOCK, &pipe, &before) < 0) return call();
  const bool was_blocked = sigismember(&before, SIGPIPE) == 1;
  sigset_t pending;
  const bool was_pending =
      was_blocked && sys::sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  const auto result = call();
  if (result == -EPIPE && !was_pending) {
    constexpr timespec kNow{0, 0};
    sys::sigtimedwait(&pipe, nullptr, &kNow);
  }
  if (!was_blocked) sys::thread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

}  // namespace fibrio::sys
