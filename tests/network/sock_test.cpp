// What: sock_*: calls on fds that the test made itself.
#include <fibrio/low_level_sockets.hpp>

#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

RawPeer make_socket(int family, int type) {
  return RawPeer(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

Address name_of(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  expect(::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0, "getsockname");
  return Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
}

RawPeer listen_on(const Address& address, int backlog = 16) {
  RawPeer listener = make_socket(address.family(), SOCK_STREAM);
  expect(::bind(listener.fd(), address.data(), address.size()) == 0, "bind");
  expect(::listen(listener.fd(), backlog) == 0, "listen");
  return listener;
}

struct RawPipe {
  RawPeer client;
  RawPeer server;
};
RawPipe connect_sockets(const Address& any) {
  const RawPeer listener = listen_on(any);
  RawPeer client = make_socket(any.family(), SOCK_STREAM);
  sock_connect(client.fd(), name_of(listener.fd()));
  return {std::move(client), RawPeer(sock_accept(listener.fd()).first)};
}

Address abstract_name(int number) {
  return Address::from_path('\0' +
                            ("fibrio_sock_" + std::to_string(::getpid()) + "_" + std::to_string(number)));
}

void exchange(const Address& any) {
  RawPipe pair = connect_sockets(any);
  sock_sendall(pair.client.fd(), "question");
  expect(sock_recv(pair.server.fd(), 3) == "que", "what was asked for");
  std::byte buffer[64];
  expect_equal(sock_recv_into(pair.server.fd(), buffer), 5, "the rest");
  auto reader = create_task([&] { return sock_recv(pair.client.fd(), 100); });
  wait_until_waits(reader, WaitReason::kReadable);
  sock_sendall(pair.server.fd(), "answer");
  expect(await(reader) == "answer", "the answer");
  auto at_end = create_task([&] { return sock_recv(pair.client.fd(), 100); });
  wait_until_waits(at_end, WaitReason::kReadable);
  pair.server.close();
  expect(await(at_end).empty(), "the end of the stream");
}

}  // namespace

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_sock_client_ops
TEST_CASE("sock_connect, sock_accept, sock_sendall and sock_recv work on any stream socket", "[sock]") {
  on_loops([] {
    exchange(loopback());
    exchange(Address::parse("::1", 0));
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_unix_sock_client_ops
TEST_CASE("sock_* work on Unix sockets, also when the listener's backlog is full", "[sock]") {
  on_loops([] {
    exchange(abstract_name(1));
    const RawPeer listener = listen_on(abstract_name(2), 0);
    std::vector<Task<>> clients;
    std::vector<RawPeer> sockets;
    for (int i = 0; i < 5; ++i) sockets.push_back(make_socket(AF_UNIX, SOCK_STREAM));
    for (const RawPeer& socket : sockets) {
      clients.push_back(create_task([&] { sock_connect(socket.fd(), abstract_name(2)); }));
    }
    let_others_wait();
    for (int i = 0; i < 5; ++i) const RawPeer accepted(sock_accept(listener.fd()).first);
    for (auto& client : clients) await(client);
  });
}

// asyncio: test_base_events BaseLoopSockSendfileTests.test_blocking_socket
TEST_CASE("sock_* need a task, and in debug mode a non-blocking fd", "[sock]") {
  CHECK_THROWS_AS(sock_recv(0, 1), RuntimeError);
  on_loops([] {
    get_running_loop().set_debug(true);
    const RawPeer blocking(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto refuses = [](auto&& call) {
      expect_throws<std::invalid_argument>(call, "must be non-blocking");
    };
    for (int i = 0; i < 2; ++i) {
      refuses([&] { sock_connect(blocking.fd(), Address::parse("127.0.0.1", 9)); });
      refuses([&] { (void)sock_accept(blocking.fd()); });
      refuses([&] { sock_sendfile(blocking.fd(), 0); });
      get_running_loop().set_debug(true);
      refuses([&] { (void)sock_recv(blocking.fd(), 10); });
      refuses([&] { sock_sendall(blocking.fd(), "x"); });
      get_running_loop().set_debug(false);
    }
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "a socketpair");
    const RawPeer left(fds[0]);
    const RawPeer right(fds[1]);
    auto reader = create_task([&] { return sock_recv(left.fd(), 10); });  // blocks no worker all the same
    wait_until_waits(reader, WaitReason::kReadable);
    sock_sendall(right.fd(), "x");
    expect(await(reader) == "x", "the byte");
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_sock_client_racing
TEST_CASE("sock_recv and sock_sendall that were cancelled leave the fd for the next call at once", "[sock]") {
  on_loops([] {
    RawPipe pair = connect_sockets(loopback());
    for (int i = 0; i < 100; ++i) {
      auto cancelled = create_task([&] { return sock_recv(pair.client.fd(), 10); });
      if (i % 2 == 0) wait_until_waits(cancelled, WaitReason::kReadable);
      cancelled.cancel();
      auto next = create_task([&] { return sock_recv(pair.client.fd(), 10); });
      cancelled.wait();
      if (i % 3 == 0) wait_until_waits(next, WaitReason::kReadable);
      sock_sendall(pair.server.fd(), "x");
      if (cancelled.cancelled()) {
        expect(await(next) == "x", "the byte");
      } else {  // it had it already
        next.cancel();
        next.wait();
      }
    }
    auto filling = create_task([&] {
      for (;;) sock_sendall(pair.client.fd(), std::string(100'000, 'f'));
    });
    wait_until_waits(filling, WaitReason::kWritable);  // or it would go on behind the end
    filling.cancel();
    auto next = create_task([&] { sock_sendall(pair.client.fd(), "end"); });
    filling.wait();
    expect(filling.cancelled(), "a cancelled send");
    std::string last;
    while (!last.ends_with("end"))
      last = last.substr(last.size() - std::min<std::size_t>(last.size(), 3)) +
             sock_recv(pair.server.fd(), 65536);
    await(next);
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_sock_client_connect_racing
TEST_CASE("sock_connect that was cancelled can be taken up again", "[sock]") {
  on_loops([] {
    for (int i = 0; i < 50; ++i) {
      const RawPeer listener = listen_on(loopback());
      const RawPeer client = make_socket(AF_INET, SOCK_STREAM);
      auto cancelled = create_task([&] { sock_connect(client.fd(), name_of(listener.fd())); });
      if (i % 2 == 0) yield();
      cancelled.cancel();
      cancelled.wait();
      sock_connect(client.fd(), name_of(listener.fd()));
      const RawPeer accepted(sock_accept(listener.fd()).first);
      sock_sendall(client.fd(), "x");
      expect(sock_recv(accepted.fd(), 10) == "x", "the byte");
    }
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_huge_content
// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_huge_content_recvinto
TEST_CASE("sock_* carry millions of bytes while both directions are active", "[sock]") {
  const std::vector<std::byte> data = test_data(3'000'000);
  on_loops([&] {
    RawPipe pair = connect_sockets(loopback());
    const auto receive = [&](int fd) {
      std::vector<std::byte> got(data.size());
      for (std::size_t at = 0; at < got.size();) {
        const std::size_t count = sock_recv_into(fd, std::span(got).subspan(at));
        expect(count > 0, "no end of the stream");
        at += count;
      }
      expect(got == data, "the bytes that were sent");
    };
    auto tasks = std::vector<Task<>>();
    tasks.push_back(create_task([&] { sock_sendall(pair.client.fd(), data); }));
    tasks.push_back(create_task([&] { sock_sendall(pair.server.fd(), data); }));
    tasks.push_back(create_task([&] { receive(pair.client.fd()); }));
    tasks.push_back(create_task([&] { receive(pair.server.fd()); }));
    for (auto& task : tasks) await(task);
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_recvfrom
// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_recvfrom_into
// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_sendto_blocking
TEST_CASE("sock_recvfrom and sock_sendto carry datagrams with their address", "[sock]") {
  on_loops([] {
    const RawPeer server = make_socket(AF_INET, SOCK_DGRAM);
    const RawPeer client = make_socket(AF_INET, SOCK_DGRAM);
    for (const RawPeer* socket : {&server, &client}) {
      const Address any = loopback();
      expect(::bind(socket->fd(), any.data(), any.size()) == 0, "bind");
    }
    auto receiver = create_task([&] { return sock_recvfrom(server.fd(), 100); });
    wait_until_waits(receiver, WaitReason::kReadable);
    expect_equal(sock_sendto(client.fd(), "hello", name_of(server.fd())), 5, "bytes");
    const auto [text, from] = await(std::move(receiver));
    expect(text == "hello" && from == name_of(client.fd()), "the datagram and where it is from");
    sock_sendto(client.fd(), "0123456789", name_of(server.fd()));
    std::byte buffer[4];
    const Datagram cut = sock_recvfrom_into(server.fd(), buffer);
    expect(cut.is_truncated() && cut.size == 4, "a cut off one");
    const RawPeer full = make_socket(AF_UNIX, SOCK_DGRAM);
    const Address name = abstract_name(3);
    expect(::bind(full.fd(), name.data(), name.size()) == 0, "bind");
    const RawPeer sender = make_socket(AF_UNIX, SOCK_DGRAM);
    auto sending = create_task([&] {
      for (int i = 0; i < 1000; ++i) sock_sendto(sender.fd(), std::to_string(i), name);
    });
    wait_until_waits(sending, WaitReason::kSleep);
    expect(!sending.done(), "waits while the queue is full");
    for (int i = 0; i < 1000; ++i)
      expect(sock_recvfrom(full.fd(), 10).first == std::to_string(i), "in order");
    await(sending);
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_sock_client_fail
TEST_CASE("sock_connect tells a refusal, and the address", "[sock]") {
  on_loops([] {
    const ClosedPort port;
    const Address& nobody = port.address();
    const RawPeer client = make_socket(AF_INET, SOCK_STREAM);
    std::string text;
    expect_equal(error_of([&] { sock_connect(client.fd(), nobody); }, &text), ECONNREFUSED, "errno");
    expect(text.find("connect to " + nobody.to_string()) == 0, "the address in: " + text);
    expect_equal(error_of([] { (void)sock_recv(-1, 10); }), EBADF, "errno");
    expect_equal(error_of([] { (void)sock_accept(-1); }), EBADF, "errno");
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_sock_accept
// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_cancel_sock_accept
TEST_CASE("sock_accept returns a non-blocking fd, and a timed-out one takes no connection", "[sock]") {
  on_loops([] {
    const RawPeer listener = listen_on(loopback());
    expect_throws<TimeoutError>([&] { wait_for([&] { (void)sock_accept(listener.fd()); }, 5ms); },
                                "a timeout");
    const RawPeer client = make_socket(AF_INET, SOCK_STREAM);
    sock_connect(client.fd(), "127.0.0.1", name_of(listener.fd()).port());
    const auto [fd, from] = sock_accept(listener.fd());
    const RawPeer accepted(fd);
    expect((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "its flags");
    expect(from == name_of(client.fd()), "who connected");
  });
}

// asyncio: test_sock_lowlevel BaseSockTestsMixin.test_create_connection_sock
TEST_CASE("A socket that sock_connect connected can be adopted", "[sock]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sock_connect(fd, listener.local_address());
    TcpStream client = TcpStream::adopt(fd);
    TcpStream server = listener.accept();
    client.write_all("x");
    expect(read_once(server) == "x", "the byte");
    auto reader = create_task([&] { return read_once(client); });
    wait_until_waits(reader, WaitReason::kReadable);
    server.write_all("y");
    expect(await(reader) == "y", "the byte");
  });
}
