// What: start_server, start_unix_server, and the handle that they return.
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "net/loop_access.hpp"
#include "net/resolver.hpp"
#include "net/server.hpp"
#include "net/socket_calls.hpp"
#include "sched/worker.hpp"

namespace fibrio {

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
  return detail::resolve(detail::names_of_running_loop(), host, service, family, AI_PASSIVE);
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
    if (core_ != nullptr) core_->end();
    core_ = std::move(other.core_);
  }
  return *this;
}
Server::~Server() {
  if (core_ != nullptr) core_->end();
}

void Server::start_serving() { core_->start_serving(); }
void Server::serve_forever() { core_->serve_forever(); }
bool Server::is_serving() const { return core_->is_serving(); }
void Server::close() noexcept { static_cast<void>(core_->close()); }
void Server::shutdown(AnyDuration grace) { core_->shutdown(grace); }
void Server::wait_closed() { core_->wait_closed(); }
void Server::close_clients() { core_->end_clients(ServerCore::How::kClose); }
void Server::abort_clients() { core_->end_clients(ServerCore::How::kAbort); }
std::vector<Address> Server::sockets() const { return core_->sockets(); }
std::size_t Server::connections() const { return core_->connections(); }
EventLoop& Server::get_loop() const noexcept { return core_->loop(); }

}  // namespace fibrio
