// examples/http_server, asked badly: a corpus of malformed and hostile requests. Each must get its status and
// the end of the connection, in bounded time, and leave the server as it was.
#include <string>
#include <vector>

#include "network/http_client.hpp"
#include "support/catch.hpp"

using namespace http_test;

namespace {

struct Bad {
  const char* what;
  std::string bytes;
  int status;
};

std::string repeat(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

const std::string kHost = "Host: test\r\n";

std::vector<Bad> corpus() {
  using std::string;
  const string echo = "POST /echo HTTP/1.1\r\n" + kHost;
  const string chunked = echo + "Transfer-Encoding: chunked\r\n\r\n";
  const string smuggled = "\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + kHost + "\r\n";
  return {
      // Where does the request end? Two servers must never disagree.
      {"differing Content-Lengths", echo + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400},
      {"differing Content-Lengths in a list", echo + "Content-Length: 5, 6\r\n\r\nhello!", 400},
      {"Content-Length, then Transfer-Encoding",
       echo + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + smuggled, 400},
      {"Transfer-Encoding, then Content-Length",
       echo + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" + smuggled, 400},
      {"other Transfer-Encoding, then Content-Length",
       echo + "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", 501},
      {"unknown Transfer-Encoding", echo + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {"chunked is not the last coding", echo + "Transfer-Encoding: chunked, gzip\r\n\r\n", 501},
      {"obscured Transfer-Encoding", echo + "Transfer-Encoding: xchunked\r\n\r\n", 501},
      {"Transfer-Encoding twice",
       echo + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + smuggled, 400},
      {"Transfer-Encoding in HTTP/1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + smuggled,
       400},
      {"space before the colon", echo + "Content-Length : 5\r\n\r\nhello", 400},
      {"negative Content-Length", echo + "Content-Length: -1\r\n\r\n", 400},
      {"signed Content-Length", echo + "Content-Length: +5\r\n\r\nhello", 400},
      {"hexadecimal Content-Length", echo + "Content-Length: 0x5\r\n\r\nhello", 400},
      {"empty Content-Length", echo + "Content-Length: \r\n\r\n", 400},
      {"Content-Length beyond 64 bits", echo + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {"the same Content-Length twice", echo + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
      {"the same Content-Length in a list", echo + "Content-Length: 5, 5\r\n\r\nhello", 400},
      {"two Hosts", "GET / HTTP/1.1\r\n" + kHost + kHost + "\r\n", 400},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"a Host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"a Host with a bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
      {"a Host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
      {"a folded value", "GET / HTTP/1.1\r\n" + kHost + "X: a\r\n b\r\n\r\n", 400},
      {"a value folded before its begin", "GET / HTTP/1.1\r\n" + kHost + "X:\r\n b\r\n\r\n", 400},
      {"a folded Transfer-Encoding", echo + "Transfer-Encoding:\r\n chunked\r\n" + smuggled, 400},
      {"a fold at the very begin", "GET / HTTP/1.1\r\n " + kHost + "\r\n", 400},
      // Chunks.
      {"chunk size that is no number", chunked + "x\r\nhello\r\n0\r\n\r\n", 400},
      {"negative chunk size", chunked + "-5\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk size beyond 64 bits", chunked + "fffffffffffffffff\r\nhello", 400},
      {"empty chunk size", chunked + "\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk longer than its size", chunked + "2\r\nhello\r\n0\r\n\r\n", 400},
      {"chunk line ended by LF alone", chunked + "5\nhello\r\n0\r\n\r\n", 400},
      {"huge chunk", chunked + "7fffffff\r\n", 413},
      {"chunks that are too large together", chunked + repeat("40000\r\n" + string(0x40000, 'x') + "\r\n", 5),
       413},
      {"endless chunk extension", chunked + "5;" + string(100'000, 'x'), 431},
      {"endless trailer", chunked + "0\r\n" + repeat("X: y\r\n", 20'000), 431},
      {"Content-Length in a trailer", chunked + "0\r\nContent-Length: 5\r\n\r\n", 400},
      // Sizes.
      {"body too large", echo + "Content-Length: 1048577\r\n\r\n", 413},
      {"body much too large, and sent", echo + "Content-Length: 4000000\r\n\r\n" + string(4'000'000, 'x'),
       413},
      {"field too long", "GET / HTTP/1.1\r\n" + kHost + "X: " + string(20'000, 'x') + "\r\n\r\n", 431},
      {"field name without end", "GET / HTTP/1.1\r\n" + kHost + string(20'000, 'x'), 431},
      {"target too long", "GET /" + string(20'000, 'x') + " HTTP/1.1\r\n" + kHost + "\r\n", 414},
      {"method without end", string(20'000, 'x'), 431},
      {"too many fields", "GET / HTTP/1.1\r\n" + kHost + repeat("a: b\r\n", 101) + "\r\n", 431},
      {"header too long in small fields",
       "GET / HTTP/1.1\r\n" + kHost + repeat("X: " + string(300, 'x') + "\r\n", 60) + "\r\n", 431},
      // Syntax.
      {"no HTTP at all", "hello\r\n\r\n", 400},
      {"a TLS ClientHello", string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + string(40, 'x'),
       400},
      {"empty method", " / HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"bad method", "G(T / HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"no target", "GET  HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"a target that is no path", "GET a HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"a target with a fragment", "GET /a#b HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"a target with a bad host", "GET http://a@b/ HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"a star for GET", "GET * HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"CONNECT", "CONNECT test:80 HTTP/1.1\r\n" + kHost + "\r\n", 501},
      {"space in the target", "GET /a b HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"bad version", "GET / HTTX/1.1\r\n" + kHost + "\r\n", 400},
      {"lines ended by LF alone", "GET / HTTP/1.1\nHost: test\n\n", 400},
      {"CR without LF", "GET / HTTP/1.1\rHost: test\r\n\r\n", 400},
      {"NUL in the target", string("GET /\0 HTTP/1.1\r\n", 17) + kHost + "\r\n", 400},
      {"NUL in a value", "GET / HTTP/1.1\r\nHost: te" + string(1, '\0') + "st\r\n\r\n", 400},
      {"NUL in a name", "GET / HTTP/1.1\r\n" + kHost + "X" + string(1, '\0') + ": y\r\n\r\n", 400},
      {"control character in a value", "GET / HTTP/1.1\r\n" + kHost + "X: \x01\r\n\r\n", 400},
      {"field without a colon", "GET / HTTP/1.1\r\n" + kHost + "nonsense\r\n\r\n", 400},
      {"field without a name", "GET / HTTP/1.1\r\n" + kHost + ": value\r\n\r\n", 400},
      {"nine empty lines first", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" + get("/"), 400},
  };
}

}  // namespace

TEST_CASE("The HTTP server answers every malformed request with its status and closes", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client witness(server.port());
  for (const Bad& bad : corpus()) {
    CAPTURE(bad.what);
    Client client(server.port());
    client.send(bad.bytes);  // may fail on the way: the server need not read what it refused
    const Reply reply = client.receive();
    CHECK(reply.status == bad.status);
    CHECK(reply.field("Connection") == "close");
    client.shutdown_write();
    CHECK(client.receive_all() == "");
    REQUIRE(witness.ask(get("/")).body == "Hello, world!\n");
  }
}

TEST_CASE("The HTTP server answers malformed requests that come byte by byte", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  for (const Bad& bad : corpus()) {
    // A header that does not come at once is looked at when its end is there: without one, 408 is the answer.
    if (bad.bytes.size() > 1000 || bad.bytes.find("\r\n\r\n") == std::string::npos) continue;
    CAPTURE(bad.what);
    Client client(server.port());
    for (const char byte : bad.bytes) {
      if (!client.send({&byte, 1})) break;
    }
    const Reply reply = client.receive();
    CHECK(reply.status == bad.status);
    client.shutdown_write();
    CHECK(client.receive_all() == "");
  }
}

TEST_CASE("The HTTP server answers what came before a malformed request in the same pipeline", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client client(server.port());
  client.send(get("/") + post("/echo", "abc") + "nonsense\r\n\r\n" + get("/"));
  CHECK(client.receive().body == "Hello, world!\n");
  CHECK(client.receive().body == "abc");
  CHECK(client.receive().status == 400);
  client.shutdown_write();
  CHECK(client.receive_all() == "");
}

TEST_CASE("The HTTP server survives clients that leave in the middle of a request", "[http]") {
  if (!have_server()) return;
  ServerProcess server;
  Client witness(server.port());
  const std::string request = post("/echo", "hello") + "POST /echo HTTP/1.1\r\n" + kHost +
                              "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  for (const bool politely : {true, false}) {
    for (std::size_t length = 0; length < request.size(); ++length) {
      CAPTURE(politely, length);
      Client client(server.port());
      REQUIRE(client.send(request.substr(0, length)));
      if (politely) {
        client.shutdown_write();
        const std::size_t answers = length >= post("/echo", "hello").size() ? 1 : 0;
        for (std::size_t i = 0; i < answers; ++i) CHECK(client.receive().body == "hello");
        CHECK(client.receive_all() == "");
      } else {
        client.reset();
      }
    }
    REQUIRE(witness.ask(get("/")).status == 200);
  }
  // All of their tasks are gone.
  std::string stats;
  for (int i = 0; i < 2000; ++i) {
    stats = witness.ask(get("/stats")).body;
    if (stats.find("\"connections\": 1,") != std::string::npos) break;
  }
  CHECK(stats.find("\"connections\": 1,") != std::string::npos);
}
