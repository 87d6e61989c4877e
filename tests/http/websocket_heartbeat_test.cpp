// fibrio/http/websocket.hpp: pings that find out whether the peer is there, and messages that do not come.
// aiohttp: test_web_websocket_functional test_heartbeat, test_heartbeat_no_pong, test_receive_timeout
#include <algorithm>
#include <string>

#include "fibrio/http/websocket.hpp"
#include "http/websocket_frame.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::WebSocket;
using http::WebSocketError;

namespace {

void expect_no_answer(WebSocket& socket) {
  try {
    (void)socket.receive();
  } catch (const WebSocketError& error) {
    expect_equal(error.code(), 1006, "code");
    return expect(std::string(error.what()).find("heartbeat") != std::string::npos, error.what());
  }
  expect(false, "a WebSocketError");
}

}  // namespace

TEST_CASE("A WebSocket with a heartbeat pings a silent peer once, and ends if nothing comes", "[http]") {
  on_loops([] {
    for (const auto role : {WebSocket::Role::kServer, WebSocket::Role::kClient}) {
      Ends ends = connect_ends();
      const TimePoint begin = get_running_loop().time();
      {
        WebSocket socket(*ends.server, role, {.heartbeat = 40ms});
        expect_no_answer(socket);
      }
      expect(get_running_loop().time() - begin >= 60ms, "not before heartbeat and a half");
      std::string got(100, '\0');
      std::size_t size = ends.client->read_some(std::as_writable_bytes(std::span(got)));
      expect_equal(size, role == WebSocket::Role::kServer ? 2 : 6, "bytes of one ping");
      expect(got[0] == '\x89', "a ping");
    }
  });
}

TEST_CASE(
    "A WebSocket with a heartbeat stays open while the peer answers, and time outside receive does not count",
    "[http]") {
  on_loops([] {
    constexpr Duration kBeat = 100ms * std::min(fibrio::test::kSlowdown, 3);
    Ends ends = connect_ends();
    WebSocket ours(*ends.server, WebSocket::Role::kServer, {.heartbeat = kBeat});
    WebSocket peer(*ends.client, WebSocket::Role::kClient);
    auto answering = create_task([&] { return peer.receive().has_value(); });
    for (int i = 0; i < 2; ++i) {
      expect_throws<TimeoutError>([&] { timeout(5 * kBeat / 2, [&] { (void)ours.receive(); }); },
                                  "no message");
    }
    answering.cancel();
    answering.wait();
    sleep(2 * kBeat);  // nobody receives here, nor there
    peer.send("hello");
    expect(ours.receive()->data == "hello", "it is still open");
    sleep(2 * kBeat);
    auto closing = create_task([&] { return !peer.receive().has_value(); });
    ours.close();
    expect(await(closing), "a close");
    expect_equal(ours.close_code(), 1000, "and its answer");
  });
}

TEST_CASE("The heartbeat of a WebSocket ends one whose sender waits for a peer that takes nothing",
          "[http]") {
  on_loops([] {
    Ends ends = connect_ends();
    WebSocket socket(*ends.server, WebSocket::Role::kServer, {.heartbeat = 40ms});
    auto sender = create_task([&] {
      const std::string text(64U << 20, 'x');
      socket.send(text);
    });
    expect_no_answer(socket);
    sender.cancel();
    sender.wait();
    expect(sender.cancelled(), "it still waited");
  });
}

TEST_CASE("A WebSocket's receive_timeout ends receive, and nothing is lost", "[http]") {
  on_loops([] {
    Ends ends = connect_ends();
    WebSocket socket(*ends.server, WebSocket::Role::kServer, {.receive_timeout = 20ms});
    const std::string begin = {'\x01', '\x85', 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    const std::string end = {'\x80', '\x81', 0, 0, 0, 0, '!'};
    ends.client->write_all(std::as_bytes(std::span(begin)));
    for (int i = 0; i < 2; ++i) {
      expect_throws<TimeoutError>([&] { (void)socket.receive(); }, "no message");
    }
    ends.client->write_all(std::as_bytes(std::span(end)));
    expect(socket.receive()->data == "hello!", "the whole message");
  });
}
