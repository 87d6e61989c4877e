// fibrio/http/server.hpp, websocket.hpp: what the begin of a shutdown does. aiohttp: on_shutdown.
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/http/session.hpp"
#include "fibrio/http/websocket.hpp"
#include "http/site.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("A handler can wait for the begin of its server's shutdown", "[http]") {
  on_loops([] {
    Event is_handling;
    http_test::Site site([&](http::Server& server) {
      server.route("GET", "/", [&](http::Request& request) {
        const bool was_early = request.is_shutting_down();
        is_handling.set();
        request.wait_for_shutdown();
        request.wait_for_shutdown();  // at once
        return http::Response(!was_early && request.is_shutting_down() ? "ended by itself" : "wrong");
      });
    });
    http::Session session;
    auto client = create_task([&] { return session.get(site.url()).read_all(); });
    is_handling.wait();
    auto waiting = create_task([&] { site.server().wait_for_shutdown(); });
    wait_until_waits(waiting, WaitReason::kEvent);
    site.server().shutdown(1h);
    expect(await(client) == "ended by itself", "the answer");
    waiting.wait();
    expect(http::Request().is_shutting_down() == false, "a request of no server");
    expect_throws<TimeoutError>([] { timeout(1ms, [] { http::Request().wait_for_shutdown(); }); },
                                "waits for ever");
  });
}

TEST_CASE("The begin of a shutdown closes WebSockets with 1001, and their handlers in receive go on",
          "[http]") {
  on_loops([] {
    std::atomic<int> with_1001{0};
    const auto serve = [&](http::WebSocket& socket) {
      while (const auto message = socket.receive()) socket.send(*message);
      with_1001 += socket.close_code() == 1001;
    };
    http_test::Site site([&](http::Server& server) {
      server.route("GET", "/",
                   [&](http::Request& request) { return http::websocket_response(request, serve); });
    });
    http::Session session;
    const auto connect = [&] {
      auto socket = http::connect_websocket(session, "ws" + site.url().substr(4));
      socket->send("hello");
      expect(socket->receive()->data == "hello", "it works");
      return socket;
    };
    const auto answers = connect();
    const auto is_silent = connect();
    auto stop = create_task([&] { site.server().shutdown(1h); });
    expect(!timeout(20s, [&] { return answers->receive(); }), "the end");
    expect_equal(answers->close_code(), 1001, "the code");
    timeout(20s, [&] { await(stop); });
    expect(!is_silent->receive(), "the end");
    expect_equal(is_silent->close_code(), 1001, "the code of the other");
    expect_equal(with_1001.load(), 2, "handlers that were told");
  });
}

TEST_CASE("Subprotocols of a WebSocket are compared with their case", "[http]") {
  on_loop({1, false}, [] {
    http_test::Site site([](http::Server& server) {
      server.route("GET", "/", [](http::Request& request) {
        return http::websocket_response(request, [](http::WebSocket&) {}, {.protocols = {"Chat", "log"}});
      });
    });
    http::Session session;
    const auto chosen = [&](std::vector<std::string> offered) {
      const auto socket =
          http::connect_websocket(session, "ws" + site.url().substr(4), {.protocols = std::move(offered)});
      socket->close();
      return socket->protocol();
    };
    expect(chosen({"chat"}) == "", "another case");
    expect(chosen({"chat", "LOG", "Chat"}) == "Chat", "the same one");
  });
}
