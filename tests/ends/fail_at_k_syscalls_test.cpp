// fail-at-k: every system call of the table fails with each errno that its man page allows (and with what seccomp
// answers), the first time, the third, or at a moment of the seed's.
#include <cerrno>
#include <initializer_list>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include "base/syscalls.hpp"
#include "ends/fail_at_k.hpp"
#include "support/catch.hpp"
#include "support/faults.hpp"
#include "support/process.hpp"

namespace {

using namespace fibrio::test;
namespace sys = fibrio::sys;

struct Call {
  const char* name;
  std::vector<int> errors;
  void (*arm)(int error, int first);
  int (*hits)();
};

template <class Result>
Result failure(int error) {
  if constexpr (std::is_same_v<Result, sys::MapResult>) {
    return {nullptr, -error};
  } else {
    return static_cast<Result>(-error);
  }
}

// The fault is made in the child and stays to its end.
template <auto kMember, class Result>
struct Arms {
  static inline Fault<kMember>* fault = nullptr;
  static void arm(int error, int first) {
    fault = new Fault<kMember>();
    fault->arm(failure<Result>(error), {.first = first});
  }
  static int hits() { return fault->hits(); }
};
template <class Result, class... Args>
Result result_of(Result (*sys::Syscalls::*)(Args...));

template <auto kMember>
Call call(const char* name, std::initializer_list<int> errors) {
  using Arm = Arms<kMember, decltype(result_of(kMember))>;
  return {name, errors, &Arm::arm, &Arm::hits};
}
#define CALL(name, ...) call<&sys::Syscalls::name>(#name, {__VA_ARGS__})

// Linux closes the fd whatever it answers.
int close_left = 0;
int close_error = 0;
int close_hits = 0;
int failing_close(int fd) {
  static std::mutex mutex;
  const std::lock_guard guard(mutex);
  const int result = sys::real_syscalls.close(fd);
  if (--close_left != 0) return result;
  ++close_hits;
  return -close_error;
}
void arm_close(int error, int first) {
  close_left = first;
  close_error = error;
  sys::syscalls.close = &failing_close;
}

// Without what only a bug of ours could bring about: EBADF, EFAULT and EINVAL of the loop's own fds and pointers.
std::vector<Call> calls() {
  return {
      CALL(mmap, ENOMEM, EAGAIN, EPERM),
      CALL(madvise, EINVAL, ENOMEM, EPERM),
      CALL(mprotect, ENOMEM, EACCES),
      CALL(epoll_create1, EMFILE, ENFILE, ENOMEM),
      CALL(epoll_ctl, ENOMEM, ENOSPC, EPERM),
      CALL(epoll_pwait2, EINTR, ENOSYS, EPERM),
      CALL(epoll_pwait, EINTR),
      CALL(eventfd, EMFILE, ENFILE, ENOMEM),
      CALL(read, EINTR, EIO),
      CALL(write, EINTR),
      {"close", {EINTR, EIO}, &arm_close, [] { return close_hits; }},
      CALL(pipe2, EMFILE, ENFILE),
      CALL(fcntl, EPERM, EINTR),
      CALL(lseek, ESPIPE, EINVAL),
      CALL(sendfile, EINTR, EIO, EINVAL, ENOSYS, EOVERFLOW, EPIPE),
      CALL(socket, EACCES, EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT),
      CALL(bind, EACCES, EADDRINUSE, EADDRNOTAVAIL, ENOMEM),
      CALL(listen, EADDRINUSE, EOPNOTSUPP),
      CALL(accept4, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO),
      CALL(connect, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED, EINTR, ENETUNREACH, ETIMEDOUT, EACCES),
      CALL(recv, ECONNRESET, EINTR, ENOMEM, ETIMEDOUT),
      CALL(send, ECONNRESET, EINTR, ENOBUFS, ENOMEM, EPIPE),
      CALL(recvmsg, EINTR, ENOMEM, ECONNREFUSED),
      CALL(sendmsg, EINTR, ENOBUFS, ENOMEM, EPIPE),
      CALL(shutdown, ENOTCONN),
      CALL(getsockopt, ENOPROTOOPT, ENOBUFS),
      CALL(setsockopt, ENOPROTOOPT, ENOMEM),
      CALL(getsockname, ENOBUFS),
      CALL(clone_child, EAGAIN, ENOMEM, EPERM),
      CALL(waitid, EINTR),
      CALL(getrlimit, EPERM),
      CALL(sched_getaffinity, EPERM),
      CALL(prctl, EPERM, EINVAL),
      CALL(membarrier, ENOSYS, EPERM),
      CALL(thread_sigmask, EINVAL),
  };
}

}  // namespace

TEST_CASE("fail-at-k: a system call that fails is an error that says so, or none", "[ends]") {
  Tally tally("fail_at_k_syscall");
  std::minstd_rand random(static_cast<unsigned>(ends_rounds()));
  const bool is_large = ends_rounds() > 1;
  for (const Call& each : calls()) {
    std::size_t scripts = 0;  // that call it
    for (const FailScript& script : fail_scripts()) {
      if (!is_large && scripts == 1) break;
      bool is_called = true;
      for (std::size_t i = 0; i < each.errors.size() && is_called; ++i) {
        const int error = each.errors[i];
        const int at = std::uniform_int_distribution<int>(2, 12)(random);
        for (const int first : {1, 3, at}) {
          if (!is_large && first == 3) continue;
          const std::string what = std::string(each.name) + " call " + std::to_string(first) +
                                   " fails with " + std::generic_category().message(error);
          const Survival survival = survive(
              script, first == 1 ? 1 : 2, what, [&] { each.arm(error, first); },
              [] { sys::syscalls = sys::real_syscalls; }, [&] { return each.hits() > 0; });
          const bool came = survival != Survival::kNotReached;
          tally.run(std::string(each.name) + " " + std::to_string(error), came,
                    survival == Survival::kSurvived);
          if (first == 1) is_called = came;
          if (!came) break;  // it is not called so often
        }
      }
      if (is_called) ++scripts;
    }
    INFO(each.name);
    const std::string_view name = each.name;
    const bool is_used =
        !(kThreadSanitizer && name == "membarrier") && !(kAddressSanitizer && name == "mprotect");
    CHECK((scripts > 0 || !is_used));  // a point that no run reached
  }
}
