#include "base/syscalls.hpp"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/unique_fd.hpp"
#include "support/catch.hpp"
#include "support/scoped_syscalls.hpp"

using namespace fibrio;
using fibrio::test::ScopedSyscalls;

namespace {

// Captureless lambdas go into the table: what they saw is kept here.
struct Seen {
  int calls_new = 0;
  int calls_old = 0;
  int timeout_ms = 0;
  int closes = 0;
};
Seen seen;

}  // namespace

TEST_CASE("Syscalls give the kernel's convention and no errno", "[syscalls]") {
  CHECK(sys::close(-1) == -EBADF);
  CHECK(sys::read(-1, nullptr, 0) == -EBADF);
  CHECK(sys::open("/nonexistent/file", O_RDONLY) == -ENOENT);

  sys::MapResult refused = sys::mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(refused.address == nullptr);
  CHECK(refused.error == -EINVAL);
}

TEST_CASE("Syscalls do what their names say", "[syscalls]") {
  int fds[2];
  REQUIRE(sys::pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
  sys::UniqueFd reader(fds[0]);
  sys::UniqueFd writer(fds[1]);
  char byte = 'x';
  CHECK(sys::read(reader.get(), &byte, 1) == -EAGAIN);
  CHECK(sys::write(writer.get(), &byte, 1) == 1);
  CHECK(sys::read(reader.get(), &byte, 1) == 1);
  CHECK(sys::fcntl(reader.get(), F_GETFD) == FD_CLOEXEC);
  CHECK(sys::gettid() == ::gettid());
}

TEST_CASE("Syscalls can be replaced one by one", "[syscalls]") {
  ScopedSyscalls scope;
  sys::syscalls.read = [](int, void*, std::size_t) -> ssize_t { return -EIO; };
  CHECK(sys::read(0, nullptr, 0) == -EIO);
  CHECK(sys::close(-1) == -EBADF);
  scope.restore();
  CHECK(sys::read(-1, nullptr, 0) == -EBADF);
}

TEST_CASE("epoll_pwait2 falls back with the time rounded up and remembers it", "[syscalls]") {
  int missing = GENERATE(-ENOSYS, -EPERM);
  seen = {};
  ScopedSyscalls scope;
  static int answer;
  answer = missing;
  sys::syscalls.epoll_pwait2 = [](int, epoll_event*, int, const timespec*, const sigset_t*) {
    ++seen.calls_new;
    return answer;
  };
  sys::syscalls.epoll_pwait = [](int, epoll_event*, int, int timeout_ms, const sigset_t*) {
    ++seen.calls_old;
    seen.timeout_ms = timeout_ms;
    return 0;
  };
  timespec time{.tv_sec = 1, .tv_nsec = 1};
  CHECK(sys::epoll_pwait2(3, nullptr, 1, &time, nullptr) == 0);
  CHECK(seen.timeout_ms == 1001);
  time = {.tv_sec = 0, .tv_nsec = 2'000'000};
  CHECK(sys::epoll_pwait2(3, nullptr, 1, &time, nullptr) == 0);
  CHECK(seen.timeout_ms == 2);
  time = {.tv_sec = 1'000'000'000'000, .tv_nsec = 0};
  CHECK(sys::epoll_pwait2(3, nullptr, 1, &time, nullptr) == 0);
  CHECK(seen.timeout_ms == 2'147'483'647);
  CHECK(sys::epoll_pwait2(3, nullptr, 1, nullptr, nullptr) == 0);
  CHECK(seen.timeout_ms == -1);
  CHECK(seen.calls_new == 1);
  CHECK(seen.calls_old == 4);
}

TEST_CASE("epoll_pwait2 passes other errors on and is asked again", "[syscalls]") {
  seen = {};
  ScopedSyscalls scope;
  sys::syscalls.epoll_pwait2 = [](int, epoll_event*, int, const timespec*, const sigset_t*) {
    ++seen.calls_new;
    return -EINTR;
  };
  timespec time{.tv_sec = 0, .tv_nsec = 1};
  CHECK(sys::epoll_pwait2(3, nullptr, 1, &time, nullptr) == -EINTR);
  CHECK(sys::epoll_pwait2(3, nullptr, 1, &time, nullptr) == -EINTR);
  CHECK(seen.calls_new == 2);
}

TEST_CASE("UniqueFd closes exactly once, also when close is interrupted", "[unique_fd]") {
  seen = {};
  ScopedSyscalls scope;
  sys::syscalls.close = [](int) {
    ++seen.closes;
    return -EINTR;
  };
  {
    sys::UniqueFd fd(1000);
    CHECK(fd.close() == -EINTR);
    CHECK_FALSE(fd.is_open());
    CHECK(fd.close() == 0);
  }
  CHECK(seen.closes == 1);
}

TEST_CASE("UniqueFd hands its fd on", "[unique_fd]") {
  seen = {};
  ScopedSyscalls scope;
  sys::syscalls.close = [](int) {
    ++seen.closes;
    return 0;
  };
  {
    sys::UniqueFd first(1000);
    sys::UniqueFd second(std::move(first));
    CHECK_FALSE(first);
    CHECK(second.get() == 1000);
    first = std::move(second);
    CHECK(seen.closes == 0);
    CHECK(first.take_fd() == 1000);
  }
  CHECK(seen.closes == 0);
  { sys::UniqueFd third(1001); }
  CHECK(seen.closes == 1);
  { sys::UniqueFd none(-EMFILE); }
  CHECK(seen.closes == 1);
}
