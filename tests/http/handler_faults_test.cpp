// fibrio/http/server.hpp: whatever a handler or a stream does wrong is its request's 500 and a report.
#include <stdexcept>
#include <string>
#include <vector>

#include "fibrio/http/server.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

using Texts = std::vector<std::string>;

Response streamed(std::function<void(http::BodyWriter&)> stream) {
  Response response;
  response.stream = std::move(stream);
  return response;
}

// Waits for a task that somebody else has cancelled.
void meet_a_cancelled_task() {
  fibrio::Task<> other = fibrio::create_task([] { fibrio::sleep(1h); });
  other.cancel();
  fibrio::await(other);
}

}  // namespace

TEST_CASE("A handler or a stream that throws what is no std::exception is reported, and answered with 500",
          "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/handler", [](Request&) -> Response { throw 42; });
    routes.route("POST", "/stream", [](Request&) {
      return streamed([](http::BodyWriter& out) {
        out.write("a part");
        throw 42;
      });
    });
    routes.route("GET", "/", [](Request&) { return Response("pong"); });
  });
  Client client(server.port());
  const Reply reply = client.ask(get("/handler"));
  CHECK(reply.status == 500);
  CHECK(reply.field("Connection").empty());
  const Texts handler = server.take_reports();
  REQUIRE(handler.size() == 1);
  CHECK(handler[0].starts_with("http: an exception in the handler of GET /handler: "));
  CHECK(client.ask(get("/")).body == "pong");
  CHECK(client.send(post("/stream", "")));
  const auto part = client.receive_all();
  REQUIRE(part);
  CHECK(part->find("\r\n0\r\n") == std::string::npos);
  const Texts stream = server.take_reports();
  REQUIRE(stream.size() == 1);
  CHECK(stream[0].starts_with("http: an exception in the stream of POST /stream: "));
}

TEST_CASE("A cancellation that a handler comes across is its failure, not the end of the server", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/handler", [](Request&) {
      meet_a_cancelled_task();
      return Response("never");
    });
    routes.route("GET", "/stream",
                 [](Request&) { return streamed([](http::BodyWriter&) { meet_a_cancelled_task(); }); });
    routes.route("GET", "/upgrade", [](Request&) {
      Response response(101);
      response.fields.add("Upgrade", "x");
      response.upgrade = [](fibrio::ByteStream&) { meet_a_cancelled_task(); };
      return response;
    });
    routes.route("GET", "/", [](Request&) { return Response("pong"); });
  });
  Client client(server.port());
  CHECK(client.ask(get("/handler")).status == 500);
  const Texts handler = server.take_reports();
  REQUIRE(handler.size() == 1);
  CHECK(handler[0].starts_with("http: an exception in the handler of GET /handler: "));
  CHECK(client.ask(get("/")).body == "pong");
  for (const std::string name : {"stream", "upgrade"}) {
    CAPTURE(name);
    Client other(server.port());
    CHECK(other.send(get("/" + name)));
    CHECK(other.receive_all());
    CHECK(eventually([&] { return server.server().stats().connections == 1; }));
    const Texts reports = server.take_reports();
    REQUIRE(reports.size() == 1);
    CHECK(reports[0].find("GET /" + name + ": ") != std::string::npos);
  }
  CHECK(server.server().stats().dropped == 0);
}

TEST_CASE("A status that is none of an answer is answered with 500, and reported", "[http]") {
  ServerThread server([](http::Server& routes) {
    routes.route("GET", "/{status}", [](Request& request) {
      Response response("text");
      response.status = static_cast<unsigned>(std::stoul(request.parameter("status")));
      return response;
    });
  });
  Client client(server.port());
  for (const std::string status : {"0", "7", "99", "100", "101", "103", "199", "1000", "4000000000"}) {
    CAPTURE(status);
    CHECK(client.ask(get("/" + status)).status == 500);
    const Texts reports = server.take_reports();
    REQUIRE(reports.size() == 1);
    CHECK(reports[0].find("no answer has the status " + status) != std::string::npos);
  }
  for (const int status : {200, 299, 418, 599, 999}) {
    CAPTURE(status);
    CHECK(client.ask(get("/" + std::to_string(status))).status == status);
  }
}
