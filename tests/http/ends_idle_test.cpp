// What becomes of a session's connections that nobody uses: they are closed by themselves, and watched meanwhile.
#include <string>
#include <vector>

#include "http/ends_streams.hpp"

using namespace http_test;

namespace {

// Answers `requests` requests on each connection, calls `then`, and reads up to the end, which it counts.
struct Site {
  Site(int requests, bool is_secure, std::function<void(ByteStream&)> then)
      : scheme(is_secure ? "https" : "http"),
        peer(
            [this, requests, then](ByteStream& stream, int) {
              for (int i = 0; i < requests && !read_header(stream).empty(); ++i) {
                stream.write_all(bytes_in(ok("hello")));
              }
              then(stream);
              try {
                while (!read_once(stream).empty()) {
                }
              } catch (const std::system_error&) {
              }
              ++ended;
            },
            is_secure ? std::function<AnyStream(TcpStream)>(accept_tls)
                      : [](TcpStream stream) { return make_byte_stream(std::move(stream)); }) {}
  [[nodiscard]] std::string url() const { return peer.url(scheme); }

  std::string scheme;
  std::atomic<int> ended{0};
  Peer peer;
};

// On five connections: none is read before all are there.
void ask_five_at_once(http::Session& session, const Site& site) {
  std::vector<http::ClientResponse> responses;
  for (int i = 0; i < 5; ++i) responses.push_back(session.get(site.url()));
  for (http::ClientResponse& response : responses) expect(response.read_all() == "hello", "an answer");
  expect_equal(session.idle_connections(), 5, "connections kept");
}

}  // namespace

TEST_CASE("Idle connections that outlive keep_alive are closed without a next request", "[http]") {
  on_loops([] {
    for (const bool is_secure : {false, true}) {
      Site site(99, is_secure, [](ByteStream&) {});
      http::Session session({.keep_alive = 120ms, .make_secure = connect_tls});
      ask_five_at_once(session, site);
      wait_until([&] { return session.idle_connections() == 0; }, "no idle connection");
      wait_until([&] { return site.ended == site.peer.connections(); }, "the server sees the ends");
    }
  });
}

TEST_CASE("Idle connections that their server closes are closed without a next request", "[http]") {
  on_loops([] {
    for (const bool is_secure : {false, true}) {
      Event closes;
      Site site(1, is_secure, [&closes](ByteStream& stream) {
        closes.wait();
        stream.end_output();
      });
      http::Session session({.keep_alive = 1h, .make_secure = connect_tls});
      ask_five_at_once(session, site);
      closes.set();
      wait_until([&] { return session.idle_connections() == 0; }, "no idle connection");
      wait_until([&] { return site.ended == site.peer.connections(); }, "the server sees the ends");
    }
  });
}

TEST_CASE("A connection that was watched while it was idle is used again", "[http]") {
  on_loops([] {
    for (const bool is_secure : {false, true}) {
      Site site(99, is_secure, [](ByteStream&) {});
      http::Session session({.make_secure = connect_tls});
      const auto is_watched = [] {
        const auto tasks = all_tasks();
        return std::any_of(tasks.begin(), tasks.end(),
                           [](const AnyTask& task) { return task.get_name() == "idle HTTP connection"; });
      };
      for (int i = 0; i < 3; ++i) {
        expect(session.get(site.url()).read_all() == "hello", "an answer");
        wait_until(is_watched, "its watch");
      }
      expect_equal(site.peer.connections(), 1, "connections");
      session.close();
      expect(!is_watched(), "no watch of a closed session");
    }
  });
}
