// Faults of the calls that sockets make: each one names itself, leaks nothing, and the loop goes on.
#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "support/faults.hpp"
#include "support/net.hpp"
#include "support/process.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

struct Outcome {
  std::mutex lock;
  std::vector<std::pair<int, std::string>> errors;  // errno and text
  std::atomic<int> echoed{0};

  template <class Body>
  void guard(Body&& body) {
    try {
      body();
    } catch (const std::system_error& error) {
      std::lock_guard guard(lock);
      errors.emplace_back(error.code().value(), error.what());
    }
  }
};

// Clients and servers that tolerate each other's end.
void run_echo(Outcome& outcome, int clients, int rounds) {
  TcpListener listener = TcpListener::bind(loopback());
  const Address address = listener.local_address();
  auto acceptor = create_task([&] {
    outcome.guard([&] {
      std::vector<Task<>> servers;
      for (;;) {
        TcpStream accepted;
        try {
          accepted = listener.accept();
        } catch (const std::system_error& error) {
          listener.close();  // what still waits to be accepted is reset
          for (auto& server : servers) await(server);
          if (error.code().value() != ECANCELED) throw;
          return;
        }
        servers.push_back(create_task(
            [&outcome, stream = std::move(accepted)]() mutable { outcome.guard([&] { echo(stream); }); }));
      }
    });
  });
  std::vector<Task<>> tasks;
  for (int i = 0; i < clients; ++i) {
    tasks.push_back(create_task([&] {
      outcome.guard([&] {
        TcpStream stream = TcpStream::connect(address);
        const std::string text(2000, 'e');
        for (int k = 0; k < rounds; ++k) {
          stream.write_all(std::as_bytes(std::span(text)).first(500),
                           std::as_bytes(std::span(text)).subspan(500));
          if (read_text(stream, text.size()) != text) return;
          ++outcome.echoed;
        }
      });
    }));
  }
  for (auto& task : tasks) await(task);
  listener.close();
  await(acceptor);
}

constexpr int kClients = 4;
constexpr int kRounds = 10;

// Arms `fault` with `error` at the k-th call, lets clients and servers meet it and looks at what they say.
// `harmless`: nobody may notice.
template <class AnyFault>
void sweep(AnyFault& fault, const char* call, std::initializer_list<int> errors, bool harmless,
           int times = 1) {
  for (const LoopShape shape : {LoopShape{1, false}, LoopShape{2, false}, LoopShape{2, true}}) {
    for (const int error : errors) {
      for (const int k : {1, 2, 5, 17}) {
        INFO(call << " " << error << " at call " << k);
        on_loop(shape, [&] {
          Outcome outcome;
          fault.arm(-error, {.first = k, .times = times});
          outcome.guard([&] { run_echo(outcome, kClients, kRounds); });
          const int hits = fault.hits();
          fault.disarm();
          bool named = false;
          for (const auto& [number, text] : outcome.errors) {
            expect(number == error || number == ECONNRESET || number == EPIPE || number == ECONNREFUSED,
                   "no other errors than the injected and its echo, not " + text);
            named |= number == error && text.find(call) != std::string::npos;
          }
          if (harmless) {
            expect(outcome.errors.empty(),
                   "nobody notices, not " + (named ? outcome.errors.front().second : "another"));
            expect_equal(outcome.echoed.load(), kClients * kRounds, "echoes");
          } else if (hits > 0) {
            expect(named, std::string("somebody is told, and of ") + call);
          }
          Outcome after;  // the loop goes on as if nothing had been
          run_echo(after, kClients, 2);
          expect_equal(after.echoed.load(), kClients * 2, "echoes afterwards");
        });
      }
    }
  }
}

}  // namespace

TEST_CASE("recv that fails is named, and interrupted ones are repeated", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::recv> fault;
  sweep(fault, "recv", {EINTR}, true, 3);
  sweep(fault, "recv", {ECONNRESET, ETIMEDOUT, EIO, ENOMEM}, false);
}

TEST_CASE("send that fails is named, and interrupted ones are repeated", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::send> fault;
  sweep(fault, "send", {EINTR}, true, 3);
  sweep(fault, "send", {EPIPE, ECONNRESET, ETIMEDOUT, ENOBUFS}, false);
}

TEST_CASE("sendmsg that fails is named, and interrupted ones are repeated", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::sendmsg> fault;
  sweep(fault, "sendmsg", {EINTR}, true, 3);
  sweep(fault, "sendmsg", {EPIPE, ECONNRESET, ENOBUFS}, false);
}

TEST_CASE("accept4 skips what says nothing about the listener", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  sweep(fault, "accept4", {ECONNABORTED, EPROTO, EINTR, EPERM, ENETDOWN}, true, 3);
}

TEST_CASE("accept4 that fails for good ends accept, named", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  sweep(fault, "accept", {EINVAL, EOPNOTSUPP}, false);
}

TEST_CASE("socket that fails is named", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::socket> fault;
  sweep(fault, "socket", {EMFILE, ENFILE, ENOBUFS, EAFNOSUPPORT}, false);
}

TEST_CASE("bind, listen and setsockopt that fail are named with the address", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::bind> bind;
  Fault<&sys::Syscalls::listen> listen;
  Fault<&sys::Syscalls::setsockopt> setsockopt;
  on_loops([&] {
    const std::size_t fds = open_fds();
    std::string text;
    for (const int error : {EADDRINUSE, EACCES, EADDRNOTAVAIL}) {
      bind.arm(-error);
      expect_equal(error_of([] { (void)TcpListener::bind(loopback()); }, &text), error, "errno");
      expect(text.find("bind to 127.0.0.1:0") == 0, "call and address in: " + text);
      listen.arm(-error);
      expect_equal(error_of([] { (void)TcpListener::bind(loopback()); }, &text), error, "errno");
      expect(text.find("listen on 127.0.0.1:0") == 0, "call and address in: " + text);
      setsockopt.arm(-error);
      expect_equal(error_of([] { (void)TcpListener::bind(loopback()); }, &text), error, "errno");
      expect(text.find("setsockopt(SO_REUSEADDR)") == 0, "the call in: " + text);
    }
    expect_equal(open_fds(), fds, "open fds");
    StreamPair pair = connect_pair();
    setsockopt.arm(-ENOMEM);
    expect_equal(error_of([&] { pair.client.set_keep_alive(true); }, &text), ENOMEM, "errno");
    expect(text.find("setsockopt") == 0, "the call in: " + text);
  });
}

TEST_CASE("connect that fails is named with the address, and an interrupted one goes on", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::connect> fault;
  sweep(fault, "connect to 127.0.0.1", {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL, EACCES}, false);
  sweep(fault, "connect", {EINTR}, true);
  sweep(fault, "connect", {EINPROGRESS}, true);
}

TEST_CASE("epoll_ctl that refuses a socket is named, the socket stays usable", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::epoll_ctl> fault(
      [](int, int operation, int, epoll_event*) { return operation == EPOLL_CTL_ADD; });
  sweep(fault, "epoll_ctl", {ENOSPC, ENOMEM, EPERM}, false);
  on_loops([&] {
    StreamPair pair = connect_pair();
    std::string text;
    for (int i = 0; i < 3; ++i) {
      fault.arm(-ENOSPC);
      expect_equal(error_of([&] { (void)read_once(pair.server); }, &text), ENOSPC, "errno");
      expect(text.find("fs.epoll.max_user_watches") != std::string::npos, "the limit in: " + text);
    }
    auto reader = create_task([&] { return read_once(pair.server); });
    wait_until_waits(reader, WaitReason::kReadable);
    pair.client.write_all("still usable");
    expect(await(reader) == "still usable", "the text");
    fault.arm(-ENOMEM);
    int fds[2];
    expect(::pipe2(fds, O_CLOEXEC) == 0, "a pipe");
    const RawPeer out(fds[0]);
    const RawPeer in(fds[1]);
    for (int i = 0; i < 3; ++i) {
      fault.arm(-ENOMEM);
      expect_equal(error_of([&] { wait_readable(out.fd()); }, &text), ENOMEM, "errno");
      fault.arm(-ENOMEM);
      expect_equal(error_of([&] { get_running_loop().add_reader(out.fd(), [] {}); }, &text), ENOMEM, "errno");
    }
    expect(::write(in.fd(), "x", 1) == 1, "a write");
    wait_readable(out.fd());
  });
}

namespace {

ssize_t recv_one_byte(int fd, void* data, std::size_t bytes, int flags) {
  return sys::real_syscalls.recv(fd, data, std::min<std::size_t>(bytes, 1), flags);
}
ssize_t send_one_byte(int fd, const void* data, std::size_t bytes, int flags) {
  return sys::real_syscalls.send(fd, data, std::min<std::size_t>(bytes, 1), flags);
}
ssize_t sendmsg_one_byte(int fd, const msghdr* message, int flags) {
  return sys::real_syscalls.send(fd, message->msg_iov[0].iov_base, 1, flags);
}

}  // namespace

TEST_CASE("Sends of one byte each carry everything, also two long buffers", "[fault]") {
  const ScopedSyscalls table;
  sys::syscalls.send = send_one_byte;
  sys::syscalls.sendmsg = sendmsg_one_byte;
  const std::vector<std::byte> data = test_data(100'000 / kSlowdown);
  on_loops([&] {
    StreamPair pair = connect_pair();
    auto reader = create_task([&] { expect_stream(pair.server, data); });
    const auto all = std::span<const std::byte>(data);
    auto writer = create_task([&] {
      pair.client.write_all(all.first(all.size() / 2), all.subspan(all.size() / 2));
      pair.client.shutdown_write();
    });
    await(writer);
    await(reader);
  });
}

TEST_CASE("Reads of one byte each get everything", "[fault]") {
  const ScopedSyscalls table;
  sys::syscalls.recv = recv_one_byte;
  const std::vector<std::byte> data = test_data(100'000 / kSlowdown);
  on_loops([&] {
    StreamPair pair = connect_pair();
    auto writer = create_task([&] {
      pair.client.write_all(std::span<const std::byte>(data));
      pair.client.shutdown_write();
    });
    expect_stream(pair.server, data, 1);
    await(writer);
  });
}

TEST_CASE("accept without fds or memory backs off, reports once and recovers", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  for (const LoopShape shape : kShapes) {
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
      on_loop(
          shape,
          [&] {
            ReportsHere reports;
            TcpListener listener = TcpListener::bind(loopback());
            std::atomic<int> accepted = 0;
            auto acceptor = create_task([&] {
              for (;;) {
                listener.accept().close();
                ++accepted;
              }
            });
            wait_until_waits(acceptor, WaitReason::kReadable);
            fault.arm(-error, {.first = 1, .times = 3});
            RawPeer first = RawPeer::connect(listener.local_address());
            RawPeer second = RawPeer::connect(listener.local_address());
            wait_until([&] { return accepted.load() == 2; }, "both are accepted in the end");
            std::vector<std::string> texts = reports.take();
            expect_equal(texts.size(), 1, "reports");
            expect(texts.front().find("accept4") != std::string::npos, "the call in: " + texts.front());
            expect(texts.front().find("RLIMIT_NOFILE") != std::string::npos,
                   "the limit in: " + texts.front());
            listener.close();
            expect_equal(error_of([&] { await(acceptor); }), ECANCELED, "errno");
          },
          true);
    }
  }
}

TEST_CASE("accept that backs off can be cancelled and closed", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  on_loops(
      [&] {
        TcpListener listener = TcpListener::bind(loopback());
        RawPeer peer = RawPeer::connect(listener.local_address());
        fault.arm(-EMFILE, {.first = 1, .times = kAlways});
        auto cancelled = create_task([&] { (void)listener.accept(); });
        auto closed = create_task([&] { (void)listener.accept(); });
        wait_until_waits(cancelled, WaitReason::kSleep);
        wait_until_waits(closed, WaitReason::kSleep);
        cancelled.cancel();
        cancelled.wait();
        expect(cancelled.cancelled(), "cancelled");
        listener.close();
        expect_equal(error_of([&] { await(closed); }), ECANCELED, "errno");
        fault.disarm();
      },
      true);
}

TEST_CASE("accept that fails for ever with a passing error can still be closed and starves nobody",
          "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  on_loops([&] {
    TcpListener listener = TcpListener::bind(loopback());
    fault.arm(-EPERM, {.first = 1, .times = kAlways});
    auto acceptor = create_task([&] { (void)listener.accept(); });
    sleep(10ms);
    listener.close();
    expect_equal(error_of([&] { await(acceptor); }), ECANCELED, "errno");
    fault.disarm();
  });
}

namespace {
std::atomic<int> accept_calls;
int counting_accept(int fd, sockaddr* address, socklen_t* bytes, int flags) {
  ++accept_calls;
  return sys::real_syscalls.accept4(fd, address, bytes, flags);
}
}  // namespace

TEST_CASE("accept with a lowered RLIMIT_NOFILE backs off, reports once and recovers when fds are freed",
          "[fault]") {
  if (fibrio::test::kAddressSanitizer) {
    fibrio::test::skip("UBSan, which is built in together with it, opens fds itself to look at an object");
  }
  const ScopedSyscalls table;
  sys::syscalls.accept4 = counting_accept;
  rlimit old_limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &old_limit) == 0);
  for (const LoopShape shape : kShapes) {
    on_loop(
        shape,
        [&] {
          ReportsHere reports;
          TcpListener listener = TcpListener::bind(loopback());
          std::vector<TcpStream> accepted;
          std::atomic<int> count = 0;
          auto acceptor = create_task([&] {
            for (;;) {
              accepted.push_back(listener.accept());
              ++count;
            }
          });
          std::vector<RawPeer> peers;
          constexpr int kPeers = 10;
          for (int i = 0; i < kPeers; ++i) {
            peers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
          }
          // An accept that finds nobody holds an fd for a moment: a gap below `next`.
          wait_until_waits(acceptor, WaitReason::kReadable);
          // No more fds than there are: the next one fails.
          const int next = ::dup(0);
          ::close(next);
          rlimit low = old_limit;
          low.rlim_cur = static_cast<rlim_t>(next);
          expect(::setrlimit(RLIMIT_NOFILE, &low) == 0, "a lower limit");
          for (RawPeer& peer : peers) {
            const Address to = listener.local_address();
            static_cast<void>(::connect(peer.fd(), to.data(), to.size()));
          }
          sleep(20ms);
          accept_calls = 0;
          const std::uint64_t polls = polls_during(1s);
          const int calls = accept_calls;
          const int blocked = count.load();
          ::setrlimit(RLIMIT_NOFILE, &old_limit);
          expect_equal(blocked, 0, "accepted without fds");
          expect(calls < 20, "under 20 attempts per second, not " + std::to_string(calls));
          expect(polls < 1000,
                 "few looks at epoll (a storm makes tens of thousands), not " + std::to_string(polls));
          wait_until([&] { return count.load() == kPeers; }, "all are accepted once there are fds");
          expect_equal(reports.take().size(), 1, "reports");
          listener.close();
          expect_equal(error_of([&] { await(acceptor); }), ECANCELED, "errno");
        },
        true);
  }
  ::setrlimit(RLIMIT_NOFILE, &old_limit);
}
