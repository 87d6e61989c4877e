#include "net/stream_socket.hpp"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>

#include "base/syscalls.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/loop_services.hpp"

namespace fibrio::detail {

namespace {

sys::UniqueFd make_socket(const Address& address) {
  const int fd = sys::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail(fd, "socket");
  return sys::UniqueFd(fd);
}

// Empty: an abstract name, or no Unix socket.
std::string file_of(const Address& address) {
  if (address.family() != AF_UNIX) return {};
  sockaddr_un unix_address{};
  std::memcpy(&unix_address, address.data(), std::min<std::size_t>(address.size(), sizeof unix_address - 1));
  return unix_address.sun_path;
}

void bind_to(int fd, const Address& address) {
  if (const int error = sys::bind(fd, address.data(), address.size()); error < 0) {
    fail(error, "bind to " + address.to_string());
  }
}

void bind_to_any(int fd, std::span<const Address> from, const Address& to) {
  std::exception_ptr failed;
  for (const Address& address : from) {
    if (address.family() != to.family()) continue;
    try {
      return bind_to(fd, address);
    } catch (const std::system_error&) {  // the next one may be free
      failed = std::current_exception();
    }
  }
  if (failed != nullptr) std::rethrow_exception(failed);
  fail(-EADDRNOTAVAIL, "connect to " + to.to_string() + ": no local address of its family");
}

}  // namespace

std::shared_ptr<Socket> connect_socket(const Address& to, std::span<const Address> from) {
  const std::string call = "connect to " + to.to_string();
  auto socket = std::make_shared<Socket>(make_socket(to), to.family() != AF_UNIX);
  Socket::Operation operation(*socket, "connect");
  if (!from.empty()) bind_to_any(operation.fd(), from, to);
  // A Unix listener's full queue is told by EAGAIN, and by no event.
  constexpr Duration kFirstPause = std::chrono::milliseconds(1);
  constexpr Duration kLongestPause = std::chrono::milliseconds(50);
  Duration pause = kFirstPause;
  for (;;) {
    const auto seen = operation.look(Direction::write);  // before the call: an event after it must count
    const int error = sys::connect(operation.fd(), to.data(), to.size());
    if (error == 0 || error == -EISCONN) return socket;
    if (error == -EAGAIN && to.family() == AF_UNIX) {
      sleep(pause);
      pause = std::min(2 * pause, kLongestPause);
      continue;
    }
    // EINTR: the connection goes on being made, as with EINPROGRESS.
    if (error != -EINPROGRESS && error != -EALREADY && error != -EINTR) fail(error, call);
    operation.would_block(Direction::write, seen);
    operation.wait(Direction::write);
  }
}

sys::UniqueFd bind_socket(const Address& address, const ListenOptions& options) {
  sys::UniqueFd fd = make_socket(address);
  const bool is_unix = address.family() == AF_UNIX;
  if (options.reuse_address && !is_unix) {
    set_int_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "setsockopt(SO_REUSEADDR)");
  }
  if (options.reuse_port && !is_unix) {
    set_int_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "setsockopt(SO_REUSEPORT)");
  }
  if (address.family() == AF_INET6) {
    const int only = options.ipv6_only ? 1 : 0;
    set_int_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, only, "setsockopt(IPV6_V6ONLY)");
  }
  if (const std::string path = file_of(address); !path.empty()) {
    struct stat status {};
    if (sys::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) sys::unlink(path.c_str());
  }
  bind_to(fd.get(), address);
  return fd;
}

void listen_on(int fd, int backlog, const Address& address) {
  if (const int error = sys::listen(fd, backlog); error < 0) fail(error, "listen on " + address.to_string());
}

namespace {
template <class Get>
Address name_of(int fd, const char* call, Get get) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  const int error = get(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  if (error < 0) fail(error, call);
  return Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
}
}  // namespace

Address local_address(int fd) { return name_of(fd, "getsockname", sys::getsockname); }
Address peer_address(int fd) { return name_of(fd, "getpeername", sys::getpeername); }

sys::UniqueFd accept_connection(Socket& listener) {
  constexpr Duration kBackOff = std::chrono::milliseconds(100);  // out of fds: others must close some first
  Socket::Operation operation(listener, "accept");
  for (;;) {
    operation.spend();
    const auto seen = operation.look(Direction::read);
    if (Readiness<>::is_ready(seen)) {
      const bool had_shortage = operation.has_shortage();
      const int fd = sys::accept(operation.fd(), nullptr, nullptr);
      if (fd >= 0) return sys::UniqueFd(fd);
      switch (-fd) {
        case EAGAIN:
          operation.would_block(Direction::read, seen);
          if (had_shortage) operation.end_shortage();  // one that has begun since is not over
          break;
        case EBADF:
        case EFAULT:
        case EINVAL:
        case ENOSYS:
        case ENOTSOCK:
        case EOPNOTSUPP:
          operation.fail(operation.is_open() ? fd : -ECANCELED);
        case ECONNABORTED:  // a connection that died before it was accepted; or only interrupted
        case ECONNREFUSED:
        case ECONNRESET:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case EINTR:
        case ENETDOWN:
        case ENETUNREACH:
        case ENONET:
        case ENOPROTOOPT:
        case EPROTO:
        case ETIMEDOUT:
          if (!operation.is_open()) operation.fail(-ECANCELED);
          continue;
        default: {  // out of something, or refused: to try again at once would only burn CPU
          Worker& worker = require_task("accept");
          if (operation.begin_shortage()) {
            const std::system_error error(-fd, std::system_category(), "accept4");
            const bool is_refused = fd == -EPERM || fd == -EACCES;
            report_exception(
                worker.scheduler,
                is_refused ? "accept is refused (a seccomp filter, a firewall?) and goes on every 100 ms"
                           : "accept ran out of resources and goes on every 100 ms (raise "
                             "RLIMIT_NOFILE, ulimit -n, if it is too many open files)",
                std::make_exception_ptr(error), AnyFuture());
          }
          sleep(kBackOff);
          if (!operation.is_open()) operation.fail(-ECANCELED);
          continue;
        }
      }
    }
    operation.wait(Direction::read);
  }
}

std::shared_ptr<SocketFile> SocketFile::of(const Address& bound) {
  std::string path = file_of(bound);
  struct stat status {};
  if (path.empty() || sys::lstat(path.c_str(), &status) < 0) return nullptr;
  return std::shared_ptr<SocketFile>(new SocketFile(std::move(path), status.st_dev, status.st_ino));
}

void SocketFile::remove() noexcept {
  if (is_removed_.exchange(true, std::memory_order_relaxed)) return;
  struct stat status {};
  if (sys::lstat(path_.c_str(), &status) < 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) sys::unlink(path_.c_str());
}

}  // namespace fibrio::detail
