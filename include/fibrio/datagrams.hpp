// Sockets of messages: UDP over IPv4 and IPv6, and Unix datagrams.
//
//   auto server = fibrio::UdpSocket::bind(fibrio::Address::parse("127.0.0.1", 5353));
//   std::array<std::byte, 2048> buffer;
//   for (;;) {
//     const fibrio::Datagram query = server.recv_from(buffer);
//     server.send_to(std::span(buffer).first(query.size), query.from);
//   }
//
// Every wait here can be cancelled and leaves the socket usable; so does every error. Errors of the system
// are std::system_error whose text names the call. A socket may be used by several tasks at once: each
// datagram goes to one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fibrio/sockets.hpp"

namespace fibrio {

struct DatagramOptions {
  bool reuse_port = false;  // SO_REUSEPORT: several sockets on one port share what comes
  bool broadcast = false;   // SO_BROADCAST: may send to broadcast addresses
  bool ipv6_only = false;   // for IPv6 addresses
};

// What recv_from got.
struct Datagram {
  std::size_t size = 0;       // bytes in the buffer
  std::size_t full_size = 0;  // bytes that were sent; the rest is lost
  Address from;               // of a Unix socket without a name: an empty path
  [[nodiscard]] bool is_truncated() const noexcept { return full_size > size; }
};

// A socket of datagrams. Movable. The destructor closes it. Do not move or destroy it while a task is inside
// one of its operations; close() from elsewhere is fine. asyncio: create_datagram_endpoint, without the
// protocol.
class UdpSocket {
 public:
  UdpSocket() noexcept;
  UdpSocket(UdpSocket&&) noexcept;
  UdpSocket& operator=(UdpSocket&&) noexcept;
  ~UdpSocket();

  // Receives what is sent to `local`; port 0: the system chooses one (local_address() tells). A Unix path
  // whose socket nobody has open any more is taken over. Waits: no. Throws: std::system_error naming call and
  // address; RuntimeError outside a running loop.
  static UdpSocket bind(const Address& local, DatagramOptions options = {});
  // Talks to `peer` alone: send and recv need no address, datagrams of others are dropped, and the network's
  // refusals are told (see recv). The system chooses the own address, or it is `local`. Waits: no. Throws: as
  // bind.
  static UdpSocket connect(const Address& peer, DatagramOptions options = {});
  static UdpSocket connect(const Address& peer, const Address& local, DatagramOptions options = {});
  // The first address of `host` that takes it. Waits: unless `host` is a literal. Cancel: CancelledError.
  static UdpSocket connect(const std::string& host, std::uint16_t port, DatagramOptions options = {});
  // Takes over a datagram socket (made non-blocking, close-on-exec). Throws: std::system_error, also for what
  // is none; then `fd` is still the caller's.
  static UdpSocket adopt(int fd);

  // Receives the next datagram, however empty. What does not fit into `buffer` is lost, and is_truncated()
  // says so. Waits: if there is none. Cancel: CancelledError, nothing is lost. Throws:
  // std::system_error("recvmsg"); for a connected socket that is also what became of an earlier send:
  // ECONNREFUSED if nobody listens there. The socket stays usable.
  Datagram recv_from(std::span<std::byte> buffer);
  // The same for a connected socket: bytes in the buffer; a truncated datagram throws EMSGSIZE.
  std::size_t recv(std::span<std::byte> buffer);
  // The same without waiting: nothing if there is none.
  std::optional<Datagram> try_recv_from(std::span<std::byte> buffer);

  // Sends one datagram, which may be empty. Waits: while the send buffer (of a Unix peer: its queue) is full.
  // Cancel: CancelledError, nothing was sent. Throws: std::system_error naming the address: EMSGSIZE if it is
  // too large, EACCES for a broadcast address without DatagramOptions::broadcast, on a connected socket
  // ECONNREFUSED of an earlier send.
  void send_to(std::span<const std::byte> data, const Address& to);
  void send_to(std::string_view text, const Address& to);
  // The same to the peer of a connected socket.
  void send(std::span<const std::byte> data);
  void send(std::string_view text);
  // The same without waiting: false if there is no room now.
  bool try_send_to(std::span<const std::byte> data, const Address& to);
  bool try_send(std::span<const std::byte> data);

  // Closes; idempotent. A task that waits on the socket gets std::system_error(ECANCELED). The file of a Unix
  // path stays.
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept;

  [[nodiscard]] Address local_address() const;
  [[nodiscard]] Address peer_address() const;  // throws ENOTCONN unless connected
  void set_option(int level, int name, int value);
  // The fd, still owned by the socket; -1 if closed.
  [[nodiscard]] int native_handle() const noexcept;

 private:
  std::shared_ptr<detail::Socket> socket_;
};

}  // namespace fibrio
