// Unix stream sockets: TcpStream and TcpListener with a path, or an abstract name, for an address.
//
//   auto listener = fibrio::UnixListener::bind("/run/service.sock");
//   auto stream = fibrio::UnixStream::connect("/run/service.sock");
//
// What sockets.hpp says of its classes holds for these.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "fibrio/sockets.hpp"

namespace fibrio {

namespace detail {
class SocketFile;
}

// A connection over a Unix socket. Each operation is that of TcpStream.
class UnixStream {
 public:
  UnixStream() noexcept = default;

  // Connects; a path that begins with a zero is an abstract name. Of the options the timeout counts.
  // Waits: if the listener's queue is full. Cancel: CancelledError, the socket is closed. Throws:
  // std::system_error naming the path; std::invalid_argument for a path that is none (Address::from_path).
  static UnixStream connect(std::string_view path, ConnectOptions options = {});
  // Takes over a connected stream socket: see TcpStream::adopt.
  static UnixStream adopt(int fd) { return UnixStream(TcpStream::adopt(fd)); }

  std::size_t read_some(std::span<std::byte> buffer) { return stream_.read_some(buffer); }
  std::size_t write_some(std::span<const std::byte> data) { return stream_.write_some(data); }
  std::size_t try_write_some(std::span<const std::byte> data) { return stream_.try_write_some(data); }
  void write_all(std::span<const std::byte> data) { stream_.write_all(data); }
  void write_all(std::string_view text) { stream_.write_all(text); }
  void write_all(std::span<const std::byte> first, std::span<const std::byte> second) {
    stream_.write_all(first, second);
  }
  void shutdown_write() { stream_.shutdown_write(); }
  void close() noexcept { stream_.close(); }
  // A Unix socket has no reset: the peer reads the end, or ECONNRESET if it left data unread here.
  void abort() noexcept { stream_.abort(); }
  [[nodiscard]] bool is_open() const noexcept { return stream_.is_open(); }
  [[nodiscard]] Address local_address() const { return stream_.local_address(); }
  [[nodiscard]] Address peer_address() const { return stream_.peer_address(); }
  void set_option(int level, int name, int value) { stream_.set_option(level, name, value); }
  [[nodiscard]] int native_handle() const noexcept { return stream_.native_handle(); }
  [[nodiscard]] int release() { return stream_.release(); }

 private:
  friend class UnixListener;
  explicit UnixStream(TcpStream stream) noexcept : stream_(std::move(stream)) {}
  TcpStream stream_;
};

struct UnixListenOptions {
  int backlog = 1024;          // at least 1; the kernel caps it at net.core.somaxconn
  bool cleanup_socket = true;  // remove the socket's file at the end, if it is still this socket's
};

// A listening Unix socket. Each operation is that of TcpListener.
class UnixListener {
 public:
  UnixListener() noexcept;
  UnixListener(UnixListener&&) noexcept;
  UnixListener& operator=(UnixListener&&) noexcept;
  ~UnixListener();

  // A socket that lies at the path, stale or not, is removed before; any other file is left: EADDRINUSE.
  // Waits: no. Throws: std::system_error naming call and path; std::invalid_argument for a path that is none;
  // RuntimeError outside a running loop.
  static UnixListener bind(std::string_view path, UnixListenOptions options = {});

  UnixStream accept();
  [[nodiscard]] Address local_address() const;
  // Stops listening, and removes the file; idempotent. The rest as TcpListener::close.
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept;
  [[nodiscard]] int native_handle() const noexcept;

 private:
  friend struct detail::SocketAccess;
  std::shared_ptr<detail::Socket> socket_;
  std::shared_ptr<detail::SocketFile> file_;  // null: nothing to remove
};

}  // namespace fibrio
