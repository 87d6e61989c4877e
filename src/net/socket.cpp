#include <cerrno>
#include <mutex>
#include <system_error>

#include "fibrio/errors.hpp"
#include "net/socket_operation.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

void Socket::Operation::refuse() {
  socket_.leave();
  fail(-ECANCELED);
}

void Socket::Operation::register_and_return(Direction direction) {
  // Registered as ready: the caller tries once more, as what came before the registration gives no edge of
  // its own.
  if (!socket_.register_here(*worker_, direction, call_)) fail(-ECANCELED);
  registration_ = registration_here();
}

void Socket::Operation::fail(int error) const {
  throw std::system_error(-error, std::system_category(), call_);
}

bool Socket::register_here(Worker& worker, Direction direction, const char* call) {
  std::unique_lock guard(lock_);
  // A close that came first found nothing to wake: a task that waits now would wait for ever.
  if (!is_open()) return false;
  if (registration_.load(std::memory_order_relaxed) != nullptr) {
    if (worker.scheduler.id == loop_id_) return true;
    throw RuntimeError(
        std::string(call) +
        " has to wait, and the socket belongs to another event loop, the one it first waited in: "
        "release() it there, and adopt() the fd in this one");
  }
  int error = 0;
  const std::uint32_t events = direction == Direction::read ? Reactor::kReadEvents : Reactor::kAllEvents;
  Registration* registration = worker.reactor_for_new_fd().add(fd_.get(), error, events);
  if (registration == nullptr) {
    throw std::system_error(
        -error, std::system_category(),
        error == -ENOSPC ? "epoll_ctl: fs.epoll.max_user_watches is too low" : "epoll_ctl");
  }
  forks_.store(fork_count(), std::memory_order_relaxed);
  scheduler_ = &worker.scheduler;
  loop_id_ = worker.scheduler.id;
  registration_.store(registration, std::memory_order_release);
  return true;
}

void Socket::deregister() noexcept {
  // In a forked child: the registration is the parent's, as may be who held the lock at that moment.
  if (forks_.load(std::memory_order_relaxed) != fork_count()) {
    registration_.store(nullptr, std::memory_order_release);
    return;
  }
  Registration* registration = nullptr;
  {
    std::lock_guard guard(lock_);  // either register_here is done, or it will see that the socket is closed
    registration = registration_.load(std::memory_order_acquire);
  }
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

void Socket::close(const std::shared_ptr<Socket>& self, bool listens) noexcept {
  if (!is_open()) return;
  // Counts as an operation itself, and before it sets kClosed, so that nobody closes the fd before it is out
  // of epoll.
  use_.fetch_add(1, std::memory_order_acq_rel);
  if ((use_.fetch_or(kClosed, std::memory_order_acq_rel) & kClosed) != 0) {
    leave();
    return;
  }
  self_ = self;
  deregister();
  if (listens && (use_.load(std::memory_order_relaxed) & ~kClosed) > 1) stop_listening();
  leave();
}

// Clients would connect to nobody, and the port stay taken, until a task inside has come to a worker and left. Without
// an fd for the dead socket it is so: that one closes the port then.
void Socket::stop_listening() noexcept {
  const sys::UniqueFd dead(sys::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (dead.get() >= 0) static_cast<void>(sys::dup3(dead.get(), fd_.get(), O_CLOEXEC));
}

void Socket::leave_as_last() noexcept {
  // If another one has come meanwhile, too late, it is the last now.
  std::uint32_t nobody = kClosed;
  if (use_.compare_exchange_strong(nobody, kClosed | kGone, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
    close_now();
}

void Socket::close_now() noexcept {
  const std::shared_ptr<Socket> last = std::move(self_);  // to the end of this function
  fd_.reset();
  Registration* registration = registration_.exchange(nullptr, std::memory_order_acq_rel);
  if (registration == nullptr) return;
  Worker* worker = this_worker();
  if (worker != nullptr && worker->scheduler.id == loop_id_) {
    Reactor::recycle(registration);
    return;
  }
  with_live_loop(
      scheduler_, loop_id_,
      [](Scheduler&, void* taken) { Reactor::recycle(static_cast<Registration*>(taken)); }, registration);
}

int Socket::release() {
  std::uint32_t nobody = 0;
  if (!use_.compare_exchange_strong(nobody, kClosed | 1, std::memory_order_acq_rel,
                                    std::memory_order_acquire)) {
    if ((nobody & kClosed) != 0) return -1;
    throw RuntimeError("release: a task is inside an operation on this socket");
  }
  deregister();
  const int fd = fd_.take_fd();
  leave();
  return fd;
}

}  // namespace fibrio::detail
