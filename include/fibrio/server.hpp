// Server: listening sockets and the connections that came from them, as asyncio.Server. start_server makes one
// (streams.hpp).
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "fibrio/sockets.hpp"

namespace fibrio {

class EventLoop;

namespace detail {
class ServerCore;
}

// Movable; one that was moved from may only be assigned and destroyed. The destructor closes it, without
// waiting. Threads: any; what waits, tasks only.
class Server {
 public:
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  ~Server();

  // Begins to accept connections; idempotent. Waits: gives way once. Throws: RuntimeError if the server is
  // closed; std::system_error naming the address (EADDRINUSE): then it is closed too.
  void start_serving();
  // Accepts connections until it is cancelled, or the server closed. Then it closes the server, waits until all
  // connections have ended, and throws CancelledError.
  // Waits: yes. Throws: RuntimeError if the server is closed, or another task is inside.
  void serve_forever();
  [[nodiscard]] bool is_serving() const;

  // Stops listening. Idempotent; waits for nothing. Connections live on.
  void close() noexcept;
  // Returns when the server is closed and its last connection has ended: not the handlers, which may go on when
  // another task, or close_clients(), has closed their connection. Waits: if not. Cancel: CancelledError,
  // nothing else changes. asyncio: the same.
  void wait_closed();
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
