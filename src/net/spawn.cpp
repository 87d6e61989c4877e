#include "net/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "net/socket_calls.hpp"
#include "sched/this_worker.hpp"
#include "sched/worker.hpp"

// For what runs in the child: the tools' state belongs to the parent.
#define FIBRIO_IN_CHILD \
  __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined"), noinline))

namespace fibrio::detail {

namespace {

enum class Step : int { kStdio, kPassFds, kCloseFds, kDirectory, kSession, kGroup, kExec };

// What the child needs, ready made; and what became of it.
struct Plan {
  const char* const* candidates;  // paths of the program, null at the end
  char* const* arguments;
  char* const* environment;
  const char* directory;  // null: ours
  int stdio[3];
  const int* pass_fds;  // above 2, ascending, each once
  std::size_t pass_count;
  unsigned fd_limit;      // no fd has this number or a higher one ...
  bool is_limit_sure;     // ... if this says so
  const cpu_set_t* cpus;  // null: ours (see sched/thread_pin.hpp)
  bool new_session;
  bool has_group;
  int group;

  // Written by the child; the parent reads when it runs again.
  Step step = Step::kStdio;
  int error = 0;
  int failed_fd = -1;
};

// A system call without errno, cancellation or anybody's wrapper. -errno if it fails.
template <class... Args>
FIBRIO_IN_CHILD long call(long number, Args... args) noexcept {
  const long result = ::syscall(number, args...);
  return result < 0 ? -errno : result;
}

FIBRIO_IN_CHILD void reset_signals() noexcept {
  struct KernelAction {  // all zero: the default
    unsigned long handler;
    unsigned long rest[3];
  };
  constexpr std::size_t kMaskBytes = 8;
  for (int signal = 1; signal <= 64; ++signal) {
    KernelAction action{};
    if (call(SYS_rt_sigaction, signal, nullptr, &action, kMaskBytes) < 0) continue;
    const bool is_ignored = action.handler == 1;  // SIG_IGN
    if (action.handler == 0 || (is_ignored && signal != SIGPIPE && signal != SIGXFSZ)) continue;
    action = KernelAction{};
    call(SYS_rt_sigaction, signal, &action, nullptr, kMaskBytes);
  }
}

FIBRIO_IN_CHILD int place_stdio(Plan& plan) noexcept {
  for (int i = 0; i < 3; ++i) {
    plan.failed_fd = plan.stdio[i];
    if (plan.stdio[i] < 0 || plan.stdio[i] > 2 || plan.stdio[i] == i) continue;
    const long moved = call(SYS_fcntl, plan.stdio[i], F_DUPFD_CLOEXEC, 3L);
    if (moved < 0) return static_cast<int>(moved);
    plan.stdio[i] = static_cast<int>(moved);
  }
  for (int i = 0; i < 3; ++i) {
    if (plan.stdio[i] == kInheritFd) continue;
    plan.failed_fd = plan.stdio[i];
    const long error =
        plan.stdio[i] == i ? call(SYS_fcntl, i, F_SETFD, 0L) : call(SYS_dup3, plan.stdio[i], i, 0);
    if (error < 0) return static_cast<int>(error);
  }
  return 0;
}

FIBRIO_IN_CHILD bool is_passed(const Plan& plan, unsigned fd) noexcept {
  for (std::size_t i = 0; i < plan.pass_count; ++i) {
    if (static_cast<unsigned>(plan.pass_fds[i]) == fd) return true;
  }
  return false;
}

// The three ways to close everything above 2 but for pass_fds. 0, or why this way is barred.

FIBRIO_IN_CHILD int close_ranges(const Plan& plan) noexcept {
  unsigned first = 3;
  for (std::size_t i = 0; i <= plan.pass_count; ++i) {
    const bool is_last = i == plan.pass_count;
    const unsigned next = is_last ? ~0U : static_cast<unsigned>(plan.pass_fds[i]);
    const unsigned last = is_last ? ~0U : next - 1;
    if (first <= last) {
      if (const long error = call(SYS_close_range, first, last, 0U); error < 0)
        return static_cast<int>(error);
    }
    first = next + 1;
  }
  return 0;
}

FIBRIO_IN_CHILD int close_listed(const Plan& plan) noexcept {
  struct Entry {  // the kernel's linux_dirent64
    std::uint64_t inode;
    std::int64_t next;
    unsigned short bytes;
    unsigned char type;
    char name[1];
  };
  const long folder = call(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder < 0) return static_cast<int>(folder);
  union {
    Entry entry;
    char bytes[1024];
  } buffer;
  for (;;) {  // the kernel goes on behind the last number that it listed, whatever was closed
    const long count = call(SYS_getdents64, folder, buffer.bytes, sizeof buffer.bytes);
    if (count <= 0) {
      call(SYS_close, folder);
      return static_cast<int>(count);
    }
    for (long at = 0; at < count;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer.bytes + at);
      at += entry->bytes;
      unsigned fd = 0;
      const char* digit = entry->name;
      for (; *digit >= '0' && *digit <= '9'; ++digit) fd = 10 * fd + static_cast<unsigned>(*digit - '0');
      if (digit == entry->name || fd <= 2 || fd == static_cast<unsigned>(folder) || is_passed(plan, fd))
        continue;
      call(SYS_close, fd);
    }
  }
}

FIBRIO_IN_CHILD int close_each(const Plan& plan) noexcept {
  if (!plan.is_limit_sure) return -EMFILE;
  for (unsigned fd = 3; fd < plan.fd_limit; ++fd) {
    if (!is_passed(plan, fd)) call(SYS_close, fd);
  }
  return 0;
}

FIBRIO_IN_CHILD int keep_only(Plan& plan) noexcept {
  plan.step = Step::kPassFds;
  for (std::size_t i = 0; i < plan.pass_count; ++i) {
    const int fd = plan.failed_fd = plan.pass_fds[i];
    if (const long error = call(SYS_fcntl, fd, F_SETFD, 0L); error < 0) return static_cast<int>(error);
  }
  plan.step = Step::kCloseFds;
  const int error = close_ranges(plan);
  return error == 0 || close_listed(plan) == 0 || close_each(plan) == 0 ? 0 : error;
}

// Returns only if no candidate is a program.
FIBRIO_IN_CHILD int exec_first(const Plan& plan) noexcept {
  int error = -ENOENT;
  bool is_found = false;  // what is there but cannot be run says more than what is not there
  for (const char* const* path = plan.candidates; *path != nullptr; ++path) {
    const auto result = static_cast<int>(call(SYS_execve, *path, plan.arguments, plan.environment));
    if (result == -ENOENT || result == -ENOTDIR) {
      if (plan.candidates[1] == nullptr) error = result;
    } else if (!is_found) {
      error = result;
      is_found = true;
    }
  }
  return error;
}

FIBRIO_IN_CHILD int run_steps(Plan& plan) noexcept {
  reset_signals();
  if (plan.cpus != nullptr) call(SYS_sched_setaffinity, 0L, sizeof *plan.cpus, plan.cpus);
  plan.step = Step::kStdio;
  if (const int error = place_stdio(plan); error < 0) return error;
  plan.step = Step::kDirectory;
  if (plan.directory != nullptr) {
    if (const long error = call(SYS_chdir, plan.directory); error < 0) return static_cast<int>(error);
  }
  plan.step = Step::kSession;
  if (plan.new_session) {
    if (const long error = call(SYS_setsid); error < 0) return static_cast<int>(error);
  }
  plan.step = Step::kGroup;
  if (plan.has_group) {
    if (const long error = call(SYS_setpgid, 0L, static_cast<long>(plan.group)); error < 0)
      return static_cast<int>(error);
  }
  if (const int error = keep_only(plan); error < 0) return error;
  plan.step = Step::kExec;
  const unsigned long nothing_blocked = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, &nothing_blocked, nullptr, sizeof nothing_blocked);
  return exec_first(plan);
}

FIBRIO_IN_CHILD int run_child(void* argument) noexcept {
  Plan& plan = *static_cast<Plan*>(argument);
  plan.error = run_steps(plan);
  call(SYS_exit_group, 127);
  return 127;
}

// --- the parent
// ---------------------------------------------------------------------------------------------

void require_text(const std::string& text, const char* what) {
  if (text.find('\0') != std::string::npos) {
    throw std::invalid_argument(std::string("create_subprocess: a zero byte in ") + what);
  }
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::string_view path_of(const SpawnRequest& request) {
  constexpr std::string_view kName = "PATH=";
  constexpr std::string_view kDefault = "/bin:/usr/bin";
  if (!request.env) {
    const char* path = ::getenv("PATH");
    return path == nullptr ? kDefault : path;
  }
  for (const std::string_view variable : *request.env) {
    if (variable.starts_with(kName)) return variable.substr(kName.size());
  }
  return kDefault;
}

std::vector<std::string> candidates_of(const SpawnRequest& request) {
  const std::string& program = request.command.front();
  if (program.find('/') != std::string::npos) return {program};
  std::vector<std::string> candidates;
  std::string_view path = path_of(request);
  for (;;) {
    const std::size_t colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    candidates.push_back(folder.empty() ? program : std::string(folder) + "/" + program);
    if (colon == std::string_view::npos) return candidates;
    path.remove_prefix(colon + 1);
  }
}

std::string name_of(const Plan& plan, const SpawnRequest& request) {
  switch (plan.step) {
    case Step::kStdio:
      return "create_subprocess: fd " + std::to_string(plan.failed_fd) + " as a standard stream";
    case Step::kPassFds:
      return "create_subprocess: fd " + std::to_string(plan.failed_fd) + " of pass_fds";
    case Step::kCloseFds:
      return "create_subprocess: the fds that the child must not get cannot be closed: close_range is "
             "refused, "
             "/proc/self/fd cannot be read, and RLIMIT_NOFILE allows too many to close each (allow "
             "close_range, "
             "mount /proc, or lower the hard limit, ulimit -Hn)";
    case Step::kDirectory:
      return "chdir to '" + request.cwd + "'";
    case Step::kSession:
      return "setsid";
    case Step::kGroup:
      return "setpgid to " + std::to_string(plan.group);
    case Step::kExec:
      break;
  }
  return "exec of '" + request.command.front() + "'";
}

[[noreturn]] void fail_to_clone(int error) {
  if (error == -EAGAIN) {
    fail(error, "clone: no more processes (RLIMIT_NPROC, ulimit -u, or the cgroup's pids.max)");
  }
  const bool is_refused = error == -EPERM || error == -ENOSYS || error == -EINVAL;
  fail(error, is_refused ? "clone with CLONE_PIDFD: refused (a seccomp filter?)" : "clone");
}

}  // namespace

Child spawn(const SpawnRequest& request) {
  for (const std::string& text : request.command) require_text(text, "the command");
  require_text(request.cwd, "cwd");
  if (request.env) {
    for (const std::string& variable : *request.env) require_text(variable, "env");
  }
  const std::vector<std::string> candidates = candidates_of(request);
  const std::vector<char*> paths = pointers_to(candidates);
  const std::vector<char*> arguments = pointers_to(request.command);
  const std::vector<char*> variables = request.env ? pointers_to(*request.env) : std::vector<char*>();
  std::vector<int> pass_fds = request.pass_fds;
  std::erase_if(pass_fds, [](int fd) { return fd >= 0 && fd <= 2; });
  std::sort(pass_fds.begin(), pass_fds.end());
  pass_fds.erase(std::unique(pass_fds.begin(), pass_fds.end()), pass_fds.end());
  // The hard limit: the soft one may have been higher when an fd was made.
  constexpr rlim_t kMostFds = 1U << 20;  // to close each takes some tenths of a second
  rlimit limit{};
  const bool is_limit_sure = sys::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max <= kMostFds;

  const Worker* const worker = this_worker();
  Plan plan{.candidates = paths.data(),
            .arguments = arguments.data(),
            .environment = request.env ? variables.data() : ::environ,
            .directory = request.cwd.empty() ? nullptr : request.cwd.c_str(),
            .stdio = {request.stdio[0], request.stdio[1], request.stdio[2]},
            .pass_fds = pass_fds.data(),
            .pass_count = pass_fds.size(),
            .fd_limit = static_cast<unsigned>(std::min(limit.rlim_max, kMostFds)),
            .is_limit_sure = is_limit_sure,
            .cpus = worker == nullptr ? nullptr : worker->former_cpus,
            .new_session = request.new_session,
            .has_group = request.process_group.has_value(),
            .group = request.process_group.value_or(0)};

  constexpr std::size_t kStackBytes = 32U << 10;
  constexpr std::size_t kAlignment = 16;
  const auto stack = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
  void* top = stack.get() + kStackBytes - reinterpret_cast<std::uintptr_t>(stack.get()) % kAlignment;

  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  if (const int error = sys::thread_sigmask(SIG_BLOCK, &all, &before); error < 0)
    fail(error, "pthread_sigmask");
  int pidfd = -1;
  const int pid = sys::clone_child(&run_child, top, CLONE_PIDFD, &plan, &pidfd);
  sys::thread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) fail_to_clone(pid);

  Child child{pid, sys::UniqueFd(pidfd)};
  if (plan.error == 0 && child.pidfd.is_open()) return child;
  // It has ended, or a kernel before 5.2 knows no pidfd and it must not live.
  siginfo_t info{};
  if (plan.error == 0) static_cast<void>(sys::kill(pid, SIGKILL));
  while (sys::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) == -EINTR) {
  }
  if (plan.error == 0) fail(-ENOSYS, "clone: child processes need CLONE_PIDFD (Linux 5.4)");
  fail(plan.error, name_of(plan, request));
}

}  // namespace fibrio::detail
