#include "fibrio/http/server.hpp"

#include <linux/filter.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "http/connection.hpp"
#include "http/response_header.hpp"
#include "http/server_state.hpp"

namespace fibrio::http {

namespace {

using namespace std::chrono_literals;
using detail::ServerState;
using StatePtr = std::shared_ptr<ServerState>;

// Once stopping, connections without a request stay this long: a request may be on its way to us, sent by a
// client that could not know. Busy clients are told by the answer to their next request.
constexpr Duration kFarewell = 100ms;
// For handshakes that have begun when we stop taking new ones.
constexpr Duration kHandshake = 20ms;
// How often draining looks whether the last connection has gone.
constexpr Duration kDrainPoll = 5ms;
// For answering 503 after the grace period.
constexpr Duration kLastWords = 500ms;

// Lets the kernel ignore new connections, while those that have begun are still completed. Without this, one
// that is completed between our last accept and the close would be reset. The client tries again in a second,
// and is refused then.
void ignore_new_connections(const TcpListener& listener) {
  constexpr std::uint32_t kFlags = 13;  // offset in the TCP header
  constexpr std::uint32_t kSyn = 2;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlags), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kSyn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),       // drop
      BPF_STMT(BPF_RET | BPF_K, 0xffff),  // accept
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  ::setsockopt(listener.native_handle(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

void admit_or_throw(const StatePtr& state, TcpStream stream) {
  ConnectionTable::Place place(state->connections, stream);
  if (!place) {
    state->refused.fetch_add(1, std::memory_order_relaxed);
    refuse_connection(std::move(stream), *state);
    return;
  }
  state->accepted.fetch_add(1, std::memory_order_relaxed);
  (void)create_task([state, stream = std::move(stream), place = std::move(place)]() mutable {
    serve_connection(std::move(stream), *state);
  });
}

void admit(const StatePtr& state, TcpStream stream) {
  try {
    admit_or_throw(state, std::move(stream));
  } catch (const std::bad_alloc&) {
    // No memory for its task: this connection is dropped, the next one may fare better.
  } catch (const std::system_error&) {
    // The peer has gone before we asked who it is.
  }
}

void accept_connections(const StatePtr& state, TcpListener& listener) {
  for (;;) admit(state, listener.accept());
}

bool has_connection(const TcpListener& listener) {
  pollfd entry{listener.native_handle(), POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

// Without fds or memory it goes on once connections have ended.
void empty_backlog(const StatePtr& state, TcpListener& listener) {
  while (has_connection(listener)) {
    try {
      admit(state, timeout(kDrainPoll, [&listener] { return listener.accept(); }));
    } catch (const TimeoutError&) {
      if (get_running_loop().time() >= state->grace_deadline()) return;
      state->connections.stop_idle();
    } catch (const std::system_error&) {
      return;  // it is no listener any more
    }
  }
}

void wait_for_connections(ServerState& state, TimePoint deadline) {
  const EventLoop& loop = get_running_loop();
  while (state.connections.count() > 0 && loop.time() < std::min(deadline, state.grace_deadline())) {
    sleep(kDrainPoll);
  }
}

void cancel_rest(ServerState& state) {
  if (state.connections.count() == 0) return;
  state.connections.cancel_all();
  const EventLoop& loop = get_running_loop();
  const TimePoint end = loop.time() + kLastWords;
  while (state.connections.count() > 0 && loop.time() < end) sleep(kDrainPoll);
  // Who still has not left waits for a peer that does not read.
  state.connections.cancel_all();
}

// No request that has reached us is lost: from here on every answer closes its connection; connections that
// wait for a request get their farewell time, and then answer what has come in nevertheless; and what the
// kernel has accepted on our behalf is served before the listeners close.
void drain(const StatePtr& state, std::vector<Task<>>& acceptors) {
  const EventLoop& loop = get_running_loop();
  state->is_draining.store(true, std::memory_order_relaxed);
  state->farewells.tell_all();
  wait_for_connections(*state, loop.time() + kFarewell);
  for (Task<>& acceptor : acceptors) {
    acceptor.cancel();
    acceptor.wait();
  }
  state->socket_files.clear();  // nobody new finds them
  for (const TcpListener& listener : state->listeners) ignore_new_connections(listener);
  sleep(kHandshake);
  for (TcpListener& listener : state->listeners) {
    empty_backlog(state, listener);
    listener.close();
  }
  while (state->connections.count() > 0 && loop.time() < state->grace_deadline()) {
    state->connections.stop_idle();
    sleep(kDrainPoll);
  }
  cancel_rest(*state);
}

}  // namespace

Middleware access_log(std::function<void(const AccessLogEntry&)> sink) {
  return [sink = std::move(sink)](Request& request, const Handler& next) {
    const EventLoop& loop = get_running_loop();
    const TimePoint begin = loop.time();
    Address peer;
    try {
      peer = request.peer_address();
    } catch (const std::system_error&) {
      // It has gone; the handler may still do its work.
    }
    const auto tell = [&](unsigned status, std::optional<std::uint64_t> bytes) {
      try {
        sink({request, peer, status, bytes, loop.time() - begin});
      } catch (const CancelledError&) {
        throw;
      } catch (...) {
        get_running_loop().call_exception_handler({.message = "http: an exception in the sink of access_log",
                                                   .exception = std::current_exception()});
      }
    };
    Response response;
    try {
      response = next(request);
    } catch (const HttpError& error) {
      tell(error.status(), std::nullopt);
      throw;
    } catch (const CancelledError&) {
      tell(503, std::nullopt);
      throw;
    } catch (...) {
      tell(500, std::nullopt);
      throw;
    }
    if (!is_final(response)) {
      tell(500, std::nullopt);
    } else {
      tell(response.status, response.stream ? response.stream_length : response.body.size());
    }
    return response;
  };
}

Server::Server(ServerOptions options) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("http: ServerOptions: ") + what);
  };
  require(options.max_connections > 0, "max_connections must be at least 1");
  require(options.max_header_bytes >= 256 && options.max_header_bytes <= 1024 * 1024,
          "max_header_bytes must be from 256 to 1048576");
  for (const Duration limit :
       {options.header_timeout, options.body_timeout, options.idle_timeout, options.write_timeout}) {
    require(limit > Duration::zero(), "timeouts must be more than zero");
  }
  state_ = std::make_shared<ServerState>(std::move(options));
}

Server::~Server() = default;

void Server::route(std::string_view method, std::string_view pattern, Handler handler, RouteOptions options) {
  state_->router.add(method, pattern, std::move(handler), options.quick);
}

void Server::use(Middleware middleware) { state_->router.use(std::move(middleware)); }

void Server::listen(const Address& address, ListenOptions options) {
  state_->listeners.push_back(TcpListener::bind(address, options));
  state_->socket_files.emplace_back(address);
}

std::vector<Address> Server::addresses() const {
  std::vector<Address> addresses;
  for (const TcpListener& listener : state_->listeners) addresses.push_back(listener.local_address());
  return addresses;
}

void Server::serve() {
  const StatePtr state = state_;
  if (state->listeners.empty()) throw RuntimeError("http::Server::serve: call listen() first");
  if (state->is_serving.exchange(true, std::memory_order_relaxed))
    throw RuntimeError("http::Server::serve: once per server");
  state->finish_routes();
  // On the strand that serve() is called on, if it is one; else they are free.
  Task<> sweeper = create_task([state] {
    for (;;) {
      sleep(state->connections.tick());
      state->connections.sweep();
    }
  });
  std::vector<Task<>> acceptors;
  const std::size_t workers = get_running_loop().workers();
  // A task per worker on a listener that is shared; one on each of as many listeners.
  const std::size_t each = std::max<std::size_t>(1, workers / state->listeners.size());
  for (TcpListener& listener : state->listeners) {
    for (std::size_t i = 0; i < each; ++i) {
      acceptors.push_back(create_task([state, &listener] { accept_connections(state, listener); }));
    }
  }

  const auto end = [&] {
    sweeper.cancel();
    sweeper.wait();
    state->finished.set();
  };
  try {
    state->stop.wait();
    drain(state, acceptors);
  } catch (const CancelledError&) {
    const CancelMask mask;
    for (Task<>& acceptor : acceptors) {
      acceptor.cancel();
      acceptor.wait();
    }
    state->socket_files.clear();
    for (TcpListener& listener : state->listeners) listener.close();
    state->is_draining.store(true, std::memory_order_relaxed);
    cancel_rest(*state);
    end();
    throw;
  }
  end();
}

void Server::shutdown(AnyDuration grace) {
  const StatePtr state = state_;
  const TimePoint now = get_running_loop().time();
  const TimePoint::rep end =
      grace >= TimePoint::max() - now
          ? ServerState::kNever
          : (now + std::max<Duration>(grace, Duration::zero())).time_since_epoch().count();
  TimePoint::rep before = state->grace_end.load(std::memory_order_relaxed);
  while (end < before && !state->grace_end.compare_exchange_weak(before, end, std::memory_order_relaxed)) {
  }
  state->stop.set();
  if (state->is_serving.load(std::memory_order_relaxed)) state->finished.wait();
}

bool Server::is_stopping() const noexcept { return state_->stop.is_set(); }

void Server::wait_for_shutdown() const {
  const StatePtr state = state_;
  state->stop.wait();
}

bool Request::is_shutting_down() const noexcept { return server_ != nullptr && server_->stop.is_set(); }

void Request::wait_for_shutdown() const {
  if (server_ != nullptr) return server_->stop.wait();
  Event never;
  never.wait();
}

ServerStats Server::stats() const {
  return {.connections = state_->connections.count(),
          .accepted = state_->accepted.load(std::memory_order_relaxed),
          .requests = state_->connections.requests(),
          .refused = state_->refused.load(std::memory_order_relaxed),
          .dropped = state_->dropped.load(std::memory_order_relaxed)};
}

}  // namespace fibrio::http
