#include "poll/poller.hpp"

#include <sys/eventfd.h>
#include <sys/prctl.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "base/check.hpp"
#include "base/syscalls.hpp"

namespace fibrio::detail {

namespace {
int require_fd(int result, const char* call) {
  if (result >= 0) return result;
  std::string text = call;
  if (result == -EMFILE)
    text += ": too many open files; raise RLIMIT_NOFILE (ulimit -n): each worker needs two fds";
  throw std::system_error(-result, std::system_category(), text);
}
}  // namespace

Poller::Poller()
    : epoll_(require_fd(sys::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      event_(require_fd(sys::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
  const int error = add(event_.get(), EPOLLIN | EPOLLET, kWakeData);
  if (error < 0) throw std::system_error(-error, std::system_category(), "epoll_ctl");
}

int Poller::add(int fd, std::uint32_t events, std::uint64_t data) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return sys::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

int Poller::modify(int fd, std::uint32_t events, std::uint64_t data) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return sys::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

int Poller::remove(int fd) noexcept {
  epoll_event unused{};  // kernels before 2.6.9 wanted one; static analysers still do
  return sys::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused);
}

inline int Poller::wait_as_is(std::span<epoll_event> events, std::int64_t timeout_ns) noexcept {
  constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
  timespec time{};
  if (timeout_ns > 0) {
    time.tv_sec = timeout_ns / kNanosPerSecond;
    time.tv_nsec = timeout_ns % kNanosPerSecond;
  }
  const int count = sys::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                      timeout_ns < 0 ? nullptr : &time, nullptr);
  if (count >= 0) return count;
  FIBRIO_CHECK(count == -EINTR, "epoll_pwait2 failed on the loop's own epoll instance");
  return 0;
}

int Poller::wait(std::span<epoll_event> events, std::int64_t timeout_ns) noexcept {
  if (timeout_ns > 0 && timeout_ns < exact_below_ns_) return wait_exactly(events, timeout_ns);
  return wait_as_is(events, timeout_ns);
}

int Poller::wait_exactly(std::span<epoll_event> events, std::int64_t timeout_ns) noexcept {
  sys::prctl(PR_SET_TIMERSLACK, 1);
  const int count = wait_as_is(events, timeout_ns);
  sys::prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(slack_ns_));
  return count;
}

void Poller::wake() noexcept {
  const std::uint64_t one = 1;
  ssize_t result;
  do {
    result = sys::write(event_.get(), &one, sizeof one);
  } while (result == -EINTR);
  FIBRIO_CHECK(result == static_cast<ssize_t>(sizeof one) || result == -EAGAIN,
               "the wake-up eventfd is broken");
}

}  // namespace fibrio::detail
