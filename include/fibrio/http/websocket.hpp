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
  // When no message and no answer to a ping has come for so long, a ping is sent; when then neither comes for
  // half as long, receive() throws WebSocketError(1006). Pings of the peer do not count. Only time in receive()
  // counts, over all calls. Negative: no pings.
  AnyDuration heartbeat = Duration(-1);
  // How long receive() waits for a message; then TimeoutError. Negative: for ever.
  AnyDuration receive_timeout = Duration(-1);
  // How long a peer may take, and acknowledge, nothing of what is sent to it. Then the connection is cut off, and
  // send() throws WebSocketError(1006). Nothing: the server's write_timeout; 30 s where there is no server.
  // Negative: for ever.
  std::optional<AnyDuration> send_timeout = {};
  // How long a message may take from its first byte to its last, and a second more for each 16 KiB of it. Then the
  // connection ends with code 1008. Only time in receive() counts. Nothing: the server's body_timeout; 30 s where
  // there is no server. Negative: for ever.
  std::optional<AnyDuration> message_timeout = {};
};

struct WebSocketMessage {
  std::string data;
  bool is_text = true;  // else binary
};

// The connection ended other than by a closing handshake, or the peer broke the protocol.
class WebSocketError : public std::runtime_error {
 public:
  WebSocketError(std::uint16_t code, const std::string& what) : std::runtime_error(what), code_(code) {}
  // The code of RFC 6455: 1001 the server's shutdown has closed it, 1002 broken protocol, 1006 no close, 1007 no
  // UTF-8, 1008 a message took too long, 1009 too large.
  [[nodiscard]] std::uint16_t code() const noexcept { return code_; }

 private:
  std::uint16_t code_;
};

namespace detail {
class WebSocketImpl;
struct WebSocketAccess;
}  // namespace detail

// One end of a WebSocket. One task may receive while others send; pings are answered by receive(), so some
// task should always be in it. When the shutdown of its server begins, it is closed with 1001: receive() returns
// nothing then, and send() throws.
class WebSocket {
 public:
  enum class Role { kServer, kClient };

  // Over a stream on which the handshake is done. websocket_response and connect_websocket make these.
  WebSocket(ByteStream& stream, Role role, WebSocketOptions options = {}, std::string protocol = {});
  WebSocket(std::unique_ptr<ByteStream> stream, Role role, WebSocketOptions options = {},
            std::string protocol = {});
  // Drops the connection unless it was closed. Calls of other tasks that are under way end as after close(), and
  // are waited for.
  ~WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  // Returns the next message; nothing once the peer has closed in order (its close is answered here), or
  // close() is over, or has passed messages over, or the server's shutdown has begun (close_code() is 1001).
  // Waits: yes. After an error of the peer it also waits, at most close_timeout, and for a second of silence, until
  // the peer has had the time to read our close. Cancel: CancelledError, nothing is lost.
  // Throws: WebSocketError, std::system_error; TimeoutError after receive_timeout, and nothing is lost;
  // RuntimeError if another task is in it.
  std::optional<WebSocketMessage> receive();
  // Sends a message; several tasks take turns. Text must be UTF-8, which is not checked.
  // Waits: for its turn, and while the peer does not take it, at most send_timeout. Cancel: CancelledError; if a
  // part was sent already, the connection is cut off at once: no other frame may follow. If none was, all goes on.
  // Throws: WebSocketError(1006) once it is closed or cut off, 1001 if a shutdown did it; std::system_error.
  void send(std::string_view text);
  void send_binary(std::span<const std::byte> data);
  void send(const WebSocketMessage& message);
  // Sends a ping with at most 125 bytes; the answer is passed over by receive(). Throws: as send;
  // std::invalid_argument if it is longer.
  void ping(std::string_view payload = {});
  // Sends a close with `code` and at most 123 bytes of `reason`, waits for the peer's, at most close_timeout,
  // and closes. Messages that come meanwhile are passed over; but if another task is in receive(), they are
  // its, and kept for it up to max_message_bytes while it is busy with others. Does not wait if a send was left in
  // the middle. Idempotent. Cancel: CancelledError; the connection is dropped by the destructor. Throws:
  // std::invalid_argument; errors of the connection only end the wait.
  void close(std::uint16_t code = 1000, std::string_view reason = {});
  // Tells the peer that we leave, if that needs no waiting. Threads: any task.
  void try_say_goodbye(std::uint16_t code) noexcept;

  [[nodiscard]] const std::string& protocol() const noexcept;  // the one chosen; empty if none was
  // The peer's: 1005 if it gave none; 1006 before its close has come.
  [[nodiscard]] std::uint16_t close_code() const noexcept;
  [[nodiscard]] const std::string& close_reason() const noexcept;

 private:
  friend struct detail::WebSocketAccess;

  std::unique_ptr<detail::WebSocketImpl> impl_;
};

// The answer to a request for a WebSocket: `serve` is called with it, and when it returns the socket is
// closed with 1000 (1011 if it throws, which is reported; 1001 if the server stops). 400 or 426 for what is
// no such request. Whether to trust its Origin is the handler's affair.
[[nodiscard]] Response websocket_response(const Request& request, std::function<void(WebSocket&)> serve,
                                          WebSocketOptions options = {});

// Connects to a ws or wss URL. Waits: yes. Cancel: as Session::request. Throws: as Session::request;
// ClientError if the server does not answer as it must.
[[nodiscard]] std::unique_ptr<WebSocket> connect_websocket(Session& session, std::string_view url,
                                                           WebSocketOptions options = {},
                                                           RequestOptions request = {});

}  // namespace fibrio::http
