// What: one epoll instance with the eventfd that wakes a thread out of it.
// Threads: any; the kernel orders concurrent calls. With edge triggering each event goes to one of several
// waiting threads. Protocol: the eventfd is registered edge-triggered and never read: each write is one
// event, and a counter that is full (EAGAIN) was signalled already. Who takes a wake event that is not for
// him must wake() again. Rejected: a pipe (two fds); reading the eventfd (one more system call per wake-up).
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <span>

#include "base/unique_fd.hpp"

namespace fibrio::detail {

class Poller {
 public:
  // Throws: std::system_error naming the call; the text tells about RLIMIT_NOFILE where that is the reason.
  Poller();

  // 0 or -errno.
  [[nodiscard]] int add(int fd, std::uint32_t events, std::uint64_t data) noexcept;
  [[nodiscard]] int modify(int fd, std::uint32_t events, std::uint64_t data) noexcept;
  int remove(int fd) noexcept;

  // Waits up to `timeout_ns` (negative: for ever; zero: not at all). Returns how many events there are; 0
  // also after a signal.
  [[nodiscard]] int wait(std::span<epoll_event> events, std::int64_t timeout_ns) noexcept;
  void wake() noexcept;
  // The slack of the timers of the thread that waits, in ns. It delays each sleep by up to that, usually 50 us; so it
  // is taken away over short ones, and only over them: threads and processes inherit it from whoever makes them. Longer
  // ones have a slack that is theirs: the kernel takes a thousandth of the time, if that is more than the thread's.
  void set_timer_slack(int slack_ns) noexcept {
    slack_ns_ = slack_ns;
    exact_below_ns_ = slack_ns > 1 ? std::int64_t{slack_ns} * 1'000 : 0;
  }

  [[nodiscard]] int fd() const noexcept { return epoll_.get(); }

  static constexpr std::uint64_t kWakeData = ~std::uint64_t{0};

 private:
  [[nodiscard]] int wait_as_is(std::span<epoll_event> events, std::int64_t timeout_ns) noexcept;
  [[nodiscard]] int wait_exactly(std::span<epoll_event> events, std::int64_t timeout_ns) noexcept;

  sys::UniqueFd epoll_;
  sys::UniqueFd event_;
  int slack_ns_ = 0;  // unknown, or nothing to take away: up to 1
  std::int64_t exact_below_ns_ = 0;
};

}  // namespace fibrio::detail
