// Faults of the calls that start a child: each names itself, and leaves neither fds nor children.
#include <sys/resource.h>

#include "support/children.hpp"
#include "support/faults.hpp"
#include "support/net.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

SubprocessOptions all_pipes() { return {.stdin = PIPE, .stdout = PIPE, .stderr = PIPE}; }

void expect_nothing_left(std::size_t fds) {
  expect_equal(open_fds(), fds, "open fds");
  expect(!has_children(), "no child");
}

// The k-th `call` fails with each of `errors`.
template <class AnyFault>
void expect_named(AnyFault& fault, const std::string& name, std::initializer_list<int> errors, int calls,
                  SubprocessOptions options = all_pipes()) {
  const std::size_t fds = open_fds();
  for (const int error : errors) {
    for (int k = 1; k <= calls; ++k) {
      std::string text;
      fault.arm(-error, {.first = k});
      expect_equal(error_of([&] { (void)shell("exit 1", options); }, &text), error, "errno");
      expect(text.find(name) == 0, "the call " + name + " in: " + text);
      expect_nothing_left(fds);
    }
  }
  expect_equal(shell("exit 7", options).wait(), 7, "the status of the next one");
}

}  // namespace

TEST_CASE("A child that lacks a pipe, a process or memory is an error that leaves nothing", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::pipe2> pipe2;
  Fault<&sys::Syscalls::open> open;
  Fault<&sys::Syscalls::clone_child> clone;
  Fault<&sys::Syscalls::fcntl> fcntl;
  with_children([&] {
    shell("true").wait();  // makes what a loop makes once
    expect_named(pipe2, "pipe2", {EMFILE, ENFILE}, 3);
    expect_named(open, "open of /dev/null", {EMFILE, ENFILE}, 3,
                 {.stdin = DEVNULL, .stdout = DEVNULL, .stderr = DEVNULL});
    expect_named(clone, "clone", {EMFILE, EAGAIN, ENOMEM}, 1);
    expect_named(fcntl, "fcntl", {EBADF}, 9);
    std::string text;
    clone.arm(-EAGAIN);
    expect_equal(error_of([] { (void)shell("true"); }, &text), EAGAIN, "errno");
    expect(text.find("RLIMIT_NPROC") != std::string::npos, "the limit in: " + text);
  });
}

TEST_CASE("A child that the loop cannot watch is killed and taken away at once", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::epoll_ctl> epoll_ctl(
      [](int, int operation, int, epoll_event*) { return operation == EPOLL_CTL_ADD; });
  with_children([&] {
    shell("true").wait();
    expect_named(epoll_ctl, "epoll_ctl", {ENOSPC, ENOMEM}, 1);
  });
}

TEST_CASE("A kernel without pidfds is told by the name of what it lacks", "[fault]") {
  const ScopedSyscalls table;
  sys::syscalls.clone_child = [](int (*child)(void*), void* stack, int, void* argument, int* pidfd) {
    return sys::real_syscalls.clone_child(child, stack, 0, argument, pidfd);
  };
  with_children([] {
    const std::size_t fds = open_fds();
    std::string text;
    expect_equal(error_of([] { (void)create_subprocess_exec({"sleep", "1000"}); }, &text), ENOSYS, "errno");
    expect(text.find("Linux 5.4") != std::string::npos, "the version in: " + text);
    expect_nothing_left(fds);
  });
}

TEST_CASE("waitid that is interrupted or fails ends a wait all the same", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::waitid> waitid;
  with_children(
      [&] {
        waitid.arm(-EINTR, {.times = 3});
        expect_equal(shell("exit 5").wait(), 5, "the status");
        expect_equal(waitid.hits(), 3, "interrupted calls");
        waitid.arm(-ECHILD, {.times = kAlways});  // somebody else's
        Process process = shell("exit 5");
        expect_equal(process.wait(), 255, "the status");
        waitid.disarm();
        int status = 0;
        expect(::waitpid(process.pid(), &status, 0) == process.pid(), "the one that was not taken");
      },
      true);
}

TEST_CASE("A process that is out of fds cannot start children, and can when it has some again", "[fault]") {
  if (fibrio::test::kAddressSanitizer) {
    fibrio::test::skip("UBSan, which is built in together with it, opens fds itself to look at an object");
  }
  with_children([] {
    shell("true").wait();
    rlimit before{};
    expect(::getrlimit(RLIMIT_NOFILE, &before) == 0, "getrlimit");
    const std::size_t fds = open_fds();
    int failures = 0;
    int started = 0;
    for (rlim_t room = 0; room < 12; ++room) {
      const int next = ::dup(0);  // the lowest number that is free
      ::close(next);
      const rlimit low{static_cast<rlim_t>(next) + room, before.rlim_max};
      expect(::setrlimit(RLIMIT_NOFILE, &low) == 0, "setrlimit");
      const int error = error_of([&] {
        Process process = shell("exit 3", all_pipes());
        ++started;
        expect_equal(process.wait(), 3, "the status");
      });
      expect(::setrlimit(RLIMIT_NOFILE, &before) == 0, "setrlimit");
      expect(error == 0 || error == EMFILE, "no other error than EMFILE");
      failures += error == EMFILE ? 1 : 0;
      // Fewer, if the first child's pidfd was still to be closed when they were counted.
      wait_until([&] { return open_fds() <= fds && !has_children(); }, "nothing left");
    }
    expect(failures >= 7 && started >= 1, "failures up to the seventh fd, then none");
  });
}
