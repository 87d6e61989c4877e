// What: the sending side of a WebSocket: whole frames, in turns, in time.
// Threads: tasks, any number of them.
// Invariant:
//   1. `turn_` is held over whole frames. `Frame` marks the connection before a frame's first byte, and takes the mark
//      back after its last: whoever leaves between them, by whatever way, cuts the connection off. Nothing is ever sent
//      behind a part of a frame.
//   2. Our own control frames need no turn: they are noted in `requests_`, and whoever has the turn moves them to
//      `control_`. What is left of them there goes out before anything else, so a task may leave in their middle.
//   3. A request is noted before the turn is tried, and whoever gives the turn back, or leaves the line for it, looks
//      for requests after that, both under `mutex_`. So none is forgotten beside a free turn.
//   4. A close is the last frame.
// Rejected: pongs that wait for their turn. Two peers that flood each other with pings would wait for ever, and
//   receive() could neither see to its heartbeat nor leave without cutting a frame.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fibrio/byte_stream.hpp"
#include "fibrio/fibrio.hpp"
#include "fibrio/http/websocket.hpp"
#include "http/websocket_frame.hpp"

namespace fibrio::http {

class WebSocketOutput {
 public:
  // Negative `send_timeout`: none.
  WebSocketOutput(ByteStream& stream, WebSocket::Role role, Duration send_timeout);
  WebSocketOutput(const WebSocketOutput&) = delete;
  WebSocketOutput& operator=(const WebSocketOutput&) = delete;

  // Sends a frame. Waits: for its turn, and while the peer takes nothing, at most send_timeout.
  // Cancel: CancelledError; if a part of the frame was sent, the connection is cut off.
  // Throws: WebSocketError once nothing can be sent; std::system_error.
  void send(Opcode opcode, std::string_view payload);
  // Sends a close, or the rest of one. Does nothing for a connection that can take none.
  // Waits, Throws: as send. Cancel: CancelledError; what is left of it goes out later.
  void send_close(std::uint16_t code, std::string_view reason);

  // These never wait, and are no errors: what cannot go out now does so later.
  void request_pong(std::string payload) noexcept;
  void request_close(std::uint16_t code) noexcept;
  // True: all requests have gone out, or never will.
  bool push() noexcept;
  // False if no byte of the ping could be sent now.
  bool try_ping();

  // Closes the stream, or resets it. A task that sends gets WebSocketError.
  void shut(bool with_reset) noexcept;

  // Whether a frame was left in the middle: the stream is reset.
  [[nodiscard]] bool is_cut() const noexcept { return is_cut_.load(std::memory_order_acquire); }
  // Whether a close of ours was begun, or is wholly on its way.
  [[nodiscard]] bool has_begun_close() const noexcept {
    return close_code_.load(std::memory_order_relaxed) != 0;
  }
  [[nodiscard]] bool has_sent_close() const noexcept {
    return has_sent_close_.load(std::memory_order_acquire);
  }
  // Bytes that the stream has taken: whether a long frame moves on.
  [[nodiscard]] std::uint64_t sent_bytes() const noexcept { return sent_.load(std::memory_order_relaxed); }
  // What send() throws from now on.
  [[nodiscard]] WebSocketError closed_error() const;

 private:
  class Turn;
  class Frame;
  struct Requests {
    std::optional<std::string> pong;  // the newest ping's: RFC 6455, 5.5.3
    std::optional<std::uint16_t> close;
    bool is_rest = false;  // `control_` is not empty
    [[nodiscard]] bool any() const { return pong || close || is_rest; }
  };

  [[nodiscard]] FrameHeader header_of(Opcode opcode, std::size_t length) const;
  void add_control(Opcode opcode, std::string_view payload);
  void add_close(std::uint16_t code, std::string_view reason);
  [[nodiscard]] bool has_control() const { return control_at_ < control_.size(); }
  void took_control(std::size_t count);
  void drop_control();
  void take_requests();
  bool push_control();
  void flush_control();
  void write_frame(Opcode opcode, std::string_view payload);
  std::size_t write_some(std::span<const std::byte> data);

  ByteStream& stream_;
  const WebSocket::Role role_;
  const Duration send_timeout_;

  Lock turn_;
  std::string control_;  // with turn_
  std::size_t control_at_ = 0;
  bool is_gone_ = false;  // with turn_: the peer takes nothing any more

  std::mutex mutex_;  // never held over a wait or a call
  Requests requests_;

  // Of the close that was begun. Written with turn_; relaxed: the others only choose a text or a way to end by it.
  std::atomic<std::uint16_t> close_code_{0};
  std::atomic<std::uint64_t> sent_{0};       // with turn_; relaxed: a heartbeat's look, which may be late
  std::atomic<bool> has_sent_close_{false};  // release: with the bytes before it; read by the one who closes
  std::atomic<bool> is_cut_{
      false};  // release: before the reset, which the reader sees as an error; acquire there
  std::atomic<bool> is_shut_{false};  // the same for an end that we brought about
};

}  // namespace fibrio::http
