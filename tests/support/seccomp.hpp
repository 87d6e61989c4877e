// What: system calls that a container's filter refuses.
// Threads: refuse_calls: all threads that the caller starts later are under the filter too, and child processes.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstddef>
#include <vector>

#include "support/process.hpp"

namespace fibrio::test {

// From now on, for good: `error` instead of each of these calls. False where the system allows no filters.
inline bool refuse_calls(const std::vector<long>& numbers, int error) {
  std::vector<sock_filter> filter{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const long number : numbers) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

constexpr int kNoSeccomp = 77;

// Runs `body` in a child under such a filter. Exit code: what `body` returns, or kNoSeccomp. SIGALRM if it hangs.
template <class Body>
ChildResult run_refused(const std::vector<long>& numbers, int error, Body&& body) {
  return run_in_child([&] {
    constexpr unsigned kSeconds = kAnySanitizer ? 60 : 20;
    ::alarm(kSeconds);
    ::_exit(refuse_calls(numbers, error) ? body() : kNoSeccomp);
  });
}

}  // namespace fibrio::test
