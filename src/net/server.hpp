// What: what Server is a handle to: listening sockets, the tasks that accept, the connections.
//
// Threads: any; what waits, tasks only.
//
// Protocol.
//  1. One task per listening socket accepts (an Acceptor). Whatever it ends by, it closes the server.
//  2. A connection counts from before its task is made until its stream is lost (StreamCore's on_lost, which
//     keeps the server alive): so wait_closed also waits for what is flushed in the background.
//  3. A connection over max_connections is accepted, but waits in its acceptor for a slot: an acceptor that held
//     a slot for a connection to come could starve another one.
//  4. A handler counts in ServerHandlers, apart from its connection: shutdown() and end() wait for that. So does an
//     acceptor: after them the port is free, and nobody connects to it any more.
//  5. Acceptors and handlers run on the strand that the server was started on, if it was started on one.
//  6. close() takes everything under the lock and acts after it: files, sockets, acceptors, serve_forever.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fibrio/futures.hpp"
#include "fibrio/locks.hpp"
#include "fibrio/server.hpp"
#include "fibrio/streams.hpp"
#include "fibrio/tasks.hpp"
#include "net/server_handlers.hpp"
#include "net/stream_core.hpp"
#include "net/stream_socket.hpp"

namespace fibrio::detail {

class ServerCore : public std::enable_shared_from_this<ServerCore> {
 public:
  struct Listening {
    Address address;
    std::shared_ptr<Socket> socket;
    std::shared_ptr<SocketFile> file = {};
  };
  // What the user gave; each connection holds it, so that it goes with the last of them, or with the server's end.
  struct Calls {
    ConnectionHandler handler;
    StreamUpgrade upgrade;
  };

  ServerCore(Calls calls, ServerOptions options);
  ~ServerCore();
  ServerCore(const ServerCore&) = delete;
  ServerCore& operator=(const ServerCore&) = delete;
  // A running or waiting server over bound sockets.
  [[nodiscard]] static Server make(ConnectionHandler handler, ServerOptions options,
                                   std::vector<Listening> listening);

  void start_serving();
  void serve_forever();
  // True: it was not closed before.
  bool close() noexcept;
  void shutdown(Duration grace);
  // For the handle's destructor: closes, cancels the handlers and waits for them.
  void end() noexcept;
  void wait_closed();
  enum class How { kClose, kAbort };
  void end_clients(How how);

  [[nodiscard]] bool is_serving() const;
  [[nodiscard]] std::vector<Address> sockets() const;
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] EventLoop& loop() const noexcept { return loop_; }

 private:
  class Acceptor;
  class Connection;
  class Place;

  void accept_from(const Listening& listening);
  void take(sys::UniqueFd fd, bool is_unix);
  [[nodiscard]] TaskOptions on_its_strand() const noexcept;
  void flush_clients(TimePoint end);
  void let_calls_go() noexcept;
  void remove_client(const StreamCore* client) noexcept;
  [[nodiscard]] std::vector<std::shared_ptr<StreamCore>> living_clients() const;

  EventLoop& loop_;
  const LoopIdentity identity_;
  const ServerOptions options_;
  StrandState* const strand_;  // that it was started on; null: none
  const std::shared_ptr<ServerHandlers> handlers_ = std::make_shared<ServerHandlers>();
  std::optional<Semaphore> slots_;  // of max_connections

  mutable std::mutex lock_;  // guards what follows
  std::vector<Listening> listening_;
  std::vector<Task<>> acceptors_;
  std::shared_ptr<const Calls> calls_;
  std::unordered_map<const StreamCore*, std::weak_ptr<StreamCore>> clients_;
  std::unordered_map<std::string, std::size_t> peers_;  // connections per IP address, if that is limited
  std::vector<Future<>> waiters_;                       // in wait_closed
  Future<> forever_;                                    // of serve_forever
  bool is_serving_ = false;
  bool is_closed_ = false;
};

}  // namespace fibrio::detail
