// access_log of fibrio/http/server.hpp.
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

TEST_CASE("The access log tells of every request, however its handler ends", "[http]") {
  struct Line {
    std::string text;
    fibrio::Duration duration;
  };
  std::mutex mutex;
  std::vector<Line> lines;
  std::atomic<bool> is_stuck{false};
  const auto sink = [&](const http::AccessLogEntry& entry) {
    const std::lock_guard lock(mutex);
    lines.push_back({entry.peer.host() + " " + entry.request.method() + " " + entry.request.target() + " " +
                         std::to_string(entry.status) + " " +
                         (entry.bytes ? std::to_string(*entry.bytes) : "-"),
                     entry.duration});
  };
  ServerThread server([&](http::Server& routes) {
    routes.use(http::access_log(sink));
    routes.route("GET", "/slow", [](Request&) {
      fibrio::sleep(20ms);
      return Response("hello");
    });
    for (const bool has_length : {true, false}) {
      routes.route("GET", has_length ? "/long" : "/chunks", [has_length](Request&) {
        Response response(202);
        response.stream = [](http::BodyWriter& out) { out.write("abc"); };
        if (has_length) response.stream_length = 3;
        return response;
      });
    }
    routes.route("GET", "/teapot", [](Request&) -> Response { throw http::HttpError(418); });
    routes.route("GET", "/bad", [](Request&) -> Response { throw std::runtime_error("bad"); });
    routes.route("GET", "/no-status", [](Request&) { return Response("x", "text/plain", 42); });
    routes.route("GET", "/stuck", [&is_stuck](Request&) {
      is_stuck = true;
      fibrio::sleep(1h);
      return Response();
    });
  });
  Client client(server.port());
  for (const char* path : {"/slow?a=\"b", "/long", "/teapot", "/bad", "/nowhere", "/no-status"})
    CHECK(client.ask(get(path)).status != 0);
  CHECK(server.take_reports().size() == 2);
  Client old(server.port());
  CHECK(old.send("GET /chunks HTTP/1.0\r\n\r\n"));
  CHECK(eventually([&] { return server.server().stats().requests == 7; }));
  CHECK(client.send(get("/stuck")));
  CHECK(eventually([&] { return is_stuck.load(); }));
  server.stop(0ms);
  const std::vector<std::string> wanted = {
      "127.0.0.1 GET /slow?a=\"b 200 5", "127.0.0.1 GET /long 202 3",     "127.0.0.1 GET /teapot 418 -",
      "127.0.0.1 GET /bad 500 -",        "127.0.0.1 GET /nowhere 404 14", "127.0.0.1 GET /no-status 500 -",
      "127.0.0.1 GET /chunks 202 -",     "127.0.0.1 GET /stuck 503 -"};
  REQUIRE(lines.size() == wanted.size());
  for (std::size_t i = 0; i < lines.size(); ++i) CHECK(lines[i].text == wanted[i]);
  CHECK(lines[0].duration >= 20ms);
  CHECK(lines[1].duration < lines[0].duration);
}

TEST_CASE("A sink of the access log that throws is reported, and the request answered", "[http]") {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    ServerThread server(
        [](http::Server& routes) {
          routes.use(http::access_log([](const http::AccessLogEntry&) { throw std::runtime_error("full"); }));
          routes.route("GET", "/", [](Request&) { return Response("hello"); });
          routes.route("GET", "/teapot", [](Request&) -> Response { throw http::HttpError(418); });
        },
        {}, workers);
    Client client(server.port());
    CHECK(client.ask(get("/")).body == "hello");
    CHECK(client.ask(get("/teapot")).status == 418);
    const std::vector<std::string> reports = server.take_reports();
    REQUIRE(reports.size() == 2);
    CHECK(reports[0].find("access_log") != std::string::npos);
  }
}
