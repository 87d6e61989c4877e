// fibrio/http/websocket.hpp: close() beside a task that receives, and that leaves or is late.
// aiohttp: test_web_websocket_functional test_concurrent_close, test_close_op_code_from_client
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fibrio/http/websocket.hpp"
#include "fibrio/testing.hpp"
#include "http/websocket_frame.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::WebSocket;
using http::WebSocketMessage;
using http::WebSocketOptions;

namespace {

// A server's socket, whose peer is frames by hand.
struct Place {
  explicit Place(WebSocketOptions options = {.close_timeout = 1h}) : socket(*ends.server, kRole, options) {}

  void send(const std::string& text) { send_frame(http::Opcode::kText, text); }
  void answer_close() { send_frame(http::Opcode::kClose, "\x03\xe8"); }
  void expect_close() {
    std::byte close[4];
    for (std::size_t got = 0; got < sizeof close;) {
      const std::size_t count = ends.client->read_some(std::span(close).subspan(got));
      expect(count > 0, "a close");
      got += count;
    }
    expect(close[0] == std::byte{0x88}, "our close");
  }
  std::string next_text() {
    const std::optional<WebSocketMessage> message = socket.receive();
    return message ? message->data : "end";
  }

  static constexpr WebSocket::Role kRole = WebSocket::Role::kServer;
  Ends ends = connect_ends();
  WebSocket socket;

 private:
  void send_frame(http::Opcode opcode, const std::string& payload) {
    const std::string bytes =
        http::make_frame_header({.opcode = opcode, .mask = {{0, 0, 0, 0}}, .length = payload.size()}) +
        payload;
    ends.client->write_all(std::as_bytes(std::span(bytes)));
  }
};

}  // namespace

TEST_CASE("A close reads for itself when the task that received leaves, in whatever way", "[http]") {
  struct Way {
    const char* what;
    Duration receive_timeout;
    std::function<void(Place&, Task<>&)> leave;
  };
  const std::vector<Way> ways = {
      {"by cancellation", Duration(-1), [](Place&, Task<>& reader) { reader.cancel(); }},
      {"by receive_timeout", 20ms, [](Place&, Task<>&) {}},
      {"with a message", Duration(-1), [](Place& place, Task<>&) { place.send("a message"); }},
  };
  on_loops([&ways] {
    for (const Way& way : ways) {
      for (const bool leaves_first : {false, true}) {
        Place place({.close_timeout = 1h, .receive_timeout = way.receive_timeout});
        auto reader = create_task([&] {
          try {
            (void)place.socket.receive();
          } catch (const TimeoutError&) {
          }
        });
        if (way.receive_timeout < 0ms) wait_until_waits(reader, WaitReason::kReadable);
        if (leaves_first) way.leave(place, reader);  // but has not left yet, with one worker
        auto closing = create_task([&] { place.socket.close(); });
        place.expect_close();
        if (!leaves_first) way.leave(place, reader);
        reader.wait();
        place.answer_close();
        timeout(20s, [&] { closing.wait(); });
        expect(closing.done(), std::string("closed though the receiver left ") + way.what);
        expect_equal(place.socket.close_code(), 1000, "the peer's answer");
      }
    }
  });
}

TEST_CASE("A receiver that is busy while another task closes finds the end", "[http]") {
  on_loops([] {
    for (const bool is_answered : {true, false}) {
      Place place({.close_timeout = is_answered ? Duration(1h) : Duration(50ms)});
      Event is_free;
      auto reader = create_task([&] {
        const std::string first = place.next_text();
        is_free.wait();
        return first + ' ' + place.next_text() + ' ' + place.next_text();
      });
      place.send("first");
      wait_until_waits(reader, WaitReason::kEvent);
      auto closing = create_task([&] { place.socket.close(); });
      place.expect_close();
      wait_until_waits(closing, WaitReason::kReadable);
      is_free.set();
      if (is_answered) place.answer_close();
      expect(await(reader) == "first end end", "what was received");
      await(closing);
    }
    Place place({.close_timeout = 20ms});
    auto reader = create_task([&] { return place.next_text(); });
    wait_until_waits(reader, WaitReason::kReadable);
    place.socket.close();  // without an answer
    expect(await(reader) == "end", "a receiver that was there all the time");
  });
}

TEST_CASE("A receiver that was there when a close began gets all that came before the peer's", "[http]") {
  on_loops([] {
    for (const bool is_late : {false, true}) {
      Place place;
      Event is_closed;
      auto reader = create_task([&] {
        std::string all;
        for (std::string text; (text = place.next_text()) != "end";) {
          all += text;
          if (is_late) is_closed.wait();
        }
        return all;
      });
      wait_until_waits(reader, WaitReason::kReadable);
      auto closing = create_task([&] { place.socket.close(); });
      place.expect_close();
      std::string sent;
      for (char c = 'a'; c <= 'z'; ++c) {
        place.send(std::string(1, c));
        sent += c;
      }
      place.answer_close();
      await(closing);
      is_closed.set();
      expect(await(reader) == sent, "every message, in order");
    }
    Place place({.max_message_bytes = 1000, .close_timeout = 1h});
    Event is_closed;
    auto reader = create_task([&] {
      std::string all = place.next_text();
      is_closed.wait();
      for (std::string text; (text = place.next_text()) != "end";) all += text[0];
      return all;
    });
    wait_until_waits(reader, WaitReason::kReadable);
    auto closing = create_task([&] { place.socket.close(); });
    place.expect_close();
    place.send("1");
    wait_until_waits(reader, WaitReason::kEvent);
    for (const char* digit : {"2", "3", "4", "5"}) place.send(digit + std::string(300, 'x'));
    place.send("6");
    place.answer_close();
    await(closing);
    is_closed.set();
    expect(await(reader) == "123", "what is kept has a limit, and no gaps");
  });
}

// Seen as: a peer that reads nothing and breaks the protocol was held for the whole close_timeout.
TEST_CASE(
    "A peer that breaks the protocol and takes nothing is given up after a second, one that reads gets its "
    "close",
    "[http]") {
  on_loop({1, false, true}, [] {
    for (const bool reads : {false, true}) {
      auto ends = make_stream_pair({.capacity = 64});
      WebSocket socket(*ends.first, WebSocket::Role::kServer, {.close_timeout = 1h});
      const auto peer = create_task([&] {
        // More pings than pongs have room for, then a reserved opcode.
        std::string bytes;
        for (int i = 0; i < 20; ++i) {
          bytes +=
              http::make_frame_header({.opcode = http::Opcode::kPing, .mask = {{0, 0, 0, 0}}, .length = 8});
          bytes += "12345678";
        }
        bytes += std::string("\x83\x80\0\0\0\0", 6);
        ends.second->write_all(std::as_bytes(std::span(bytes)));
        std::string got;
        std::byte buffer[8];
        while (reads) {
          sleep(300ms);  // slowly, but steadily
          const std::size_t count = ends.second->read_some(buffer);
          if (count == 0) break;
          got.append(reinterpret_cast<const char*>(buffer), count);
          if (got.ends_with("\x03\xea")) break;
        }
        return got;
      });
      const TimePoint begin = get_running_loop().time();
      int code = 0;
      try {
        static_cast<void>(socket.receive());
      } catch (const http::WebSocketError& error) {
        code = error.code();
      }
      expect_equal(code, 1002, "the error");
      const Duration took = get_running_loop().time() - begin;
      expect(took < 30s, "an end long before close_timeout");
      expect_equal(await(peer).ends_with(std::string("\x88\x02\x03\xea")), reads, "the close arrives");
    }
  });
}
