// WebSockets (RFC 6455), both sides.
//
//   server.route("GET", "/echo", [](fibrio::http::Request& request) {
//     return fibrio::http::websocket_response(request, [](fibrio::http::WebSocket& socket) {
//       while (auto message = socket.receive()) socket.send(*message);
//     });
//   });
//
//   auto socket = fibrio::http::connect_websocket(session, "ws://127.0.0.1:8080/echo");
//   socket->send("hello");
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/clock.hpp"
#include "fibrio/http/message.hpp"
#include "fibrio/http/session.hpp"

namespace fibrio::http {

struct WebSocketOptions {
  std::size_t max_message_bytes = 16 * 1024 * 1024;      // above: the connection ends with code 1009
  AnyDuration close_timeout = std::chrono::seconds(10);  // for the peer's answer to our close
  std::vector<std::string> protocols =
      {};  // server: the first one that the client offers is chosen; client: offered
  // When nothing has come for so long, a ping is sent; when then nothing comes for half as long, receive()
  // throws WebSocketError(1006). Only time in receive() counts. Negative: no pings.
  AnyDuration heartbeat = Duration(-1);
  // How long receive() waits for a message; then TimeoutError. Negative: for ever.
  AnyDuration receive_timeout = Duration(-1);
};

struct WebSocketMessage {
  std::string data;
  bool is_text = true;  // else binary
};

// The connection ended other than by a closing handshake, or the peer broke the protocol.
class WebSocketError : public std::runtime_error {
 public:
  WebSocketError(std::uint16_t code, const std::string& what) : std::runtime_error(what), code_(code) {}
  // The code of RFC 6455: 1002 broken protocol, 1006 no close, 1007 no UTF-8, 1009 too large.
  [[nodiscard]] std::uint16_t code() const noexcept { return code_; }

 private:
  std::uint16_t code_;
};

namespace detail {
class WebSocketImpl;
}

// One end of a WebSocket. One task may receive while others send; pings are answered by receive(), so some
// task should always be in it.
class WebSocket {
 public:
  enum class Role { kServer, kClient };

  // Over a stream on which the handshake is done. websocket_response and connect_websocket make these.
  WebSocket(ByteStream& stream, Role role, WebSocketOptions options = {}, std::string protocol = {});
  WebSocket(std::unique_ptr<ByteStream> stream, Role role, WebSocketOptions options = {},
            std::string protocol = {});
  // Drops the connection unless it was closed.
  ~WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  // Returns the next message; nothing once the peer has closed in order (its close is answered here), or
  // close() is over, or has passed messages over.
  // Waits: yes. Cancel: CancelledError, nothing is lost. Throws: WebSocketError, std::system_error;
  // TimeoutError after receive_timeout, and nothing is lost; RuntimeError if another task is in it.
  std::optional<WebSocketMessage> receive();
  // Sends a message; several tasks take turns. Text must be UTF-8, which is not checked.
  // Waits: while the peer does not take it. Cancel: CancelledError; if a part was sent the connection is of
  // no use for sending any more. Throws: WebSocketError(1006) once it is closed; std::system_error.
  void send(std::string_view text);
  void send_binary(std::span<const std::byte> data);
  void send(const WebSocketMessage& message);
  // Sends a ping with at most 125 bytes; the answer is passed over by receive(). Throws: as send;
  // std::invalid_argument if it is longer.
  void ping(std::string_view payload = {});
  // Sends a close with `code` and at most 123 bytes of `reason`, waits for the peer's, at most close_timeout,
  // and closes. Messages that come meanwhile are passed over; but if another task is in receive(), they are
  // its, and kept for it up to max_message_bytes while it is busy with others. Idempotent. Throws:
  // std::invalid_argument; errors of the connection only end the wait.
  void close(std::uint16_t code = 1000, std::string_view reason = {});
  // Tells the peer that we leave, if that needs no waiting. Threads: any task.
  void try_say_goodbye(std::uint16_t code) noexcept;

  [[nodiscard]] const std::string& protocol() const noexcept;  // the one chosen; empty if none was
  // The peer's: 1005 if it gave none; 1006 before its close has come.
  [[nodiscard]] std::uint16_t close_code() const noexcept;
  [[nodiscard]] const std::string& close_reason() const noexcept;

 private:
  std::unique_ptr<detail::WebSocketImpl> impl_;
};

// The answer to a request for a WebSocket: `serve` is called with it, and when it returns the socket is
// closed with 1000 (1011 if it throws, which is reported; 1001 if the server stops). 400 or 426 for what is
// no such request. Whether to trust its Origin is the handler's affair.
[[nodiscard]] Response websocket_response(const Request& request, std::function<void(WebSocket&)> serve,
                                          WebSocketOptions options = {});

// Connects to a ws or wss URL. Waits: yes. Cancel: as Session::request. Throws: as Session::request;
// HttpError(502) if the server does not answer as it must.
[[nodiscard]] std::unique_ptr<WebSocket> connect_websocket(Session& session, std::string_view url,
                                                           WebSocketOptions options = {},
                                                           RequestOptions request = {});

}  // namespace fibrio::http
