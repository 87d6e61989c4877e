#include <fcntl.h>

#include <fibrio/datagrams.hpp>

#include "support/net.hpp"
#include "support/temp_folder.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

Address loopback6() { return Address::parse("::1", 0); }

Address in(const test::TempFolder& folder, const std::string& name) {
  return Address::from_path(folder / name);
}

std::string receive_text(UdpSocket& socket, std::size_t bytes = 65536) {
  std::string text(bytes, '\0');
  text.resize(socket.recv_from(bytes_of(text)).size);
  return text;
}

// Every datagram comes back, in both directions, from where it was sent to.
void exchange(const Address& any) {
  UdpSocket server = UdpSocket::bind(any);
  UdpSocket client = UdpSocket::bind(any);
  auto answering = create_task([&] {
    std::byte buffer[2048];
    for (int i = 0; i < 50; ++i) {
      const Datagram query = server.recv_from(buffer);
      server.send_to(std::span(buffer).first(query.size), query.from);
    }
  });
  for (std::size_t i = 0; i < 50; ++i) {
    const std::vector<std::byte> data = test_data(i * 30, i + 1);  // the first one is empty
    client.send_to(data, server.local_address());
    std::vector<std::byte> buffer(2048);
    const Datagram answer = client.recv_from(buffer);
    expect(answer.from == server.local_address(), "where the answer is from");
    expect(!answer.is_truncated() && answer.size == data.size(), "its size");
    expect(std::equal(data.begin(), data.end(), buffer.begin()), "its bytes");
  }
  await(answering);
}

}  // namespace

// asyncio: test_events EventLoopTestsMixin.test_create_datagram_endpoint
TEST_CASE("UdpSocket sends and receives datagrams over IPv4, empty ones too", "[udp]") {
  on_loops([] { exchange(loopback()); });
}

// asyncio: test_events EventLoopTestsMixin.test_create_datagram_endpoint_ipv6
TEST_CASE("UdpSocket sends and receives datagrams over IPv6", "[udp]") {
  on_loops([] { exchange(loopback6()); });
}

TEST_CASE("UdpSocket::recv_from waits for the datagram, and a cancelled one loses none", "[udp]") {
  on_loops([] {
    UdpSocket server = UdpSocket::bind(loopback());
    UdpSocket client = UdpSocket::connect(server.local_address());
    for (int i = 0; i < 50; ++i) {
      auto cancelled = create_task([&] { return receive_text(server); });
      if (i % 2 == 0) wait_until_waits(cancelled, WaitReason::kReadable);
      cancelled.cancel();
      cancelled.wait();
      expect(cancelled.cancelled(), "a cancelled wait");
      auto receiver = create_task([&] { return receive_text(server); });
      if (i % 3 == 0) wait_until_waits(receiver, WaitReason::kReadable);
      client.send("number " + std::to_string(i));
      expect(await(receiver) == "number " + std::to_string(i), "the datagram");
    }
  });
}

TEST_CASE("UdpSocket says when a datagram did not fit", "[udp]") {
  on_loops([] {
    UdpSocket server = UdpSocket::bind(loopback());
    UdpSocket client = UdpSocket::connect(server.local_address());
    client.send("0123456789");
    std::byte buffer[4];
    const Datagram cut = server.recv_from(buffer);
    expect(cut.is_truncated() && cut.size == 4 && cut.full_size == 10, "what was lost");
    server.send_to("0123456789", cut.from);
    std::string text;
    expect_equal(error_of([&] { (void)client.recv(buffer); }, &text), EMSGSIZE, "errno");
    expect(text.find("10 bytes") != std::string::npos, "the size in: " + text);
    client.send("");
    const Datagram empty = server.recv_from({});
    expect(!empty.is_truncated() && empty.full_size == 0, "an empty one fits everywhere");
    client.send("after");
    expect(receive_text(server) == "after", "the next one is whole");
  });
}

// asyncio: test_events EventLoopTestsMixin.test_datagram_send_to_non_listening_address
TEST_CASE("UdpSocket tells a refusal once and goes on", "[udp]") {
  on_loops([] {
    UdpSocket nobody = UdpSocket::bind(lone_loopback());
    const Address address = nobody.local_address();
    nobody.close();
    UdpSocket client = UdpSocket::connect(address);
    auto waiting = create_task([&] { return error_of([&] { (void)receive_text(client); }); });
    wait_until_waits(waiting, WaitReason::kReadable);
    client.send("to nobody");
    expect_equal(await(waiting), ECONNREFUSED, "errno of what waits");
    client.send("to nobody again");
    wait_until(
        [&] {
          std::byte buffer[8];
          return error_of([&] { (void)client.try_recv_from(buffer); }) == ECONNREFUSED;
        },
        "a refusal without waiting");
    UdpSocket somebody = UdpSocket::bind(address);
    client.send("hello");
    const Address own = client.local_address();
    expect(receive_text(somebody) == "hello", "the socket works on");
    somebody.send_to("answer", own);
    expect(receive_text(client) == "answer", "in both directions");
    UdpSocket free_one = UdpSocket::bind(loopback());
    somebody.close();
    free_one.send_to("nobody hears it", address);
    free_one.send_to("nor that", address);  // not connected: nothing is told
  });
}

TEST_CASE("A connected UdpSocket hears its peer alone", "[udp]") {
  on_loops([] {
    UdpSocket server = UdpSocket::bind(loopback());
    UdpSocket stranger = UdpSocket::bind(loopback());
    UdpSocket client = UdpSocket::connect(server.local_address(), loopback());
    expect(client.peer_address() == server.local_address(), "the peer's address");
    expect_equal(error_of([&] { (void)server.peer_address(); }), ENOTCONN, "errno");
    expect_equal(error_of([&] { server.send("to whom?"); }), EDESTADDRREQ, "errno");
    stranger.send_to("from a stranger", client.local_address());
    server.send_to("from the peer", client.local_address());
    expect(receive_text(client) == "from the peer", "the peer's datagram");
    UdpSocket by_name = UdpSocket::connect("localhost", server.local_address().port());
    by_name.send("by name");
    if (by_name.peer_address() == server.local_address()) expect(receive_text(server) == "by name", "it");
  });
}

TEST_CASE("try_send and try_recv_from never wait", "[udp]") {
  on_loops([] {
    UdpSocket server = UdpSocket::bind(loopback());
    UdpSocket client = UdpSocket::connect(server.local_address());
    std::byte buffer[64];
    expect(!server.try_recv_from(buffer).has_value(), "nothing");
    const std::byte data[5] = {};
    expect(client.try_send(data), "room");
    expect(client.try_send_to(data, server.local_address()), "room");
    std::optional<Datagram> got;
    for (int i = 0; i < 2; ++i) {
      wait_until([&] { return (got = server.try_recv_from(buffer)).has_value(); }, "a datagram");
      expect_equal(got->size, 5, "its size");
    }
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_sockopts
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_allow_broadcast
TEST_CASE("DatagramOptions reach the socket", "[udp]") {
  on_loops([] {
    const auto option = [](const UdpSocket& socket, int level, int name) {
      int value = -1;
      socklen_t length = sizeof value;
      expect(::getsockopt(socket.native_handle(), level, name, &value, &length) == 0, "getsockopt");
      return value;
    };
    UdpSocket plain = UdpSocket::bind(loopback());
    expect_equal(option(plain, SOL_SOCKET, SO_BROADCAST), 0, "SO_BROADCAST");
    expect_equal(option(plain, SOL_SOCKET, SO_REUSEPORT), 0, "SO_REUSEPORT");
    const Address broadcast = Address::parse("255.255.255.255", 9);
    expect_equal(error_of([&] { plain.send_to("to all", broadcast); }), EACCES, "errno");
    UdpSocket first = UdpSocket::bind(loopback(), {.reuse_port = true, .broadcast = true});
    expect_equal(option(first, SOL_SOCKET, SO_BROADCAST), 1, "SO_BROADCAST");
    UdpSocket second = UdpSocket::bind(first.local_address(), {.reuse_port = true});
    expect(second.local_address() == first.local_address(), "a shared port");
    UdpSocket six = UdpSocket::bind(loopback6(), {.ipv6_only = true});
    expect_equal(option(six, IPPROTO_IPV6, IPV6_V6ONLY), 1, "IPV6_V6ONLY");
    six.set_option(SOL_SOCKET, SO_RCVBUF, 4096);
    expect(option(six, SOL_SOCKET, SO_RCVBUF) >= 4096, "SO_RCVBUF");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_cant_bind
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_no_matching_family
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_wrong_sock
TEST_CASE("UdpSocket names what is wrong with an address or a socket, and leaks none", "[udp]") {
  on_loops([] {
    const std::size_t fds = open_fds();
    UdpSocket taken = UdpSocket::bind(loopback());
    std::string text;
    expect_equal(error_of([&] { (void)UdpSocket::bind(taken.local_address()); }, &text), EADDRINUSE, "errno");
    expect(text.find("bind to " + taken.local_address().to_string()) == 0, "call and address in: " + text);
    expect_equal(error_of([] { (void)UdpSocket::bind(Address::parse("192.0.2.1", 9)); }, &text),
                 EADDRNOTAVAIL, "errno");
    expect_equal(error_of([&] { taken.send_to(std::string(70'000, 'x'), taken.local_address()); }, &text),
                 EMSGSIZE, "errno");
    expect(text.find("sendmsg to 127.0.0.1") == 0, "call and address in: " + text);
    expect_throws<std::invalid_argument>(
        [&] { (void)UdpSocket::connect(taken.local_address(), loopback6()); }, "two families");
    const RawPeer stream(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    expect_equal(error_of([&] { (void)UdpSocket::adopt(stream.fd()); }), EPROTOTYPE, "errno");
    expect_equal(open_fds(), fds + 2, "open fds");
  });
  CHECK_THROWS_AS(UdpSocket::bind(loopback()), RuntimeError);
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_sock
// asyncio: test_events EventLoopTestsMixin.test_create_datagram_endpoint_sock
TEST_CASE("UdpSocket adopts a datagram socket", "[udp]") {
  on_loops([] {
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0, "a socketpair");
    UdpSocket left = UdpSocket::adopt(fds[0]);
    UdpSocket right = UdpSocket::adopt(fds[1]);
    auto receiver = create_task([&] {
      std::byte buffer[64];
      return left.recv(buffer);
    });
    wait_until_waits(receiver, WaitReason::kReadable);
    right.send("seven b");
    expect_equal(await(receiver), 7, "bytes");
    std::byte buffer[64];
    right.send("");
    const Datagram empty = left.recv_from(buffer);
    expect(empty.from.family() == AF_UNIX && empty.from.host().empty(), "a sender without a name");
  });
}

TEST_CASE("close ends the waits of a UdpSocket with ECANCELED", "[udp]") {
  on_loops([] {
    UdpSocket socket = UdpSocket::bind(loopback());
    std::vector<Task<int>> waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.push_back(create_task([&] { return error_of([&] { (void)receive_text(socket); }); }));
    }
    wait_until_all_wait(waiting, WaitReason::kReadable);
    socket.close();
    for (auto& task : waiting) expect_equal(await(task), ECANCELED, "errno");
    expect(!socket.is_open() && socket.native_handle() == -1, "closed");
    expect_equal(error_of([&] { socket.send_to("x", loopback()); }), ECANCELED, "errno");
    UdpSocket none;
    expect_equal(error_of([&] { none.send("x"); }), EBADF, "errno");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_sock_unix
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_existing_sock_unix
TEST_CASE("UdpSocket over Unix paths takes over what is stale, and nothing else", "[udp]") {
  on_loops([] {
    const test::TempFolder folder;
    const Address path = in(folder, "server");
    for (int i = 0; i < 3; ++i) {  // the file stays each time
      UdpSocket server = UdpSocket::bind(path);
      expect_equal(error_of([&] { (void)UdpSocket::bind(path); }), EADDRINUSE, "errno while it is open");
      UdpSocket client = UdpSocket::bind(in(folder, "client" + std::to_string(i)));
      client.send_to("hello", path);
      std::byte buffer[64];
      const Datagram query = server.recv_from(buffer);
      expect(query.from == client.local_address(), "where it is from");
      server.send_to("answer", query.from);
      expect(receive_text(client) == "answer", "the answer");
    }
    const Address file = in(folder, "file");
    const RawPeer plain(::open(file.host().c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    expect_equal(error_of([&] { (void)UdpSocket::bind(file); }), EADDRINUSE, "errno for what is no socket");
    expect(::access(file.host().c_str(), F_OK) == 0, "the file is still there");
    const std::string name = std::string(1, '\0') + "fibrio_udp_" + std::to_string(::getpid());
    UdpSocket abstract = UdpSocket::bind(Address::from_path(name));
    expect_equal(error_of([&] { (void)UdpSocket::bind(Address::from_path(name)); }), EADDRINUSE, "errno");
  });
}

TEST_CASE("UdpSocket waits while a Unix peer's queue is full, connected or not", "[udp]") {
  on_loops([] {
    const test::TempFolder folder;
    constexpr int kMessages = 2000;
    for (const bool connects : {false, true}) {
      UdpSocket server = UdpSocket::bind(in(folder, connects ? "c" : "u"));
      const Address to = server.local_address();
      auto sender = create_task([&] {
        UdpSocket client = connects ? UdpSocket::connect(to) : UdpSocket::bind(in(folder, "from"));
        for (int i = 0; i < kMessages; ++i) {
          const std::string text = "message " + std::to_string(i);
          connects ? client.send(text) : client.send_to(text, to);
        }
      });
      wait_until_waits(sender);
      expect(!sender.done(), "the sender waits");
      for (int i = 0; i < kMessages; ++i) {
        expect(receive_text(server, 64) == "message " + std::to_string(i), "every datagram, in order");
      }
      await(sender);
      auto cancelled = create_task([&] {
        UdpSocket client = connects ? UdpSocket::connect(to) : UdpSocket::bind(in(folder, "again"));
        for (;;) connects ? client.send("x") : client.send_to("x", to);
      });
      wait_until_waits(cancelled);
      cancelled.cancel();
      cancelled.wait();
      expect(cancelled.cancelled(), "a cancelled send");
    }
  });
}
