#include <sys/resource.h>

#include <charconv>
#include <memory>
#include <optional>

#include "support/full_listener.hpp"
#include "support/names.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("TcpStream echoes over loopback", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    auto server = create_task([&] {
      TcpStream stream = listener.accept();
      echo(stream);
    });
    TcpStream client = TcpStream::connect("127.0.0.1", listener.local_address().port());
    expect(client.peer_address() == listener.local_address(), "the listener's address");
    for (int i = 0; i < 500; ++i) {
      const std::string text = "message " + std::to_string(i);
      client.write_all(text);
      expect(read_text(client, text.size()) == text, "the same text");
    }
    client.shutdown_write();
    expect(read_once(client).empty(), "the end of the stream");
    await(server);
  });
}

TEST_CASE("TcpStream reads and writes nothing at once with an empty buffer", "[tcp]") {
  on_loop({1, false}, [] {
    StreamPair pair = connect_pair();
    expect_equal(pair.client.read_some({}), 0, "bytes read");
    expect_equal(pair.client.write_some({}), 0, "bytes written");
    pair.client.write_all(std::string_view());
    pair.client.write_all(std::span<const std::byte>(), std::span<const std::byte>());
    pair.client.write_all(std::as_bytes(std::span("ab", 2)), std::as_bytes(std::span("cd", 2)));
    expect(read_text(pair.server, 4) == "abcd", "both buffers in order");
  });
}

TEST_CASE("TcpStream connects over IPv6", "[tcp]") {
  on_loops([] {
    std::optional<TcpListener> listener;
    try {
      listener.emplace(TcpListener::bind(Address::parse("::1", 0)));
    } catch (const std::system_error&) {
      return;  // this machine has no IPv6
    }
    StreamPair pair = connect_pair(*listener);
    expect(pair.server.peer_address().host() == "::1", "an IPv6 peer");
    pair.client.write_all("six");
    expect(read_text(pair.server, 3) == "six", "the text");
  });
}

TEST_CASE("TcpStream connect tries every address of a name", "[tcp]") {
  fibrio::test::need_localhost();
  on_loops([] {
    // Whatever order the resolver has, one of the two is refused if the name has both families.
    for (const char* host : {"127.0.0.1", "::1"}) {
      std::optional<TcpListener> listener;
      try {
        listener.emplace(TcpListener::bind(Address::parse(host, 0), {.ipv6_only = true}));
      } catch (const std::system_error&) {
        continue;
      }
      bool has_it = false;
      for (const Address& address : getaddrinfo("localhost", std::uint16_t{1}))
        has_it |= address.host() == host;
      if (!has_it) continue;
      TcpStream client = TcpStream::connect("localhost", listener->local_address().port());
      TcpStream server = listener->accept();
      expect(client.peer_address().host() == host, "the address that listens");
    }
  });
}

TEST_CASE("TcpStream connect to a port where nobody listens throws ECONNREFUSED naming the address",
          "[tcp]") {
  on_loops([] {
    const ClosedPort nobody;
    const std::uint16_t port = nobody.port();
    std::string text;
    for (int i = 0; i < 20; ++i) {
      expect_equal(error_of([&] { (void)TcpStream::connect(Address::parse("127.0.0.1", port)); }, &text),
                   ECONNREFUSED, "errno");
      expect(text.find("127.0.0.1:" + std::to_string(port)) != std::string::npos, "the address in: " + text);
    }
  });
}

TEST_CASE("TcpStream connect by name to a port where nobody listens throws ECONNREFUSED", "[tcp]") {
  fibrio::test::need_localhost();
  on_loops([] {
    const ClosedPort nobody;
    expect_equal(error_of([&] { (void)TcpStream::connect("localhost", nobody.port()); }), ECONNREFUSED,
                 "errno");
  });
}

TEST_CASE("TcpStream connect without an answer ends with TimeoutError", "[tcp]") {
  on_loops([] {
    FullListener full;
    const auto before = get_running_loop().time();
    bool timed_out = false;
    try {
      (void)TcpStream::connect(full.address(), {.timeout = 100ms});
    } catch (const TimeoutError&) {
      timed_out = true;
    }
    expect(timed_out, "TimeoutError");
    expect(get_running_loop().time() - before >= 100ms, "not early");
    timed_out = false;
    try {
      (void)TcpStream::connect("127.0.0.1", full.address().port(), {.timeout = 50ms});
    } catch (const TimeoutError&) {
      timed_out = true;
    }
    expect(timed_out, "TimeoutError by name");
    // The request is taken back: the next wait is not cancelled.
    sleep(1ms);
    expect_equal(get_running_loop().stats().fds, 0, "registered fds");
  });
}

TEST_CASE("TcpStream connect that is cancelled closes its socket", "[tcp]") {
  on_loops([] {
    FullListener full;
    const std::size_t fds = open_fds();
    for (int i = 0; i < 20; ++i) {
      auto task = create_task([&] { (void)TcpStream::connect(full.address(), {.timeout = 10s}); });
      if (i % 2 == 0) wait_until_waits(task);
      task.cancel();
      task.wait();
      expect(task.cancelled(), "cancelled, not timed out");
    }
    expect_equal(open_fds(), fds, "open fds");
  });
}

TEST_CASE("TcpStream connect that times out just as it succeeds ends as one of both", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    auto acceptor = create_task([&] {
      for (;;) listener.accept().close();
    });
    for (int i = 0; i < 300 / kSlowdown; ++i) {
      try {
        TcpStream stream =
            TcpStream::connect(listener.local_address(), {.timeout = std::chrono::microseconds(i % 60)});
        stream.abort();
      } catch (const TimeoutError&) {
      } catch (const std::system_error&) {  // reset by the acceptor before it was told that it is connected
      }
      sleep(Duration::zero());  // throws CancelledError if the request was not taken back
    }
    listener.close();
    acceptor.wait();
    expect(acceptor.exception() != nullptr, "ECANCELED");
  });
}

TEST_CASE("TcpListener bind to a port in use throws EADDRINUSE naming the address", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    std::string text;
    expect_equal(error_of([&] { (void)TcpListener::bind(listener.local_address()); }, &text), EADDRINUSE,
                 "errno");
    expect(text.find(listener.local_address().to_string()) != std::string::npos, "the address in: " + text);
  });
}

TEST_CASE("TcpListener needs a running loop and a sensible backlog", "[tcp]") {
  CHECK_THROWS_AS(TcpListener::bind(loopback()), RuntimeError);
  on_loop({1, false}, [] {
    bool thrown = false;
    try {
      (void)TcpListener::bind(loopback(), {.backlog = 0});
    } catch (const std::invalid_argument&) {
      thrown = true;
    }
    expect(thrown, "invalid_argument");
  });
}

TEST_CASE("TcpListener gives each connection to exactly one of its accepting tasks", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    constexpr int kConnections = 400;
    std::vector<std::atomic<int>> seen(kConnections);
    std::vector<Task<>> acceptors;
    for (int i = 0; i < 8; ++i) {
      acceptors.push_back(create_task([&] {
        for (;;) {
          TcpStream stream = listener.accept();
          const std::string text = read_text(stream, 100);
          std::size_t number =
              kConnections;  // not by stoi: it sets errno, to ThreadSanitizer a race of tasks
          std::from_chars(text.data(), text.data() + text.size(), number);
          seen.at(number).fetch_add(1);
        }
      }));
    }
    std::vector<Task<>> clients;
    for (int i = 0; i < kConnections; ++i) {
      clients.push_back(create_task([&, i] {
        TcpStream stream = TcpStream::connect(listener.local_address());
        stream.write_all(std::to_string(i));
      }));
    }
    for (auto& client : clients) await(client);
    wait_until(
        [&] {
          for (auto& count : seen) {
            if (count.load() == 0) return false;
          }
          return true;
        },
        "every connection was accepted");
    for (auto& count : seen) expect_equal(count.load(), 1, "times a connection was accepted");
    listener.close();
    for (auto& acceptor : acceptors) {
      expect_equal(error_of([&] { await(acceptor); }), ECANCELED, "errno of an acceptor");
    }
  });
}

TEST_CASE("TcpListener shares a port with others that have reuse_port", "[tcp]") {
  on_loops([] {
    std::vector<TcpListener> listeners;
    listeners.push_back(TcpListener::bind(loopback(), {.reuse_port = true}));
    const Address address = listeners.front().local_address();
    for (int i = 0; i < 3; ++i) listeners.push_back(TcpListener::bind(address, {.reuse_port = true}));
    std::atomic<int> accepted = 0;
    std::vector<Task<>> acceptors;
    for (TcpListener& listener : listeners) {
      acceptors.push_back(create_task([&] {
        for (;;) {
          listener.accept().close();
          ++accepted;
        }
      }));
    }
    for (int i = 0; i < 100; ++i) TcpStream::connect(address).abort();
    wait_until([&] { return accepted.load() == 100; }, "100 connections accepted");
    for (TcpListener& listener : listeners) listener.close();
    for (auto& acceptor : acceptors) {
      acceptor.wait();
      expect(acceptor.exception() != nullptr, "ECANCELED");
    }
  });
}

TEST_CASE("TcpStream serves 1000 connections at once", "[tcp]") {
  on_loops([] {
    const int connections = 1000 / (kSlowdown > 1 ? 4 : 1);
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    TcpListener listener = TcpListener::bind(loopback());
    auto acceptor = create_task([&] {
      for (;;) {
        create_task([stream = listener.accept()]() mutable { echo(stream); });
      }
    });
    std::atomic<int> at_once = 0;
    std::vector<Task<>> clients;
    for (int i = 0; i < connections; ++i) {
      clients.push_back(create_task([&, i] {
        TcpStream stream = TcpStream::connect(listener.local_address());
        ++at_once;
        wait_until([&] { return at_once.load() == connections; }, "all are connected");
        for (int k = 0; k < 5; ++k) {
          const std::string text = std::to_string(i * 10 + k) + "!";
          stream.write_all(text);
          expect(read_text(stream, text.size()) == text, "the own text");
        }
      }));
    }
    for (auto& client : clients) await(client);
    listener.close();
    acceptor.wait();
    expect(acceptor.exception() != nullptr, "ECANCELED");
  });
}

TEST_CASE("TcpStream adopts a socketpair and gives it away again", "[tcp]") {
  on_loops([] {
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "a socketpair");
    TcpStream a = TcpStream::adopt(fds[0]);
    TcpStream b = TcpStream::adopt(fds[1]);
    expect((::fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0, "non-blocking");
    expect((::fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0, "close-on-exec");
    auto reader = create_task([&] { return read_text(b, 5); });
    wait_until_waits(reader, WaitReason::kReadable);
    a.write_all("hello");
    expect(await(reader) == "hello", "the text");
    auto waiting = create_task([&] { (void)read_once(b); });
    wait_until_waits(waiting, WaitReason::kReadable);
    bool refused = false;
    try {
      (void)b.release();
    } catch (const RuntimeError&) {
      refused = true;
    }
    expect(refused, "release while a task reads");
    expect(b.is_open(), "still open");
    waiting.cancel();
    waiting.wait();
    const int fd = b.release();
    expect_equal(fd, fds[1], "the fd");
    expect(!b.is_open() && b.native_handle() == -1, "closed");
    expect_equal(b.release(), -1, "the fd, again");
    expect_equal(get_running_loop().stats().fds, 0, "registered fds");
    a.write_all("more");
    RawPeer raw(fd);
    expect(raw.receive_now() == "more", "the rest, by hand");
  });
}

TEST_CASE("TcpStream adopt leaves an fd that it cannot use to the caller", "[tcp]") {
  on_loop({1, false}, [] {
    std::string text;
    expect_equal(error_of([] { (void)TcpStream::adopt(-1); }, &text), EBADF, "errno");
    expect(text.find("fd -1") != std::string::npos, "the fd in: " + text);
    int fds[2];
    expect(::pipe2(fds, O_CLOEXEC) == 0, "a pipe");
    expect_equal(error_of([&] { (void)TcpStream::adopt(fds[0]); }, &text), ENOTSOCK, "errno of a pipe");
    expect(::fcntl(fds[0], F_GETFD) >= 0, "still open");
    ::close(fds[0]);
    ::close(fds[1]);
  });
}

TEST_CASE("TcpStream used from a second loop gives a clear error", "[tcp]") {
  EventLoop first(Config{.workers = 1});
  EventLoop second(Config{.workers = 2});
  StreamPair pair = first.run_until_complete([] {
    StreamPair made = connect_pair();
    auto reader = create_task([&] { (void)read_once(made.server); });
    wait_until_waits(reader, WaitReason::kReadable);  // registered now
    reader.cancel();
    reader.wait();
    return made;
  });
  std::string text;
  auto read = [&] { (void)read_once(pair.server); };
  try {
    second.run_until_complete(read);
  } catch (const RuntimeError& error) {
    text = error.what();
  }
  CHECK(
      text ==
      "recv has to wait, and the socket belongs to another event loop, the one it first waited in: release() "
      "it there, and adopt() the fd in this one");
  // What need not wait may be done anywhere.
  second.run_until_complete([&] { pair.client.write_all("now"); });
  CHECK(second.run_until_complete([&] { return read_text(pair.server, 3); }) == "now");
  // The first goes on with it.
  CHECK(first.run_until_complete([&] {
    pair.client.write_all("still");
    return read_text(pair.server, 5);
  }) == "still");
  // Closing is allowed anywhere.
  second.run_until_complete([&] {
    pair.server.close();
    pair.client.abort();
  });
  CHECK(first.stats().fds == 0);
}

TEST_CASE("TcpStream used after its loop has closed gives a clear error", "[tcp]") {
  const std::size_t fds = open_fds();
  {
    StreamPair pair;
    {
      EventLoop first(Config{.workers = 2});
      first.run_until_complete([&] {
        pair = connect_pair();
        pair.client = TcpStream::adopt(pair.client.release());
        auto reader = create_task([&] { (void)read_once(pair.server); });
        wait_until_waits(reader, WaitReason::kReadable);
        reader.cancel();
        reader.wait();
      });
    }
    EventLoop second(Config{.workers = 1});
    CHECK_THROWS_AS(second.run_until_complete([&] { (void)read_once(pair.server); }), RuntimeError);
    CHECK_THROWS_AS(read_once(pair.server), RuntimeError);
    // The client is not registered: it belongs to whom it waits for first.
    CHECK_NOTHROW(second.run_until_complete([&] { pair.client.write_all("x"); }));
  }
  CHECK(open_fds() == fds);
}

TEST_CASE("TcpStream and TcpListener may outlive their loop", "[tcp]") {
  for (const std::size_t workers : {1, 2, 4}) {
    const std::size_t fds = open_fds();
    {
      TcpListener listener;
      StreamPair pair;
      run(
          [&] {
            listener = TcpListener::bind(loopback());
            pair = connect_pair(listener);
            auto reader = create_task([&] { (void)read_once(pair.server); });
            auto acceptor = create_task([&] { (void)listener.accept(); });
            wait_until_waits(reader, WaitReason::kReadable);
            wait_until_waits(acceptor, WaitReason::kReadable);
            // both are cancelled by the end of the loop
          },
          Config{.workers = workers});
      CHECK(pair.server.is_open());
      CHECK(listener.is_open());
    }
    CHECK(open_fds() == fds);
  }
}

TEST_CASE("An empty TcpStream or TcpListener fails with EBADF", "[tcp]") {
  TcpStream stream;
  TcpListener listener;
  CHECK_FALSE(stream.is_open());
  CHECK(stream.native_handle() == -1);
  stream.close();
  stream.abort();
  listener.close();
  std::string text(1, 'x');
  CHECK(error_of([&] { (void)stream.read_some(bytes_of(text)); }) == EBADF);
  CHECK(error_of([&] { stream.write_all("x"); }) == EBADF);
  CHECK(error_of([&] { (void)stream.release(); }) == EBADF);
  CHECK(error_of([&] { (void)listener.local_address(); }) == EBADF);
}
