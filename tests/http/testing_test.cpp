// Requests to a server without a network, and conversations in memory.
#include "fibrio/http/testing.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include "fibrio/testing.hpp"
#include "support/loops.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

std::unique_ptr<http::Server> make_server(http::ServerOptions options = {}) {
  auto server = std::make_unique<http::Server>(std::move(options));
  server->use([](http::Request& request, const http::Handler& next) {
    http::Response response = next(request);
    response.fields.set("X-Method", request.method());
    return response;
  });
  server->route("GET", "/greet/{name}", [](http::Request& request) {
    sleep(1ms);
    return http::Response("Hello, " + request.parameter("name") + request.query("mark").value_or(""));
  });
  server->route("POST", "/echo", [](http::Request& request) { return http::Response(request.read_all()); });
  server->route("GET", "/stream", [](http::Request&) {
    http::Response response;
    response.stream = [](http::BodyWriter& out) {
      out.write("one ");
      sleep(1ms);
      out.write("two");
    };
    return response;
  });
  server->route("GET", "/teapot", [](http::Request&) -> http::Response { throw http::HttpError(418, "no"); });
  server->route("GET", "/bug", [](http::Request&) -> http::Response { throw std::logic_error("bug"); });
  return server;
}

std::string body_of(http::Server& server, std::string method, std::string target, std::string body = {}) {
  auto request = http::make_request(std::move(method), std::move(target), {}, std::move(body));
  const http::Response response = http::call(server, request);
  return std::to_string(response.status) + " " + response.body;
}

void write(ByteStream& stream, std::string_view text) {
  stream.write_all(std::as_bytes(std::span(text.data(), text.size())));
}
std::string read_rest(ByteStream& stream) {
  std::string all;
  char buffer[512];
  while (const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(buffer)))) {
    all.append(buffer, count);
  }
  return all;
}
std::string status_line(const std::string& text) { return text.substr(0, text.find('\r')); }

// What the server answers to `text`, and how long that takes.
std::pair<std::string, Duration> converse(http::Server& server, std::string_view text,
                                          StreamPairOptions options = {}) {
  StreamPair pair = make_stream_pair(options);
  const TimePoint begin = get_running_loop().time();
  Task<> serving = create_task([&] { http::serve_connection(server, *pair.second); });
  write(*pair.first, text);
  // The server's end belongs to the test, which closes it when the connection has been served.
  Task<> closing = create_task([&] {
    await(serving);
    pair.second->close();
  });
  std::string answer = read_rest(*pair.first);
  const Duration took = get_running_loop().time() - begin;
  pair.first->close();
  await(closing);
  return {std::move(answer), took};
}

}  // namespace

TEST_CASE("http::call answers as the server's routes and middleware do", "[http]") {
  in_tasks([](EventLoop& loop) {
    const Reports reports(loop);
    const auto server = make_server();
    TASK_CHECK(body_of(*server, "GET", "/greet/Ada?mark=%21") == "200 Hello, Ada!");
    TASK_CHECK(body_of(*server, "POST", "/echo", "text") == "200 text");
    TASK_CHECK(body_of(*server, "GET", "/stream") == "200 one two");
    TASK_CHECK(body_of(*server, "HEAD", "/stream") == "200 ");
    TASK_CHECK(body_of(*server, "GET", "/teapot") == "418 418: no\n");
    TASK_CHECK(body_of(*server, "GET", "/none").starts_with("404"));
    TASK_CHECK(body_of(*server, "DELETE", "/echo").starts_with("405"));
    TASK_CHECK(reports.size() == 0);
    TASK_CHECK(body_of(*server, "GET", "/bug").starts_with("500"));
    TASK_CHECK(reports.size() == 1);
    auto request = http::make_request("GET", "/greet/Eve", {{"Cookie", "a=b"}});
    TASK_CHECK(request.field("Host") == "localhost" && request.cookie("a") == "b");
    TASK_CHECK(request.peer_address().host() == Address().host());
    TASK_CHECK(http::call(*server, request).fields.get("X-Method") == "GET");
    TASK_CHECK(throws<std::invalid_argument>([] { (void)http::make_request("G T", "/"); }));
    TASK_CHECK(throws<std::invalid_argument>([] { (void)http::make_request("GET", "x"); }));
  });
}

TEST_CASE("http::serve_connection speaks HTTP over a stream in memory, byte by byte too", "[http]") {
  in_tasks([](EventLoop&) {
    const auto server = make_server();
    for (const StreamPairOptions& options :
         {StreamPairOptions{}, StreamPairOptions{.max_read = 1, .max_write = 1}}) {
      const std::string answers = converse(*server,
                                           "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
                                           "GET /greet/Bob HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                                           options)
                                      .first;
      TASK_CHECK(answers.find("\r\n\r\nbodyHTTP/1.1 200") != std::string::npos);
      TASK_CHECK(answers.ends_with("\r\n\r\nHello, Bob"));
    }
    TASK_CHECK(server->stats().connections == 0);
  });
}

TEST_CASE("http::serve_connection keeps the server's time limits on the loop's clock", "[http]") {
  in_tasks([](EventLoop&) {
    const auto server = make_server({.header_timeout = 3s, .body_timeout = 5s, .idle_timeout = 7s});
    auto [silence, fresh] = converse(*server, "");
    TASK_CHECK(silence.empty() && fresh == 3s);
    auto [late, header] = converse(*server, "GET /gr");
    TASK_CHECK(status_line(late) == "HTTP/1.1 408 Request Timeout" && header == 3s);
    auto [slow, body] = converse(*server, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
    TASK_CHECK(status_line(slow) == "HTTP/1.1 408 Request Timeout" && body == 5s);
    auto [one, idle] = converse(*server, "GET /greet/Bob HTTP/1.1\r\nHost: a\r\n\r\n");
    TASK_CHECK(one.ends_with("Hello, Bob") && idle == 7s + 1ms);
  });
}

TEST_CASE("http::serve_connection gives up on a peer that does not take its answer", "[http]") {
  in_tasks([](EventLoop& loop) {
    const auto server = make_server({.write_timeout = 4s});
    StreamPair pair = make_stream_pair({.capacity = 64});
    const TimePoint begin = loop.time();
    Task<> serving = create_task([&] { http::serve_connection(*server, *pair.second); });
    write(*pair.first, "GET /greet/Bob HTTP/1.1\r\nHost: a\r\n\r\n");
    await(serving);
    TASK_CHECK(loop.time() - begin == 4s + 1ms);
  });
}
