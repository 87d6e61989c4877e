#include "net/process_state.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <thread>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/tasks.hpp"
#include "net/fd_watch.hpp"
#include "net/loop_access.hpp"
#include "net/socket_calls.hpp"
#include "sched/clock_hold.hpp"
#include "sched/fork.hpp"
#include "sched/scheduler.hpp"
#include "sched/this_worker.hpp"
#include "task/loop_services.hpp"

namespace fibrio::detail {

namespace {

int status_of(const siginfo_t& info) noexcept {
  return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

int wait_for_end(int pidfd, pid_t pid, siginfo_t& info, int options) noexcept {
  const auto wait = [&](idtype_t type, int id) {
    int error = 0;
    do {
      info = {};
      error = sys::waitid(type, static_cast<id_t>(id), &info, WEXITED | options);
    } while (error == -EINTR);
    return error;
  };
  const int error = wait(P_PIDFD, pidfd);
  // The pid is the child's until this has taken its status.
  return sys::is_refusal(error) ? wait(P_PID, pid) : error;
}

// kill is the way out where a filter refuses the other call. Nobody else's process: the child was not taken yet.
int signal_child(int pidfd, pid_t pid, int signal) noexcept {
  const int error = sys::pidfd_send_signal(pidfd, signal);
  if (error != -EPERM && error != -ENOSYS) return error;
  siginfo_t info{};
  if (wait_for_end(pidfd, pid, info, WNOHANG | WNOWAIT) == -ECHILD) return -ESRCH;
  return sys::kill(pid, signal);
}

}  // namespace

ProcessState::ProcessState(Scheduler& scheduler, OnDrop on_drop) noexcept
    : scheduler_(scheduler), loop_id_(scheduler.id), on_drop_(on_drop), forks_(fork_count()) {}

ProcessState::~ProcessState() {
  if (!pidfd_.is_open() || forks_ != fork_count()) return;
  // One that may not be killed (a program of another user) is not waited for either.
  if (on_drop_ != OnDrop::kDetach && signal_child(pidfd_.get(), pid_, SIGKILL) != -EPERM) {
    siginfo_t info{};
    static_cast<void>(wait_for_end(pidfd_.get(), pid_, info, 0));
    return;
  }
  try {
    std::thread([pidfd = std::move(pidfd_), pid = pid_] {
      siginfo_t ended{};
      static_cast<void>(wait_for_end(pidfd.get(), pid, ended, 0));
    }).detach();
  } catch (const std::system_error&) {  // no thread: it stays a zombie after its end, until we end
  }
}

void ProcessState::adopt(Child child) {
  pid_ = child.pid;
  pidfd_ = std::move(child.pidfd);
  // Tells when the callback goes, be it with the loop. A child is work under way: virtual time waits for its end.
  const std::shared_ptr<ProcessState> watched(
      this,
      [self = shared_from_this(), hold = std::make_shared<ClockHold>(&scheduler_)](ProcessState* state) {
        state->is_watched_.store(false, std::memory_order_release);
        if (!state->returncode()) state->ended_.set();  // else reap does, when all is done
      });
  is_watched_.store(true, std::memory_order_relaxed);
  fd_watch_of_running_loop().set_callback(pidfd_.get(), Direction::read, [watched] { watched->reap(); });
}

std::optional<int> ProcessState::take_status_locked(int options, int& lost_by) noexcept {
  siginfo_t info{};
  lost_by = wait_for_end(pidfd_.get(), pid_, info, options);
  if (lost_by == 0) return info.si_pid == 0 ? std::nullopt : std::optional<int>(status_of(info));
  return kUnknown;
}

void ProcessState::reap() {
  sys::UniqueFd watched;
  int lost_by = 0;
  {
    const std::lock_guard guard(lock_);
    if (!pidfd_.is_open()) return;
    const std::optional<int> status = take_status_locked(WNOHANG, lost_by);
    if (!status) return;
    watched = std::move(pidfd_);
    // release: partner of returncode's acquire.
    returncode_.store(*status, std::memory_order_release);
  }
  struct Call {
    int fd;
    pid_t pid;
    int lost_by;
  } call{watched.get(), pid_, lost_by};
  // Before the fd is closed. The loop may be gone: then nobody watches.
  with_live_loop(
      &scheduler_, loop_id_,
      [](Scheduler& scheduler, void* context) {
        const auto& done = *static_cast<Call*>(context);
        scheduler.event_loop->remove_reader(done.fd);
        if (done.lost_by == 0) return;
        const std::string why = done.lost_by == -ECHILD
                                    ? "somebody else took it (waitpid, or an ignored SIGCHLD)"
                                    : "waitid: " + std::system_category().message(-done.lost_by);
        report_exception(scheduler,
                         "the status of child process " + std::to_string(done.pid) + " is lost, " + why +
                             "; its returncode is 255",
                         nullptr, AnyFuture());
      },
      &call);
  watched.close();
  ended_.set();
}

int ProcessState::wait() {
  constexpr Duration kPeriod = std::chrono::milliseconds(1);
  for (;;) {
    reap();
    if (const std::optional<int> code = returncode()) return *code;
    // acquire: partner of the release of who sets ended_ next.
    if (is_watched_.load(std::memory_order_acquire)) {
      ended_.wait();
    } else if (this_worker() != nullptr) {  // its loop was closed; nobody will tell
      sleep(kPeriod);
    } else {
      std::this_thread::sleep_for(kPeriod);
    }
  }
}

void ProcessState::send_signal(int signal) {
  const std::lock_guard guard(lock_);
  const std::string call = "send_signal to process " + std::to_string(pid_);
  if (!pidfd_.is_open()) fail(-ESRCH, call);
  if (const int error = signal_child(pidfd_.get(), pid_, signal); error < 0) fail(error, call);
}

void ProcessState::drop() noexcept {
  if (on_drop_ == OnDrop::kDetach || forks_ != fork_count()) return;
  const std::lock_guard guard(lock_);
  if (pidfd_.is_open()) static_cast<void>(signal_child(pidfd_.get(), pid_, SIGKILL));
}

}  // namespace fibrio::detail
