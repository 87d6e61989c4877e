// System calls that fail below HTTP: who is told what, and that the rest goes on.
#include <sys/epoll.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "fibrio/http/session.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"
#include "support/faults.hpp"
#include "support/full_listener.hpp"
#include "support/net.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
namespace sys = fibrio::sys;
using fibrio::net_test::error_of;
using fibrio::net_test::expect;
using fibrio::net_test::expect_equal;
using fibrio::net_test::loopback;
using fibrio::net_test::on_loops;
using fibrio::net_test::wait_until;
using fibrio::test::Fault;
using fibrio::test::kAlways;
using fibrio::test::ScopedSyscalls;
using http::Request;
using http::Response;

namespace {

const std::string kLarge(200'000, 'l');

void add_routes(http::Server& server) {
  server.route("GET", "/", [](Request&) { return Response("pong"); });
  server.route("GET", "/large", [](Request&) { return Response(kLarge); });
  server.route("POST", "/echo", [](Request& request) { return Response(request.read_all()); });
}

// Asks for everything on one connection. False once the server has left; whatever does come must be right.
bool converse(Client& client) {
  const auto is_right = [&](const std::string& request, const std::string& wanted) {
    const Reply reply = client.ask(request);
    CHECK((reply.status == 0 || reply.body == wanted));
    return reply.status != 0;
  };
  return is_right(get("/"), "pong") && is_right(post("/echo", "abc"), "abc") &&
         is_right(get("/large"), kLarge) && is_right(post("/echo", kLarge), kLarge);
}

// The server's end of the connection that was accepted last: faults are for that one alone.
std::atomic<int> newest{-1};
int accept_noted(int fd, sockaddr* address, socklen_t* bytes, int flags) {
  const int accepted = sys::real_syscalls.accept4(fd, address, bytes, flags);
  if (accepted >= 0) newest = accepted;
  return accepted;
}

// Lets the k-th use of a call fail, for all k that a conversation has.
template <class Faulty>
void sweep(Faulty& fault, int error, bool is_harmless) {
  sys::syscalls.accept4 = &accept_noted;
  for (const std::size_t workers : {1U, 4U}) {
    CAPTURE(workers, error);
    ServerThread server(add_routes, {}, workers);
    Client live(server.port());
    CHECK(converse(live));
    newest = -1;
    int failures = 0;
    for (int k = 1; k <= 10; ++k) {
      CAPTURE(k);
      fault.arm(-error, {.first = k});
      Client client(server.port());
      const bool is_whole = converse(client);
      // It may be met behind the last answer, which nobody misses.
      CHECK((is_whole || (!is_harmless && fault.hits() > 0)));
      failures += is_whole ? 0 : 1;
      if (is_harmless && k <= 2) CHECK(fault.hits() == 1);
      client.reset();
      CHECK(converse(live));
      CHECK(eventually([&] { return server.server().stats().connections == 1; }));
    }
    fault.disarm();
    CHECK((is_harmless || failures >= 2));
  }
}

struct Place {
  http::Server server;
  fibrio::Task<> serving;
  std::string authority;
};
std::unique_ptr<Place> start() {
  auto place = std::make_unique<Place>();
  add_routes(place->server);
  place->server.listen(loopback());
  place->serving = fibrio::create_task([server = &place->server] { server->serve(); });
  place->authority = place->server.addresses()[0].to_string();
  return place;
}
void stop(Place& place) {
  place.server.shutdown(5s);
  fibrio::await(place.serving);
}

}  // namespace

TEST_CASE("accept without fds or memory backs off and goes on, while connections are served",
          "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  for (const std::size_t workers : {1U, 2U, 4U}) {
    for (const int error : {EMFILE, ENFILE, ENOMEM, ENOBUFS}) {
      CAPTURE(workers, error);
      ServerThread server(add_routes, {}, workers);
      Client live(server.port());
      CHECK(live.ask(get("/")).body == "pong");
      fault.arm(-error, {.times = 4});
      Client newcomer(server.port());
      CHECK(newcomer.send(get("/")));
      while (!newcomer.has_input_within(0ms)) REQUIRE(live.ask(get("/")).body == "pong");
      CHECK(newcomer.receive().body == "pong");
      CHECK(fault.hits() == 4);
      fault.disarm();
      CHECK(converse(live));
      const std::vector<std::string> reports = server.take_reports();
      REQUIRE(reports.size() == 1);  // not one for each try
      CHECK(reports[0].find("accept ran out of resources") != std::string::npos);
    }
  }
}

TEST_CASE("accept passes over connections that died in the queue, and interruptions", "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  for (const std::size_t workers : {1U, 2U, 4U}) {
    for (const int error : {ECONNABORTED, EPROTO, ENETDOWN, EINTR}) {
      CAPTURE(workers, error);
      ServerThread server(add_routes, {}, workers);
      fault.arm(-error, {.times = 5});
      Client client(server.port());
      CHECK(client.ask(get("/")).body == "pong");
      CHECK(fault.hits() == 5);
      fault.disarm();
    }
  }
}

TEST_CASE("accept takes the place of an accept4 that is refused", "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    ServerThread server(add_routes, {}, workers);
    fault.arm(-EPERM, {.times = kAlways});
    for (int i = 0; i < 3; ++i) {
      Client client(server.port());
      CHECK(converse(client));
    }
    CHECK(fault.hits() > 0);
    fault.disarm();
    CHECK(server.take_reports().empty());
  }
}

TEST_CASE("A peer that has gone before it is counted does not end the accepting", "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::getpeername> fault;
  for (const std::size_t workers : {1U, 4U}) {
    ServerThread server(add_routes, {.max_connections = 2, .max_connections_per_peer = 2}, workers);
    for (int i = 0; i < 10; ++i) {  // more than there are places and acceptors
      fault.arm(-ENOTCONN);
      CHECK(Client(server.port()).is_closed_by_server());
      CHECK(fault.hits() == 1);
    }
    fault.disarm();
    CHECK(server.server().stats().connections == 0);
    Client client(server.port());
    CHECK(client.ask(get("/")).body == "pong");
    CHECK(server.server().stats().refused == 0);
  }
}

TEST_CASE("Reading and writing that fail end their own connection; interruptions are not noticed",
          "[http][fault]") {
  const ScopedSyscalls table;
  {
    Fault<&sys::Syscalls::recv> recv([](int fd, void*, std::size_t, int) { return fd == newest; });
    sweep(recv, EINTR, true);
    sweep(recv, ECONNRESET, false);
    sweep(recv, ETIMEDOUT, false);
    sweep(recv, ENOMEM, false);
  }
  {
    Fault<&sys::Syscalls::send> send([](int fd, const void*, std::size_t, int) { return fd == newest; });
    sweep(send, EINTR, true);
    sweep(send, ECONNRESET, false);
    sweep(send, EPIPE, false);
    sweep(send, ENOBUFS, false);
  }
  {
    // For header and body at once.
    Fault<&sys::Syscalls::sendmsg> sendmsg([](int fd, const msghdr*, int) { return fd == newest; });
    sweep(sendmsg, EINTR, true);
    sweep(sendmsg, ECONNRESET, false);
  }
}

TEST_CASE("A read that finds nothing waits for more, a write without room for room", "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::recv> recv;
  Fault<&sys::Syscalls::send> send;
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    ServerThread server(add_routes, {}, workers);
    Client client(server.port());
    CHECK(client.ask(get("/")).body == "pong");
    const std::string request = get("/");
    recv.arm(-EAGAIN);
    CHECK(client.send(request.substr(0, 5)));
    REQUIRE(eventually([&] { return recv.hits() == 1; }));
    CHECK(client.send(request.substr(5)));
    CHECK(client.receive().body == "pong");
    send.arm(-EAGAIN);
    CHECK(client.ask(get("/")).body == "pong");
    CHECK(send.hits() == 1);
  }
}

TEST_CASE("A connection that epoll cannot take is dropped, and the next one served", "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::epoll_ctl> fault(
      [](int, int operation, int, epoll_event*) { return operation == EPOLL_CTL_ADD; });
  for (const int error : {ENOMEM, ENOSPC}) {
    CAPTURE(error);
    ServerThread server(add_routes);
    Client live(server.port());
    CHECK(live.ask(get("/")).body == "pong");
    REQUIRE(eventually([&] { return server.loop().stats().fds == 2; }));  // the listener's and this one's
    fault.arm(-error);
    Client client(server.port());  // says nothing, so that it has to be waited for
    CHECK(client.is_closed_by_server());
    CHECK(fault.hits() == 1);
    fault.disarm();
    CHECK(Client(server.port()).ask(get("/")).body == "pong");
    CHECK(converse(live));
  }
}

TEST_CASE("A session that cannot connect says where to and why, and is usable afterwards", "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::socket> socket;
  Fault<&sys::Syscalls::connect> connect;
  on_loops([&] {
    const auto place = start();
    const std::string url = "http://" + place->authority + "/";
    const auto expect_error = [&](auto& fault, int error, const std::string& call) {
      http::Session session({.max_connections = 1});  // a place that is not given back would be missed
      fault.arm(-error);
      std::string text;
      expect_equal(error_of([&] { session.get(url); }, &text), error, "errno");
      const std::error_code code(error, std::system_category());
      expect(text == "http: connecting to " + place->authority + ": " + call + ": " + code.message(), text);
      expect(session.get(url).read_all() == "pong", "the session is usable");
    };
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) expect_error(socket, error, "socket");
    for (const int error : {EADDRNOTAVAIL, ECONNREFUSED, ENETUNREACH, ETIMEDOUT}) {
      expect_error(connect, error, "connect to " + place->authority);
    }
    stop(*place);
  });
}

TEST_CASE(
    "A session names a port where nobody listens, a name without address, a server that does not answer",
    "[http]") {
  on_loops([] {
    const auto place = start();
    http::Session session({.max_connections = 1, .connect_timeout = 50ms});
    std::string text;
    const fibrio::net_test::ClosedPort nobody;
    const std::string closed = nobody.address().to_string();
    expect_equal(error_of([&] { session.get("http://" + closed + "/"); }, &text), ECONNREFUSED, "errno");
    expect(text.find("connecting to " + closed) != std::string::npos, text);

    const std::string name(70, 'n');  // longer than a label may be, so that no name server is asked
    try {
      session.get("http://" + name + ":81/");
      expect(false, "an error");
    } catch (const std::system_error& error) {
      expect(error.code().category() == fibrio::resolver_category(), error.what());
      text = error.what();
      expect(text.find("connecting to " + name + ":81") != std::string::npos, text);
    }

    const fibrio::net_test::FullListener full;
    const std::string silent = "http://" + full.address().to_string() + "/";
    const auto expect_timeout = [&](const http::RequestOptions& options, const std::string& place_in_text) {
      try {
        session.get(silent, options);
        expect(false, "a timeout");
      } catch (const fibrio::TimeoutError& error) {
        expect(std::string(error.what()).find(place_in_text) != std::string::npos, error.what());
      }
    };
    expect_timeout(
        {}, silent + ": connecting to " + full.address().to_string() + ": timed out (connect_timeout)");
    expect_timeout({.timeout = 20ms}, silent + ": timed out (timeout)");

    expect(session.get("http://" + place->authority + "/").read_all() == "pong", "the session is usable");
    stop(*place);
  });
}

TEST_CASE("A server that cannot have its address says which one, and may take another", "[http]") {
  on_loops([] {
    const auto place = start();
    const fibrio::Address taken = place->server.addresses()[0];
    http::Server second;
    add_routes(second);
    std::string text;
    expect_equal(error_of([&] { second.listen(taken); }, &text), EADDRINUSE, "errno");
    expect(text.find(taken.to_string()) != std::string::npos, text);
    expect(second.addresses().empty(), "it does not listen");
    second.listen(loopback());
    auto serving = fibrio::create_task([&] { second.serve(); });
    http::Session session;
    for (const http::Server* server : {&place->server, &second}) {
      const std::string url = "http://" + server->addresses()[0].to_string() + "/";
      expect(session.get(url).read_all() == "pong", "an answer");
    }
    session.close();
    second.shutdown(5s);
    fibrio::await(serving);
    stop(*place);
  });
}

TEST_CASE("Without fds shutdown goes on accepting what waits in the backlog, until its grace is over",
          "[http][fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::accept4> fault;
  for (const bool is_for_ever : {false, true}) {
    on_loops(
        [&] {
          const auto place = start();
          fault.arm(-EMFILE, {.times = kAlways});
          std::vector<fibrio::TcpStream> peers;
          for (int i = 0; i < 3; ++i) {
            peers.push_back(fibrio::TcpStream::connect(place->server.addresses()[0]));
            peers.back().write_all("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
          }
          auto ending =
              fibrio::create_task([&, grace = is_for_ever ? 200ms : 10s] { place->server.shutdown(grace); });
          if (!is_for_ever) {
            wait_until([&] { return place->server.is_stopping(); }, "the end has begun");
            // Nobody is connected, so that the acceptors end at once: these tries are of the end.
            const int before = fault.hits();
            wait_until([&] { return fault.hits() > before + 20; }, "it tries again and again");
            fault.disarm();
          }
          for (fibrio::TcpStream& peer : peers) {
            std::string answer;
            const int error = error_of([&] { answer = fibrio::net_test::read_once(peer); });
            const bool is_answered =
                error == 0 && answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("pong");
            expect(is_answered != is_for_ever, "an answer, or the end: " + answer);
          }
          peers.clear();  // or the server would read on for a second
          fibrio::await(ending);
          fault.disarm();
          fibrio::await(place->serving);
        },
        true);
  }
}
