#include "net/server.hpp"

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/strand.hpp"
#include "fibrio/timeouts.hpp"
#include "net/socket_calls.hpp"
#include "net/socket_operation.hpp"
#include "sched/scheduler.hpp"
#include "sched/strand.hpp"
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
  Acceptor(std::shared_ptr<ServerCore> server, Listening listening)
      : ticket_(server->handlers_->enter()), server_(std::move(server)), listening_(std::move(listening)) {}
  Acceptor(Acceptor&&) noexcept = default;
  Acceptor& operator=(Acceptor&&) = delete;
  ~Acceptor() {
    if (server_ != nullptr) server_->close();
  }
  void operator()() { server_->accept_from(listening_); }

 private:
  ServerHandlers::Ticket ticket_;  // the last to go
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
  Connection(std::shared_ptr<ServerCore> server, std::shared_ptr<const Calls> calls,
             ServerHandlers::Ticket ticket, Streams streams) noexcept
      : ticket_(std::move(ticket)),
        server_(std::move(server)),
        calls_(std::move(calls)),
        reader_(std::move(streams.first)),
        writer_(std::move(streams.second)) {}
  Connection(Connection&&) noexcept = default;
  Connection& operator=(Connection&&) = delete;
  ~Connection() {
    // Null: the handler, or a move, has taken it.
    if (const auto& core = StreamCoreAccess::of(writer_)) core->close();
  }

  void operator()() {
    ticket_.bind(current_task());
    try {
      if (!upgrade()) return;
      calls_->handler(reader_, writer_);
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
    if (!calls_->upgrade) return true;
    try {
      writer_.replace_stream(calls_->upgrade);
      return true;
    } catch (const std::system_error&) {  // a handshake that fails is the peer's business
      report_if_debugging();
    } catch (const TimeoutError&) {
      report_if_debugging();
    }
    return false;
  }

  ServerHandlers::Ticket ticket_;  // the last to go
  std::shared_ptr<ServerCore> server_;
  std::shared_ptr<const Calls> calls_;
  StreamReader reader_;
  StreamWriter writer_;
};

ServerCore::ServerCore(Calls calls, ServerOptions options)
    : loop_(get_running_loop()),
      identity_(running_loop()),
      options_(std::move(options)),
      strand_(current_strand()),
      calls_(std::make_shared<Calls>(std::move(calls))) {
  if (strand_ != nullptr) strand_->add_ref();
  if (options_.max_connections > 0) slots_.emplace(static_cast<std::ptrdiff_t>(options_.max_connections));
}

ServerCore::~ServerCore() {
  if (strand_ != nullptr) strand_->release();
}

TaskOptions ServerCore::on_its_strand() const noexcept {
  TaskOptions options;
  if (strand_ != nullptr) options.strand = &strand_->handle;
  return options;
}

Server ServerCore::make(ConnectionHandler handler, ServerOptions options, std::vector<Listening> listening) {
  const bool start = options.start_serving;
  Calls calls{std::move(handler), std::exchange(options.upgrade, nullptr)};
  Server server(std::make_shared<ServerCore>(std::move(calls), std::move(options)));
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
      Acceptor acceptor(shared_from_this(), std::move(each));
      acceptors.push_back(strand_ == nullptr ? fibrio::create_task(std::move(acceptor))
                                             : fibrio::create_task(on_its_strand(), std::move(acceptor)));
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
  ServerHandlers::Ticket ticket;
  std::shared_ptr<const Calls> calls;
  {
    const std::lock_guard guard(lock_);
    if (is_closed_) return;
    ticket = handlers_->enter();
    calls = calls_;
    clients_.emplace(client.get(), client);
  }
  const std::uint64_t id = ServerHandlers::id_of(ticket);
  Connection connection(shared_from_this(), std::move(calls), std::move(ticket),
                        StreamCoreAccess::make_pair(client));
  client->set_on_lost([place = std::move(place), key = client.get()]() mutable { place.give_back(key); });
  if (options_.strand_per_connection) {
    Strand strand;
    handlers_->bind(id, strand.create_task(std::move(connection)));
  } else {
    handlers_->bind(
        id, fibrio::create_task(std::move(connection)));  // where the acceptor is: free, or on the strand
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
    // asyncio ends the connections, or one that stays would keep it for ever. Not if somebody has closed the server,
    // who may give them time (shutdown).
    if (close()) end_clients(How::kClose);
    wait_closed();
    throw;
  }
}

bool ServerCore::close() noexcept {
  std::vector<Listening> listening;
  std::vector<Task<>> acceptors;
  std::vector<Future<>> waiters;
  Future<> forever;
  {
    const std::lock_guard guard(lock_);
    if (is_closed_) return false;
    is_closed_ = true;
    is_serving_ = false;
    listening.swap(listening_);
    acceptors.swap(acceptors_);
    if (clients_.empty()) waiters.swap(waiters_);
    forever = forever_;
  }
  for (const Listening& each : listening) {
    if (each.file != nullptr) each.file->remove();
    each.socket->close_listener(each.socket);
  }
  for (const Task<>& each : acceptors) each.cancel();  // one may wait for a slot
  if (forever.valid()) forever.cancel();
  complete(waiters);
  return true;
}

void ServerCore::shutdown(Duration grace) {
  static_cast<void>(require_task("Server::shutdown"));
  const TimePoint now = get_running_loop().time();
  const TimePoint end = grace >= TimePoint::max() - now ? TimePoint::max() : now + grace;
  static_cast<void>(close());
  if (!handlers_->wait_until(end)) {
    handlers_->cancel_all();
    static_cast<void>(handlers_->wait_until(std::nullopt));
  }
  flush_clients(end);
  let_calls_go();
}

void ServerCore::end() noexcept {
  static_cast<void>(close());
  handlers_->cancel_all();
  handlers_->wait_masked(identity_);
  let_calls_go();
}

// Connections that their handlers have left, and that have data to send: until then, or they are cut off. One that a
// handler has given to somebody else stays.
void ServerCore::flush_clients(TimePoint end) {
  for (const std::shared_ptr<StreamCore>& client : living_clients()) {
    if (!client->is_closing()) continue;
    try {
      timeout_at(end, [&] { client->wait_closed(); });
    } catch (const TimeoutError&) {
      client->abort();
    } catch (const std::system_error&) {  // it was lost: that is an end, too
    }
  }
}

// What they refer to may go now.
void ServerCore::let_calls_go() noexcept {
  std::shared_ptr<const Calls> calls;  // destroyed without the lock
  const std::lock_guard guard(lock_);
  calls.swap(calls_);
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

std::vector<std::shared_ptr<StreamCore>> ServerCore::living_clients() const {
  std::vector<std::shared_ptr<StreamCore>> clients;
  const std::lock_guard guard(lock_);
  for (const auto& [key, client] : clients_) {
    if (auto alive = client.lock()) clients.push_back(std::move(alive));
  }
  return clients;
}

void ServerCore::end_clients(How how) {
  for (const auto& client : living_clients()) how == How::kClose ? client->close() : client->abort();
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

}  // namespace fibrio
