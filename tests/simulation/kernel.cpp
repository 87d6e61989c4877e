#include "simulation/kernel.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace fibrio::simulation {

namespace {
constexpr int kFirstFd = 1 << 20;  // real ones are below
Kernel* active_kernel = nullptr;
}  // namespace

Kernel::Kernel(Machine& machine) : machine_(machine), before_(sys::syscalls) {
  active_kernel = this;
  sys::Syscalls& table = sys::syscalls;
  table.epoll_create1 = &Kernel::epoll_create1;
  table.epoll_ctl = &Kernel::epoll_ctl;
  table.epoll_pwait2 = &Kernel::epoll_pwait2;
  table.epoll_pwait = &Kernel::epoll_pwait;
  table.eventfd = &Kernel::eventfd;
  table.timerfd_create = &Kernel::timerfd_create;
  table.timerfd_settime = &Kernel::timerfd_settime;
  table.read = &Kernel::read;
  table.write = &Kernel::write;
  table.recv = &Kernel::recv;
  table.send = &Kernel::send;
  table.close = &Kernel::close;
  table.fcntl = &Kernel::fcntl;
  table.getsockopt = &Kernel::getsockopt;
  // Of the thread, which is not the worker's own.
  table.sigaltstack = [](const stack_t*, stack_t*) { return 0; };
  table.prctl = [](int, unsigned long, unsigned long, unsigned long, unsigned long) { return 0; };
}

Kernel::~Kernel() {
  sys::syscalls = before_;
  active_kernel = nullptr;
}

Kernel::File* Kernel::file_of(int fd) noexcept {
  return fd < kFirstFd ? nullptr : &active_kernel->files_[static_cast<std::size_t>(fd - kFirstFd)];
}

int Kernel::make() {
  files_.emplace_back();
  return kFirstFd + static_cast<int>(files_.size()) - 1;
}

int Kernel::make_socket(std::function<void()> on_answer) {
  const int fd = make();
  files_.back().is_socket = true;
  files_.back().on_answer = std::move(on_answer);
  return fd;
}

void Kernel::deliver(int fd, const Message& message) {
  File& file = *file_of(fd);
  file.messages.push_back(message);
  raise(file, EPOLLIN);
}

void Kernel::hang_up(int fd) {
  File& file = *file_of(fd);
  file.ended = true;
  raise(file, EPOLLIN | EPOLLRDHUP);
}

void Kernel::raise(File& file, std::uint32_t events) {
  for (Watch& watch : file.watches) {
    const std::uint32_t wanted = events & watch.events;
    if (wanted == 0) continue;
    watch.pending |= wanted;
    if (!std::exchange(watch.queued, true)) watch.epoll->ready.push_back(&watch);
    Cpu* const sleeper = watch.epoll->sleeper;
    if (sleeper == nullptr || sleeper->waking) continue;
    machine_.wake(*sleeper);
    if ((watch.events & EPOLLEXCLUSIVE) != 0) return;
  }
}

int Kernel::take_ready(File& epoll, epoll_event* events, int max_events) {
  int count = 0;
  while (count < max_events && !epoll.ready.empty()) {
    Watch& watch = *epoll.ready.front();
    epoll.ready.pop_front();
    watch.queued = false;
    events[count].events = std::exchange(watch.pending, 0);
    events[count].data.u64 = watch.data;
    ++count;
  }
  return count;
}

int Kernel::epoll_create1(int) {
  const int fd = active_kernel->make();
  active_kernel->files_.back().is_epoll = true;
  return fd;
}

int Kernel::epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
  File& epoll = *file_of(epoll_fd);
  File& file = *file_of(fd);
  if (operation == EPOLL_CTL_ADD) {
    Watch watch;
    watch.epoll = &epoll;
    watch.data = event->data.u64;
    watch.events = event->events;
    file.watches.push_back(watch);
    std::uint32_t state = file.is_socket ? std::uint32_t{EPOLLOUT} : 0;
    if (!file.messages.empty() || file.ended) state |= EPOLLIN;
    if (state != 0) active_kernel->raise(file, state);
    return 0;
  }
  if (operation != EPOLL_CTL_DEL) return -EINVAL;  // nobody modifies
  const auto is_its = [&](const Watch& watch) { return watch.epoll == &epoll; };
  const auto place = std::find_if(file.watches.begin(), file.watches.end(), is_its);
  if (place == file.watches.end()) return -ENOENT;
  std::erase(epoll.ready, &*place);
  file.watches.erase(place);
  return 0;
}

int Kernel::epoll_pwait(int epoll_fd, epoll_event* events, int max_events, int, const sigset_t*) {
  Machine& machine = active_kernel->machine_;
  machine.spend(machine.costs.poll + machine.take_search_time());
  return active_kernel->take_ready(*file_of(epoll_fd), events, max_events);
}

int Kernel::epoll_pwait2(int epoll_fd, epoll_event* events, int max_events, const timespec* timeout,
                         const sigset_t*) {
  Machine& machine = active_kernel->machine_;
  File& epoll = *file_of(epoll_fd);
  machine.spend(machine.costs.poll + machine.take_search_time());
  if (epoll.ready.empty()) {
    constexpr Nanos kNanosPerSecond = 1'000'000'000;
    epoll.sleeper = &machine.current();
    machine.sleep(timeout == nullptr ? kNever
                                     : machine.now() + timeout->tv_sec * kNanosPerSecond + timeout->tv_nsec);
    epoll.sleeper = nullptr;
  }
  return active_kernel->take_ready(epoll, events, max_events);
}

int Kernel::eventfd(unsigned, int) { return active_kernel->make(); }
int Kernel::timerfd_create(int, int) { return active_kernel->make(); }

int Kernel::timerfd_settime(int fd, int, const itimerspec* time, itimerspec*) {
  if (time->it_value.tv_sec == 0 && time->it_value.tv_nsec == 0) return 0;  // make_watch tries it
  Machine& machine = active_kernel->machine_;
  machine.spend(machine.costs.set_timer);
  File& file = *file_of(fd);
  const std::uint64_t round = ++file.timer_round;
  file.expiries = 0;
  machine.at(machine.now() + time->it_value.tv_nsec, [&file, round] {
    if (!file.is_open || file.timer_round != round) return;
    ++file.expiries;
    active_kernel->raise(file, EPOLLIN);
  });
  return 0;
}

ssize_t Kernel::read(int fd, void* data, std::size_t bytes) {
  File* const file = file_of(fd);
  if (file == nullptr) return sys::real_syscalls.read(fd, data, bytes);
  Machine& machine = active_kernel->machine_;
  machine.spend(machine.costs.read_timer);
  if (file->expiries == 0) return -EAGAIN;
  std::memcpy(data, &file->expiries, sizeof file->expiries);
  file->expiries = 0;
  return sizeof file->expiries;
}

ssize_t Kernel::write(int fd, const void* data, std::size_t bytes) {
  File* const file = file_of(fd);
  if (file == nullptr) return sys::real_syscalls.write(fd, data, bytes);
  Machine& machine = active_kernel->machine_;
  machine.spend(machine.costs.wake);
  ++machine.totals.wakes;
  active_kernel->raise(*file, EPOLLIN);
  return static_cast<ssize_t>(bytes);
}

ssize_t Kernel::recv(int fd, void* data, std::size_t bytes, int) {
  Machine& machine = active_kernel->machine_;
  machine.spend(machine.costs.receive);
  File& file = *file_of(fd);
  if (file.messages.empty()) return file.ended ? 0 : -EAGAIN;
  auto* place = static_cast<std::byte*>(data);
  std::size_t size = 0;
  for (; size + sizeof(Message) <= bytes && !file.messages.empty(); size += sizeof(Message)) {
    std::memcpy(place + size, &file.messages.front(), sizeof(Message));
    file.messages.pop_front();
  }
  return static_cast<ssize_t>(size);
}

ssize_t Kernel::send(int fd, const void*, std::size_t bytes, int) {
  Machine& machine = active_kernel->machine_;
  machine.spend(machine.costs.send);
  file_of(fd)->on_answer();
  return static_cast<ssize_t>(bytes);
}

int Kernel::close(int fd) {
  File* const file = file_of(fd);
  if (file == nullptr) return sys::real_syscalls.close(fd);
  file->is_open = false;
  return 0;
}

int Kernel::fcntl(int fd, int command, long argument) {
  if (file_of(fd) == nullptr) return sys::real_syscalls.fcntl(fd, command, argument);
  return command == F_GETFL ? O_NONBLOCK : 0;
}

int Kernel::getsockopt(int fd, int level, int option, void* value, socklen_t* bytes) {
  if (file_of(fd) == nullptr) return sys::real_syscalls.getsockopt(fd, level, option, value, bytes);
  *static_cast<int*>(value) = option == SO_TYPE ? int{SOCK_STREAM} : AF_INET;
  return 0;
}

}  // namespace fibrio::simulation
