// What: a non-blocking socket that tasks use: the fd, its registration with a reactor, and its closing.
//
// Threads: any; one reader and one writer at a time (accept: any number).
//
// Protocol. use_ counts the operations inside the socket; kClosed is set by the first close.
//  1. An operation enters (count + 1) unless kClosed is set, and leaves (count - 1). A task that waits is
//  inside.
//  2. close sets kClosed, takes the fd out of epoll and makes the waiting tasks ready; they leave with
//  ECANCELED.
//  3. The fd is closed by whoever brings the count to zero with kClosed set, and then sets kGone: exactly
//     once (operations that come too late bring the count to zero as well), and never while a system call of
//     ours may be about to use its number. Until then the socket keeps itself alive, so that its handle may
//     go while tasks are inside.
//  4. A listener gives its port back in close, though a task is inside: a dead socket takes the fd's number over, and
//     keeps it for us until the last operation leaves.
//  5. The fd is registered by the first operation that has to wait (Worker::reactor_for_new_fd): a connection
//     that is answered at once costs no epoll_ctl.
//
// Rejected: closing under the waiting task (its next call could hit a stranger's fd of the same number); shutdown() of
// a listener (another process may share it, and goes on to accept).
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/spin_lock.hpp"
#include "base/unique_fd.hpp"
#include "sched/reactor.hpp"

namespace fibrio::detail {

class Socket {
 public:
  // `short_is_empty`: a read that gets less than it asked for has read all there is. So with TCP (urgent data
  // aside, see Readiness), not with Unix sockets: their reads stop behind what came with file descriptors.
  explicit Socket(sys::UniqueFd fd, bool short_is_empty = true) noexcept
      : fd_(std::move(fd)), short_is_empty_(short_is_empty) {}
  // Takes over an fd, which is still the caller's if there is no memory.
  static std::shared_ptr<Socket> adopt(int fd, bool short_is_empty) {
    sys::UniqueFd held(fd);
    try {
      return std::make_shared<Socket>(std::move(held), short_is_empty);
    } catch (...) {
      static_cast<void>(held.take_fd());
      throw;
    }
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(nullptr); }

  [[nodiscard]] int fd() const noexcept { return is_open() ? fd_.get() : -1; }
  [[nodiscard]] bool is_open() const noexcept {
    return (use_.load(std::memory_order_acquire) & kClosed) == 0;
  }
  // `self` is what is kept while tasks are inside.
  void close(const std::shared_ptr<Socket>& self) noexcept { close(self, false); }
  // The same for a socket that listens. It does not any more on return, but for an accept on another thread that is
  // inside the kernel at this moment.
  void close_listener(const std::shared_ptr<Socket>& self) noexcept { close(self, true); }
  // Gives the fd away, deregistered. Throws RuntimeError while an operation is inside.
  [[nodiscard]] int release();

  // One task's (or plain thread's) call on the socket: net/socket_operation.hpp.
  class Operation;

 private:
  static constexpr std::uint32_t kClosed = 1U << 31;
  static constexpr std::uint32_t kGone = 1U << 30;

  // False: it is closed.
  [[nodiscard]] bool register_here(Worker& worker, Direction direction, const char* call);
  void close(const std::shared_ptr<Socket>& self, bool listens) noexcept;
  void stop_listening() noexcept;
  void deregister() noexcept;
  void leave() noexcept {
    if (use_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) [[unlikely]]
      leave_as_last();
  }
  void leave_as_last() noexcept;
  void close_now() noexcept;

  ElidingAtomic<std::uint32_t> use_{0};
  sys::UniqueFd fd_;
  std::shared_ptr<Socket> self_;  // from close to close_now
  const bool short_is_empty_;
  std::atomic<bool> has_shortage_{false};
  SpinLock lock_;                              // guards the making of the registration
  std::atomic<unsigned> forks_{fork_count()};  // when it was made, or registered
  std::atomic<Registration*> registration_{nullptr};
  Scheduler* scheduler_ = nullptr;  // whose reactor has it
  std::uint64_t loop_id_ = 0;
};

}  // namespace fibrio::detail
