#include "sched/reactor.hpp"

#include <cerrno>
#include <mutex>
#include <system_error>

#include "sched/fd_wait.hpp"
#include "sched/fork.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

void FdWait::commit(void* argument, Worker& worker) noexcept {
  auto& self = *static_cast<FdWait*>(argument);
  Registration& registration = *self.registration;
  TaskCore* core = self.waiter.core;
  bool resume = false;
  {
    std::lock_guard guard(registration.lock_);
    const std::size_t side = Registration::index(self.direction);
    if (core->word.arm(self.phase) == WaitWord<>::Armed::cancelled) {
      resume = true;
    } else if (registration.readiness_[side].is_ready() || !registration.is_open()) {
      resume = core->word.resolve();  // if it lost: the canceller makes it ready
    } else {
      self.waiter.listed = true;
      self.waiter.next = registration.waiters_[side];
      registration.waiters_[side] = &self.waiter;
    }
  }
  if (resume) worker.make_ready(*core);
}

void Registration::ask_for_room() noexcept {
  std::uint64_t data = 0;
  {
    std::lock_guard guard(lock_);
    data = (std::uint64_t{generation_} << 32) | slot_;
  }
  // It can only fail because the registration was removed meanwhile, and then nobody waits. Two tasks may do this
  // at once: the same is asked for twice.
  static_cast<void>(reactor_->poller().modify(fd_, Reactor::kAllEvents, data));
  asks_for_room_.store(true, std::memory_order_release);  // partner: the acquire in wait
}

void Registration::unlist_locked(FdWaiter& waiter, Direction direction) noexcept {
  FdWaiter** place = &waiters_[index(direction)];
  while (*place != &waiter) place = &(*place)->next;
  *place = waiter.next;
}

void Registration::take_waiters_locked(Direction direction, RunnableChain& ready) noexcept {
  FdWaiter*& waiters = waiters_[index(direction)];
  RunnableChain newest_first;
  for (FdWaiter* waiter = waiters; waiter != nullptr;) {
    FdWaiter* next = waiter->next;
    waiter->listed = false;
    if (waiter->core->word.resolve()) newest_first.push_front(waiter->core);
    waiter = next;
  }
  waiters = nullptr;
  ready.splice_back(newest_first);
}

Reactor::~Reactor() {
  for (std::uint32_t i = 0; i * kChunkSlots < slots_made_; ++i)
    delete[] chunks_[i].load(std::memory_order_relaxed);
}

Registration* Reactor::at(std::uint32_t slot) const noexcept {
  // acquire: partner of take_slot's release.
  Registration* chunk = chunks_[slot / kChunkSlots].load(std::memory_order_acquire);
  return chunk + slot % kChunkSlots;
}

Registration* Reactor::take_slot() {
  {
    std::lock_guard guard(lock_);
    if (free_ != nullptr) {
      Registration* taken = free_;
      free_ = taken->next_free_;
      return taken;
    }
  }
  std::unique_ptr<Registration[]> chunk(new Registration[kChunkSlots]);
  std::lock_guard guard(lock_);
  if (slots_made_ >= kChunks * kChunkSlots) {
    throw std::system_error(EMFILE, std::system_category(), "more than 4 million fds on one worker");
  }
  for (std::uint32_t i = 0; i < kChunkSlots; ++i) {
    chunk[i].slot_ = slots_made_ + i;
    chunk[i].reactor_ = this;
    if (i > 0) {
      chunk[i].next_free_ = free_;
      free_ = &chunk[i];
    }
  }
  Registration* taken = &chunk[0];
  chunks_[slots_made_ / kChunkSlots].store(chunk.release(), std::memory_order_release);
  slots_made_ += kChunkSlots;
  return taken;
}

Registration* Reactor::add(int fd, int& error, std::uint32_t events) {
  return add(fd, error, events, nullptr);
}

Registration* Reactor::add(int fd, int& error, std::uint32_t events, const FdListener* listener) {
  Registration* registration = take_slot();
  std::uint32_t generation = 0;
  {
    std::lock_guard guard(registration->lock_);
    generation = ++registration->generation_;
    registration->fd_ = fd;
    registration->listener_ = listener;
    // Ready until a call says otherwise: the first call of a new socket may well succeed.
    for (auto& readiness : registration->readiness_) readiness.reset(true);
    registration->asks_for_room_.store((events & EPOLLOUT) != 0, std::memory_order_relaxed);
    registration->open_.store(true, std::memory_order_release);
  }
  error = poller_.add(fd, events, (std::uint64_t{generation} << 32) | registration->slot_);
  if (error < 0) {
    registration->open_.store(false, std::memory_order_release);
    recycle(registration);
    return nullptr;
  }
  if (listener == nullptr) size_.fetch_add(1, std::memory_order_relaxed);
  return registration;
}

void Reactor::remove(Registration* registration, RunnableChain& ready) noexcept {
  Reactor& reactor = *registration->reactor_;
  // Before the generation changes, and long before the fd is closed.
  if (reactor.forks_ == fork_count()) reactor.poller_.remove(registration->fd_);
  if (registration->listener_ == nullptr) reactor.size_.fetch_sub(1, std::memory_order_relaxed);
  std::lock_guard guard(registration->lock_);
  ++registration->generation_;
  registration->open_.store(false, std::memory_order_release);
  registration->take_waiters_locked(Direction::read, ready);
  registration->take_waiters_locked(Direction::write, ready);
}

void Reactor::recycle(Registration* registration) noexcept {
  Reactor& reactor = *registration->reactor_;
  std::lock_guard guard(reactor.lock_);
  registration->fd_ = -1;
  registration->next_free_ = reactor.free_;
  reactor.free_ = registration;
}

void Reactor::dispatch(const epoll_event& event, RunnableChain& ready) noexcept {
  Registration* registration = at(static_cast<std::uint32_t>(event.data.u64));
  const auto generation = static_cast<std::uint32_t>(event.data.u64 >> 32);
  const FdListener* listener = nullptr;
  {
    std::lock_guard guard(registration->lock_);
    if (registration->generation_ != generation) return;  // an event of a former life of the slot
    listener = registration->listener_;
    if (listener == nullptr) {
      const bool broken = (event.events & (EPOLLHUP | EPOLLERR)) != 0;
      if (broken || (event.events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP)) != 0) {
        registration->readiness(Direction::read)
            .on_event(broken || (event.events & (EPOLLRDHUP | EPOLLPRI)) != 0);
        registration->take_waiters_locked(Direction::read, ready);
      }
      if (broken || (event.events & EPOLLOUT) != 0) {
        registration->readiness(Direction::write).on_event(broken);
        registration->take_waiters_locked(Direction::write, ready);
      }
    }
  }
  if (listener != nullptr) listener->on_event(listener->context, ready);
}

bool Reactor::poll(std::int64_t timeout_ns, RunnableChain& ready) noexcept {
  epoll_event events[kEventsPerPoll];
  const int count = poller_.wait(events, timeout_ns);
  bool woken = false;
  for (int i = 0; i < count; ++i) {
    if (events[i].data.u64 == Poller::kWakeData) {
      woken = true;
    } else {
      dispatch(events[i], ready);
    }
  }
  return woken;
}

}  // namespace fibrio::detail
