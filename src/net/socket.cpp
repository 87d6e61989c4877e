#include "net/socket.hpp"

#include <cerrno>
#include <mutex>
#include <system_error>

#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

Socket::Operation::Operation(Socket& socket, const char* call) : socket_(socket), call_(call) {
  // acq_rel: partner of close's fetch_or: either it sees us inside, or we see it closed.
  if ((socket.use_.fetch_add(1, std::memory_order_acq_rel) & kClosed) == 0) return;
  if (socket.use_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) socket.close_now();
  fail(-ECANCELED);
}

Socket::Operation::~Operation() {
  if (socket_.use_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) socket_.close_now();
}

Readiness<>::Seen Socket::Operation::look(Direction direction) const noexcept {
  Registration* registration = socket_.registration_.load(std::memory_order_acquire);
  constexpr Readiness<>::Seen kUnknown = 1;  // not registered: the call will tell
  return registration == nullptr ? kUnknown : registration->readiness(direction).look();
}

void Socket::Operation::drained(Direction direction, Readiness<>::Seen seen) noexcept {
  Registration* registration = socket_.registration_.load(std::memory_order_acquire);
  if (registration != nullptr) registration->readiness(direction).drained(seen);
}

void Socket::Operation::wait(Direction direction) {
  Registration* registration = socket_.registration_.load(std::memory_order_acquire);
  if (registration == nullptr) {
    // Registered as ready: the caller tries once more, as what came before the registration gives no edge of its own.
    static_cast<void>(socket_.register_here());
    return;
  }
  Worker& worker = require_task(call_);
  if (worker.scheduler.id != socket_.loop_id_) {
    throw RuntimeError(std::string(call_) + ": the socket is used by another event loop than the one it belongs to");
  }
  auto& task = TaskControl::of(*worker.current);
  if (!registration->wait(direction)) task.throw_cancelled();
  if (!socket_.is_open()) fail(-ECANCELED);
}

void Socket::Operation::spend_budget() noexcept {
  Worker* worker = this_worker();
  if (worker != nullptr && worker->current != nullptr && worker->spend_budget()) yield_current(*worker);
}

void Socket::Operation::fail(int error) const { throw std::system_error(-error, std::system_category(), call_); }

Registration& Socket::register_here() {
  Worker& worker = require_task("waiting for a socket");
  std::unique_lock guard(lock_);
  if (Registration* registration = registration_.load(std::memory_order_relaxed)) return *registration;
  int error = 0;
  Registration* registration = worker.reactor.add(fd_.get(), error);
  if (registration == nullptr) {
    throw std::system_error(-error, std::system_category(),
                            error == -ENOSPC ? "epoll_ctl: fs.epoll.max_user_watches is too low" : "epoll_ctl");
  }
  scheduler_ = &worker.scheduler;
  loop_id_ = worker.scheduler.id;
  registration_.store(registration, std::memory_order_release);
  return *registration;
}

void Socket::deregister() noexcept {
  Registration* registration = registration_.load(std::memory_order_acquire);
  if (registration == nullptr) return;
  const auto remove = [](Registration* taken) {
    RunnableChain ready;
    Reactor::remove(taken, ready);
    while (Runnable* item = ready.pop_front()) make_ready_anywhere(static_cast<TaskCore&>(*item));
  };
  Worker* worker = this_worker();
  if (worker != nullptr && worker->scheduler.id == loop_id_) {
    remove(registration);
    return;
  }
  // From elsewhere: the loop, and the registration with it, may be gone.
  if (!with_live_loop(
          scheduler_, loop_id_,
          [](Scheduler&, void* taken) {
            RunnableChain ready;
            Reactor::remove(static_cast<Registration*>(taken), ready);
            while (Runnable* item = ready.pop_front()) make_ready_anywhere(static_cast<TaskCore&>(*item));
          },
          registration)) {
    registration_.store(nullptr, std::memory_order_release);
  }
}

void Socket::close() noexcept {
  // Counts as an operation itself, so that nobody closes the fd before it is out of epoll.
  const std::uint32_t before = use_.fetch_or(kClosed, std::memory_order_acq_rel);
  if ((before & kClosed) != 0) return;
  use_.fetch_add(1, std::memory_order_acq_rel);
  deregister();
  if (use_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) close_now();
}

void Socket::close_now() noexcept {
  fd_.reset();
  Registration* registration = registration_.exchange(nullptr, std::memory_order_acq_rel);
  if (registration == nullptr) return;
  Worker* worker = this_worker();
  if (worker != nullptr && worker->scheduler.id == loop_id_) {
    Reactor::recycle(registration);
    return;
  }
  with_live_loop(
      scheduler_, loop_id_, [](Scheduler&, void* taken) { Reactor::recycle(static_cast<Registration*>(taken)); },
      registration);
}

int Socket::release() {
  std::uint32_t nobody = 0;
  if (!use_.compare_exchange_strong(nobody, kClosed | 1, std::memory_order_acq_rel)) {
    if ((nobody & kClosed) != 0) return -1;
    throw RuntimeError("release: a task is inside an operation on this socket");
  }
  deregister();
  const int fd = fd_.take_fd();
  if (use_.fetch_sub(1, std::memory_order_acq_rel) == (kClosed | 1)) close_now();
  return fd;
}

}  // namespace fibrio::detail
