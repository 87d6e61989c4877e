#include "server.hpp"

#include <linux/filter.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <new>
#include <utility>

#include "connection.hpp"

namespace http_server {

namespace {

using namespace std::chrono_literals;

// Once stopping, connections without a request stay this long: a request may be on its way to us, sent by a
// client that could not know. Busy clients are told by the answer to their next request.
constexpr fibrio::Duration kFarewell = 100ms;
// For handshakes that have begun when we stop taking new ones.
constexpr fibrio::Duration kHandshake = 20ms;
// How often draining looks whether the last connection has gone.
constexpr fibrio::Duration kDrainPoll = 5ms;
// For answering 503 after the grace period.
constexpr fibrio::Duration kLastWords = 500ms;

// Lets the kernel ignore new connections, while those that have begun are still completed. Without this, one
// that is completed between our last accept and the close would be reset. The client tries again in a second,
// and is refused then.
void ignore_new_connections(const fibrio::TcpListener& listener) {
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

}  // namespace

void Server::run() {
  fibrio::EventLoop& loop = fibrio::get_running_loop();
  stop_ = loop.create_future();
  for (const int signal : {SIGTERM, SIGINT}) {
    loop.add_signal_handler(signal, [this] {
      if (!stop_.try_set_result()) is_impatient_ = true;
    });
  }
  listen();
  fibrio::Task<> sweeper = fibrio::spawn([this] {
    for (;;) {
      fibrio::sleep(state_.connections.tick());
      state_.connections.sweep();
    }
  });
  std::printf("fibrio http_server listening on http://%s with %zu worker%s (Ctrl-C stops it)\n",
              listeners_[0].local_address().to_string().c_str(), loop.workers(),
              loop.workers() == 1 ? "" : "s");
  std::fflush(stdout);

  fibrio::await(stop_);
  drain();
  sweeper.cancel();
  acceptors_.clear();
  listeners_.clear();

  const Totals& totals = state_.totals;
  const auto count = [](const std::atomic<std::uint64_t>& n) {
    return static_cast<unsigned long long>(n.load());
  };
  std::printf("fibrio http_server stopped: %llu connections, %llu requests, %llu refused, %llu dropped\n",
              count(totals.connections), count(totals.requests), count(totals.refused),
              count(totals.dropped));
  std::fflush(stdout);
}

void Server::listen() {
  const std::size_t workers = fibrio::get_running_loop().workers();
  const bool each = state_.options.accept == AcceptMode::kReusePort;
  fibrio::Address address = fibrio::Address::parse(state_.options.host, state_.options.port);
  for (std::size_t i = 0; i < (each ? workers : 1); ++i) {
    listeners_.push_back(fibrio::TcpListener::bind(address, {.backlog = 4096, .reuse_port = each}));
    address = listeners_[0].local_address();  // port 0 has become a number
  }
  for (std::size_t i = 0; i < workers; ++i) {
    fibrio::TcpListener& listener = listeners_[each ? i : 0];
    acceptors_.push_back(fibrio::spawn([this, &listener] { accept_connections(listener); }));
  }
}

void Server::accept_connections(fibrio::TcpListener& listener) {
  for (;;) {
    fibrio::TcpStream stream = listener.accept();
    try {
      admit(std::move(stream));
    } catch (const std::bad_alloc&) {
      // No memory for its task: this connection is dropped, the next one may fare better.
    }
  }
}

void Server::admit(fibrio::TcpStream stream) {
  ConnectionTable::Place place(state_.connections);
  if (!place) {
    state_.totals.refused.fetch_add(1, std::memory_order_relaxed);
    refuse_connection(std::move(stream), state_);
    return;
  }
  state_.totals.connections.fetch_add(1, std::memory_order_relaxed);
  (void)fibrio::spawn([this, stream = std::move(stream), place = std::move(place)]() mutable {
    serve_connection(std::move(stream), state_);
  });
}

// No request that has reached us is lost: from here on every answer closes its connection; connections that
// wait for a request get their farewell time, and then answer what has come in nevertheless; and what the
// kernel has accepted on our behalf is served before the listeners close.
void Server::drain() {
  const fibrio::EventLoop& loop = fibrio::get_running_loop();
  const fibrio::TimePoint start = loop.time();
  const fibrio::TimePoint end = start + state_.options.grace;
  state_.draining.store(true, std::memory_order_relaxed);
  wait_for_connections(std::min(start + kFarewell, end));

  for (fibrio::Task<>& acceptor : acceptors_) {
    acceptor.cancel();
    acceptor.wait();
  }
  for (const fibrio::TcpListener& listener : listeners_) ignore_new_connections(listener);
  fibrio::sleep(kHandshake);
  for (fibrio::TcpListener& listener : listeners_) {
    empty_backlog(listener);
    listener.close();
  }
  while (state_.connections.count() > 0 && loop.time() < end && !is_impatient_) {
    state_.connections.stop_idle();
    fibrio::sleep(kDrainPoll);
  }

  if (state_.connections.count() == 0) return;
  state_.give_up.set();
  state_.connections.cancel_all();
  wait_for_connections(loop.time() + kLastWords);
}

void Server::empty_backlog(fibrio::TcpListener& listener) {
  for (;;) {
    const int fd = ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;  // EAGAIN; or an error that ends the accepting anyway
    admit(fibrio::TcpStream::adopt(fd));
  }
}

void Server::wait_for_connections(fibrio::TimePoint deadline) {
  const fibrio::EventLoop& loop = fibrio::get_running_loop();
  while (state_.connections.count() > 0 && loop.time() < deadline) fibrio::sleep(kDrainPoll);
}

}  // namespace http_server
