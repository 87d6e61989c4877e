// An HTTP/1.1 server: a task per connection, handlers in plain code that waits as it likes.
//
//   fibrio::http::Server server;
//   server.route("GET", "/greet/{name}", [](fibrio::http::Request& request) {
//     return fibrio::http::Response("Hello, " + request.parameter("name") + "\n");
//   });
//   server.listen(fibrio::Address::parse("127.0.0.1", 8080));
//   server.serve();  // until somebody calls shutdown()
//
// Target fibrio::http in CMake. HTTP/1.1 and 1.0, keep-alive, pipelining; what could be read in two ways
// (request smuggling) is refused with its status and the end of the connection.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/clock.hpp"
#include "fibrio/http/message.hpp"
#include "fibrio/sockets.hpp"

namespace fibrio::http {

struct ServerOptions {
  std::size_t max_connections = 16'384;         // in total; above: 503
  std::size_t max_connections_per_peer = 0;     // from one IP address (none: Unix sockets); 0: no limit
  std::size_t max_requests_per_connection = 0;  // 0: no limit
  std::size_t max_header_bytes = 16 * 1024;     // 256 to 1 MiB; above: 431
  std::size_t max_fields = 100;                 // above: 431
  std::uint64_t max_body_bytes = 1024 * 1024;   // above: 413

  // A request's header must be there this long after its first byte, and its body after its first wait,
  // however the bytes trickle. Then: 408. A new connection must send its first byte in header_timeout as
  // well, or is closed without a word.
  AnyDuration header_timeout = std::chrono::seconds(10);
  AnyDuration body_timeout = std::chrono::seconds(30);
  // How long a connection may stay without a next request after an answer. Longer than a proxy before the
  // server keeps its own (nginx, AWS ALB: 60 s), or that meets connections that are just being closed.
  AnyDuration idle_timeout = std::chrono::seconds(75);
  // How long a peer may take nothing of an answer that does not fit into the socket, in whatever way it is
  // sent: every byte that its TCP acknowledges starts it anew. Then the connection is cut off.
  AnyDuration write_timeout = std::chrono::seconds(30);

  // Makes what is spoken over out of an accepted connection, in the connection's own task: a TLS handshake,
  // for which header_timeout is the limit too. None: plain TCP. What it throws ends the connection, unheard.
  //   [context](TcpStream stream) { return tls::accept(make_byte_stream(std::move(stream)), context); }
  std::function<std::unique_ptr<ByteStream>(TcpStream)> make_stream = {};
};

using Handler = std::function<Response(Request&)>;
// Is called around handlers, the first one added outermost; calls `next` or answers by itself.
using Middleware = std::function<Response(Request&, const Handler& next)>;

// A request that was handled.
struct AccessLogEntry {
  const Request& request;
  Address peer;  // empty if it had gone before
  unsigned status;
  std::optional<std::uint64_t> bytes;  // of the answer's body, if they are known beforehand
  Duration duration;                   // of the handler; what a stream sends comes after it
};
// Tells `sink` of every request, also of those whose handler throws; a target may have any printable ASCII in
// it, fields any text. What is told is what comes out of the handler and of middleware added later; a status
// that no answer has is told as the 500 that is sent. What `sink` throws is reported to the loop's exception
// handler, and the request answered all the same. Threads: `sink` is called in the connections' tasks, on all workers.
//   server.use(access_log([](const AccessLogEntry& entry) {
//     log(entry.peer.host(), entry.request.method(), entry.request.target(), entry.status);
//   }));
[[nodiscard]] Middleware access_log(std::function<void(const AccessLogEntry&)> sink);

struct RouteOptions {
  // The handler never waits for long: in a pipeline its answer and those before it are sent together. Without
  // it they are sent before the handler is called.
  bool quick = false;
};

struct ServerStats {
  std::size_t connections = 0;  // now
  std::uint64_t accepted = 0;
  std::uint64_t requests = 0;  // answered by a handler or for want of one
  std::uint64_t refused = 0;   // connections above a limit
  std::uint64_t dropped = 0;   // requests that were answered with 503 at the end of the grace period
};

namespace detail {
struct ServerState;
}

class Server {
 public:
  // Throws: std::invalid_argument for a limit out of range.
  explicit Server(ServerOptions options = {});
  // Not while serve() runs.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Adds a handler for a method and a path pattern, whose segments are texts, {name} for any one segment, or
  // as the last one {name*} for any rest. Texts win over names, and patterns in the order they were added.
  // GET answers HEAD too. A path without a handler is answered with 404, one without that method with 405, OPTIONS
  // without a handler with 204, both with Allow. Texts of patterns stand for the decoded path.
  // A handler that throws anything, or returns a status outside of 200 to 999 (101 with `upgrade`), is
  // answered with 500 (HttpError: with its status) and reported to the loop's exception handler; its task is
  // the connection's, and is cancelled when a grace period ends.
  // Threads: before serve(). Throws: std::invalid_argument for a pattern that cannot be read.
  void route(std::string_view method, std::string_view pattern, Handler handler, RouteOptions options = {});
  // Adds what is called around every handler, also the one that answers 404 or 405.
  void use(Middleware middleware);
  // Serves the files below `directory` under `prefix` ("/static"): GET and HEAD, ranges, ETag and
  // Last-Modified; "index.html" for a path that ends with "/", and a redirect (301) to there for that of a
  // directory without, also for `prefix` itself unless it has a route. Nothing outside of `directory` is
  // served, also by symbolic links. Files are opened on the default executor's threads.
  // Throws: std::system_error if `directory` cannot be opened.
  void files(std::string_view prefix, const std::string& directory);

  // Listens; may be called several times. Connections wait until serve(). The file of a Unix path is removed
  // when serving ends, or with the server. Throws: as TcpListener::bind.
  void listen(const Address& address, ListenOptions options = {.backlog = 4096});
  [[nodiscard]] std::vector<Address> addresses() const;  // the ports that were chosen

  // Serves until a shutdown is over. Waits: yes. Cancel: as shutdown without grace, then CancelledError.
  // Once per server. Throws: RuntimeError outside a task or without listen().
  void serve();
  // Ends it in order: every answer closes its connection from now on, requests that have reached us are
  // answered, and what the kernel has accepted on our behalf is served before the listeners close. After
  // `grace` the tasks of connections are cancelled, and what was in flight is answered with 503. A second
  // call may shorten the grace.
  // Waits: until serve() is over; at once if it does not run. Cancel: CancelledError; the end goes on.
  void shutdown(AnyDuration grace);
  // True once shutdown was called: what handlers that stream for ever may look at.
  [[nodiscard]] bool is_stopping() const noexcept;
  // Returns when shutdown() is called, at once if it was. WebSockets are closed with 1001 at that moment. Waits:
  // yes. Cancel: CancelledError. Threads: any. aiohttp: on_shutdown; Go: RegisterOnShutdown.
  void wait_for_shutdown() const;

  [[nodiscard]] ServerStats stats() const;  // Threads: any

 private:
  friend Response call(Server&, Request&);             // testing.hpp
  friend void serve_connection(Server&, ByteStream&);  // testing.hpp
  std::shared_ptr<detail::ServerState> state_;
};

// Answers with the file at `path`, as Server::files does. Waits: for the file system, on the default
// executor. A missing or unreadable file is 404, and so is a path with a zero byte, with ".." behind its beginning, or
// with a parameter of the route in it that has "..", "." or an empty name.
[[nodiscard]] Response file_response(const Request& request, const std::string& path);

}  // namespace fibrio::http
