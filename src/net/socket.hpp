// What: a non-blocking socket that tasks use: the fd, its registration with a reactor, and its closing.
//
// Threads: any; one reader and one writer at a time (accept: any number).
//
// Protocol. use_ counts the operations inside the socket; kClosed is set by the first close.
//  1. An operation enters (count + 1) unless kClosed is set, and leaves (count - 1). A task that waits is inside.
//  2. close sets kClosed, takes the fd out of epoll and makes the waiting tasks ready; they leave with ECANCELED.
//  3. The fd is closed by whoever brings the count to zero with kClosed set: exactly once, and never while a system call
//     of ours may be about to use its number.
//  4. The fd is registered by the first operation that has to wait, with the worker it runs on: a connection that is
//     answered at once costs no epoll_ctl.
//
// Rejected: closing under the waiting task (its next call could hit a stranger's fd of the same number).
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/spin_lock.hpp"
#include "base/unique_fd.hpp"
#include "sched/reactor.hpp"

namespace fibrio::detail {

class Socket {
 public:
  explicit Socket(sys::UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(); }

  [[nodiscard]] int fd() const noexcept { return is_open() ? fd_.get() : -1; }
  [[nodiscard]] bool is_open() const noexcept { return (use_.load(std::memory_order_acquire) & kClosed) == 0; }
  void close() noexcept;
  // Gives the fd away, deregistered. Throws RuntimeError while an operation is inside.
  [[nodiscard]] int release();

  // One operation. The constructor throws std::system_error(ECANCELED, call) if the socket is closed.
  class Operation {
   public:
    Operation(Socket& socket, const char* call);
    ~Operation();
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    [[nodiscard]] int fd() const noexcept { return socket_.fd_.get(); }
    // Look before the call; drained after one that got less than it asked for.
    [[nodiscard]] Readiness<>::Seen look(Direction direction) const noexcept;
    void drained(Direction direction, Readiness<>::Seen seen) noexcept;
    // Suspends until the direction may be ready. Throws CancelledError, or ECANCELED if the socket was closed.
    void wait(Direction direction);
    // After a call that did not have to wait: gives way now and then.
    static void spend_budget() noexcept;
    [[noreturn]] void fail(int error) const;

   private:
    Socket& socket_;
    const char* call_;
  };

 private:
  static constexpr std::uint32_t kClosed = 1U << 31;

  [[nodiscard]] Registration& register_here();
  void deregister() noexcept;
  void close_now() noexcept;

  std::atomic<std::uint32_t> use_{0};
  sys::UniqueFd fd_;
  SpinLock lock_;  // guards the making of the registration
  std::atomic<Registration*> registration_{nullptr};
  Scheduler* scheduler_ = nullptr;  // whose reactor has it
  std::uint64_t loop_id_ = 0;
};

}  // namespace fibrio::detail
