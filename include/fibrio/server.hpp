// Server: listening sockets and the connections that came from them, as asyncio.Server. start_server makes one
// (streams.hpp).
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/sockets.hpp"

namespace fibrio {

class EventLoop;

namespace detail {
class ServerCore;
}

// Movable; one that was moved from may only be assigned and destroyed. Threads: any; what waits, tasks only.
//
// The end of the handle is the end of its handlers, since what they refer to is usually declared before it: the
// destructor (and an assignment) closes the server, cancels the handlers that run and waits for them. That wait cannot
// be cancelled. It leaves out the calling task if that is a handler of this server, or is awaited by one. On a plain
// thread it blocks while the loop runs; in a callback, and when the loop does not run, it does not wait. So a handler
// must not refer to what is declared after the server, and one that goes on after a cancel holds up the destructor.
// asyncio: a server leaves its handlers to themselves.
//
// A server that is started on a strand serves on it: connections are accepted, and handlers run, on that strand
// (ServerOptions::strand_per_connection gives each handler one of its own). With start_serving = false what counts is
// where start_server was called, or else where start_serving or serve_forever is.
class Server {
 public:
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  ~Server();

  // Begins to accept connections; idempotent. Waits: gives way once. Throws: RuntimeError if the server is
  // closed; std::system_error naming the address (EADDRINUSE): then it is closed too.
  void start_serving();
  // Accepts connections until it is cancelled, or the server closed. Then it closes the server, and, if it was
  // cancelled, its connections (close_clients); it waits until all of them have ended, and throws CancelledError.
  // Waits: yes. Throws: RuntimeError if the server is closed, or another task is inside.
  void serve_forever();
  [[nodiscard]] bool is_serving() const;

  // Stops listening: the port is free. Idempotent; waits for nothing. Connections live on.
  void close() noexcept;
  // Returns when the server is closed and its last connection has ended: not the handlers, which may go on when
  // another task, or close_clients(), has closed their connection. Waits: if not. Cancel: CancelledError,
  // nothing else changes. asyncio: the same.
  void wait_closed();
  // Ends it in order: stops to accept, waits for the handlers, cancels those that still run after `grace`, and returns
  // when none runs. Data that handlers have left in buffers is sent within `grace`; after that such a connection is
  // cut off. A handler may call it: it waits for the others then. Idempotent, and may be called after close().
  // Waits: while a handler runs. Cancel: CancelledError; the server is closed, the handlers go on (the destructor ends
  // them). Throws: RuntimeError outside a task. Range: zero or less cancels at once; Duration::max() never.
  void shutdown(AnyDuration grace);
  // Closes all connections, each after what is buffered (StreamWriter::close); drops them, with a reset.
  void close_clients();
  void abort_clients();

  // The addresses it listens on; none once it is closed.
  [[nodiscard]] std::vector<Address> sockets() const;
  // How many connections there are now.
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] EventLoop& get_loop() const noexcept;

 private:
  friend class detail::ServerCore;
  explicit Server(std::shared_ptr<detail::ServerCore> core) noexcept;
  std::shared_ptr<detail::ServerCore> core_;
};

}  // namespace fibrio
