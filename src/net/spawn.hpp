// What: starts a program in a child process.
//
// Threads: any; the calling one stands still until the program is loaded.
//
// Protocol. clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD), as glibc's posix_spawn: the child runs in our
// memory, on a stack of its own, until it execs; so nothing is copied, no lock can be held for ever, and the
// child leaves its error in the plan. All that allocates is done before; the child makes raw system calls
// only.
//  1. All signals are blocked from before the clone until the child has made its handlers the default ones:
//     none of ours may run there.
//  2. Descriptors below 3 that are a source are moved out of the way, then put in place; everything above 2
//     is closed, but for pass_fds: by close_range, or, where that is missing or refused, by what /proc/self/fd
//     lists, or one by one up to RLIMIT_NOFILE. If all three are barred the child is not started.
//  3. Signals that were ignored stay ignored, except SIGPIPE and SIGXFSZ (as Python's subprocess); the mask
//     is empty.
//  4. The program is looked for in the PATH of the environment that it gets.
//
// Rejected: fork (copies page tables; other threads' locks stay closed in the child); posix_spawn (no pidfd:
// the number may be another's by the time it is opened; its errors do not say which step failed; it cannot
// keep single fds).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace fibrio::detail {

inline constexpr int kInheritFd = -1;

struct SpawnRequest {
  std::vector<std::string> command;                     // at least the program
  std::optional<std::vector<std::string>> env;          // "NAME=value"; nothing: ours
  std::string cwd;                                      // empty: ours
  int stdio[3] = {kInheritFd, kInheritFd, kInheritFd};  // what the child's 0, 1, 2 are copies of
  std::vector<int> pass_fds;
  bool new_session = false;
  std::optional<int> process_group;
};

struct Child {
  pid_t pid = -1;
  sys::UniqueFd pidfd;
};

// Throws std::system_error naming the step ("exec of 'prog'", "chdir to '/x'", "clone"); then there is no
// child.
[[nodiscard]] Child spawn(const SpawnRequest& request);

}  // namespace fibrio::detail
