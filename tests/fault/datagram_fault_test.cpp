// Faults of the calls that UdpSocket makes.
#include <fibrio/datagrams.hpp>

#include "support/faults.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

// The next `call` fails with each of `errors`; `what` must say so, name the call, and leak no fd.
template <class AnyFault, class Call>
void expect_named(AnyFault& fault, const std::string& name, std::initializer_list<int> errors, Call&& call) {
  const std::size_t fds = open_fds();
  for (const int error : errors) {
    std::string text;
    fault.arm(-error);
    expect_equal(error_of(call, &text), error, "errno");
    expect(text.find(name) == 0, "the call " + name + " in: " + text);
  }
  expect_equal(open_fds(), fds, "open fds");
}

}  // namespace

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_connect_err
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_socket_err
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_datagram_endpoint_setblk_err
TEST_CASE("A UdpSocket that cannot be made names the call and leaks nothing", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::socket> socket;
  Fault<&sys::Syscalls::bind> bind;
  Fault<&sys::Syscalls::connect> connect;
  Fault<&sys::Syscalls::setsockopt> setsockopt;
  Fault<&sys::Syscalls::fcntl> fcntl;
  on_loops([&] {
    const auto make = [] { (void)UdpSocket::bind(loopback(), {.reuse_port = true}); };
    const auto talk = [] { (void)UdpSocket::connect(Address::parse("127.0.0.1", 9)); };
    expect_named(socket, "socket", {EMFILE, ENFILE, ENOBUFS, ENOMEM}, make);
    expect_named(bind, "bind to 127.0.0.1:0", {EADDRINUSE, EACCES}, make);
    expect_named(setsockopt, "setsockopt(SO_REUSEPORT)", {ENOPROTOOPT}, make);
    expect_named(connect, "connect to 127.0.0.1:9", {ENETUNREACH, EPERM}, talk);
    const RawPeer raw(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    expect_named(fcntl, "fcntl(F_GETFL) on fd", {EBADF}, [&] { (void)UdpSocket::adopt(raw.fd()); });
  });
}

TEST_CASE("A datagram that cannot be sent or received is told, and the UdpSocket goes on", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::recvmsg> recvmsg;
  Fault<&sys::Syscalls::sendmsg> sendmsg;
  on_loops([&] {
    UdpSocket server = UdpSocket::bind(loopback());
    UdpSocket client = UdpSocket::connect(server.local_address());
    std::byte buffer[64];
    expect_named(sendmsg, "sendmsg", {ENOBUFS, ECONNREFUSED, ENETUNREACH}, [&] { client.send("lost"); });
    expect_named(recvmsg, "recvmsg", {ECONNREFUSED, ENOMEM}, [&] { (void)server.recv(buffer); });
    for (const int error : {EINTR, EAGAIN}) {  // asked again, and waited for
      sendmsg.arm(-error, {.times = error == EINTR ? 3 : 1});
      client.send("hello");
      recvmsg.arm(-error, {.times = error == EINTR ? 3 : 1});
      expect_equal(server.recv(buffer), 5, "bytes");
    }
  });
}
