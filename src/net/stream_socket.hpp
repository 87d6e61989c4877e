// What: making connected and listening sockets, for TCP and Unix: what TcpStream, TcpListener, UnixStream,
// UnixListener and servers have in common.
//
// Threads: any; what waits, tasks only.
//
// Invariant: an fd is owned from its first moment, so that no error on the way leaks it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/unique_fd.hpp"
#include "fibrio/sockets.hpp"
#include "net/socket.hpp"

namespace fibrio::detail {

[[noreturn]] void fail(int error, const std::string& what);  // std::system_error; error is -errno

void set_int_option(int fd, int level, int name, int value, const char* what);

// What the public classes hold.
struct SocketAccess {
  static TcpStream stream(std::shared_ptr<Socket> socket) noexcept { return TcpStream(std::move(socket)); }
  template <class Handle>
  static std::shared_ptr<Socket>& of(Handle& handle) noexcept {
    return handle.socket_;
  }
};

// Connects, if there are addresses in `from` from the first of its family that can be had. Waits. Throws
// std::system_error.
[[nodiscard]] std::shared_ptr<Socket> connect_socket(const Address& to, std::span<const Address> from = {});

// A bound socket that does not listen yet. A Unix path with a socket is freed before: nobody else can be told
// from a stale one.
[[nodiscard]] sys::UniqueFd bind_socket(const Address& address, const ListenOptions& options);
void listen_on(int fd, int backlog, const Address& address);

[[nodiscard]] Address local_address(int fd);
[[nodiscard]] Address peer_address(int fd);

// The next connection. Waits. Throws as TcpListener::accept.
[[nodiscard]] sys::UniqueFd accept_connection(Socket& listener);

// The file of a bound Unix socket.
class SocketFile {
 public:
  // Null for what has none: other families, abstract names.
  [[nodiscard]] static std::shared_ptr<SocketFile> of(const Address& bound);
  // Removes it once, if it is still that of this socket.
  void remove() noexcept;

 private:
  SocketFile(std::string path, dev_t device, ino_t inode) noexcept
      : path_(std::move(path)), device_(device), inode_(inode) {}
  const std::string path_;
  const dev_t device_;
  const ino_t inode_;
  std::atomic<bool> is_removed_{false};  // relaxed: only who is the first counts
};

}  // namespace fibrio::detail
