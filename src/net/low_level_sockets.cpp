// What: sock_*: calls on fds that are not fibrio's, over wait_readable and wait_writable. Whatever those
// promise (several waiters, cancelling, fds that are closed and opened again) holds here. Calls that take a
// flag never block, whatever the fd's own flags say.
#include "fibrio/low_level_sockets.hpp"

#include <cerrno>
#include <stdexcept>

#include "fibrio/event_loop.hpp"
#include "fibrio/tasks.hpp"
#include "net/datagram_calls.hpp"
#include "net/send_file.hpp"
#include "net/socket_calls.hpp"
#include "sched/worker.hpp"
#include "task/budget.hpp"

namespace fibrio {

using detail::fail;

namespace {

// epoll has no event for the moment when a Unix listener, or who is sent to without a connection, has room
// again.
constexpr Duration kUnixPeerIsFull = std::chrono::milliseconds(1);

void require_non_blocking(int fd, const char* call) {
  const int flags = sys::fcntl(fd, F_GETFL);
  if (flags < 0) fail(flags, std::string(call) + ": fcntl(F_GETFL)");
  if ((flags & O_NONBLOCK) == 0) {
    throw std::invalid_argument(std::string(call) + ": fd " + std::to_string(fd) + " must be non-blocking");
  }
}

void require(int fd, const char* call) {
  static_cast<void>(detail::require_task(call));
  if (get_running_loop().get_debug()) require_non_blocking(fd, call);
}

// Repeats `call` (a result, or -errno) until it would not block any more.
template <class Wait, class Call>
auto until_done(int fd, Wait&& wait, const char* name, Call&& call) {
  detail::spend_budget();
  for (;;) {
    const auto result = call();
    if (result >= 0) return result;
    if (result == -EINTR) continue;
    if (result != -EAGAIN) fail(static_cast<int>(result), name);
    wait(fd);
  }
}

std::size_t receive_some(int fd, std::span<std::byte> buffer, const char* call) {
  return static_cast<std::size_t>(until_done(
      fd, &wait_readable, call, [&] { return sys::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT); }));
}

Datagram receive_datagram(int fd, std::span<std::byte> buffer, const char* call) {
  Datagram datagram;
  until_done(fd, &wait_readable, call, [&] { return detail::receive_datagram(fd, buffer, datagram); });
  return datagram;
}

std::size_t send_some(int fd, std::span<const std::byte> data, const char* call) {
  return static_cast<std::size_t>(until_done(fd, &wait_writable, call, [&] {
    return sys::send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }));
}

std::span<std::byte> writable_bytes_of(std::string& text) { return std::as_writable_bytes(std::span(text)); }

}  // namespace

std::string sock_recv(int fd, std::size_t bytes) {
  require(fd, "sock_recv");
  std::string text(bytes, '\0');
  text.resize(receive_some(fd, writable_bytes_of(text), "sock_recv"));
  return text;
}

std::size_t sock_recv_into(int fd, std::span<std::byte> buffer) {
  require(fd, "sock_recv_into");
  return receive_some(fd, buffer, "sock_recv_into");
}

std::pair<std::string, Address> sock_recvfrom(int fd, std::size_t bytes) {
  require(fd, "sock_recvfrom");
  std::string text(bytes, '\0');
  Datagram datagram = receive_datagram(fd, writable_bytes_of(text), "sock_recvfrom");
  text.resize(datagram.size);
  return {std::move(text), datagram.from};
}

Datagram sock_recvfrom_into(int fd, std::span<std::byte> buffer) {
  require(fd, "sock_recvfrom_into");
  return receive_datagram(fd, buffer, "sock_recvfrom_into");
}

void sock_sendall(int fd, std::span<const std::byte> data) {
  require(fd, "sock_sendall");
  while (!data.empty()) data = data.subspan(send_some(fd, data, "sock_sendall"));
}
void sock_sendall(int fd, std::string_view text) { sock_sendall(fd, detail::bytes_of(text)); }

std::size_t sock_sendto(int fd, std::span<const std::byte> data, const Address& to) {
  require(fd, "sock_sendto");
  const auto wait = [&](int full) {
    if (to.family() == AF_UNIX) {
      sleep(kUnixPeerIsFull);
    } else {
      wait_writable(full);
    }
  };
  return static_cast<std::size_t>(
      until_done(fd, wait, "sock_sendto", [&] { return detail::send_datagram(fd, data, &to); }));
}
std::size_t sock_sendto(int fd, std::string_view text, const Address& to) {
  return sock_sendto(fd, detail::bytes_of(text), to);
}

std::pair<int, Address> sock_accept(int fd) {
  require(fd, "sock_accept");
  require_non_blocking(fd, "sock_accept");
  sockaddr_storage from{};
  socklen_t length = sizeof from;
  const int accepted = until_done(fd, &wait_readable, "sock_accept", [&] {
    length = sizeof from;
    const int made = sys::accept(fd, reinterpret_cast<sockaddr*>(&from), &length);
    return made == -ECONNABORTED ? -EINTR : made;  // gone before it was accepted: the next one
  });
  sys::UniqueFd owner(accepted);
  const Address address = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&from), length);
  return {owner.take_fd(), address};
}

void sock_connect(int fd, const Address& address) {
  require(fd, "sock_connect");
  require_non_blocking(fd, "sock_connect");
  const std::string call = "connect to " + address.to_string();
  for (;;) {
    const int error = sys::connect(fd, address.data(), address.size());
    if (error == 0 || error == -EISCONN) return;
    if (error == -EAGAIN) {  // a Unix listener's backlog is full
      sleep(kUnixPeerIsFull);
      continue;
    }
    // EALREADY: a call that was cancelled began it.
    if (error != -EINPROGRESS && error != -EALREADY && error != -EINTR) fail(error, call);
    wait_writable(fd);
    const int outcome = detail::get_int_option(fd, SOL_SOCKET, SO_ERROR, "getsockopt(SO_ERROR)");
    if (outcome != 0) fail(-outcome, call);
  }
}

void sock_connect(int fd, const std::string& host, std::uint16_t port) {
  require(fd, "sock_connect");
  const int family = detail::get_int_option(fd, SOL_SOCKET, SO_DOMAIN, "getsockopt(SO_DOMAIN)");
  sock_connect(fd, getaddrinfo(host, port, family).front());
}

std::uint64_t sock_sendfile(int fd, int file, std::uint64_t offset, std::uint64_t count) {
  require(fd, "sock_sendfile");
  require_non_blocking(fd, "sock_sendfile");
  if (detail::get_int_option(fd, SOL_SOCKET, SO_TYPE, "getsockopt(SO_TYPE)") != SOCK_STREAM) {
    throw std::invalid_argument("sock_sendfile: fd " + std::to_string(fd) + " is no stream socket");
  }
  detail::FilePart part(file, offset, count);
  while (!part.is_done()) {
    detail::spend_budget();
    const ssize_t sent = part.send_to(fd);
    if (sent == 0) break;
    if (sent > 0) continue;
    if (part.is_refusal(sent)) {
      part.copy([&](std::span<const std::byte> data) { return send_some(fd, data, "send"); });
      break;
    } else if (sent == -EAGAIN) {
      wait_writable(fd);
    } else if (sent != -EINTR) {
      fail(static_cast<int>(sent), "sendfile");
    }
  }
  return part.sent();
}

}  // namespace fibrio
