// Sockets that tasks read and write as if they blocked: plain calls, no callbacks.
//
//   auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 8080));
//   for (;;) fibrio::spawn([stream = listener.accept()]() mutable { serve(stream); });
//
// Every wait here can be cancelled and leaves the socket usable. Errors of the system are std::system_error
// whose text names the call. A stream may be used by two tasks at once, one reading and one writing. An
// operation that has to wait throws RuntimeError outside a task, and on another loop than the one the socket
// first waited on (see TcpStream::release).
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/errno.hpp"  // IWYU pragma: export

namespace fibrio {

namespace detail {
class Socket;
struct SocketAccess;
}  // namespace detail

// An IPv4 or IPv6 address with a port, or a Unix path.
class Address {
 public:
  Address() noexcept;  // 0.0.0.0:0
  // Throws: std::invalid_argument unless `ip` is an IPv4 or IPv6 literal ("::1", "fe80::1%eth0"). Never
  // resolves names.
  static Address parse(const std::string& ip, std::uint16_t port);
  // Of a Unix socket; a path that begins with a zero is an abstract name, without a file. Throws:
  // std::invalid_argument if it is empty or has more than 107 bytes.
  static Address from_path(std::string_view path);
  static Address from_sockaddr(const sockaddr* address, socklen_t length);

  [[nodiscard]] int family() const noexcept;
  [[nodiscard]] std::uint16_t port() const noexcept;
  [[nodiscard]] std::string host() const;       // the literal, without port
  [[nodiscard]] std::string to_string() const;  // "127.0.0.1:80", "[::1]:80"
  [[nodiscard]] const sockaddr* data() const noexcept;
  [[nodiscard]] socklen_t size() const noexcept { return length_; }
  friend bool operator==(const Address& a, const Address& b) noexcept;

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

// Resolves a name (a literal is answered at once, without waiting) on the loop's resolver threads, apart from
// the default executor. `service` is a port number or a service name; `family` AF_UNSPEC, AF_INET or
// AF_INET6. Waits: unless literal. Cancel: CancelledError, the look-up's answer is dropped. Throws:
// std::system_error of resolver_category(), whose text names the host; RuntimeError outside a task.
std::vector<Address> getaddrinfo(const std::string& host, const std::string& service, int family = AF_UNSPEC);
std::vector<Address> getaddrinfo(const std::string& host, std::uint16_t port, int family = AF_UNSPEC);

// How a loop resolves names. Each name that is asked has a thread of its own, up to 256 at once, so that a slow or
// dead one holds up no other; further names wait for a thread. "localhost" and numbers never do. Equal questions share
// one call. A look-up that is cancelled before it has begun gives up its place.
struct ResolverOptions {
  // How long an answer serves for equal questions; errors are not kept. Zero: not at all.
  AnyDuration cache_time = std::chrono::seconds(5);
  // Instead of the system's look-up: called in the task that asks, may wait, and is cancelled with it. Its answers are
  // not kept, and equal questions are not joined. Not called for literals with a numeric port, nor for an empty host.
  // No addresses: the error EAI_NODATA. Empty: the system's.
  std::function<std::vector<Address>(const std::string& host, const std::string& service, int family)>
      look_up = {};
};
// For the running loop, from now on; what was kept is dropped. Waits: no. Throws: RuntimeError outside a task.
void set_resolver(ResolverOptions options);

// The error category of getaddrinfo's EAI_ codes.
[[nodiscard]] const std::error_category& resolver_category() noexcept;

struct ListenOptions {
  int backlog = 1024;         // at least 1; the kernel caps it at net.core.somaxconn
  bool reuse_address = true;  // SO_REUSEADDR
  bool reuse_port = false;    // SO_REUSEPORT: several listeners on one port share its connections
  bool ipv6_only = false;     // for IPv6 addresses
};

struct ConnectOptions {
  AnyDuration timeout = Duration(-1);  // for the whole of it, names included; negative: none; TimeoutError
  bool no_delay = true;                // TCP_NODELAY
  // A name with several addresses: how long one of them is tried alone before the next one is tried beside it,
  // and the first that answers wins ("happy eyeballs", RFC 8305). Negative: one after the other.
  AnyDuration happy_eyeballs_delay = std::chrono::milliseconds(250);
  // Then the families take turns; so many addresses of the first one come before the first turn. 0: the
  // resolver's order.
  std::size_t interleave = 1;
  int family = AF_UNSPEC;  // of the addresses to try: AF_UNSPEC, AF_INET, AF_INET6
  // Where to connect from: for each address the first of its family that can be had.
  std::vector<Address> local_addresses = {};
  bool all_errors = false;  // if all addresses fail: throw an ExceptionGroup of their errors
};

// When a connection on which nothing comes is probed, and given up (ETIMEDOUT).
struct KeepAlive {
  // In whole seconds, at least one; the system knows no more than 32767, and longer is as long as that.
  AnyDuration idle = std::chrono::seconds(60);      // without a word, before the first probe
  AnyDuration interval = std::chrono::seconds(10);  // between probes
  int count = 6;                                    // unanswered probes; 1 to 127
};

// All of a file from an offset on, for send_file.
inline constexpr std::uint64_t kToEndOfFile = ~std::uint64_t{0};

// A TCP connection. Movable. The destructor closes it. Reads and writes of one direction are for one task at
// a time. A cancel is also delivered, now and then, before an operation that would not have to wait.
// Do not move or destroy a stream while a task is inside one of its operations; close() from
// elsewhere is fine.
class TcpStream {
 public:
  TcpStream() noexcept;
  TcpStream(TcpStream&&) noexcept;
  TcpStream& operator=(TcpStream&&) noexcept;
  ~TcpStream();

  // Connects to the address of `host` that answers first; ConnectOptions say how several are tried.
  // Waits: yes. Cancel: CancelledError, the socket is closed. Throws: std::system_error naming the address; if
  // several failed, with the code of the first and the texts of all.
  static TcpStream connect(const std::string& host, std::uint16_t port, ConnectOptions options = {});
  static TcpStream connect(const Address& address, ConnectOptions options = {});
  // Takes over a connected stream socket, TCP or Unix (made non-blocking, close-on-exec). Throws:
  // std::system_error, also for what is no stream socket; then `fd` is still the caller's.
  static TcpStream adopt(int fd);

  // Reads at least one byte, at most buffer.size(); returns how many; 0 = end of stream (or an empty buffer).
  // Waits: if nothing is there. Cancel: CancelledError, nothing is lost. Throws: std::system_error("recv").
  std::size_t read_some(std::span<std::byte> buffer);
  // Writes at least one byte of `data`, returns how many; 0 only for empty data. Never raises SIGPIPE.
  // Waits: while the send buffer is full. Cancel: CancelledError, nothing was written. Throws:
  // std::system_error("send").
  std::size_t write_some(std::span<const std::byte> data);
  // The same without waiting: 0 if there is no room now.
  std::size_t try_write_some(std::span<const std::byte> data);
  // Writes all of it. Cancel: CancelledError; how much was written is unknown.
  void write_all(std::span<const std::byte> data);
  void write_all(std::string_view text);
  // Writes all of two buffers in as few calls as possible (header and body).
  void write_all(std::span<const std::byte> first, std::span<const std::byte> second);

  // Sends `count` bytes of `file`, a regular file or block device, from `offset` on, or less if it ends
  // before; returns how many. The kernel moves them (sendfile); what it refuses is copied. If anything was
  // sent, the file's position is then behind it, also when this throws. Waits: while the send buffer is full;
  // for the disk the worker blocks. Cancel: CancelledError; the position tells how much was sent. Throws:
  // std::system_error naming the call, as write_all. asyncio: loop.sendfile; there a count of 0 is an error.
  std::uint64_t send_file(int file, std::uint64_t offset = 0, std::uint64_t count = kToEndOfFile);

  // Tells the peer that nothing more comes; reading goes on. Throws: std::system_error("shutdown").
  void shutdown_write();
  // Closes; idempotent. A task that waits on the stream gets std::system_error(ECANCELED), and the fd is
  // closed when it has left. Destroying the stream does the same.
  void close() noexcept;
  // Closes with a reset: what was not sent yet is dropped.
  void abort() noexcept;
  [[nodiscard]] bool is_open() const noexcept;

  [[nodiscard]] Address local_address() const;
  [[nodiscard]] Address peer_address() const;
  void set_no_delay(bool enabled);
  void set_keep_alive(bool enabled);  // with the system's times: two hours, as a rule
  void set_keep_alive(const KeepAlive& times);
  void set_option(int level, int name, int value);
  [[nodiscard]] int get_option(int level, int name) const;
  // The fd, still owned by the stream; -1 if closed.
  [[nodiscard]] int native_handle() const noexcept;
  // Gives the fd away, deregistered, non-blocking; the stream is then closed. So a connection goes to another
  // loop, which adopts it. Throws: RuntimeError while a task is inside an operation.
  [[nodiscard]] int release();

 private:
  friend class TcpListener;
  friend struct detail::SocketAccess;
  explicit TcpStream(std::shared_ptr<detail::Socket> socket) noexcept;
  std::shared_ptr<detail::Socket> socket_;
};

// A listening TCP socket. Movable. The destructor closes it. Several tasks may accept at once.
class TcpListener {
 public:
  TcpListener() noexcept;
  TcpListener(TcpListener&&) noexcept;
  TcpListener& operator=(TcpListener&&) noexcept;
  ~TcpListener();

  // Port 0: the system chooses one (local_address() tells). Waits: no.
  // Throws: std::system_error naming call and address (EADDRINUSE, EACCES); RuntimeError outside a running
  // loop.
  static TcpListener bind(const Address& address, ListenOptions options = {});

  // Returns the next connection (non-blocking, close-on-exec, TCP_NODELAY set).
  // Waits: if there is none. Cancel: CancelledError, no connection is lost.
  // Connections that were reset before they were accepted are skipped. When fds or memory run out (EMFILE,
  // ENFILE, ENOBUFS, ENOMEM) it backs off 100 ms at a time and goes on; the exception handler is told once,
  // and again only after the queue of connections was empty in between. Throws: std::system_error(ECANCELED)
  // once the listener is closed.
  TcpStream accept();

  [[nodiscard]] Address local_address() const;
  // Stops listening; idempotent. Tasks that wait in accept get std::system_error(ECANCELED), at once or
  // within the 100 ms of a back-off; the port is free when they have left.
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept;
  [[nodiscard]] int native_handle() const noexcept;

 private:
  friend struct detail::SocketAccess;
  std::shared_ptr<detail::Socket> socket_;
};

// Wait until `fd` can be read (written) without blocking, has an error or was hung up: any fd that epoll
// takes, and that is not one of fibrio's streams. Waits: if it is not ready. Cancel: CancelledError, the fd
// is left as it was. Throws: std::system_error for an fd that epoll refuses; RuntimeError outside a task.
// Threads: several tasks may wait on one fd. Do not close an fd that is waited on.
void wait_readable(int fd);
void wait_writable(int fd);

}  // namespace fibrio

#include "fibrio/unix_sockets.hpp"  // IWYU pragma: export
