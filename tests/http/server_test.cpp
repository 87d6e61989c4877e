// fibrio/http/server.hpp: routes, handlers, bodies both ways, limits, the end.
#include "fibrio/http/server.hpp"

#include <atomic>
#include <stdexcept>
#include <string>

#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

// What the peer sends to its end, with the chunks of one body put together.
std::string unchunk(std::string_view text, bool& is_whole) {
  std::string body;
  is_whole = false;
  while (!text.empty()) {
    const std::size_t end = text.find("\r\n");
    if (end == std::string_view::npos) return body;
    const std::size_t size = std::stoul(std::string(text.substr(0, end)), nullptr, 16);
    text.remove_prefix(end + 2);
    is_whole = size == 0 && text == "\r\n";
    if (text.size() < size + 2) return body;
    body += text.substr(0, size);
    text.remove_prefix(size + 2);
  }
  return body;
}

}  // namespace

TEST_CASE("Routes are found by method, text, names and rest, in this order", "[http]") {
  ServerThread server([](http::Server& routes) {
    const auto name = [](const char* text) { return [text](Request&) { return Response(text); }; };
    routes.route("GET", "/users/me", name("me"));
    routes.route("GET", "/users/{id}", [](Request& r) { return Response("user " + r.parameter("id")); });
    routes.route("DELETE", "/users/{id}", name("deleted"));
    routes.route("GET", "/users/{id}/posts/{post}",
                 [](Request& r) { return Response(r.parameter("id") + "/" + r.parameter("post")); });
    routes.route("GET", "/tree/{rest*}", [](Request& r) { return Response(r.parameter("rest")); });
    routes.route("GET", "/query", [](Request& r) { return Response(r.query("a b").value_or("none")); });
    routes.route("OPTIONS", "/any", name("options"));
    CHECK_THROWS_AS(routes.route("GET", "/users/me", name("again")), std::invalid_argument);
    for (const char* bad : {"", "x", "/{}", "/{a*}/b", "/a{b}", "/{a}b", "/{{a}}"}) {
      CHECK_THROWS_AS(routes.route("GET", bad, name("bad")), std::invalid_argument);
    }
    CHECK_THROWS_AS(routes.route("G T", "/x", name("bad")), std::invalid_argument);
    CHECK_THROWS_AS(routes.route("GET", "/x", nullptr), std::invalid_argument);
  });
  Client client(server.port());
  CHECK(client.ask(get("/users/me")).body == "me");
  CHECK(client.ask(get("/users/17")).body == "user 17");
  CHECK(client.ask(get("/users/a%2Fb%20c?x=y")).body == "user a/b c");
  CHECK(client.ask(get("/users/17/posts/4")).body == "17/4");
  CHECK(client.ask(get("/tree/a/b/")).body == "a/b/");
  CHECK(client.ask(get("/tree/")).body == "");
  CHECK(client.ask(get("/query?x=1&a+b=c%26d&a+b=2")).body == "c&d");
  CHECK(client.ask(get("/query?a%20b")).body == "");
  CHECK(client.ask(get("/query?a=b")).body == "none");
  CHECK(client.ask("DELETE /users/me HTTP/1.1\r\nHost: t\r\n\r\n").body == "deleted");
  for (const char* path :
       {"/", "/users", "/users/", "/users/17/", "/users//posts/4", "/tree", "/users/%zz"}) {
    CAPTURE(path);
    CHECK(client.ask(get(path)).status == 404);
  }
  const Reply wrong = client.ask(post("/users/17", "x"));
  CHECK(wrong.status == 405);
  CHECK(wrong.field("Allow") == "GET, HEAD, DELETE, OPTIONS");
  CHECK(client.ask("HEAD /users/17 HTTP/1.1\r\nHost: t\r\n\r\n", true).field("Content-Length") == "7");
  CHECK(client.ask("OPTIONS /any HTTP/1.1\r\nHost: t\r\n\r\n").body == "options");
}

TEST_CASE("Middleware is called around handlers, the first one outermost", "[http]") {
  ServerThread server([](http::Server& routes) {
    const auto around = [](std::string name) {
      return [name](Request& request, const http::Handler& next) {
        Response response = next(request);
        response.body += " " + name;
        return response;
      };
    };
    routes.use(around("outer"));
    routes.use([](Request& request, const http::Handler& next) {
      return request.field("Authorization").empty() ? http::error_response(401) : next(request);
    });
    routes.use(around("inner"));
    routes.route("GET", "/", [](Request&) { return Response("hello"); });
  });
  Client client(server.port());
  CHECK(client.ask(get("/", "Authorization: yes\r\n")).body == "hello inner outer");
  CHECK(client.ask(get("/")).body == "401 Unauthorized\n outer");
  CHECK(client.ask(get("/nowhere", "Authorization: yes\r\n")).body == "404 Not Found\n inner outer");
}

TEST_CASE("A handler that throws is answered with 500 and reported; an HttpError is the answer", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/bug", [](Request&) -> Response { throw std::logic_error("a secret"); });
    routes.route("GET", "/teapot",
                 [](Request&) -> Response { throw http::HttpError(418, "short and stout"); });
    routes.route("GET", "/", [](Request&) { return Response("hello"); });
  });
  Client client(server.port());
  const Reply bug = client.ask(get("/bug"));
  CHECK(bug.status == 500);
  CHECK(bug.body.find("secret") == std::string::npos);
  CHECK(server.take_reports() ==
        std::vector<std::string>{"http: an exception in the handler of GET /bug: a secret"});
  const Reply teapot = client.ask(get("/teapot"));
  CHECK(teapot.status == 418);
  CHECK(teapot.body == "418: short and stout\n");
  CHECK(client.ask(get("/")).body == "hello");
}

TEST_CASE("A handler's fields are sent, those that frame the message excepted", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/", [](Request&) {
      Response response("hello");
      response.fields.add("X-One", "1");
      response.fields.add("content-length", "7");
      response.fields.add("Transfer-Encoding", "chunked");
      response.fields.add("Connection", "close");
      return response;
    });
    routes.route("GET", "/nothing", [](Request&) { return Response(204); });
    routes.route("GET", "/last", [](Request&) {
      Response response("bye");
      response.close = true;
      return response;
    });
  });
  Client client(server.port());
  const Reply reply = client.ask(get("/"));
  CHECK(reply.header.find("content-length") == std::string::npos);
  CHECK(reply.field("Content-Length") == "5");
  CHECK(reply.field("Transfer-Encoding").empty());
  CHECK(reply.field("Connection").empty());
  CHECK(reply.field("X-One") == "1");
  const Reply nothing = client.ask(get("/nothing"));
  CHECK(nothing.status == 204);
  CHECK(nothing.field("Content-Length").empty());
  CHECK(client.ask(get("/last")).field("Connection") == "close");
  CHECK(client.is_closed_by_server());
}

TEST_CASE("A handler reads a body as it comes, in plain and in chunks", "[http]") {
  std::atomic<int> pieces{0};
  ServerThread server(
      [&](http::Server& routes) {
        routes.route("POST", "/sum", [&](Request& request) {
          std::byte buffer[8192];
          std::uint64_t sum = 0;
          std::size_t total = 0;
          while (const std::size_t count = request.read_some(buffer)) {
            for (std::size_t i = 0; i < count; ++i) sum += static_cast<unsigned char>(buffer[i]);
            total += count;
            ++pieces;
          }
          return Response(std::to_string(total) + " " + std::to_string(sum));
        });
      },
      {.max_body_bytes = 100'000'000});
  Client client(server.port());
  const std::string piece(100'000, '\x01');
  REQUIRE(client.send("POST /sum HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000\r\n\r\n"));
  for (int i = 0; i < 50; ++i) {
    REQUIRE(client.send(piece));
    if (i == 0) CHECK(eventually([&] { return pieces > 0; }));  // before the rest is sent
  }
  CHECK(client.receive().body == "5000000 5000000");

  REQUIRE(client.send("POST /sum HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"));
  for (int i = 0; i < 50; ++i) REQUIRE(client.send("186a0;ext=\"a\"\r\n" + piece + "\r\n"));
  REQUIRE(client.send("0\r\nTrailer: x\r\n\r\n" + get("/nowhere")));
  CHECK(client.receive().body == "5000000 5000000");
  CHECK(client.receive().status == 404);
}

TEST_CASE("A response is streamed in chunks, by its length, or to the end of the connection", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/count", [](Request& request) {
      Response response;
      if (request.query("length")) response.stream_length = 3 * 6 + 20'000;
      response.stream = [](http::BodyWriter& out) {
        for (int i = 0; i < 3; ++i) {
          out.write("piece\n");
          out.flush();
        }
        out.write("");
        out.write(std::string(20'000, 'x'));
      };
      return response;
    });
  });
  const std::string wanted = "piece\npiece\npiece\n" + std::string(20'000, 'x');
  bool is_whole = false;
  {
    Client client(server.port());
    CHECK(client.ask("HEAD /count HTTP/1.1\r\nHost: t\r\n\r\n", true).field("Transfer-Encoding") ==
          "chunked");
    const Reply reply = client.ask(get("/count", "Connection: close\r\n"));
    CHECK(reply.field("Transfer-Encoding") == "chunked");
    CHECK((unchunk(client.receive_all().value(), is_whole) == wanted));
    CHECK(is_whole);
  }
  {
    Client client(server.port());
    CHECK((client.ask(get("/count?length=1")).body == wanted));
    CHECK((client.ask(get("/count?length=1")).body == wanted));
  }
  {
    Client client(server.port());
    const Reply reply = client.ask("GET /count HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(reply.field("Transfer-Encoding").empty());
    CHECK(reply.field("Connection") == "close");
    CHECK((client.receive_all().value() == wanted));
  }
}

TEST_CASE("A stream that fails cuts the connection off, so that nobody takes the part for the whole",
          "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/{kind}", [](Request& request) {
      Response response;
      const std::string kind = request.parameter("kind");
      if (kind != "throws") response.stream_length = 1000;
      response.stream = [kind](http::BodyWriter& out) {
        out.write(std::string(kind == "long" ? 999 : 10, 'x'));
        out.flush();
        if (kind == "throws") throw std::runtime_error("it broke");
        if (kind == "long") out.write("xx");
      };
      return response;
    });
  });
  for (const char* kind : {"throws", "short", "long"}) {
    CAPTURE(kind);
    Client client(server.port());
    client.send(get(std::string("/") + kind));
    const std::string all = client.receive_all().value();  // ended by a reset
    CHECK(all.find("200 OK") != std::string::npos);
    CHECK(all.find("\r\n0\r\n") == std::string::npos);
    CHECK(all.size() < 1000 + 200);
    CHECK(server.take_reports().size() == 1);
  }
}

TEST_CASE("A body that its handler leaves unread does not confuse the next request", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("POST", "/", [](Request&) { return Response("not read"); });
    routes.route("POST", "/some", [](Request& request) {
      std::byte some[3];
      return Response(std::to_string(request.read_some(some)));
    });
    routes.route("GET", "/", [](Request&) { return Response("hello"); });
  });
  {
    Client client(server.port());
    CHECK(client.ask(post("/", std::string(50'000, 'x')) + get("/")).body == "not read");
    CHECK(client.receive().body == "hello");
    CHECK(client.ask(post("/some", "abcdef") + get("/")).body == "3");
    CHECK(client.receive().body == "hello");
    // The rest comes after the answer.
    CHECK(client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\nabc").body == "not read");
    CHECK(client.ask("def" + get("/")).body == "hello");
    CHECK(client.ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab").body ==
          "not read");
    CHECK(client.ask("c\r\n0\r\n\r\n" + get("/")).body == "hello");
  }
  {  // one that is long ends the connection, and the answer arrives
    Client client(server.port());
    const Reply reply = client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\nabc");
    CHECK(reply.body == "not read");
    CHECK(reply.field("Connection") == "close");
    client.send(std::string(50'000, 'x'));
    client.shutdown_write();
    CHECK(client.is_closed_by_server());
  }
  {  // so does one that the client holds back until it is told to go on
    Client client(server.port());
    const Reply reply =
        client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    CHECK(reply.status == 200);
    CHECK(reply.field("Connection") == "close");
    client.shutdown_write();
    CHECK(client.is_closed_by_server());
  }
  {  // and what is malformed behind its answer
    Client client(server.port());
    CHECK(client.ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n").body == "not read");
    client.send("nonsense\r\n" + get("/"));
    client.shutdown_write();
    CHECK(client.is_closed_by_server());
  }
}

TEST_CASE("Connections per peer and requests per connection have limits", "[http]") {
  ServerThread server(
      [](http::Server& routes) { routes.route("GET", "/", [](Request&) { return Response("hello"); }); },
      {.max_connections_per_peer = 2, .max_requests_per_connection = 3, .max_fields = 4});
  {
    Client first(server.port());
    Client second(server.port());
    CHECK(first.ask(get("/")).field("Connection").empty());
    CHECK(second.ask(get("/", "A: 1\r\nB: 2\r\nC: 3\r\n")).status == 200);
    CHECK(Client(server.port()).receive().status == 503);
    CHECK(first.ask(get("/")).field("Connection").empty());
    CHECK(first.ask(get("/")).field("Connection") == "close");
    first.shutdown_write();
    CHECK(first.is_closed_by_server());
    CHECK(second.ask(get("/", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n")).status == 431);
  }
  CHECK(eventually([&] { return server.server().stats().connections == 0; }));
  CHECK(Client(server.port()).ask(get("/")).status == 200);
  CHECK(server.server().stats().refused == 1);
  CHECK(eventually([&] { return server.server().stats().requests == 5; }));
}

TEST_CASE("Slow peers meet the deadlines of bodies and of streams", "[http]") {
  std::atomic<int> written{0};
  ServerThread server(
      [&](http::Server& routes) {
        routes.route("POST", "/", [](Request& request) { return Response(request.read_all()); });
        routes.route("GET", "/endless", [&](Request&) {
          Response response;
          response.stream = [&](http::BodyWriter& out) {
            for (;; ++written) out.write(std::string(100'000, 'x'));
          };
          return response;
        });
        routes.route("GET", "/", [](Request&) { return Response("hello"); });
      },
      {.body_timeout = 200ms, .write_timeout = 200ms});
  Client trickle(server.port());
  trickle.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < patience() && trickle.send("1\r\nx\r\n")) {
    if (trickle.has_input_within(20ms)) break;
  }
  CHECK(std::chrono::steady_clock::now() - begin >= 200ms);
  CHECK(trickle.receive().status == 408);

  Client deaf(server.port());  // asks, and never reads
  deaf.send(get("/endless"));
  CHECK(eventually([&] { return written > 0 && server.server().stats().connections <= 1; }));
  CHECK(Client(server.port()).ask(get("/")).body == "hello");
  CHECK(server.take_reports() ==
        std::vector<std::string>());  // a peer that is gone is no error of the handler's
}

TEST_CASE("make_stream is what a connection is spoken over, and its failure ends that connection alone",
          "[http]") {
  std::atomic<int> calls{0};
  http::ServerOptions options;
  options.header_timeout = 300ms;
  options.make_stream = [&](fibrio::TcpStream stream) {
    std::byte first{};
    if (stream.read_some({&first, 1}) == 0 || first != std::byte{'!'})
      throw std::runtime_error("no handshake");
    ++calls;
    return fibrio::make_byte_stream(std::move(stream));
  };
  ServerThread server(
      [](http::Server& routes) { routes.route("GET", "/", [](Request&) { return Response("hello"); }); },
      std::move(options));
  Client client(server.port());
  CHECK(client.ask("!" + get("/")).body == "hello");
  Client bad(server.port());
  bad.send("?");
  CHECK(bad.is_closed_by_server());
  Client slow(server.port());
  CHECK(slow.is_closed_by_server());  // header_timeout is the handshake's limit too
  CHECK(client.ask(get("/")).body == "hello");
  CHECK(calls == 1);
}

TEST_CASE("An upgraded connection belongs to its function, with what was received already", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/raw", [](Request&) {
      Response response(101);
      response.fields.add("Upgrade", "raw");
      response.upgrade = [](fibrio::ByteStream& stream) {
        std::byte buffer[100];
        while (const std::size_t count = stream.read_some(buffer))
          stream.write_all(std::span(buffer).first(count));
      };
      return response;
    });
  });
  Client client(server.port());
  const Reply reply = client.ask(get("/raw", "Connection: Upgrade\r\nUpgrade: raw\r\n") + "early ");
  CHECK(reply.status == 101);
  CHECK(reply.field("Connection") == "Upgrade");
  client.send("late");
  client.shutdown_write();
  CHECK(client.receive_all() == "early late");
}

TEST_CASE("The end of a grace period answers 503 to what is in flight, and leaves nothing behind", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/", [](Request&) { return Response("hello"); });
    routes.route("GET", "/slow", [](Request&) {
      fibrio::sleep(1h);
      return Response("never");
    });
    routes.route("GET", "/stream", [](Request&) {
      Response response;
      response.stream = [](http::BodyWriter& out) {
        out.write("begin");
        out.flush();
        fibrio::sleep(1h);
      };
      return response;
    });
  });
  Client slow(server.port());
  REQUIRE(slow.ask(get("/") + get("/slow")).body == "hello");
  Client stream(server.port());
  REQUIRE(stream.ask(get("/stream")).status == 200);
  Client idle(server.port());
  REQUIRE(idle.ask(get("/")).status == 200);
  server.stop(300ms);
  CHECK(slow.receive().status == 503);
  CHECK(idle.is_closed_by_server());
  bool is_whole = true;
  CHECK(unchunk(stream.receive_all().value(), is_whole) == "begin");
  CHECK_FALSE(is_whole);
  CHECK(server.server().stats().dropped == 2);
}

TEST_CASE("Cancelling serve() ends all connections at once", "[http]") {
  fibrio::net_test::on_loops([] {
    http::Server server;
    server.route("GET", "/slow", [](Request&) {
      fibrio::sleep(1h);
      return Response("never");
    });
    server.listen(fibrio::Address::parse("127.0.0.1", 0));
    auto serving = fibrio::create_task([&] { server.serve(); });
    auto stream = fibrio::TcpStream::connect(server.addresses()[0]);
    stream.write_all(get("/slow"));
    fibrio::net_test::wait_until([&] { return server.stats().connections == 1; }, "a connection");
    serving.cancel();
    serving.wait();
    fibrio::net_test::expect(serving.cancelled(), "serve() passes the cancellation on");
    stream.close();
    fibrio::net_test::wait_until([&] { return server.stats().connections == 0; }, "no connection");
  });
}
