// What: one call on a socket: what it looks at, and its wait.
//
// Threads: the task (or plain thread) whose call it is.
//
// All that is on the way of a call that succeeds, and of one that waits, is inline: a task that waits for a
// connection sleeps with these frames on its stack, and each of their cache lines is missed when it goes on,
// if there are many connections.
#pragma once

#include <cerrno>

#include "net/socket.hpp"
#include "sched/fd_wait.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/budget.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

class Socket::Operation {
 public:
  // Throws std::system_error(ECANCELED, call) if the socket is closed.
  Operation(Socket& socket, const char* call)
      : socket_(socket), call_(call), worker_(this_worker()), registration_(nullptr) {
    // acq_rel: partner of close's fetch_or: either it sees us inside, or we see it closed.
    if ((socket.use_.fetch_add(1, std::memory_order_acq_rel) & kClosed) != 0) [[unlikely]]
      refuse();
    registration_ = registration_here();
  }
  ~Operation() { socket_.leave(); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  [[nodiscard]] int fd() const noexcept { return socket_.fd_.get(); }
  [[nodiscard]] bool is_open() const noexcept { return socket_.is_open(); }

  // Look before the call; drained after a read that got less than it asked for, would_block after a call
  // that said so.
  [[nodiscard]] Readiness<>::Seen look(Direction direction) noexcept {
    constexpr Readiness<>::Seen kUnknown = 1;  // the call will tell
    return registration_ == nullptr ? kUnknown : registration_->readiness(direction).look();
  }
  void drained(Direction direction, Readiness<>::Seen seen) noexcept {
    if (direction == Direction::read && !socket_.short_is_empty_) return;
    if (registration_ != nullptr) registration_->readiness(direction).drained(seen);
  }
  void would_block(Direction direction, Readiness<>::Seen seen) noexcept {
    if (registration_ != nullptr) registration_->readiness(direction).would_block(seen);
  }

  // Suspends until the direction may be ready. Throws CancelledError; ECANCELED if the socket was closed;
  // RuntimeError outside a task, and if the socket belongs to another loop.
  [[gnu::always_inline]] inline void wait(Direction direction) {
    worker_ = &require_task(call_);
    if (registration_ == nullptr) {
      register_and_return(direction);
      return;
    }
    auto& task = TaskControl::of(*worker_->current);
    if (!registration_->wait(worker_, direction)) task.throw_cancelled();
    if (!socket_.is_open()) fail(-ECANCELED);
  }

  // spend_budget() of who has not waited since the operation began, other than in `wait` and `spend`: before each call
  // that takes or sends something.
  void spend() {
    if (worker_ != nullptr && worker_->spend_budget()) [[unlikely]]
      worker_ = &look_around(*worker_, false);
  }
  [[noreturn, gnu::cold]] void fail(int error) const;

  // For accept: true for who is the first to run out of resources since the queue was empty last.
  [[nodiscard]] bool begin_shortage() noexcept {
    return !socket_.has_shortage_.exchange(true, std::memory_order_relaxed);
  }
  [[nodiscard]] bool has_shortage() const noexcept {
    return socket_.has_shortage_.load(std::memory_order_relaxed);
  }
  void end_shortage() noexcept { socket_.has_shortage_.store(false, std::memory_order_relaxed); }

 private:
  [[noreturn, gnu::cold]] void refuse();
  void register_and_return(Direction direction);
  // acquire: partner of register_here's release.
  [[nodiscard]] Registration* registration_here() const noexcept {
    Registration* registration = socket_.registration_.load(std::memory_order_acquire);
    if (registration == nullptr) return nullptr;
    if (worker_ == nullptr || worker_->scheduler.id != socket_.loop_id_) return nullptr;
    return registration;
  }

  Socket& socket_;
  const char* call_;
  Worker* worker_;  // the one this ran on last; null: a plain thread
  // Null: none yet, or of another loop, which may be gone, and the registration with it: nothing is known.
  Registration* registration_;
};

}  // namespace fibrio::detail
