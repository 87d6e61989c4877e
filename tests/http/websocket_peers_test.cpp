// WebSockets of a server whose clients go without a word, ask twice, or meet a handler with a fault.
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "fibrio/http/websocket.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::WebSocket;

namespace {

const std::string kKey = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const std::string kUpgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
// Masked with zeros.
const std::string kHello = "\x81\x85" + std::string(4, '\0') + "hello";
const std::string kClose = "\x88\x80" + std::string(4, '\0');

void echo(WebSocket& socket) {
  while (auto message = socket.receive()) socket.send(*message);
}

ServerThread::Setup serving(const std::string& path, void (*serve)(WebSocket&)) {
  return [path, serve](http::Server& server) {
    server.route("GET", path, [serve](Request& request) { return http::websocket_response(request, serve); });
  };
}

Client open_socket(const ServerThread& server, const std::string& path) {
  Client client(server.port());
  REQUIRE(client.ask(get(path, kUpgrade + kKey), true).status == 101);
  return client;
}

}  // namespace

TEST_CASE("A client that resets its WebSocket is nothing to report", "[http]") {
  struct Case {
    const char* name;
    void (*serve)(WebSocket&);
  };
  for (const Case& one : {Case{"/echo", echo},
                          Case{"/push",
                               [](WebSocket& socket) {
                                 for (const std::string text(100'000, 'x');;) socket.send(text);
                               }},
                          Case{"/both", [](WebSocket& socket) {
                                 fibrio::task_group([&socket](fibrio::TaskGroup& group) {
                                   group.create_task([&socket] {
                                     for (const std::string text(100'000, 'x');;) socket.send(text);
                                   });
                                 });
                               }}}) {
    CAPTURE(one.name);
    for (const bool is_reset : {true, false}) {
      ServerThread server(serving(one.name, one.serve));
      for (int i = 0; i < 5; ++i) {
        Client client = open_socket(server, one.name);
        CHECK(client.send(kHello));
        CHECK(client.has_input_within(patience()));
        if (is_reset) client.reset();
      }
      CHECK(eventually([&] { return server.server().stats().connections == 0; }));
      CHECK(server.take_reports() == std::vector<std::string>());
    }
  }
}

TEST_CASE("An error of a WebSocket's handler is reported, also if it looks like one of the connection",
          "[http]") {
  ServerThread server([](http::Server& routes) {
    serving("/bug", [](WebSocket& socket) {
      (void)socket.receive();
      throw std::logic_error("a bug");
    })(routes);
    serving("/file", [](WebSocket& socket) {
      (void)socket.receive();
      throw std::system_error(ECONNRESET, std::system_category(), "of the database");
    })(routes);
    serving("/number", [](WebSocket& socket) {
      (void)socket.receive();
      throw 42;
    })(routes);
  });
  for (const std::string path : {"/bug", "/file", "/number"}) {
    CAPTURE(path);
    Client client = open_socket(server, path);
    CHECK(client.send(kHello + kClose));
    const auto end = client.receive_all();
    REQUIRE(end);
    CHECK(end->starts_with("\x88\x02\x03\xf3"));  // a close with 1011
    client.reset();
    CHECK(eventually([&] { return server.server().stats().connections == 0; }));
    const std::vector<std::string> reports = server.take_reports();
    REQUIRE(reports.size() == 1);
    CHECK(reports[0].starts_with("http: an exception in the upgraded connection of GET " + path + ": "));
  }
}

TEST_CASE("A WebSocket's handshake with two keys is refused", "[http]") {
  ServerThread server(serving("/echo", echo));
  Client client(server.port());
  CHECK(client.ask(get("/echo", kUpgrade + kKey + kKey)).status == 400);
  CHECK(
      client.ask(get("/echo", kUpgrade + kKey + "sec-websocket-key: AAAAIHNhbXBsZSBub25jZQ==\r\n")).status ==
      400);
  CHECK(client.ask(get("/echo", kUpgrade)).status == 400);
}
