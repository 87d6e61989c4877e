// What: every system call of the library, through one table of function pointers. Tests replace entries to
// inject faults (`syscalls.mmap = ...`) or a whole virtual kernel.
// Threads: the calls, any. The table is changed only while nothing else of the library runs.
// Protocol: 1. The table speaks the kernel's convention: a result >= 0, or -errno; no caller reads errno.
//   2. A real entry is a noinline function of syscalls.cpp that copies errno right behind the call: the
//      compiler may keep the address of errno over a fiber switch, so a copy made in a function that a fiber
//      can leave half-way would read another thread's errno.
//   3. Nothing is retried here: EINTR is the caller's business (close must not be retried at all).
// Rejected: errno's own convention in the table (two calls per call, and each fake has to set errno); raw
// syscall instructions (the sanitizers do not see them); a virtual interface (tests replace one call, not
// 40).
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <cstddef>

namespace fibrio::sys {

// What mmap gives: an address, or a null address and -errno.
struct MapResult {
  void* address;
  int error;
};

struct Syscalls {
  // memory
  MapResult (*mmap)(void* address, std::size_t bytes, int protection, int flags, int fd, off_t offset);
  int (*munmap)(void* address, std::size_t bytes);
  int (*mprotect)(void* address, std::size_t bytes, int protection);
  int (*madvise)(void* address, std::size_t bytes, int advice);

  // epoll and eventfd
  int (*epoll_create1)(int flags);
  int (*epoll_ctl)(int epoll_fd, int operation, int fd, epoll_event* event);
  int (*epoll_pwait2)(int epoll_fd, epoll_event* events, int max_events, const timespec* timeout,
                      const sigset_t* mask);
  int (*epoll_pwait)(int epoll_fd, epoll_event* events, int max_events, int timeout_ms, const sigset_t* mask);
  int (*eventfd)(unsigned initial, int flags);
  int (*timerfd_create)(int clock, int flags);
  int (*timerfd_settime)(int fd, int flags, const itimerspec* time, itimerspec* old);

  // any fd
  ssize_t (*read)(int fd, void* data, std::size_t bytes);
  ssize_t (*write)(int fd, const void* data, std::size_t bytes);
  ssize_t (*readv)(int fd, const iovec* parts, int count);
  ssize_t (*writev)(int fd, const iovec* parts, int count);
  int (*close)(int fd);
  int (*open)(const char* path, int flags, mode_t mode);
  int (*pipe2)(int fds[2], int flags);
  int (*fcntl)(int fd, int command, long argument);
  int (*dup3)(int from, int to, int flags);

  // files
  int (*lstat)(const char* path, struct ::stat* result);
  int (*fstat)(int fd, struct ::stat* result);
  int (*unlink)(const char* path);
  ssize_t (*pread)(int fd, void* data, std::size_t bytes, off_t offset);
  off_t (*lseek)(int fd, off_t offset, int whence);
  ssize_t (*sendfile)(int to, int from, off_t* offset, std::size_t bytes);

  // sockets
  int (*socket)(int domain, int type, int protocol);
  int (*bind)(int fd, const sockaddr* address, socklen_t bytes);
  int (*listen)(int fd, int backlog);
  int (*accept4)(int fd, sockaddr* address, socklen_t* bytes, int flags);
  int (*accept)(int fd, sockaddr* address, socklen_t* bytes);
  int (*connect)(int fd, const sockaddr* address, socklen_t bytes);
  ssize_t (*recv)(int fd, void* data, std::size_t bytes, int flags);
  ssize_t (*send)(int fd, const void* data, std::size_t bytes, int flags);
  ssize_t (*recvmsg)(int fd, msghdr* message, int flags);
  ssize_t (*sendmsg)(int fd, const msghdr* message, int flags);
  int (*shutdown)(int fd, int how);
  int (*getsockopt)(int fd, int level, int option, void* value, socklen_t* bytes);
  int (*setsockopt)(int fd, int level, int option, const void* value, socklen_t bytes);
  int (*getsockname)(int fd, sockaddr* address, socklen_t* bytes);
  int (*getpeername)(int fd, sockaddr* address, socklen_t* bytes);

  // process and thread
  int (*sigaction)(int signal, const struct ::sigaction* action, struct ::sigaction* old);
  int (*sigaltstack)(const stack_t* stack, stack_t* old);
  int (*raise)(int signal);
  int (*thread_sigmask)(int how, const sigset_t* set, sigset_t* old);  // of the calling thread
  int (*sigpending)(sigset_t* set);
  int (*sigtimedwait)(const sigset_t* set, siginfo_t* info, const timespec* timeout);
  int (*gettid)();
  int (*tgkill)(pid_t process, pid_t thread, int signal);
  int (*create_thread)(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*),
                       void* argument);
  int (*prctl)(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
  int (*sched_setaffinity)(pid_t thread, std::size_t bytes, const cpu_set_t* cpus);
  int (*sched_getaffinity)(pid_t thread, std::size_t bytes, cpu_set_t* cpus);
  int (*getrlimit)(int resource, rlimit* limit);
  int (*membarrier)(int command);

  // child processes
  // Runs `child` on its own stack in a new process, which shares the memory until it execs or exits; the
  // calling thread stands still so long (see clone(2): `flags` may hold CLONE_PIDFD, which sets `pidfd`).
  int (*clone_child)(int (*child)(void*), void* stack_top, int flags, void* argument, int* pidfd);
  int (*waitid)(idtype_t type, id_t id, siginfo_t* info, int options);
  int (*pidfd_send_signal)(int pidfd, int signal, siginfo_t* info, unsigned flags);
  int (*kill)(pid_t pid, int signal);
};

// The one table, constant-initialised with the real calls: usable from static constructors and from signal
// handlers.
extern Syscalls syscalls;

// The real calls, for a test that puts the table back or wraps an entry.
extern const Syscalls real_syscalls;

// What a kernel or a container's filter answers to a call that it does not know.
[[nodiscard]] constexpr bool is_refusal(int error) noexcept {
  return error == -ENOSYS || error == -EPERM || error == -EINVAL;
}

// Forgets that the kernel lacks a call (see epoll_pwait2); for tests, after they changed the table.
void forget_missing_calls() noexcept;

[[nodiscard]] inline MapResult mmap(void* address, std::size_t bytes, int protection, int flags, int fd,
                                    off_t offset) noexcept {
  return syscalls.mmap(address, bytes, protection, flags, fd, offset);
}
inline int munmap(void* address, std::size_t bytes) noexcept { return syscalls.munmap(address, bytes); }
[[nodiscard]] inline int mprotect(void* address, std::size_t bytes, int protection) noexcept {
  return syscalls.mprotect(address, bytes, protection);
}
inline int madvise(void* address, std::size_t bytes, int advice) noexcept {
  return syscalls.madvise(address, bytes, advice);
}

[[nodiscard]] inline int epoll_create1(int flags) noexcept { return syscalls.epoll_create1(flags); }
[[nodiscard]] inline int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) noexcept {
  return syscalls.epoll_ctl(epoll_fd, operation, fd, event);
}
// A null timeout waits for ever. A timeout of zero goes through epoll_pwait, which is cheaper (89 against
// 155 ns). Where the kernel (before 5.11) or a container's filter lacks the call: epoll_pwait with the time
// rounded up to milliseconds, so that nobody wakes early; that answer is remembered.
[[nodiscard]] int epoll_pwait2(int epoll_fd, epoll_event* events, int max_events, const timespec* timeout,
                               const sigset_t* mask) noexcept;
[[nodiscard]] inline int epoll_pwait(int epoll_fd, epoll_event* events, int max_events, int timeout_ms,
                                     const sigset_t* mask) noexcept {
  return syscalls.epoll_pwait(epoll_fd, events, max_events, timeout_ms, mask);
}
[[nodiscard]] inline int eventfd(unsigned initial, int flags) noexcept {
  return syscalls.eventfd(initial, flags);
}

[[nodiscard]] inline int timerfd_create(int clock, int flags) noexcept {
  return syscalls.timerfd_create(clock, flags);
}
[[nodiscard]] inline int timerfd_settime(int fd, int flags, const itimerspec* time,
                                         itimerspec* old) noexcept {
  return syscalls.timerfd_settime(fd, flags, time, old);
}

[[nodiscard]] inline ssize_t read(int fd, void* data, std::size_t bytes) noexcept {
  return syscalls.read(fd, data, bytes);
}
[[nodiscard]] inline ssize_t write(int fd, const void* data, std::size_t bytes) noexcept {
  return syscalls.write(fd, data, bytes);
}
[[nodiscard]] inline ssize_t readv(int fd, const iovec* parts, int count) noexcept {
  return syscalls.readv(fd, parts, count);
}
[[nodiscard]] inline ssize_t writev(int fd, const iovec* parts, int count) noexcept {
  return syscalls.writev(fd, parts, count);
}
// The fd is gone whatever this returns, also with -EINTR.
inline int close(int fd) noexcept { return syscalls.close(fd); }
[[nodiscard]] inline int open(const char* path, int flags, mode_t mode = 0) noexcept {
  return syscalls.open(path, flags, mode);
}
[[nodiscard]] inline int pipe2(int fds[2], int flags) noexcept { return syscalls.pipe2(fds, flags); }
[[nodiscard]] inline int fcntl(int fd, int command, long argument = 0) noexcept {
  return syscalls.fcntl(fd, command, argument);
}
[[nodiscard]] inline int dup3(int from, int to, int flags) noexcept { return syscalls.dup3(from, to, flags); }

[[nodiscard]] inline int lstat(const char* path, struct ::stat* result) noexcept {
  return syscalls.lstat(path, result);
}
[[nodiscard]] inline int fstat(int fd, struct ::stat* result) noexcept { return syscalls.fstat(fd, result); }
inline int unlink(const char* path) noexcept { return syscalls.unlink(path); }
[[nodiscard]] inline ssize_t pread(int fd, void* data, std::size_t bytes, off_t offset) noexcept {
  return syscalls.pread(fd, data, bytes, offset);
}
inline off_t lseek(int fd, off_t offset, int whence) noexcept { return syscalls.lseek(fd, offset, whence); }
[[nodiscard]] inline ssize_t sendfile(int to, int from, off_t* offset, std::size_t bytes) noexcept {
  return syscalls.sendfile(to, from, offset, bytes);
}

[[nodiscard]] inline int socket(int domain, int type, int protocol) noexcept {
  return syscalls.socket(domain, type, protocol);
}
[[nodiscard]] inline int bind(int fd, const sockaddr* address, socklen_t bytes) noexcept {
  return syscalls.bind(fd, address, bytes);
}
[[nodiscard]] inline int listen(int fd, int backlog) noexcept { return syscalls.listen(fd, backlog); }
// Not blocking, and closed on exec. Where accept4 is missing or refused: accept, and two calls of fcntl.
[[nodiscard]] int accept(int fd, sockaddr* address, socklen_t* bytes) noexcept;
[[nodiscard]] inline int connect(int fd, const sockaddr* address, socklen_t bytes) noexcept {
  return syscalls.connect(fd, address, bytes);
}
[[nodiscard]] inline ssize_t recv(int fd, void* data, std::size_t bytes, int flags) noexcept {
  return syscalls.recv(fd, data, bytes, flags);
}
[[nodiscard]] inline ssize_t send(int fd, const void* data, std::size_t bytes, int flags) noexcept {
  return syscalls.send(fd, data, bytes, flags);
}
[[nodiscard]] inline ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept {
  return syscalls.recvmsg(fd, message, flags);
}
[[nodiscard]] inline ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept {
  return syscalls.sendmsg(fd, message, flags);
}
inline int shutdown(int fd, int how) noexcept { return syscalls.shutdown(fd, how); }
[[nodiscard]] inline int getsockopt(int fd, int level, int option, void* value, socklen_t* bytes) noexcept {
  return syscalls.getsockopt(fd, level, option, value, bytes);
}
[[nodiscard]] inline int setsockopt(int fd, int level, int option, const void* value,
                                    socklen_t bytes) noexcept {
  return syscalls.setsockopt(fd, level, option, value, bytes);
}
[[nodiscard]] inline int getsockname(int fd, sockaddr* address, socklen_t* bytes) noexcept {
  return syscalls.getsockname(fd, address, bytes);
}
[[nodiscard]] inline int getpeername(int fd, sockaddr* address, socklen_t* bytes) noexcept {
  return syscalls.getpeername(fd, address, bytes);
}

[[nodiscard]] inline int sigaction(int signal, const struct ::sigaction* action,
                                   struct ::sigaction* old) noexcept {
  return syscalls.sigaction(signal, action, old);
}
[[nodiscard]] inline int sigaltstack(const stack_t* stack, stack_t* old) noexcept {
  return syscalls.sigaltstack(stack, old);
}
inline int raise(int signal) noexcept { return syscalls.raise(signal); }
inline int thread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept {
  return syscalls.thread_sigmask(how, set, old);
}
[[nodiscard]] inline int sigpending(sigset_t* set) noexcept { return syscalls.sigpending(set); }
inline int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) noexcept {
  return syscalls.sigtimedwait(set, info, timeout);
}
[[nodiscard]] inline int gettid() noexcept { return syscalls.gettid(); }
[[nodiscard]] inline int tgkill(pid_t process, pid_t thread, int signal) noexcept {
  return syscalls.tgkill(process, thread, signal);
}
// pthread_create.
[[nodiscard]] inline int create_thread(pthread_t* thread, const pthread_attr_t* attributes,
                                       void* (*main)(void*), void* argument) noexcept {
  return syscalls.create_thread(thread, attributes, main, argument);
}
inline int prctl(int option, unsigned long a = 0, unsigned long b = 0, unsigned long c = 0,
                 unsigned long d = 0) noexcept {
  return syscalls.prctl(option, a, b, c, d);
}
inline int sched_setaffinity(pid_t thread, std::size_t bytes, const cpu_set_t* cpus) noexcept {
  return syscalls.sched_setaffinity(thread, bytes, cpus);
}
[[nodiscard]] inline int sched_getaffinity(pid_t thread, std::size_t bytes, cpu_set_t* cpus) noexcept {
  return syscalls.sched_getaffinity(thread, bytes, cpus);
}
[[nodiscard]] inline int getrlimit(int resource, rlimit* limit) noexcept {
  return syscalls.getrlimit(resource, limit);
}
[[nodiscard]] inline int membarrier(int command) noexcept { return syscalls.membarrier(command); }

[[nodiscard]] inline int clone_child(int (*child)(void*), void* stack_top, int flags, void* argument,
                                     int* pidfd) noexcept {
  return syscalls.clone_child(child, stack_top, flags, argument, pidfd);
}
[[nodiscard]] inline int waitid(idtype_t type, id_t id, siginfo_t* info, int options) noexcept {
  return syscalls.waitid(type, id, info, options);
}
inline int kill(pid_t pid, int signal) noexcept { return syscalls.kill(pid, signal); }
inline int pidfd_send_signal(int pidfd, int signal, siginfo_t* info = nullptr, unsigned flags = 0) noexcept {
  return syscalls.pidfd_send_signal(pidfd, signal, info, flags);
}

}  // namespace fibrio::sys
