// What: writing to what may have nobody at the other end, without the SIGPIPE that would end the process. For
// calls that have no MSG_NOSIGNAL: write and writev to a pipe, sendfile.
// Threads: any; the call must not leave the thread (suspend).
// Protocol: SIGPIPE of a write goes to the writing thread. It is blocked over the call; if the call did not write
// all (EPIPE; but sendfile also raises it after it has sent some, and then says how much), the one that may be
// pending now is taken back, unless one was pending before (then it is the user's).
// Rejected: ignoring SIGPIPE for the whole process (a library must not); checking the disposition first (a
// system call as well, and it may change).
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>

#include "base/syscalls.hpp"

namespace fibrio::sys {

// `call` returns how many of `wanted` bytes it wrote, or -errno. Costs two system calls, three if it did not write all.
template <class Call>
ssize_t without_sigpipe(std::size_t wanted, Call&& call) {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  sigset_t before;
  if (sys::thread_sigmask(SIG_BLOCK, &pipe, &before) < 0) return call();
  const bool was_blocked = sigismember(&before, SIGPIPE) == 1;
  sigset_t pending;
  const bool was_pending =
      was_blocked && sys::sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  const ssize_t result = call();
  const bool is_short = result >= 0 && result < static_cast<ssize_t>(wanted);
  if ((result == -EPIPE || is_short) && !was_pending) {
    constexpr timespec kNow{0, 0};
    sys::sigtimedwait(&pipe, nullptr, &kNow);
  }
  if (!was_blocked) sys::thread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

}  // namespace fibrio::sys
