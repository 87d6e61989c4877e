// Faults of the calls that make signals ours, and of reading a pipe.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include <fibrio/pipes.hpp>
#include <fibrio/signals.hpp>

#include "support/faults.hpp"
#include "support/net_loops.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

bool is_default(int signal) {
  struct sigaction action {};
  ::sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

}  // namespace

// asyncio: test_unix_events SelectorEventLoopSignalTests.test_add_signal_handler_install_error
// asyncio: test_unix_events SelectorEventLoopSignalTests.test_add_signal_handler_install_error2
// asyncio: test_unix_events SelectorEventLoopSignalTests.test_add_signal_handler_install_error3
TEST_CASE("A signal that the system refuses is told, and nothing stays installed", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::sigaction> sigaction(
      [](int, const struct ::sigaction* action, struct ::sigaction*) { return action != nullptr; });
  Fault<&sys::Syscalls::pipe2> pipe2;
  Fault<&sys::Syscalls::epoll_ctl> epoll_ctl(
      [](int, int operation, int, epoll_event*) { return operation == EPOLL_CTL_ADD; });
  on_loops([&] {
    EventLoop& loop = get_running_loop();
    const auto add = [&] { loop.add_signal_handler(SIGUSR1, [] {}); };
    const auto subscribe = [] { SignalStream signals{SIGUSR1, SIGUSR2}; };
    pipe2.arm(-EMFILE, {.times = 2});
    expect_equal(error_of(add), EMFILE, "errno");
    expect_equal(error_of(subscribe), EMFILE, "errno");
    epoll_ctl.arm(-ENOSPC, {.times = 2});
    expect_equal(error_of(add), ENOSPC, "errno");
    expect_equal(error_of(subscribe), ENOSPC, "errno");
    sigaction.arm(-EINVAL);
    expect_throws<std::invalid_argument>(add, "refused");
    for (const int first : {1, 2}) {  // the second one's refusal takes the first one back
      sigaction.arm(-EINVAL, {.first = first});
      expect_throws<std::invalid_argument>(subscribe, "refused");
      expect(is_default(SIGUSR1) && is_default(SIGUSR2), "nothing installed");
    }
    expect(!loop.remove_signal_handler(SIGUSR1), "no handler");
    SignalStream signals{SIGUSR1};
    ::kill(::getpid(), SIGUSR1);
    expect_equal(signals.next(), SIGUSR1, "the signal");
  });
}

// asyncio: test_unix_events UnixReadPipeTransportTests.test__read_ready_error
TEST_CASE("A read or write of a pipe that fails is named, and an interrupted one is repeated", "[fault]") {
  const ScopedSyscalls table;
  static int watched[2];
  Fault<&sys::Syscalls::read> read([](int fd, void*, std::size_t) { return fd == watched[0]; });
  Fault<&sys::Syscalls::write> write([](int fd, const void*, std::size_t) { return fd == watched[1]; });
  on_loops([&] {
    expect(::pipe(watched) == 0, "a pipe");
    const std::unique_ptr<ByteStream> out = connect_read_pipe(watched[0]);
    const std::unique_ptr<ByteStream> in = connect_write_pipe(watched[1]);
    std::byte buffer[8] = {};
    std::string text;
    write.arm(-EIO);
    expect_equal(error_of([&] { in->write_all(buffer); }, &text), EIO, "errno");
    expect(text.find("write") == 0, "the call in: " + text);
    for (const int error : {EINTR, EAGAIN}) {
      write.arm(-error);
      in->write_all(buffer);
      expect_equal(write.hits(), 1, "failed calls");
      read.arm(-error);
      expect_equal(out->read_some(buffer), 8, "bytes");
    }
    write.arm(-EINTR);
    expect_equal(in->try_write_some(buffer), 8, "bytes");
    read.arm(-ENOMEM);
    expect_equal(error_of([&] { (void)out->read_some(buffer); }, &text), ENOMEM, "errno");
    expect(text.find("read") == 0, "the call in: " + text);
    expect_equal(out->read_some(buffer), 8, "bytes");
  });
}

TEST_CASE("A handler at work on another thread keeps the loop's pipe open, and errno as it was", "[fault]") {
  const ScopedSyscalls table;
  static std::atomic<bool> is_writing;
  static std::atomic<bool> is_leaving;
  static std::atomic<bool> is_closed;
  static std::atomic<bool> was_open;
  static clockid_t closer;
  is_writing = is_leaving = is_closed = was_open = false;
  REQUIRE(::pthread_getcpuclockid(::pthread_self(), &closer) == 0);
  static const auto closer_ns = [] {
    timespec time{};
    ::clock_gettime(closer, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
  };
  sys::syscalls.write = [](int fd, const void* data, std::size_t bytes) -> ssize_t {
    if (*static_cast<const unsigned char*>(data) != SIGUSR1 || bytes != 1)
      return sys::real_syscalls.write(fd, data, bytes);
    is_writing = true;
    while (!is_leaving) {
    }
    // By its own clock long enough for who would not wait to close it; who waits makes no use of the time.
    const auto begin = closer_ns();
    while (!is_closed && closer_ns() - begin < 20'000'000) ::sched_yield();
    was_open = ::fcntl(fd, F_GETFD) >= 0;
    errno = EPIPE;
    return -EPIPE;
  };
  EventLoop loop;
  loop.add_signal_handler(SIGUSR1, [] {});
  int errno_after = 0;
  std::thread elsewhere([&] {
    errno = ENOTTY;
    ::pthread_kill(::pthread_self(), SIGUSR1);
    errno_after = errno;
  });
  while (!is_writing) std::this_thread::yield();
  is_leaving = true;
  loop.close();
  is_closed = true;
  elsewhere.join();
  CHECK(was_open);
  CHECK(errno_after == ENOTTY);
  CHECK(is_default(SIGUSR1));
}
