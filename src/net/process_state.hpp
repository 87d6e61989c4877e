// What: one child process: its end, once, and signals to it.
//
// Threads: any. Protocol.
//  1. The loop that started it watches the pidfd (fd_watch.hpp) by a callback that holds this state; the
//     callback, or who is about to wait, takes the status (reap) under the lock, publishes it, and ends the
//     watch.
//  2. Signals go through the pidfd under the same lock: never to a pid that is another's by now. Where a filter
//     refuses that call kill is the way out: the pid is the child's until its status is taken, here.
//  3. The last reference goes with the callback (the loop was closed) or with the Process. A child that was
//     not reaped by then is killed and reaped here, or given to a thread that waits for it (OnDrop::kDetach):
//     no zombie stays.
//
// Rejected: SIGCHLD (one handler per process, and other code has children too); a thread per child.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <climits>
#include <memory>
#include <mutex>
#include <optional>

#include "base/unique_fd.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/subprocess.hpp"
#include "net/spawn.hpp"

namespace fibrio::detail {

class Scheduler;

class ProcessState : public std::enable_shared_from_this<ProcessState> {
 public:
  ProcessState(Scheduler& scheduler, OnDrop on_drop) noexcept;
  ProcessState(const ProcessState&) = delete;
  ProcessState& operator=(const ProcessState&) = delete;
  ~ProcessState();

  // Takes over a child that runs, and has the running loop watch it. Throws if it cannot: destroy the state
  // then.
  void adopt(Child child);

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::optional<int> returncode() const noexcept {
    // acquire: partner of reap's release.
    const int code = returncode_.load(std::memory_order_acquire);
    return code == kRunning ? std::nullopt : std::optional<int>(code);
  }
  int wait();
  void send_signal(int signal);
  // The Process is gone.
  void drop() noexcept;

 private:
  static constexpr int kRunning = INT_MIN;
  static constexpr int kUnknown = 255;  // asyncio's

  void reap();
  // The status, if it has ended; kUnknown if nobody can say any more, and the error. `options`: WNOHANG or 0.
  [[nodiscard]] std::optional<int> take_status_locked(int options, int& lost_by) noexcept;

  Scheduler& scheduler_;  // lives if loop_id_ does
  const std::uint64_t loop_id_;
  const OnDrop on_drop_;
  const unsigned forks_;  // in a forked copy of us the child is not ours to kill
  pid_t pid_ = -1;
  mutable std::mutex lock_;  // guards pidfd_ and the change of returncode_
  sys::UniqueFd pidfd_;
  std::atomic<int> returncode_{kRunning};
  std::atomic<bool> is_watched_{false};
  Event ended_;
};

}  // namespace fibrio::detail
