// What: UnixStream and UnixListener.
// Threads: those of TcpStream and TcpListener.
// Invariant: a listener's file is removed before its socket is closed, so that a path that was closed can be
//   bound again at once, and no file of a successor is hit.

#include <optional>
#include <stdexcept>
#include <system_error>

#include "base/syscalls.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/timeouts.hpp"
#include "fibrio/unix_sockets.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"
#include "net/stream_socket.hpp"
#include "sched/worker.hpp"

namespace fibrio {

using detail::open_or_throw;
using detail::Socket;
using detail::SocketFile;

UnixStream UnixStream::connect(std::string_view path, ConnectOptions options) {
  const Address address = Address::from_path(path);
  const auto connect = [&] {
    return UnixStream(detail::SocketAccess::stream(detail::connect_socket(address)));
  };
  return options.timeout < Duration::zero() ? connect() : timeout(options.timeout, connect);
}

UnixListener::UnixListener() noexcept = default;
UnixListener::UnixListener(UnixListener&&) noexcept = default;
UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this != &other) {
    close();
    socket_ = std::move(other.socket_);
    file_ = std::move(other.file_);
  }
  return *this;
}
UnixListener::~UnixListener() { close(); }

UnixListener UnixListener::bind(std::string_view path, UnixListenOptions options) {
  if (detail::this_worker() == nullptr) throw RuntimeError("UnixListener::bind needs a running loop");
  if (options.backlog < 1) throw std::invalid_argument("UnixListenOptions::backlog must be at least 1");
  const Address address = Address::from_path(path);
  sys::UniqueFd fd = detail::bind_socket(address, {});
  UnixListener listener;
  if (options.cleanup_socket) listener.file_ = SocketFile::of(address);
  try {
    detail::listen_on(fd.get(), options.backlog, address);
    listener.socket_ = std::make_shared<Socket>(std::move(fd));
  } catch (...) {
    listener.close();
    throw;
  }
  return listener;
}

UnixStream UnixListener::accept() {
  constexpr bool kShortIsEmpty = false;  // a read stops behind what came with file descriptors
  return UnixStream(detail::SocketAccess::stream(
      std::make_shared<Socket>(detail::accept_connection(open_or_throw(socket_, "accept")), kShortIsEmpty)));
}

Address UnixListener::local_address() const {
  return detail::local_address(Socket::Operation(open_or_throw(socket_, "getsockname"), "getsockname").fd());
}
void UnixListener::close() noexcept {
  if (file_ != nullptr) file_->remove();
  if (socket_ != nullptr) socket_->close_listener(socket_);
}
bool UnixListener::is_open() const noexcept { return socket_ != nullptr && socket_->is_open(); }
int UnixListener::native_handle() const noexcept { return socket_ == nullptr ? -1 : socket_->fd(); }

}  // namespace fibrio
