// What: registrations of one reactor, and the traps of epoll: events of a file that was closed, of another
// file under its number, of a recycled slot, of a duplicate; hang-ups; refusals. Without a loop: the tests
// poll by themselves.
#include "sched/reactor.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cerrno>
#include <functional>

#include "support/catch.hpp"
#include "support/faults.hpp"
#include "support/loops.hpp"
#include "support/scoped_syscalls.hpp"

using fibrio::detail::Direction;
using fibrio::detail::FdListener;
using fibrio::detail::Reactor;
using fibrio::detail::Registration;
using fibrio::detail::RunnableChain;
using fibrio::test::Fault;
using fibrio::test::open_fds;
using fibrio::test::ScopedSyscalls;
namespace sys = fibrio::sys;

namespace {

struct Pair {
  int ends[2] = {-1, -1};
  Pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0); }
  ~Pair() {
    close(0);
    close(1);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  void close(int i) {
    if (ends[i] >= 0) ::close(std::exchange(ends[i], -1));
  }
  void send() { REQUIRE(::send(ends[1], "x", 1, MSG_NOSIGNAL) == 1); }
};

// The first end of `pair`, registered, and known not to be ready.
Registration* added(Reactor& reactor, int fd) {
  int error = 0;
  Registration* registration = reactor.add(fd, error, Reactor::kAllEvents);
  REQUIRE(registration != nullptr);
  for (const Direction direction : {Direction::read, Direction::write}) {
    auto& readiness = registration->readiness(direction);
    CHECK(readiness.is_ready());  // until a call says otherwise
    readiness.would_block(readiness.look());
  }
  return registration;
}

void removed(Registration* registration) {
  RunnableChain nobody;
  Reactor::remove(registration, nobody);
  CHECK(nobody.empty());
  Reactor::recycle(registration);
}

bool poll(Reactor& reactor, std::int64_t timeout_ns = 0) {
  RunnableChain ready;
  const bool woken = reactor.poll(timeout_ns, ready);
  CHECK(ready.empty());  // nobody waits in these tests
  return woken;
}

void would_block(Registration* registration, Direction direction) {
  auto& readiness = registration->readiness(direction);
  readiness.would_block(readiness.look());
}

constexpr std::int64_t kLong = 10'000'000'000;

}  // namespace

TEST_CASE("Reactor marks the direction that is ready, and only that", "[reactor]") {
  Reactor reactor;
  Pair pair;
  Registration* registration = added(reactor, pair.ends[0]);
  CHECK(reactor.size() == 1);
  poll(reactor);  // a new socket has room
  CHECK(registration->readiness(Direction::write).is_ready());
  CHECK_FALSE(registration->readiness(Direction::read).is_ready());
  would_block(registration, Direction::write);
  // kaappi#1462: an event of one direction must leave the other alone.
  for (int i = 0; i < 3; ++i) {
    pair.send();
    poll(reactor, kLong);
    CHECK(registration->readiness(Direction::read).is_ready());
    would_block(registration, Direction::read);
    would_block(registration, Direction::write);  // the kernel may report both
  }
  removed(registration);
  CHECK(reactor.size() == 0);
}

TEST_CASE("Reactor says whether it was woken, beside other events", "[reactor]") {
  Reactor reactor;
  Pair pair;
  Registration* registration = added(reactor, pair.ends[0]);
  reactor.poller().wake();
  CHECK(poll(reactor));
  CHECK_FALSE(poll(reactor));
  CHECK(registration->readiness(Direction::write).is_ready());
  removed(registration);
}

TEST_CASE("Reactor drops an event of a file that was closed earlier in the same batch", "[reactor]") {
  // joyent/libuv#826, #968. The first event's listener closes the second file and opens another under the
  // same number and in the same slot.
  Reactor reactor;
  Pair first;
  Pair second;
  Pair third;
  struct Context {
    std::function<void()> act;
  } context;
  int error = 0;
  const FdListener listener{[](void* self, RunnableChain&) noexcept { static_cast<Context*>(self)->act(); },
                            &context};
  Registration* listening = reactor.add(first.ends[0], error, EPOLLIN | EPOLLET, &listener);
  REQUIRE(listening != nullptr);
  Registration* victim = added(reactor, second.ends[0]);
  poll(reactor);  // its first EPOLLOUT
  first.send();
  second.send();
  const int number = second.ends[0];
  Registration* heir = nullptr;
  context.act = [&] {
    removed(victim);
    REQUIRE(::dup2(third.ends[0], number) == number);  // closes it, opens the other
    heir = added(reactor, number);
  };
  // One batch, whatever the kernel's order: the event of the first comes first.
  const ScopedSyscalls scoped;
  sys::syscalls.epoll_pwait = [](int epoll_fd, epoll_event* events, int most, int timeout,
                                 const sigset_t* mask) {
    const int count = sys::real_syscalls.epoll_pwait(epoll_fd, events, most, timeout, mask);
    if (count == 2 && (events[1].events & EPOLLOUT) == 0) std::swap(events[0], events[1]);
    return count;
  };
  poll(reactor);
  REQUIRE(heir == victim);  // the slot was recycled at once
  CHECK_FALSE(heir->readiness(Direction::read).is_ready());
  CHECK_FALSE(heir->readiness(Direction::write).is_ready());
  // What belongs to it does come.
  REQUIRE(::send(third.ends[1], "x", 1, 0) == 1);
  poll(reactor);
  CHECK(heir->readiness(Direction::read).is_ready());
  removed(heir);
  removed(listening);
}

TEST_CASE("Reactor gives a recycled slot no event of its former life", "[reactor]") {
  // golang#59545. The pool of slots has one free slot, which is used again and again.
  Reactor reactor;
  Registration* former = nullptr;
  epoll_event stale{};
  for (int round = 0; round < 100; ++round) {
    Pair pair;
    Registration* registration = added(reactor, pair.ends[0]);
    if (former != nullptr) {
      CHECK(registration == former);
      // An event that another thread took out of epoll before the slot was recycled.
      const ScopedSyscalls scoped;
      static epoll_event to_deliver;
      to_deliver = stale;
      sys::syscalls.epoll_pwait = [](int, epoll_event* events, int, int, const sigset_t*) {
        events[0] = to_deliver;
        return 1;
      };
      poll(reactor);
      CHECK_FALSE(registration->readiness(Direction::read).is_ready());
      CHECK_FALSE(registration->readiness(Direction::write).is_ready());
    }
    pair.send();
    REQUIRE(reactor.poller().wait({&stale, 1}, kLong) == 1);
    former = registration;
    removed(registration);
  }
}

TEST_CASE("Reactor hears nothing more of a file that was removed, though a duplicate keeps it open",
          "[reactor]") {
  // libuv#1099, #1148, #1468: epoll watches the open file, not the number.
  Reactor reactor;
  Pair pair;
  Registration* registration = added(reactor, pair.ends[0]);
  poll(reactor);
  const int duplicate = ::dup(pair.ends[0]);
  removed(registration);
  pair.close(0);
  pair.send();
  epoll_event events[4];
  CHECK(reactor.poller().wait(events, 0) == 0);
  ::close(duplicate);
  CHECK(reactor.poller().wait(events, 0) == 0);
}

TEST_CASE("Reactor is not woken again and again by a connection that was reset", "[reactor]") {
  // seastar#1785, #1945, #3204
  Reactor reactor;
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(listener, 1) == 0);
  REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(::connect(client, reinterpret_cast<sockaddr*>(&address), size) == 0);
  const int server = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  REQUIRE(server >= 0);
  Registration* registration = added(reactor, server);
  poll(reactor);
  would_block(registration, Direction::write);

  const linger reset{1, 0};
  REQUIRE(::setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
  ::close(client);
  poll(reactor, kLong);
  CHECK(registration->readiness(Direction::read).is_ready());
  CHECK(registration->readiness(Direction::write).is_ready());
  int events_after = 0;
  epoll_event events[4];
  for (int i = 0; i < 100; ++i) events_after += reactor.poller().wait(events, 0);
  CHECK(events_after <= 1);
  // The call tells the truth, and nothing clears the readiness meanwhile.
  auto& readiness = registration->readiness(Direction::read);
  readiness.drained(readiness.look());
  CHECK(readiness.is_ready());
  removed(registration);
  ::close(server);
  ::close(listener);
}

TEST_CASE("Reactor that cannot register a file says why, leaves it open and loses no slot", "[reactor]") {
  // golang#34392: closed twice, a stranger's listener vanishes.
  const ScopedSyscalls scoped;
  Reactor reactor;
  Pair pair;
  const std::size_t fds = open_fds();
  Fault<&sys::Syscalls::epoll_ctl> control;
  for (const int error_wanted : {ENOSPC, ENOMEM, EPERM}) {
    control.arm(-error_wanted);
    int error = 0;
    CHECK(reactor.add(pair.ends[0], error) == nullptr);
    CHECK(error == -error_wanted);
    CHECK(reactor.size() == 0);
  }
  CHECK(open_fds() == fds);
  CHECK(::fcntl(pair.ends[0], F_GETFD) >= 0);
  Registration* registration = added(reactor, pair.ends[0]);
  Pair other;
  Registration* second = added(reactor, other.ends[0]);
  CHECK(second != registration);
  removed(second);
  removed(registration);
}

TEST_CASE("Reactor refuses what epoll refuses", "[reactor]") {
  Reactor reactor;
  int error = 0;
  const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  CHECK(reactor.add(file, error) == nullptr);
  CHECK(error == -EPERM);
  ::close(file);
  CHECK(reactor.add(file, error) == nullptr);
  CHECK(error == -EBADF);
}

TEST_CASE("Reactor keeps thousands of registrations in place while more are made", "[reactor]") {
  Reactor reactor;
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<Registration*> registrations;
  constexpr std::size_t kCount = 300;
  for (std::size_t i = 0; i < kCount; ++i) {
    pairs.push_back(std::make_unique<Pair>());
    registrations.push_back(added(reactor, pairs.back()->ends[0]));
  }
  poll(reactor);
  poll(reactor);  // 256 at a time
  for (std::size_t i = 0; i < kCount; i += 7) pairs[i]->send();
  poll(reactor);
  for (std::size_t i = 0; i < kCount; ++i) {
    CHECK(registrations[i]->readiness(Direction::read).is_ready() == (i % 7 == 0));
  }
  CHECK(reactor.size() == kCount);
  for (Registration* registration : registrations) removed(registration);
  CHECK(reactor.size() == 0);
}
