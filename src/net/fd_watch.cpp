#include "net/fd_watch.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/sockets.hpp"
#include "net/loop_access.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/task_control.hpp"

namespace fibrio {

namespace detail {

namespace {
[[noreturn]] void fail_to_watch(int error, int fd) {
  throw std::system_error(-error, std::system_category(), "epoll_ctl on fd " + std::to_string(fd));
}
}  // namespace

struct FdWatchWait {
  FdWatch& watch;
  const int fd;
  const Direction direction;
  const WaitPhase phase;
  FdWaiter waiter;
  int error = 0;

  static void commit(void* argument, Worker& worker) noexcept {
    auto& self = *static_cast<FdWatchWait*>(argument);
    TaskCore& core = *self.waiter.core;
    bool resume = false;
    {
      std::lock_guard guard(self.watch.lock_);
      if (core.word.arm(self.phase) == WaitWord<>::Armed::cancelled) {
        resume = true;
      } else {
        FdWatch::Entry& entry = self.watch.entries_[self.fd];
        FdWatch::Side& side = entry.sides[static_cast<std::size_t>(self.direction)];
        self.waiter.next = side.waiters;
        self.waiter.listed = true;
        side.waiters = &self.waiter;
        self.error = self.watch.arm_locked(self.fd, entry);
        if (self.error < 0) {
          side.waiters = self.waiter.next;
          self.waiter.listed = false;
          resume = core.word.resolve();
        }
      }
    }
    if (resume) worker.make_ready(core);
  }
};

void FdWatch::wait(int fd, Direction direction) {
  Worker& worker = require_task(direction == Direction::read ? "wait_readable" : "wait_writable");
  auto& task = TaskControl::of(*worker.current);
  {
    std::lock_guard guard(lock_);
    start_locked();
  }
  FdWatchWait wait{*this, fd, direction, wait_phase(worker), {}, 0};
  wait.waiter.core = &task;
  suspend(worker, direction == Direction::read ? WaitReason::kReadable : WaitReason::kWritable,
          &FdWatchWait::commit, &wait);
  {
    std::lock_guard guard(lock_);  // also: who resolved the wait is done with our frame
    if (wait.waiter.listed) {
      Entry& entry = entries_[fd];
      FdWaiter** place = &entry.sides[static_cast<std::size_t>(direction)].waiters;
      while (*place != &wait.waiter) place = &(*place)->next;
      *place = wait.waiter.next;
      static_cast<void>(arm_locked(fd, entry));
    }
  }
  if (wait.phase == WaitPhase::waiting && task.word.take_cancellation()) task.throw_cancelled();
  if (wait.error < 0) fail_to_watch(wait.error, fd);
}

void FdWatch::start_locked() {
  if (closed_) throw RuntimeError("the event loop is closed");
  if (poller_ != nullptr) return;
  auto poller = std::make_unique<Poller>();
  int error = 0;
  registration_ = scheduler_.worker(0).reactor.add(poller->fd(), error, EPOLLIN, &listener_);
  if (registration_ == nullptr) fail_to_watch(error, poller->fd());
  poller_ = std::move(poller);
}

int FdWatch::arm_locked(int fd, Entry& entry) noexcept {
  std::uint32_t events = 0;
  if (entry.sides[0].wants()) events |= EPOLLIN | EPOLLRDHUP;
  if (entry.sides[1].wants()) events |= EPOLLOUT;
  const bool has_interest =
      events != 0 || entry.sides[0].watcher != nullptr || entry.sides[1].watcher != nullptr;
  if (has_interest != entry.has_interest) {
    entry.has_interest = has_interest;
    scheduler_.change_outside(has_interest ? 1 : -1);
  }
  // It fired and nobody wants more: it stays disarmed. (To arm it for nothing would still be for EPOLLHUP: a
  // busy loop.)
  if (events == 0 && !entry.is_armed) return 0;
  const auto data = [&] { return std::uint64_t{entry.generation} << 32 | static_cast<std::uint32_t>(fd); };
  int error = entry.is_added ? poller_->modify(fd, events | EPOLLONESHOT, data()) : -ENOENT;
  // Closed and opened again under the same number since: epoll has forgotten it.
  if (error == -ENOENT && events != 0) {
    ++entry.generation;
    error = poller_->add(fd, events | EPOLLONESHOT, data());
  }
  entry.is_added = error == 0;
  entry.is_armed = error == 0 && events != 0;
  if (error < 0 && entry.has_interest && events != 0) {
    entry.has_interest = false;
    scheduler_.change_outside(-1);
  }
  return error;
}

void FdWatch::on_event(void* context, RunnableChain& ready) noexcept {
  auto& self = *static_cast<FdWatch*>(context);
  constexpr int kEvents = 64;
  std::shared_ptr<CallbackState> calls[2 * kEvents];
  std::size_t call_count = 0;
  {
    std::lock_guard guard(self.lock_);
    if (self.poller_ == nullptr) return;
    epoll_event events[kEvents];
    const int count = self.poller_->wait(events, 0);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == Poller::kWakeData) continue;
      call_count += self.dispatch_locked(events[i], ready, calls + call_count);
    }
  }
  for (std::size_t i = 0; i < call_count; ++i) calls[i]->schedule();
}

std::size_t FdWatch::dispatch_locked(const epoll_event& event, RunnableChain& ready,
                                     std::shared_ptr<CallbackState>* calls) {
  std::size_t call_count = 0;
  const auto fd = static_cast<int>(static_cast<std::uint32_t>(event.data.u64));
  const std::uint32_t events = event.events;
  const auto found = entries_.find(fd);
  if (found == entries_.end() || found->second.generation != event.data.u64 >> 32) return 0;
  Entry& entry = found->second;
  entry.is_armed = false;
  const bool broken = (events & (EPOLLHUP | EPOLLERR)) != 0;
  const bool fired[2] = {broken || (events & (EPOLLIN | EPOLLRDHUP)) != 0,
                         broken || (events & EPOLLOUT) != 0};
  for (std::size_t i = 0; i < 2; ++i) {
    if (!fired[i]) continue;
    Side& side = entry.sides[i];
    RunnableChain oldest_first;
    for (FdWaiter* waiter = side.waiters; waiter != nullptr;) {
      FdWaiter* next = waiter->next;
      waiter->listed = false;
      if (waiter->core->word.resolve()) oldest_first.push_front(waiter->core);
      waiter = next;
    }
    side.waiters = nullptr;
    ready.splice_back(oldest_first);
    if (side.watcher != nullptr && !side.watcher->is_queued) {
      side.watcher->is_queued = true;
      const auto direction = static_cast<Direction>(i);
      calls[call_count++] = side.watcher->make_call(
          [this, fd, direction, watcher = side.watcher] { run_callback(fd, direction, watcher); });
    }
  }
  static_cast<void>(arm_locked(fd, entry));
  return call_count;
}

void FdWatch::run_callback(int fd, Direction direction, const std::shared_ptr<Watcher>& watcher) {
  const auto is_current = [&](const Entry& entry) {
    return entry.sides[static_cast<std::size_t>(direction)].watcher == watcher;
  };
  {
    std::lock_guard guard(lock_);
    const auto found = entries_.find(fd);
    if (found == entries_.end() || !is_current(found->second))
      return;  // removed or replaced while it was queued
  }
  struct Rearm {
    FdWatch& self;
    int fd;
    const std::shared_ptr<Watcher>& watcher;
    ~Rearm() {
      std::lock_guard guard(self.lock_);
      watcher->is_queued = false;
      const auto found = self.entries_.find(fd);
      if (found != self.entries_.end() && !self.closed_)
        static_cast<void>(self.arm_locked(fd, found->second));
    }
  } rearm{*this, fd, watcher};
  (*watcher)();
}

std::shared_ptr<void> FdWatch::set_callback(int fd, Direction direction, std::function<void()> callback) {
  // In the end the replaced one: dropped by the caller, it is user code.
  auto watcher = std::make_shared<Watcher>(scheduler_, std::move(callback));
  std::lock_guard guard(lock_);
  start_locked();
  Entry& entry = entries_[fd];
  Side& side = entry.sides[static_cast<std::size_t>(direction)];
  side.watcher.swap(watcher);
  const int error = arm_locked(fd, entry);
  if (error < 0) {
    side.watcher.swap(watcher);
    fail_to_watch(error, fd);
  }
  return watcher;
}

std::shared_ptr<void> FdWatch::remove_callback(int fd, Direction direction) {
  std::lock_guard guard(lock_);
  const auto found = entries_.find(fd);
  if (closed_ || found == entries_.end()) return nullptr;
  std::shared_ptr<Watcher> removed =
      std::exchange(found->second.sides[static_cast<std::size_t>(direction)].watcher, nullptr);
  if (removed != nullptr) static_cast<void>(arm_locked(fd, found->second));
  return removed;
}

std::size_t FdWatch::size() const {
  std::lock_guard guard(lock_);
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& fd) { return fd.second.has_interest; }));
}

void FdWatch::close() noexcept {
  std::unordered_map<int, Entry> entries;
  std::lock_guard guard(lock_);
  closed_ = true;
  entries.swap(entries_);
  if (registration_ != nullptr) {
    RunnableChain nobody;
    Reactor::remove(registration_, nobody);
    Reactor::recycle(registration_);
    registration_ = nullptr;
  }
  poller_.reset();
}

}  // namespace detail

void wait_readable(int fd) {
  static_cast<void>(detail::require_task("wait_readable"));
  detail::fd_watch_of_running_loop().wait(fd, detail::Direction::read);
}
void wait_writable(int fd) {
  static_cast<void>(detail::require_task("wait_writable"));
  detail::fd_watch_of_running_loop().wait(fd, detail::Direction::write);
}

}  // namespace fibrio
