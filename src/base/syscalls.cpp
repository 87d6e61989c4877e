#include "base/syscalls.hpp"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <climits>

#include "base/sanitizers.hpp"

namespace fibrio::sys {

namespace {

// Turns a C library call into the kernel's convention. Result and arguments come from the table's field.
// noinline: see protocol 2 of the header; also under link-time optimisation.
template <auto kCall, class Result, class... Args>
[[gnu::noinline]] FIBRIO_NO_TSAN Result real(Args... args) {
  Result result = static_cast<Result>(kCall(args...));
  return result < 0 ? static_cast<Result>(-errno) : result;
}

[[gnu::noinline]] FIBRIO_NO_TSAN MapResult real_mmap(void* address, std::size_t bytes, int protection,
                                                     int flags, int fd, off_t offset) {
  void* result = ::mmap(address, bytes, protection, flags, fd, offset);
  if (result == MAP_FAILED) return {nullptr, -errno};
  return {result, 0};
}

[[gnu::noinline]] int real_raise(int signal) {
  // raise returns an error of its own kind: non-zero.
  return ::raise(signal) == 0 ? 0 : -errno;
}

[[gnu::noinline]] int real_thread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  return -::pthread_sigmask(how, set, old);  // returns its error
}

[[gnu::noinline]] int real_create_thread(pthread_t* thread, const pthread_attr_t* attributes,
                                         void* (*main)(void*), void* argument) {
  return -::pthread_create(thread, attributes, main, argument);  // returns its error
}

[[gnu::noinline]] int real_pidfd_send_signal(int pidfd, int signal, siginfo_t* info, unsigned flags) {
  const long result = ::syscall(SYS_pidfd_send_signal, pidfd, signal, info, flags);
  return result < 0 ? -errno : 0;
}

[[gnu::noinline]] int real_membarrier(int command) {
  const long result = ::syscall(SYS_membarrier, command, 0U, 0);
  return result < 0 ? -errno : static_cast<int>(result);
}

// glibc's second name of clone: TSan and others put themselves before the first one, and take a child that
// shares the memory for one that has a copy.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int __clone(int (*child)(void*), void* stack_top, int flags, void* argument, ...);

[[gnu::noinline]] FIBRIO_NO_TSAN int real_clone_child(int (*child)(void*), void* stack_top, int flags,
                                                      void* argument, int* pidfd) {
  const int pid = __clone(child, stack_top, CLONE_VM | CLONE_VFORK | flags | SIGCHLD, argument, pidfd);
  return pid < 0 ? -errno : pid;
}

constexpr Syscalls kReal = {
    .mmap = real_mmap,
    .munmap = real<::munmap>,
    .mprotect = real<::mprotect>,
    .madvise = real<::madvise>,
    .epoll_create1 = real<::epoll_create1>,
    .epoll_ctl = real<::epoll_ctl>,
    .epoll_pwait2 = real<::epoll_pwait2>,
    .epoll_pwait = real<::epoll_pwait>,
    .eventfd = real<::eventfd>,
    .timerfd_create = real<::timerfd_create>,
    .timerfd_settime = real<::timerfd_settime>,
    .read = real<::read>,
    .write = real<::write>,
    .readv = real<::readv>,
    .writev = real<::writev>,
    .close = real<::close>,
    .open = real<::open>,
    .pipe2 = real<::pipe2>,
    .fcntl = real<::fcntl>,
    .dup3 = real<::dup3>,
    .lstat = real<::lstat>,
    .fstat = real<::fstat>,
    .unlink = real<::unlink>,
    .pread = real<::pread>,
    .lseek = real<::lseek>,
    .sendfile = real<::sendfile>,
    .socket = real<::socket>,
    .bind = real<::bind>,
    .listen = real<::listen>,
    .accept4 = real<::accept4>,
    .accept = real<::accept>,
    .connect = real<::connect>,
    .recv = real<::recv>,
    .send = real<::send>,
    .recvmsg = real<::recvmsg>,
    .sendmsg = real<::sendmsg>,
    .shutdown = real<::shutdown>,
    .getsockopt = real<::getsockopt>,
    .setsockopt = real<::setsockopt>,
    .getsockname = real<::getsockname>,
    .getpeername = real<::getpeername>,
    .sigaction = real<::sigaction>,
    .sigaltstack = real<::sigaltstack>,
    .raise = real_raise,
    .thread_sigmask = real_thread_sigmask,
    .sigpending = real<::sigpending>,
    .sigtimedwait = real<::sigtimedwait>,
    .gettid = real<::gettid>,
    .tgkill = real<::tgkill>,
    .create_thread = real_create_thread,
    .prctl = real<::prctl>,
    .sched_setaffinity = real<::sched_setaffinity>,
    .sched_getaffinity = real<::sched_getaffinity>,
    .getrlimit = real<::getrlimit>,
    .membarrier = real_membarrier,
    .clone_child = real_clone_child,
    .waitid = real<::waitid>,
    .pidfd_send_signal = real_pidfd_send_signal,
    .kill = real<::kill>,
};

// A fact about the kernel, not about a loop: one for the process. Relaxed: who misses it asks once more.
std::atomic<bool> has_no_epoll_pwait2{false};

// Up, so that nobody wakes before the deadline; bounded by what epoll_pwait can say (24 days).
int milliseconds_rounded_up(const timespec& time) noexcept {
  constexpr long kNsPerMs = 1'000'000;
  constexpr time_t kMaxSeconds = INT_MAX / 1000 - 1;
  if (time.tv_sec >= kMaxSeconds) return INT_MAX;
  return static_cast<int>(time.tv_sec * 1000 + (time.tv_nsec + kNsPerMs - 1) / kNsPerMs);
}

}  // namespace

constinit Syscalls syscalls = kReal;
constinit const Syscalls real_syscalls = kReal;

void forget_missing_calls() noexcept { has_no_epoll_pwait2.store(false, std::memory_order_relaxed); }

int epoll_pwait2(int epoll_fd, epoll_event* events, int max_events, const timespec* timeout,
                 const sigset_t* mask) noexcept {
  if (timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0) {
    return syscalls.epoll_pwait(epoll_fd, events, max_events, 0, mask);
  }
  if (!has_no_epoll_pwait2.load(std::memory_order_relaxed)) {
    int result = syscalls.epoll_pwait2(epoll_fd, events, max_events, timeout, mask);
    // The call itself gives none of these: EINVAL is for an fd that is no epoll.
    if (!is_refusal(result)) return result;
    has_no_epoll_pwait2.store(true, std::memory_order_relaxed);
  }
  int timeout_ms = timeout == nullptr ? -1 : milliseconds_rounded_up(*timeout);
  return syscalls.epoll_pwait(epoll_fd, events, max_events, timeout_ms, mask);
}

int accept(int fd, sockaddr* address, socklen_t* bytes) noexcept {
  const socklen_t room = bytes == nullptr ? 0 : *bytes;
  int result = syscalls.accept4(fd, address, bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (result != -ENOSYS && result != -EPERM) return result;
  if (bytes != nullptr) *bytes = room;
  result = syscalls.accept(fd, address, bytes);
  if (result < 0) return result;
  int error = syscalls.fcntl(result, F_SETFD, FD_CLOEXEC);
  if (error >= 0) error = syscalls.fcntl(result, F_SETFL, O_NONBLOCK);
  if (error >= 0) return result;
  syscalls.close(result);
  return error;
}

}  // namespace fibrio::sys
