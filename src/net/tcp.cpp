// What: TcpStream and TcpListener.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "base/syscalls.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/sockets.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"
#include "net/stream_socket.hpp"
#include "sched/worker.hpp"

namespace fibrio {

using detail::Direction;
using detail::fail;
using detail::open_or_throw;
using detail::set_int_option;
using detail::Socket;

// --- TcpStream ---------------------------------------------------------------------------------------------

TcpStream::TcpStream() noexcept = default;
TcpStream::TcpStream(std::shared_ptr<Socket> socket) noexcept : socket_(std::move(socket)) {}
TcpStream::TcpStream(TcpStream&&) noexcept = default;
TcpStream& TcpStream::operator=(TcpStream&& other) noexcept {
  if (this != &other) {
    close();
    socket_ = std::move(other.socket_);
  }
  return *this;
}
TcpStream::~TcpStream() { close(); }

TcpStream TcpStream::adopt(int fd) {
  const std::string on_fd = " on fd " + std::to_string(fd);
  const int type = detail::get_int_option(fd, SOL_SOCKET, SO_TYPE, "getsockopt(SO_TYPE)" + on_fd);
  if (type != SOCK_STREAM) fail(-EPROTOTYPE, "adopt needs a stream socket, not what is" + on_fd);
  const int domain = detail::get_int_option(fd, SOL_SOCKET, SO_DOMAIN, "getsockopt(SO_DOMAIN)" + on_fd);
  detail::make_non_blocking(fd, on_fd);
  return TcpStream(Socket::adopt(fd, domain == AF_INET || domain == AF_INET6));
}

std::size_t TcpStream::read_some(std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  Socket::Operation operation(open_or_throw(socket_, "recv"), "recv");
  operation.spend();
  for (;;) {
    const auto seen = operation.look(Direction::read);
    if (detail::Readiness<>::is_ready(seen)) {
      const ssize_t count = sys::recv(operation.fd(), buffer.data(), buffer.size(), 0);
      if (count >= 0) {
        // Less than asked for: there is no more, and an edge will tell when there is. (Not so at the end of
        // the stream.)
        if (count > 0 && static_cast<std::size_t>(count) < buffer.size())
          operation.drained(Direction::read, seen);
        return static_cast<std::size_t>(count);
      }
      if (count == -EINTR) continue;
      if (count != -EAGAIN) operation.fail(static_cast<int>(count));
      operation.would_block(Direction::read, seen);
    }
    operation.wait(Direction::read);
  }
}

namespace {

// One send of up to two buffers; waits while the send buffer is full.
std::size_t send_some(Socket::Operation& operation, iovec* parts, std::size_t count) {
  operation.spend();  // each send: a peer that reads as fast as we write never makes it wait
  for (;;) {
    const auto seen = operation.look(Direction::write);
    if (detail::Readiness<>::is_ready(seen)) {
      ssize_t sent = 0;
      if (count == 1) {
        sent = sys::send(operation.fd(), parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
      } else {
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = count;
        sent = sys::sendmsg(operation.fd(), &message, MSG_NOSIGNAL);
      }
      if (sent >= 0) {
        // A short one is not taken for a full buffer: the one call saved per full buffer is not worth the
        // trust.
        return static_cast<std::size_t>(sent);
      }
      if (sent == -EINTR) continue;
      if (sent != -EAGAIN) operation.fail(static_cast<int>(sent));
      operation.would_block(Direction::write, seen);
    }
    operation.wait(Direction::write);
  }
}

iovec part_of(std::span<const std::byte> data) noexcept {
  return {const_cast<std::byte*>(data.data()), data.size()};  // sendmsg only reads it
}

}  // namespace

std::size_t TcpStream::write_some(std::span<const std::byte> data) {
  if (data.empty()) return 0;
  Socket::Operation operation(open_or_throw(socket_, "send"), "send");
  iovec part = part_of(data);
  return send_some(operation, &part, 1);
}

std::size_t TcpStream::try_write_some(std::span<const std::byte> data) {
  if (data.empty()) return 0;
  Socket::Operation operation(open_or_throw(socket_, "send"), "send");
  ssize_t sent = 0;
  do {
    sent = sys::send(operation.fd(), data.data(), data.size(), MSG_NOSIGNAL);
  } while (sent == -EINTR);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (sent != -EAGAIN) operation.fail(static_cast<int>(sent));
  return 0;
}

void TcpStream::write_all(std::span<const std::byte> data) {
  if (data.empty()) return;
  Socket::Operation operation(open_or_throw(socket_, "send"), "send");
  while (!data.empty()) {
    iovec part = part_of(data);
    data = data.subspan(send_some(operation, &part, 1));
  }
}

void TcpStream::write_all(std::string_view text) {
  write_all(std::as_bytes(std::span(text.data(), text.size())));
}

void TcpStream::write_all(std::span<const std::byte> first, std::span<const std::byte> second) {
  while (!first.empty() && !second.empty()) {
    Socket::Operation operation(open_or_throw(socket_, "sendmsg"), "sendmsg");
    iovec parts[2] = {part_of(first), part_of(second)};
    const std::size_t sent = send_some(operation, parts, 2);
    second = second.subspan(sent - std::min(sent, first.size()));
    first = first.subspan(std::min(sent, first.size()));
  }
  write_all(first.empty() ? second : first);
}

void TcpStream::shutdown_write() {
  const Socket::Operation operation(open_or_throw(socket_, "shutdown"), "shutdown");
  const int error = sys::shutdown(operation.fd(), SHUT_WR);
  if (error < 0) operation.fail(error);
}

void TcpStream::close() noexcept {
  if (socket_ != nullptr) socket_->close(socket_);
}

void TcpStream::abort() noexcept {
  if (!is_open()) return;
  try {
    // Inside an operation: another task may be closing it, and the number be a stranger's by now.
    const Socket::Operation operation(*socket_, "setsockopt(SO_LINGER)");
    const linger reset{1, 0};
    static_cast<void>(sys::setsockopt(operation.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
  } catch (const std::system_error&) {  // closed
  }
  close();
}

bool TcpStream::is_open() const noexcept { return socket_ != nullptr && socket_->is_open(); }
Address TcpStream::local_address() const {
  return detail::local_address(Socket::Operation(open_or_throw(socket_, "getsockname"), "getsockname").fd());
}
Address TcpStream::peer_address() const {
  return detail::peer_address(Socket::Operation(open_or_throw(socket_, "getpeername"), "getpeername").fd());
}
void TcpStream::set_no_delay(bool enabled) { set_option(IPPROTO_TCP, TCP_NODELAY, enabled ? 1 : 0); }
void TcpStream::set_keep_alive(bool enabled) { set_option(SOL_SOCKET, SO_KEEPALIVE, enabled ? 1 : 0); }
void TcpStream::set_keep_alive(const KeepAlive& times) {
  constexpr std::chrono::seconds kLongest(32767);  // the kernel's
  const auto seconds = [&](Duration time) {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(std::min<Duration>(time, kLongest));
    return static_cast<int>(std::max<std::chrono::seconds::rep>(whole.count(), INT_MIN));
  };
  const Socket::Operation operation(open_or_throw(socket_, "setsockopt"), "setsockopt");
  const int fd = operation.fd();
  set_int_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds(times.idle), "setsockopt(TCP_KEEPIDLE)");
  set_int_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds(times.interval), "setsockopt(TCP_KEEPINTVL)");
  set_int_option(fd, IPPROTO_TCP, TCP_KEEPCNT, times.count, "setsockopt(TCP_KEEPCNT)");
  set_int_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "setsockopt(SO_KEEPALIVE)");
}
void TcpStream::set_option(int level, int name, int value) {
  const Socket::Operation operation(open_or_throw(socket_, "setsockopt"), "setsockopt");
  set_int_option(operation.fd(), level, name, value, "setsockopt");
}
int TcpStream::get_option(int level, int name) const {
  const Socket::Operation operation(open_or_throw(socket_, "getsockopt"), "getsockopt");
  return detail::get_int_option(operation.fd(), level, name, "getsockopt");
}
int TcpStream::native_handle() const noexcept { return socket_ == nullptr ? -1 : socket_->fd(); }
int TcpStream::release() { return open_or_throw(socket_, "release").release(); }

// --- TcpListener -------------------------------------------------------------------------------------------

TcpListener::TcpListener() noexcept = default;
TcpListener::TcpListener(TcpListener&&) noexcept = default;
TcpListener& TcpListener::operator=(TcpListener&& other) noexcept {
  if (this != &other) {
    close();
    socket_ = std::move(other.socket_);
  }
  return *this;
}
TcpListener::~TcpListener() { close(); }

TcpListener TcpListener::bind(const Address& address, ListenOptions options) {
  if (detail::this_worker() == nullptr) throw RuntimeError("TcpListener::bind needs a running loop");
  if (options.backlog < 1) throw std::invalid_argument("ListenOptions::backlog must be at least 1");
  sys::UniqueFd fd = detail::bind_socket(address, options);
  detail::listen_on(fd.get(), options.backlog, address);
  TcpListener listener;
  listener.socket_ = std::make_shared<Socket>(std::move(fd));
  return listener;
}

TcpStream TcpListener::accept() {
  sys::UniqueFd fd = detail::accept_connection(open_or_throw(socket_, "accept"));
  // Only a connection that is gone already refuses this; its reader will see that.
  const int on = 1;
  static_cast<void>(sys::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  return TcpStream(std::make_shared<Socket>(std::move(fd)));
}

Address TcpListener::local_address() const {
  return detail::local_address(Socket::Operation(open_or_throw(socket_, "getsockname"), "getsockname").fd());
}
void TcpListener::close() noexcept {
  if (socket_ != nullptr) socket_->close_listener(socket_);
}
bool TcpListener::is_open() const noexcept { return socket_ != nullptr && socket_->is_open(); }
int TcpListener::native_handle() const noexcept { return socket_ == nullptr ? -1 : socket_->fd(); }

}  // namespace fibrio
