// fibrio/http/server.hpp: handlers that wait for the begin of a shutdown. aiohttp: on_shutdown.
#include <string>

#include "fibrio/http/session.hpp"
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
