// examples/http_server, asked properly: routes, keep-alive, pipelining, bodies, deadlines, limits.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "network/http_client.hpp"
#include "support/catch.hpp"

using namespace http_test;

TEST_CASE("The HTTP server reads fibrio's settings from the file given by --config", "[http]") {
  if (!have_server()) return;
  if (std::getenv("FIBRIO_HAVE_TOML") == nullptr) fibrio::test::skip("fibrio::toml is not built here");
  const std::string path = "http_server_test." + std::to_string(::getpid()) + ".toml";
  std::ofstream(path) << "workers = 3\n";
  {
    ServerProcess server({"--config", path});
    const std::string stats = Client(server.port()).ask(get("/stats")).body;
    int workers = 0;
    for (std::size_t at = 0; (at = stats.find("queue_length", at)) != std::string::npos; ++at) ++workers;
    CHECK(workers == 3);
  }
  std::remove(path.c_str());
}

TEST_CASE("The HTTP server answers all of its routes on one connection", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());

  const Reply hello = client.ask(get("/"));
  CHECK(hello.status == 200);
  CHECK(hello.body == "Hello, world!\n");
  CHECK(hello.field("Content-Type") == "text/plain");
  CHECK(hello.field("Date").size() == 29);
  CHECK(hello.field("Connection").empty());

  CHECK(client.ask(post("/echo", "some bytes")).body == "some bytes");
  CHECK(client.ask(post("/echo", "")).body.empty());
  CHECK(client.ask(get("/sleep?ms=5")).body == "slept 5 ms\n");
  CHECK(client.ask(get("/cpu?us=50")).body == "computed for 50 us\n");
  CHECK(client.ask(get("/offload?ms=5")).body == "blocked a thread for 5 ms\n");
  CHECK(client.ask(get("/?a=b")).status == 200);
  CHECK(client.ask("GET http://test/sleep?ms=0 HTTP/1.1\r\nHost: test\r\n\r\n").status == 200);
  CHECK(client.ask("\r\n" + get("/")).status == 200);

  const Reply stats = client.ask(get("/stats"));
  CHECK(stats.field("Content-Type") == "application/json");
  CHECK(stats.body.find("\"connections\": 1") != std::string::npos);
  CHECK(stats.body.find("\"tasks_alive\"") != std::string::npos);
}

TEST_CASE("The HTTP server says what is wrong with a well-formed request and keeps the connection",
          "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());

  CHECK(client.ask(get("/nowhere")).status == 404);
  CHECK(client.ask(post("/nowhere", "with a body")).status == 404);
  const Reply no_post = client.ask(post("/", "x"));
  CHECK(no_post.status == 405);
  CHECK(no_post.field("Allow") == "GET, HEAD, OPTIONS");
  const Reply no_get = client.ask(get("/echo"));
  CHECK(no_get.status == 405);
  CHECK(no_get.field("Allow") == "POST, OPTIONS");
  CHECK(client.ask("BREW / HTTP/1.1\r\nHost: test\r\n\r\n").status == 405);

  for (const char* path : {"/sleep", "/sleep?ms", "/sleep?ms=", "/sleep?ms=-1", "/sleep?ms=60001",
                           "/sleep?ms=1x", "/sleep?ms=99999999999999999999", "/sleep?us=1", "/sleep?msx=1",
                           "/cpu?us=10000001", "/cpu?ms=1", "/offload?ms=60001", "/offload?ms=0x1"}) {
    CAPTURE(path);
    CHECK(client.ask(get(path)).status == 400);
  }
  CHECK(client.ask(get("/sleep?a=b&ms=0&c")).status == 200);
  CHECK(client.ask(get("/")).status == 200);
}

TEST_CASE("The HTTP server answers a pipeline of 50 requests in one write, in order", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());

  std::string pipeline;
  for (int i = 0; i < 50; ++i) {
    pipeline += i % 10 == 9 ? get("/sleep?ms=1") : post("/echo", "number " + std::to_string(i));
  }
  REQUIRE(client.send(pipeline));
  for (int i = 0; i < 50; ++i) {
    const Reply reply = client.receive();
    CAPTURE(i);
    REQUIRE(reply.status == 200);
    REQUIRE(reply.body == (i % 10 == 9 ? "slept 1 ms\n" : "number " + std::to_string(i)));
  }
}

TEST_CASE("The HTTP server understands requests that are split at any byte", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());

  const std::string chunked =
      "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
  const std::string requests = get("/", "X-Long: 0123456789\r\n") + post("/echo", "hello!") + chunked;
  for (std::size_t split = 0; split <= requests.size(); ++split) {
    CAPTURE(split);
    REQUIRE(client.send(requests.substr(0, split)));
    // The answer to what is complete, so that the first part is received by itself.
    const std::size_t first = get("/", "X-Long: 0123456789\r\n").size();
    if (split >= first) REQUIRE(client.receive().body == "Hello, world!\n");
    REQUIRE(client.send(requests.substr(split)));
    if (split < first) REQUIRE(client.receive().body == "Hello, world!\n");
    REQUIRE(client.receive().body == "hello!");
    REQUIRE(client.receive().body == "hello!");
  }
  for (const char byte : requests) REQUIRE(client.send({&byte, 1}));
  CHECK(client.receive().body == "Hello, world!\n");
  CHECK(client.receive().body == "hello!");
  CHECK(client.receive().body == "hello!");
}

TEST_CASE("The HTTP server echoes bodies of any size up to its limit", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());
  for (const std::size_t size : {1u, 16u * 1024 - 1, 16u * 1024, 100u * 1024, 1024u * 1024}) {
    CAPTURE(size);
    std::string body(size, 'x');
    for (std::size_t i = 0; i < size; i += 97) body[i] = static_cast<char>(i);
    const Reply reply = client.ask(post("/echo", body) + get("/"));
    REQUIRE(reply.status == 200);
    REQUIRE((reply.body == body));
    REQUIRE(client.receive().body == "Hello, world!\n");
  }
}

TEST_CASE("The HTTP server answers HEAD with the header alone", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());
  const Reply reply = client.ask("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n", true);
  CHECK(reply.status == 200);
  CHECK(reply.field("Content-Length") == "14");
  CHECK(client.ask("HEAD /nowhere HTTP/1.1\r\nHost: test\r\n\r\n", true).status == 404);
  CHECK(client.ask(get("/")).body == "Hello, world!\n");
}

TEST_CASE("The HTTP server keeps or closes a connection as the request asks", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  {
    Client client(server.port());
    const Reply reply = client.ask(get("/", "Connection: close\r\n"));
    CHECK(reply.status == 200);
    CHECK(reply.field("Connection") == "close");
    CHECK(client.is_closed_by_server());
  }
  {
    Client client(server.port());
    const Reply reply = client.ask("GET / HTTP/1.0\r\n\r\n");
    CHECK(reply.status == 200);
    CHECK(reply.field("Connection") == "close");
    CHECK(client.is_closed_by_server());
  }
  {
    Client client(server.port());
    const Reply reply = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(reply.field("Connection") == "keep-alive");
    CHECK(client.ask(get("/")).status == 200);
  }
  {  // half closed by the client: it still gets its answers
    Client client(server.port());
    client.send(get("/sleep?ms=20") + get("/"));
    client.shutdown_write();
    CHECK(client.receive().body == "slept 20 ms\n");
    CHECK(client.receive().body == "Hello, world!\n");
    CHECK(client.is_closed_by_server());
  }
}

TEST_CASE("The HTTP server tells a client that expects 100-continue to go on", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
  CHECK(client.ask(head).status == 100);
  CHECK(client.ask("body").body == "body");
  CHECK(client.ask(head + "body").body == "body");  // it did not wait: no interim answer

  const Reply too_large = client.ask(
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n");
  CHECK(too_large.status == 413);

  Client other(server.port());
  CHECK(other.ask(post("/echo", "", "Expect: miracles\r\n")).status == 417);
}

TEST_CASE("The HTTP server answers 503 above its number of connections", "[http]") {
  if (!have_server()) return;
  ServerProcess server({"--max-connections", "2"});
  Client first(server.port());
  REQUIRE(first.ask(get("/")).status == 200);
  {
    Client second(server.port());
    REQUIRE(second.ask(get("/")).status == 200);
    for (int i = 0; i < 20; ++i) {
      Client third(server.port());
      const Reply reply = third.receive();
      CHECK(reply.status == 503);
      CHECK(reply.field("Connection") == "close");
      CHECK(third.is_closed_by_server());
    }
    CHECK(second.ask(get("/")).status == 200);
    REQUIRE(second.ask(get("/", "Connection: close\r\n")).status == 200);
    REQUIRE(second.is_closed_by_server());
  }
  // The place is given back when the task ends, which may be a moment after the close.
  int status = 503;
  for (int i = 0; i < 1000 && status != 200; ++i) {
    Client next(server.port());
    next.send(get("/"));
    status = next.receive().status;
  }
  CHECK(status == 200);
}

TEST_CASE("The HTTP server answers 408 to a header or body that trickles in", "[http]") {
  if (!have_server()) return;
  ServerProcess server({"--header-timeout", "0.3", "--body-timeout", "0.3"});
  const auto trickle = [&server](std::string start, char byte) {
    Client client(server.port());
    CHECK(client.ask(get("/")).status == 200);
    const auto begin = std::chrono::steady_clock::now();
    client.send(start);
    // A byte now and then, always sooner than the timeout; the server closes when its patience ends.
    std::string answer;
    while (std::chrono::steady_clock::now() - begin < patience() && client.send({&byte, 1})) {
      if (client.has_input_within(std::chrono::milliseconds(20))) break;
    }
    const auto took = std::chrono::steady_clock::now() - begin;
    CHECK(took >= std::chrono::milliseconds(300));
    CHECK(took < patience());
    const Reply reply = client.receive();
    CHECK(reply.status == 408);
    CHECK(reply.field("Connection") == "close");
    CHECK(client.is_closed_by_server());
  };
  trickle("GET / HTTP/1.1\r\nHost: test\r\nX: ", 'x');
  trickle("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n", 'x');
}

TEST_CASE("The HTTP server closes connections that stay idle, without a word", "[http]") {
  if (!have_server()) return;
  ServerProcess server({"--idle-timeout", "0.2", "--header-timeout", "0.4"});
  Client used(server.port());
  Client fresh(server.port());
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(used.ask(get("/")).status == 200);
  CHECK(used.is_closed_by_server());
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= std::chrono::milliseconds(200));
  CHECK(fresh.is_closed_by_server());

  // What takes long for another reason is not idle.
  Client busy(server.port());
  CHECK(busy.ask(get("/sleep?ms=600")).status == 200);
  CHECK(busy.ask(get("/offload?ms=600")).status == 200);
}

TEST_CASE("The HTTP server cuts off a client that does not read its answers", "[http]") {
  if (!have_server()) return;
  ServerProcess server({"--write-timeout", "0.3"});
  Client client(server.port());
  const std::string request = post("/echo", std::string(1000 * 1000, 'x'));
  std::size_t sent = 0;
  while (sent < 200 && client.send(request)) ++sent;
  CHECK(sent < 200);
  Client other(server.port());
  CHECK(other.ask(get("/")).status == 200);
}
