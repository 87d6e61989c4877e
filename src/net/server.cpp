#include "net/server.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/strand.hpp"
#include "net/loop_access.hpp"
#include "net/resolver.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/loop_services.hpp"

namespace fibrio {

namespace detail {

namespace {

void report_here(const char* message, const AnyFuture& task) noexcept {
  if (Worker* worker = this_worker()) {
    report_exception(worker->scheduler, message, std::current_exception(), task);
  }
}

void complete(const std::vector<Future<>>& waiters) {
  for (Future<> waiter : waiters) static_cast<void>(waiter.try_set_result());
}

}  // namespace

// The callable of an accepting task. Also one that never ran closes the server.
class ServerCore::Acceptor {
 public:
  Acceptor(std::shared_ptr<ServerCore> server, Listening listening) noexcept
      : server_(std::move(server)), listening_(std::move(listening)) {}
  Acceptor(Acceptor&&) noexcept = default;
  Acceptor& operator=(Acceptor&&) = delete;
  ~Acceptor() {
    if (server_ != nullptr) server_->close();
  }
  void operator()() { server_->accept_from(listening_); }

 private:
  std::shared_ptr<ServerCore> server_;
  Listening listening_;
};

// What a connection takes of the server's limits; given back at its end.
class ServerCore::Place {
 public:
  explicit Place(std::shared_ptr<ServerCore> server) noexcept : server_(std::move(server)) {}
  Place(Place&& other) noexcept
      : server_(std::move(other.server_)),
        peer_(std::move(other.peer_)),
        has_slot_(std::exchange(other.has_slot_, false)) {}
  Place& operator=(Place&&) = delete;
  ~Place() {
    if (has_slot_) server_->slots_->release();
    if (server_ == nullptr || peer_.empty()) return;
    const std::lock_guard guard(server_->lock_);
    const auto found = server_->peers_.find(peer_);
    if (--found->second == 0) server_->peers_.erase(found);
  }

  // False: the peer has as many connections as it may have.
  [[nodiscard]] bool take_of_peer(std::string peer) {
    const std::lock_guard guard(server_->lock_);
    std::size_t& count = server_->peers_[peer];
    if (count == server_->options_.max_connections_per_peer) return false;
    ++count;
    peer_ = std::move(peer);
    return true;
  }
  void take_slot() {
    if (!server_->slots_) return;
    server_->slots_->acquire();
    has_slot_ = true;
  }
  void give_back(const StreamCore* client) const { server_->remove_client(client); }

 private:
  std::shared_ptr<ServerCore> server_;
  std::string peer_;  // empty: not counted
  bool has_slot_ = false;
};

// The callable of a connection's task. One that never ran closes the connection too.
class ServerCore::Connection {
 public:
  Connection(std::shared_ptr<ServerCore> server, Streams streams) noexcept
      : server_(std::move(server)), reader_(std::move(streams.first)), writer_(std::move(streams.second)) {}
  Connection(Connection&&) noexcept = default;
  Connection& operator=(Connection&&) = delete;
  ~Connection() {
    // Null: the handler, or a move, has taken it.
    if (const auto& core = StreamCoreAccess::of(writer_)) core->close();
  }

  void operator()() {
    try {
      if (!upgrade()) return;
      server_->handler_(reader_, writer_);
    } catch (const CancelledError&) {
      throw;
    } catch (const KeyboardInterrupt&) {
      throw;
    } catch (...) {
      report_here("unhandled exception in the handler of a connection", current_task());
    }
  }

 private:
  void report_if_debugging() const {
    if (server_->loop_.get_debug()) report_here("the upgrade of a connection failed", current_task());
  }

  bool upgrade() {
    if (!server_->options_.upgrade) return true;
    try {
      writer_.replace_stream(server_->options_.upgrade);
      return true;
    } catch (const std::system_error&) {  // a handshake that fails is the peer's business
      report_if_debugging();
    } catch (const TimeoutError&) {
      report_if_debugging();
    }
    return false;
  }

  std::shared_ptr<ServerCore> server_;
  StreamReader reader_;
  StreamWriter writer_;
};

ServerCore::ServerCore(ConnectionHandler handler, ServerOptions options)
    : loop_(get_running_loop()), handler_(std::move(handler)), options_(std::move(options)) {
  if (options_.max_connections > 0) slots_.emplace(static_cast<std::ptrdiff_t>(options_.max_connections));
}

Server ServerCore::make(ConnectionHandler handler, ServerOptions options, std::vector<Listening> listening) {
  const bool start = options.start_serving;
  Server server(std::make_shared<ServerCore>(std::move(handler), std::move(options)));
  server.core_->listening_ = std::move(listening);
  if (start) server.core_->start_serving();
  return server;
}

void ServerCore::start_serving() {
  std::vector<Listening> listening;
  {
    const std::lock_guard guard(lock_);
    if (is_closed_) throw RuntimeError("the server is closed");
    if (!is_serving_) listening = listening_;
    is_serving_ = true;
  }
  std::vector<Task<>> acceptors;
  try {
    for (const Listening& each : listening) {
      const Socket::Operation operation(*each.socket, "listen");
      listen_on(operation.fd(), options_.backlog, each.address);
    }
    for (Listening& each : listening) {
      acceptors.push_back(fibrio::spawn(Acceptor(shared_from_this(), std::move(each))));
    }
  } catch (...) {
    close();
    throw;
  }
  bool is_too_late = false;
  {
    const std::lock_guard guard(lock_);
    is_too_late = is_closed_;
    if (!is_too_late) acceptors_.insert(acceptors_.end(), acceptors.begin(), acceptors.end());
  }
  if (is_too_late) {
    for (const Task<>& each : acceptors) each.cancel();
  }
  yield();
}

void ServerCore::accept_from(const Listening& listening) {
  try {
    for (;;) {
      try {
        take(accept_connection(*listening.socket), listening.address.family() == AF_UNIX);
      } catch (const std::bad_alloc&) {
        report_here("no memory for a connection, which was dropped", current_task());
      }
    }
  } catch (const std::system_error& error) {
    if (error.code() == std::error_code(ECANCELED, std::system_category())) return;  // closed
    report_here("accept failed, and the server is closed", current_task());
  }
}

void ServerCore::take(sys::UniqueFd fd, bool is_unix) {
  Place place(shared_from_this());
  if (options_.max_connections_per_peer > 0 && !is_unix) {
    std::string peer;
    try {
      peer = peer_address(fd.get()).host();
    } catch (const std::system_error&) {  // the connection is gone already
      return;
    }
    if (!place.take_of_peer(std::move(peer))) {
      SocketAccess::stream(std::make_shared<Socket>(std::move(fd))).abort();
      return;
    }
  }
  place.take_slot();
  TcpStream stream = SocketAccess::stream(std::make_shared<Socket>(std::move(fd), !is_unix));
  const auto client = std::make_shared<StreamCore>(make_byte_stream(std::move(stream)), options_.limit);
  {
    const std::lock_guard guard(lock_);
    if (is_closed_) return;
    clients_.emplace(client.get(), client);
  }
  Connection connection(shared_from_this(), StreamCoreAccess::make_pair(client));
  client->set_on_lost([place = std::move(place), key = client.get()]() mutable { place.give_back(key); });
  if (options_.strand_per_connection) {
    Strand strand;
    static_cast<void>(strand.create_task(std::move(connection)));
  } else {
    static_cast<void>(fibrio::spawn(std::move(connection)));
  }
}

void ServerCore::remove_client(const StreamCore* client) noexcept {
  std::vector<Future<>> waiters;
  {
    const std::lock_guard guard(lock_);
    clients_.erase(client);
    if (is_closed_ && clients_.empty()) waiters.swap(waiters_);
  }
  complete(waiters);
}

void ServerCore::serve_forever() {
  Future<> forever = loop_.create_future();
  {
    const std::lock_guard guard(lock_);
    if (forever_.valid()) throw RuntimeError("another task is in serve_forever of this server");
    if (is_closed_) throw RuntimeError("the server is closed");
    forever_ = forever;
  }
  struct Leave {
    ServerCore& server;
    ~Leave() {
      const std::lock_guard guard(server.lock_);
      server.forever_ = {};
    }
  } leave{*this};
  try {
    start_serving();
    await(forever);
  } catch (const CancelledError&) {
    close();
    wait_closed();
    throw;
  }
}

void ServerCore::close() noexcept {
  std::vector<Listening> listening;
  std::vector<Task<>> acceptors;
  std::vector<Future<>> waiters;
  Future<> forever;
  {
    const std::lock_guard guard(lock_);
    if (is_closed_) return;
    is_closed_ = true;
    is_serving_ = false;
    listening.swap(listening_);
    acceptors.swap(acceptors_);
    if (clients_.empty()) waiters.swap(waiters_);
    forever = forever_;
  }
  for (const Listening& each : listening) {
    if (each.file != nullptr) each.file->remove();
    each.socket->close(each.socket);
  }
  for (const Task<>& each : acceptors) each.cancel();  // one may wait for a slot
  if (forever.valid()) forever.cancel();
  complete(waiters);
}

void ServerCore::wait_closed() {
  Future<> closed = get_running_loop().create_future();
  {
    const std::lock_guard guard(lock_);
    if (is_closed_ && clients_.empty()) return;
    waiters_.push_back(closed);
  }
  try {
    await(closed);
  } catch (...) {
    const std::lock_guard guard(lock_);
    std::erase(waiters_, closed);
    throw;
  }
}

void ServerCore::end_clients(How how) {
  std::vector<std::shared_ptr<StreamCore>> clients;
  {
    const std::lock_guard guard(lock_);
    for (const auto& [key, client] : clients_) {
      if (auto alive = client.lock()) clients.push_back(std::move(alive));
    }
  }
  for (const auto& client : clients) how == How::kClose ? client->close() : client->abort();
}

bool ServerCore::is_serving() const {
  const std::lock_guard guard(lock_);
  return is_serving_;
}

std::vector<Address> ServerCore::sockets() const {
  const std::lock_guard guard(lock_);
  std::vector<Address> addresses;
  for (const Listening& each : listening_) addresses.push_back(each.address);
  return addresses;
}

std::size_t ServerCore::connections() const {
  const std::lock_guard guard(lock_);
  return clients_.size();
}

}  // namespace detail

using detail::ServerCore;
using detail::Socket;

namespace {

void check(const ConnectionHandler& handler, const ServerOptions& options) {
  static_cast<void>(detail::require_task("start_server"));
  if (!handler) throw std::invalid_argument("start_server: the handler is empty");
  if (options.backlog < 1) throw std::invalid_argument("ServerOptions::backlog must be at least 1");
  if (options.limit == 0) throw std::invalid_argument("ServerOptions::limit must be at least 1");
}

ServerCore::Listening bind_to(const Address& address, const ServerOptions& options) {
  sys::UniqueFd fd = detail::bind_socket(
      address, {.reuse_address = options.reuse_address, .reuse_port = options.reuse_port, .ipv6_only = true});
  // What is accepted inherits these.
  if (options.keep_alive) {
    detail::set_int_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1, "setsockopt(SO_KEEPALIVE)");
  }
  if (options.no_delay && address.family() != AF_UNIX) {
    detail::set_int_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, "setsockopt(TCP_NODELAY)");
  }
  const Address bound = detail::local_address(fd.get());
  return {bound, std::make_shared<Socket>(std::move(fd))};
}

std::vector<Address> resolve(const std::string& host, std::uint16_t port, int family) {
  const std::string service = std::to_string(port);
  // Before the pool is asked for: a literal needs none.
  if (const auto literal = detail::resolve_numeric(host, service, family)) return {*literal};
  return detail::resolve(detail::resolver_pool_of_running_loop(), host, service, family, AI_PASSIVE);
}

// The machine may lack a family, or an address that a name has.
bool is_not_here(const std::system_error& error) {
  return error.code() == std::error_code(EADDRNOTAVAIL, std::system_category()) ||
         error.code() == std::error_code(EAFNOSUPPORT, std::system_category());
}

}  // namespace

Server start_server(ConnectionHandler handler, const std::string& host, std::uint16_t port,
                    ServerOptions options) {
  return start_server(std::move(handler), std::vector<std::string>{host}, port, std::move(options));
}

Server start_server(ConnectionHandler handler, const std::vector<std::string>& hosts, std::uint16_t port,
                    ServerOptions options) {
  check(handler, options);
  std::vector<Address> addresses;
  for (const std::string& host : hosts) {
    for (const Address& each : resolve(host, port, options.family)) {
      if (std::find(addresses.begin(), addresses.end(), each) == addresses.end()) addresses.push_back(each);
    }
  }
  std::vector<ServerCore::Listening> listening;
  std::exception_ptr not_here;
  for (const Address& address : addresses) {
    try {
      listening.push_back(bind_to(address, options));
    } catch (const std::system_error& error) {
      if (!is_not_here(error)) throw;
      not_here = std::current_exception();
    }
  }
  if (listening.empty() && not_here != nullptr) std::rethrow_exception(not_here);
  if (listening.empty()) throw std::invalid_argument("start_server: there is no host");
  return ServerCore::make(std::move(handler), std::move(options), std::move(listening));
}

Server start_server(ConnectionHandler handler, TcpListener listener, ServerOptions options) {
  check(handler, options);
  const Address address = listener.local_address();
  std::vector<ServerCore::Listening> listening;
  listening.push_back({address, std::move(detail::SocketAccess::of(listener))});
  return ServerCore::make(std::move(handler), std::move(options), std::move(listening));
}

Server start_unix_server(ConnectionHandler handler, std::string_view path, ServerOptions options) {
  check(handler, options);
  const Address address = Address::from_path(path);
  std::vector<ServerCore::Listening> listening;
  listening.push_back(bind_to(address, options));
  if (options.cleanup_socket) listening.back().file = detail::SocketFile::of(address);
  return ServerCore::make(std::move(handler), std::move(options), std::move(listening));
}

Server::Server(std::shared_ptr<ServerCore> core) noexcept : core_(std::move(core)) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&& other) noexcept {
  if (this != &other) {
    if (core_ != nullptr) core_->close();
    core_ = std::move(other.core_);
  }
  return *this;
}
Server::~Server() {
  if (core_ != nullptr) core_->close();
}

void Server::start_serving() { core_->start_serving(); }
void Server::serve_forever() { core_->serve_forever(); }
bool Server::is_serving() const { return core_->is_serving(); }
void Server::close() noexcept { core_->close(); }
void Server::wait_closed() { core_->wait_closed(); }
void Server::close_clients() { core_->end_clients(ServerCore::How::kClose); }
void Server::abort_clients() { core_->end_clients(ServerCore::How::kAbort); }
std::vector<Address> Server::sockets() const { return core_->sockets(); }
std::size_t Server::connections() const { return core_->connections(); }
EventLoop& Server::get_loop() const noexcept { return core_->loop(); }

}  // namespace fibrio
