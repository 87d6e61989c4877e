// Requests are strangers to each other, and to the protocol that follows them.
#include <string>
#include <string_view>

#include "http/in_memory.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

fibrio::ContextVar<std::string> user("user", "nobody");

std::string ask_for(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n\r\n";
}
std::string last_line(std::string_view bytes) { return std::string(bytes.substr(bytes.rfind('\n') + 1)); }

}  // namespace

TEST_CASE("A request never sees the context variables of the one before it", "[http][ends]") {
  const bool has_default = GENERATE(false, true);
  const std::size_t workers = GENERATE(1, 2, 4);
  CAPTURE(has_default, workers);
  Routes routes;
  routes.add("GET", "/login", [](Request&) {
    user.set("alice");
    return Response("set");
  });
  routes.add("GET", "/stream", [](Request&) {
    user.set("bob");
    Response response;
    response.stream = [](http::BodyWriter& out) {
      out.write(user.get());
      user.set("carol");
    };
    return response;
  });
  routes.add("GET", "/who", [](Request&) { return Response(user.get()); });
  routes.state.finish_routes();
  const std::string expected = has_default ? "serve" : "nobody";
  for (const char* path : {"/login", "/stream"}) {
    std::string before;
    std::string after;
    fibrio::Config config;
    config.workers = workers;
    fibrio::run(
        [&] {
          if (has_default) user.set("serve");
          fibrio::StreamPair pair = fibrio::make_stream_pair();
          fibrio::Task<> server = fibrio::create_task([&] {
            const auto stream = std::move(pair.second);
            http::serve_connection(*stream, routes.state);
          });
          say(*pair.first, ask_for(path) + ask_for("/who"));
          pair.first->shutdown_write();
          before = read_to_end(*pair.first).bytes;
          server.wait();
          after = user.get();
        },
        config);
    CHECK(last_line(before) == expected);
    CHECK(after == expected);
    if (path == std::string_view("/stream")) CHECK(before.find("\r\nbob\r\n") != std::string::npos);
  }
}

TEST_CASE("The body of a request for an upgrade never reaches the other protocol", "[http][ends]") {
  enum class How { kAtOnce, kLater, kNever, kRead };
  for (const How how : {How::kAtOnce, How::kLater, How::kNever, How::kRead}) {
    CAPTURE(static_cast<int>(how));
    Routes routes;
    std::string got;
    routes.add("GET", "/", [&](Request& request) {
      if (how == How::kRead) CHECK(request.read_all() == "BODY");
      Response response(101);
      response.fields.add("Upgrade", "x");
      response.upgrade = [&](fibrio::ByteStream& stream) { got = read_to_end(stream).bytes; };
      return response;
    });
    Seen seen;
    talk(routes, {}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
      const std::string header =
          "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n";
      if (how == How::kAtOnce) {
        say(client, header + "BODYREAL");
      } else {
        say(client, header);
        fibrio::sleep(1s);
        if (how != How::kNever) say(client, "BODYREAL");
      }
      client.shutdown_write();
      seen = read_to_end(client);
    });
    if (how == How::kNever) {
      CHECK(seen.bytes.find(" 101 ") == std::string::npos);
      CHECK(got.empty());
    } else {
      CHECK(seen.bytes.starts_with("HTTP/1.1 101 "));
      CHECK(got == "REAL");
    }
  }
}

TEST_CASE("An upgrade whose client holds back a body is refused", "[http][ends]") {
  Routes routes;
  bool is_upgraded = false;
  routes.add("GET", "/", [&](Request&) {
    Response response(101);
    response.upgrade = [&](fibrio::ByteStream&) { is_upgraded = true; };
    return response;
  });
  Seen seen;
  talk(routes, {}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
    say(client,
        "GET / HTTP/1.1\r\nHost: t\r\nUpgrade: x\r\nConnection: Upgrade\r\nExpect: 100-continue\r\n"
        "Content-Length: 4\r\n\r\n");
    client.shutdown_write();
    seen = read_to_end(client);
  });
  CHECK(seen.bytes.starts_with("HTTP/1.1 400 "));
  CHECK_FALSE(is_upgraded);
}
