// What: the epoll instance and the eventfd that wakes a thread out of it.
#include "poll/poller.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>

#include "support/catch.hpp"
#include "support/faults.hpp"
#include "support/loops.hpp"
#include "support/scoped_syscalls.hpp"

using fibrio::detail::Poller;
using fibrio::test::Fault;
using fibrio::test::open_fds;
using fibrio::test::ScopedSyscalls;
namespace sys = fibrio::sys;
using namespace std::chrono_literals;

TEST_CASE("Poller gives each wake-up as one event, without reading", "[poller]") {
  Poller poller;
  epoll_event events[4];
  CHECK(poller.wait(events, 0) == 0);
  for (int i = 0; i < 5; ++i) {
    poller.wake();
    REQUIRE(poller.wait(events, -1) == 1);
    CHECK(events[0].data.u64 == Poller::kWakeData);
    CHECK(poller.wait(events, 0) == 0);  // edge-triggered
  }
  poller.wake();
  poller.wake();
  CHECK(poller.wait(events, 0) == 1);
  CHECK(poller.wait(events, 0) == 0);
}

TEST_CASE("Poller takes an eventfd that is full for a wake-up that was signalled", "[poller]") {
  const ScopedSyscalls scoped;
  Poller poller;
  Fault<&sys::Syscalls::write> write;
  write.arm(-EAGAIN);
  poller.wake();
  CHECK(write.hits() == 1);
}

TEST_CASE("Poller wakes a thread that sleeps without a limit", "[poller]") {
  Poller poller;
  int count = 0;
  std::thread sleeper([&] {
    epoll_event events[4];
    count = poller.wait(events, -1);
  });
  poller.wake();
  sleeper.join();
  CHECK(count == 1);
}

TEST_CASE("Poller is never early", "[poller]") {
  Poller poller;
  epoll_event events[1];
  for (const auto wanted : {1us, 100us, 999us, 1001us, 2500us}) {
    const auto start = std::chrono::steady_clock::now();
    CHECK(poller.wait(events, std::chrono::nanoseconds(wanted).count()) == 0);
    CHECK(std::chrono::steady_clock::now() - start >= wanted);
  }
}

TEST_CASE("Poller that is interrupted by a signal reports no events", "[poller]") {
  const ScopedSyscalls scoped;
  Poller poller;
  sys::syscalls.epoll_pwait2 = [](int, epoll_event*, int, const timespec*, const sigset_t*) {
    return -EINTR;
  };
  epoll_event events[1];
  CHECK(poller.wait(events, 1'000'000) == 0);
}

TEST_CASE("Poller that cannot be made names the call and closes what it opened", "[poller]") {
  const ScopedSyscalls scoped;
  const std::size_t fds = open_fds();
  const auto message = [] {
    try {
      Poller poller;
    } catch (const std::system_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  sys::syscalls.epoll_create1 = [](int) { return -EMFILE; };
  CHECK(message().find("RLIMIT_NOFILE") != std::string::npos);
  sys::syscalls.epoll_create1 = sys::real_syscalls.epoll_create1;
  sys::syscalls.eventfd = [](unsigned, int) { return -EMFILE; };
  CHECK(message().find("eventfd") != std::string::npos);
  sys::syscalls.eventfd = sys::real_syscalls.eventfd;
  sys::syscalls.epoll_ctl = [](int, int, int, epoll_event*) { return -ENOSPC; };
  CHECK(message().find("epoll_ctl") != std::string::npos);
  CHECK(open_fds() == fds);
}

TEST_CASE("Poller passes the kernel's answers on", "[poller]") {
  Poller poller;
  int ends[2];
  REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
  CHECK(poller.add(ends[0], EPOLLIN | EPOLLET, 7) == 0);
  CHECK(poller.add(ends[0], EPOLLIN | EPOLLET, 7) == -EEXIST);
  CHECK(poller.modify(ends[1], EPOLLOUT, 8) == -ENOENT);
  CHECK(poller.modify(ends[0], EPOLLIN | EPOLLET, 9) == 0);
  CHECK(::write(ends[1], "x", 1) == 1);
  epoll_event events[4];
  REQUIRE(poller.wait(events, -1) == 1);
  CHECK(events[0].data.u64 == 9);
  CHECK(poller.remove(ends[0]) == 0);
  CHECK(poller.remove(ends[0]) == -ENOENT);
  ::close(ends[0]);
  CHECK(poller.remove(ends[0]) == -EBADF);
  ::close(ends[1]);
}
