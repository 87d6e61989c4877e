// fibrio/http/websocket.hpp: sends that are left in the middle, or in front of a peer that takes nothing.
#include <string>
#include <string_view>

#include "fibrio/http/websocket.hpp"
#include "http/websocket_frame.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::Opcode;
using http::WebSocket;
using http::WebSocketError;

namespace {

constexpr std::size_t kLarge = 16U << 20;  // more than sockets take

// Frames by hand, and the WebSocket they go to.
struct Place {
  explicit Place(http::WebSocketOptions options = {.close_timeout = 1h},
                 WebSocket::Role role = WebSocket::Role::kServer)
      : socket(*ends.server, role, options) {}
  // Sends a frame to a server.
  void frame(Opcode opcode, std::string_view payload) {
    std::string bytes =
        http::make_frame_header({.opcode = opcode, .mask = {{0, 0, 0, 0}}, .length = payload.size()});
    bytes += payload;
    ends.client->write_all(bytes_in(bytes));
  }
  Task<> send_much() {
    Task<> sender = create_task([this] {
      const std::string text(kLarge, 'x');
      socket.send(text);
    });
    wait_until_waits(sender, WaitReason::kWritable);
    return sender;
  }

  Ends ends = connect_ends();
  WebSocket socket;
};

template <class Call>
int error_code_of(Call&& call) {
  try {
    call();
  } catch (const WebSocketError& error) {
    return error.code();
  }
  return 0;
}

}  // namespace

TEST_CASE("A send of a WebSocket that is cancelled within its frame cuts the connection off at once",
          "[http]") {
  on_loops([] {
    for (const auto role : {WebSocket::Role::kServer, WebSocket::Role::kClient}) {
      Place place({.close_timeout = 1h}, role);
      Task<> sender = place.send_much();
      auto receiver = create_task([&] { return error_code_of([&] { (void)place.socket.receive(); }); });
      auto second = create_task([&] { return error_code_of([&] { place.socket.send("second"); }); });
      wait_until_waits(receiver, WaitReason::kReadable);
      wait_until_waits(second, WaitReason::kLock);
      sender.cancel();
      sender.wait();
      expect(sender.cancelled(), "the send is cancelled");
      expect_equal(timeout(20s, [&] { return await(receiver); }), 1006, "the receiver");
      expect_equal(await(second), 1006, "the next in line");
      expect(!place.ends.server->is_open(), "cut off");
      timeout(20s, [&] { place.socket.close(); });
    }
  });
}

TEST_CASE("A send of a WebSocket that is cancelled before its frame begins changes nothing", "[http]") {
  on_loops([] {
    Place place;
    WebSocket peer(*place.ends.client, WebSocket::Role::kClient, {.max_message_bytes = kLarge});
    Task<> sender = place.send_much();
    auto waiting = create_task([&] { place.socket.send("cancelled"); });
    wait_until_waits(waiting, WaitReason::kLock);
    waiting.cancel();
    waiting.wait();
    expect_equal(peer.receive()->data.size(), kLarge, "the message before it");
    await(sender);
    place.socket.send("after it");
    expect(peer.receive()->data == "after it", "it goes on");
  });
}

TEST_CASE("A send of a WebSocket to a peer that takes nothing ends after send_timeout", "[http]") {
  on_loops([] {
    Place place({.close_timeout = 1h, .send_timeout = 40ms});
    expect_equal(error_code_of([&] {
                   const std::string text(kLarge, 'x');
                   timeout(20s, [&] { place.socket.send(text); });
                 }),
                 1006, "the code");
    expect(!place.ends.server->is_open(), "cut off");
  });
}

TEST_CASE("A WebSocket that cannot send its pongs receives on, and sends the newest one later", "[http]") {
  on_loops([] {
    Place place;
    Task<> sender = place.send_much();
    for (const char* name : {"one", "two", "three"}) place.frame(Opcode::kPing, name);
    place.frame(Opcode::kText, "behind the pings");
    expect(timeout(20s, [&] { return place.socket.receive(); })->data == "behind the pings", "the message");
    const std::size_t header = 10;
    expect_equal(read_text(*place.ends.client, header + kLarge).size(), header + kLarge, "our frame");
    expect(read_text(*place.ends.client, 7) == "\x8a\x05three", "the newest pong");
    await(sender);
  });
}
