// What: UdpSocket.
//
// Protocol. A datagram socket never says how much more there is: a direction counts as not ready only after
// EAGAIN. Errors that the network reports (ICMP) come out of the next call of either direction, once.
//
// A Unix socket that is not connected hears nothing when the queue of who it sends to has room again (epoll
// says "writable" all the time, and an edge never comes): send_to tries again after a short sleep.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include "fibrio/datagrams.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"
#include "net/datagram_calls.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"
#include "net/stream_socket.hpp"
#include "sched/worker.hpp"

namespace fibrio {

using detail::Direction;
using detail::fail;
using detail::open_or_throw;
using detail::receive_datagram;
using detail::send_datagram;
using detail::set_int_option;
using detail::Socket;

namespace {

constexpr ssize_t kWouldBlock = -EAGAIN;

sys::UniqueFd make_socket(int family, const DatagramOptions& options) {
  if (detail::this_worker() == nullptr) throw RuntimeError("UdpSocket needs a running loop");
  const int fd = sys::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail(fd, "socket");
  sys::UniqueFd made(fd);
  if (options.reuse_port) set_int_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "setsockopt(SO_REUSEPORT)");
  if (options.broadcast) set_int_option(fd, SOL_SOCKET, SO_BROADCAST, 1, "setsockopt(SO_BROADCAST)");
  if (family == AF_INET6) {
    set_int_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6_only ? 1 : 0, "setsockopt(IPV6_V6ONLY)");
  }
  return made;
}

// True: `path` was the name of a socket that is closed, and is free now.
bool remove_stale(const Address& path) {
  struct stat file {};
  const std::string name = path.host();
  if (path.data()->sa_data[0] == '\0' || sys::lstat(name.c_str(), &file) < 0 || !S_ISSOCK(file.st_mode))
    return false;
  const sys::UniqueFd probe(sys::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.is_open() || sys::connect(probe.get(), path.data(), path.size()) != -ECONNREFUSED) return false;
  return sys::unlink(name.c_str()) == 0;
}

void bind_to(int fd, const Address& local) {
  int error = sys::bind(fd, local.data(), local.size());
  if (error == -EADDRINUSE && local.family() == AF_UNIX && remove_stale(local)) {
    error = sys::bind(fd, local.data(), local.size());
  }
  if (error < 0) fail(error, "bind to " + local.to_string());
}

void connect_to(int fd, const Address& peer) {
  const int error = sys::connect(fd, peer.data(), peer.size());
  if (error < 0) fail(error, "connect to " + peer.to_string());
}

[[noreturn]] void fail_to_send(ssize_t error, const Address* to) {
  fail(static_cast<int>(error), to == nullptr ? "sendmsg" : "sendmsg to " + to->to_string());
}

void send_waiting(Socket& socket, std::span<const std::byte> data, const Address* to) {
  constexpr Duration kPeerIsFull = std::chrono::milliseconds(1);
  Socket::Operation operation(socket, "sendmsg");
  operation.spend();
  for (;;) {
    const auto seen = operation.look(Direction::write);
    if (detail::Readiness<>::is_ready(seen)) {
      const ssize_t sent = send_datagram(operation.fd(), data, to);
      if (sent >= 0) return;
      if (sent != kWouldBlock) fail_to_send(sent, to);
      if (to != nullptr && to->family() == AF_UNIX) {
        sleep(kPeerIsFull);
        if (!operation.is_open()) operation.fail(-ECANCELED);
        continue;
      }
      operation.would_block(Direction::write, seen);
    }
    operation.wait(Direction::write);
  }
}

bool send_now(Socket& socket, std::span<const std::byte> data, const Address* to) {
  const Socket::Operation operation(socket, "sendmsg");
  const ssize_t sent = send_datagram(operation.fd(), data, to);
  if (sent < 0 && sent != kWouldBlock) fail_to_send(sent, to);
  return sent >= 0;
}

}  // namespace

UdpSocket::UdpSocket() noexcept = default;
UdpSocket::UdpSocket(UdpSocket&&) noexcept = default;
UdpSocket& UdpSocket::operator=(UdpSocket&& other) noexcept {
  if (this != &other) {
    close();
    socket_ = std::move(other.socket_);
  }
  return *this;
}
UdpSocket::~UdpSocket() { close(); }

UdpSocket UdpSocket::bind(const Address& local, DatagramOptions options) {
  sys::UniqueFd fd = make_socket(local.family(), options);
  bind_to(fd.get(), local);
  UdpSocket made;
  made.socket_ = std::make_shared<Socket>(std::move(fd), false);
  return made;
}

UdpSocket UdpSocket::connect(const Address& peer, DatagramOptions options) {
  sys::UniqueFd fd = make_socket(peer.family(), options);
  connect_to(fd.get(), peer);
  UdpSocket made;
  made.socket_ = std::make_shared<Socket>(std::move(fd), false);
  return made;
}

UdpSocket UdpSocket::connect(const Address& peer, const Address& local, DatagramOptions options) {
  if (peer.family() != local.family()) {
    throw std::invalid_argument("UdpSocket::connect: " + peer.to_string() + " and " + local.to_string() +
                                " are not of one family");
  }
  UdpSocket made = bind(local, options);
  connect_to(made.native_handle(), peer);
  return made;
}

UdpSocket UdpSocket::connect(const std::string& host, std::uint16_t port, DatagramOptions options) {
  const std::vector<Address> addresses = getaddrinfo(host, port);
  for (std::size_t i = 0; i + 1 < addresses.size(); ++i) {
    try {
      return connect(addresses[i], options);
    } catch (const std::system_error&) {  // no route to this one; the last one's error is thrown
    }
  }
  return connect(addresses.back(), options);
}

UdpSocket UdpSocket::adopt(int fd) {
  const std::string on_fd = " on fd " + std::to_string(fd);
  const int type = detail::get_int_option(fd, SOL_SOCKET, SO_TYPE, "getsockopt(SO_TYPE)" + on_fd);
  if (type != SOCK_DGRAM) fail(-EPROTOTYPE, "adopt needs a datagram socket, not what is" + on_fd);
  detail::make_non_blocking(fd, on_fd);
  UdpSocket made;
  made.socket_ = Socket::adopt(fd, false);
  return made;
}

Datagram UdpSocket::recv_from(std::span<std::byte> buffer) {
  Socket::Operation operation(open_or_throw(socket_, "recvmsg"), "recvmsg");
  operation.spend();
  Datagram datagram;
  for (;;) {
    const auto seen = operation.look(Direction::read);
    if (detail::Readiness<>::is_ready(seen)) {
      const ssize_t count = receive_datagram(operation.fd(), buffer, datagram);
      if (count >= 0) return datagram;
      if (count != kWouldBlock) operation.fail(static_cast<int>(count));
      operation.would_block(Direction::read, seen);
    }
    operation.wait(Direction::read);
  }
}

std::size_t UdpSocket::recv(std::span<std::byte> buffer) {
  const Datagram datagram = recv_from(buffer);
  if (datagram.is_truncated()) {
    fail(-EMSGSIZE, "recv: a datagram of " + std::to_string(datagram.full_size) +
                        " bytes was cut off after " + std::to_string(datagram.size));
  }
  return datagram.size;
}

std::optional<Datagram> UdpSocket::try_recv_from(std::span<std::byte> buffer) {
  const Socket::Operation operation(open_or_throw(socket_, "recvmsg"), "recvmsg");
  Datagram datagram;
  const ssize_t count = receive_datagram(operation.fd(), buffer, datagram);
  if (count == kWouldBlock) return std::nullopt;
  if (count < 0) operation.fail(static_cast<int>(count));
  return datagram;
}

void UdpSocket::send_to(std::span<const std::byte> data, const Address& to) {
  send_waiting(open_or_throw(socket_, "sendmsg"), data, &to);
}
void UdpSocket::send_to(std::string_view text, const Address& to) { send_to(detail::bytes_of(text), to); }
void UdpSocket::send(std::span<const std::byte> data) {
  send_waiting(open_or_throw(socket_, "sendmsg"), data, nullptr);
}
void UdpSocket::send(std::string_view text) { send(detail::bytes_of(text)); }
bool UdpSocket::try_send_to(std::span<const std::byte> data, const Address& to) {
  return send_now(open_or_throw(socket_, "sendmsg"), data, &to);
}
bool UdpSocket::try_send(std::span<const std::byte> data) {
  return send_now(open_or_throw(socket_, "sendmsg"), data, nullptr);
}

void UdpSocket::close() noexcept {
  if (socket_ != nullptr) socket_->close(socket_);
}
bool UdpSocket::is_open() const noexcept { return socket_ != nullptr && socket_->is_open(); }
Address UdpSocket::local_address() const {
  return detail::local_address(Socket::Operation(open_or_throw(socket_, "getsockname"), "getsockname").fd());
}
Address UdpSocket::peer_address() const {
  return detail::peer_address(Socket::Operation(open_or_throw(socket_, "getpeername"), "getpeername").fd());
}
void UdpSocket::set_option(int level, int name, int value) {
  const Socket::Operation operation(open_or_throw(socket_, "setsockopt"), "setsockopt");
  set_int_option(operation.fd(), level, name, value, "setsockopt");
}
int UdpSocket::native_handle() const noexcept { return socket_ == nullptr ? -1 : socket_->fd(); }

}  // namespace fibrio
