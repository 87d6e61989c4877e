// fibrio/http/websocket.hpp: closes that reach a peer which still sends; floods, and messages that never end.
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
using http::WebSocketOptions;

namespace {

std::string frame(Opcode opcode, std::string_view payload, bool is_final = true) {
  return http::make_frame_header(
             {.is_final = is_final, .opcode = opcode, .mask = {{0, 0, 0, 0}}, .length = payload.size()}) +
         std::string(payload);
}
void send(ByteStream& stream, std::string_view bytes) { stream.write_all(bytes_in(bytes)); }

// A task that sends the same over and over until the connection ends.
Task<> flood(ByteStream& stream, std::string bytes) {
  return create_task([&stream, bytes = std::move(bytes)] {
    try {
      for (;;) stream.write_all(bytes_in(bytes));
    } catch (const std::system_error&) {
    }
  });
}

int receive_error(WebSocket& socket) {
  try {
    while (socket.receive()) {
    }
  } catch (const WebSocketError& error) {
    return error.code();
  }
  return 0;
}

}  // namespace

TEST_CASE("A peer in the middle of a message that is too large gets the close before any reset", "[http]") {
  on_loops([] {
    for (const auto role : {WebSocket::Role::kServer, WebSocket::Role::kClient}) {
      Ends ends = connect_ends();
      auto peer = create_task([&] {
        const bool is_server = role == WebSocket::Role::kServer;
        const std::string header = is_server ? std::string("\x82\xff\0\0\0\0\x01\0\0\0\0\0\0\0", 14)
                                             : std::string("\x82\x7f\0\0\0\0\x01\0\0\0", 10);
        send(*ends.client, header + std::string(16U << 20, 'x'));  // throws if it meets a reset
        const std::string answer = read_once(*ends.client);
        ends.client->close();
        return is_server ? answer : std::string("\x88\x02\x03\xf1");  // a client's is masked
      });
      WebSocket socket(*ends.server, role, {.max_message_bytes = 1000});
      expect_equal(receive_error(socket), 1009, "what receive says");
      expect(await(peer) == "\x88\x02\x03\xf1", "the close");
    }
  });
}

TEST_CASE("A close of a WebSocket ends in time under any flood", "[http]") {
  on_loops([] {
    const std::string half = frame(Opcode::kText, "half", false);
    for (const std::string& bytes :
         {frame(Opcode::kText, std::string(3000, 'x')), frame(Opcode::kPing, "p")}) {
      for (const std::string& first : {std::string(), half}) {
        Ends ends = connect_ends();
        if (!first.empty() && bytes[0] != '\x89') continue;
        send(*ends.client, first);
        Task<> sender = flood(*ends.client, bytes);
        WebSocket socket(*ends.server, WebSocket::Role::kServer, {.close_timeout = 50ms});
        const TimePoint begin = get_running_loop().time();
        socket.close();
        expect(get_running_loop().time() - begin < 10s, "in time");
        await(sender);
      }
    }
  });
}

TEST_CASE("A WebSocket with a heartbeat ends though its peer sends pings, and pings once over many receives",
          "[http]") {
  on_loops([] {
    Ends ends = connect_ends();
    Task<> sender = flood(*ends.client, frame(Opcode::kPing, "are you there"));
    {
      WebSocket socket(*ends.server, WebSocket::Role::kServer, {.heartbeat = 40ms});
      expect_equal(timeout(20s, [&] { return receive_error(socket); }), 1006, "code");
    }
    await(sender);
    Ends quiet = connect_ends();
    {
      WebSocket socket(*quiet.server, WebSocket::Role::kServer, {.heartbeat = 40ms, .receive_timeout = 1ms});
      for (int code = 0; code == 0;) {
        try {
          code = receive_error(socket);
        } catch (const TimeoutError&) {
        }
      }
    }
    std::string got;
    try {
      for (std::string piece; !(piece = read_once(*quiet.client)).empty();) got += piece;
    } catch (const std::system_error&) {
    }
    expect(got == std::string("\x89\0", 2), "one ping");
  });
}

TEST_CASE("A message of a WebSocket that is never finished ends the connection with 1008", "[http]") {
  on_loops([] {
    for (const bool is_flood : {false, true}) {
      Ends ends = connect_ends();
      send(*ends.client, frame(Opcode::kText, "begin", false));
      WebSocket socket(*ends.server, WebSocket::Role::kServer,
                       {.close_timeout = 50ms, .message_timeout = 30ms});
      Task<> sender;
      if (is_flood)
        sender = flood(*ends.client, frame(Opcode::kPing, "p") + frame(Opcode::kContinuation, "", false));
      expect_equal(timeout(20s, [&] { return receive_error(socket); }), 1008, "code");
      if (is_flood) sender.wait();
    }
  });
}

TEST_CASE("A WebSocket may be destroyed while other tasks are in it", "[http]") {
  on_loops([] {
    Ends ends = connect_ends();
    Task<bool> receiver;
    Task<int> sender;
    {
      WebSocket socket(*ends.server, WebSocket::Role::kServer);
      receiver = create_task([&] { return socket.receive().has_value(); });
      sender = create_task([&] {
        try {
          const std::string text(16U << 20, 'x');
          socket.send(text);
        } catch (const WebSocketError& error) {
          return static_cast<int>(error.code());
        }
        return 0;
      });
      wait_until_waits(receiver, WaitReason::kReadable);
      wait_until_waits(sender, WaitReason::kWritable);
    }
    expect(!await(receiver), "the receiver finds the end");
    expect_equal(await(sender), 1006, "the sender");
  });
}
