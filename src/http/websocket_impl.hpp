// What: what is behind a WebSocket, for the file of its messages and the one of its end.
// Threads: one task in receive(), any number in send().
// Protocol:
//   1. `read_lock_` is held while one message is read. receive() and close() take turns; whatever ends a receive(), a
//      close() that waits reads on. All of a half-read message is kept in members, so that a cancelled receive() loses
//      nothing. What ends a conversation is noted before its end is waited for.
//   2. Reading never waits for the peer to read: pongs go out when there is room (WebSocketOutput).
//   3. Deadlines are looked at between reads, by the clock: a peer that always has something there cannot keep them from
//      coming. Time that nobody reads in does not count, and what has come by then is looked at before the end.
//   4. After an error of the peer our close is followed by the end of our output, and by reading on for a while: closing
//      over unread bytes would reset the connection, and the peer might never see the close.
//   5. The destructor ends what others wait for, and lets them leave.
// Rejected: Boost.Beast's websocket::stream. Its synchronous functions allow no writer beside a reader, which answers
//   pings by itself, and its close() reads: with a task for each direction, which is what fibers are for, its state
//   would be used by two at once. The tests have it as the peer.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/websocket.hpp"
#include "http/farewells.hpp"
#include "http/input_buffer.hpp"
#include "http/websocket_frame.hpp"
#include "http/websocket_output.hpp"

namespace fibrio::http::detail {

class WebSocketImpl final : public ShutdownListener {
 public:
  WebSocketImpl(ByteStream& stream, WebSocket::Role role, WebSocketOptions options, std::string chosen,
                std::unique_ptr<ByteStream> owned);
  ~WebSocketImpl();
  WebSocketImpl(const WebSocketImpl&) = delete;
  WebSocketImpl& operator=(const WebSocketImpl&) = delete;

  std::optional<WebSocketMessage> receive();
  void send(Opcode opcode, std::string_view payload);
  void close(std::uint16_t code, std::string_view reason);
  void try_say_goodbye(std::uint16_t code) noexcept { output_.request_close(code); }
  void on_shutdown() noexcept override;
  [[nodiscard]] bool has_begun_close() const noexcept { return output_.has_begun_close(); }

  const std::string protocol;
  std::atomic<std::uint16_t> close_code{1006};  // relaxed: alone
  std::string close_reason;

 private:
  class Use;
  class Reading;
  class Waking;

  template <class Body>
  std::optional<WebSocketMessage> until_woken(TimePoint end, Body&& body);
  std::optional<WebSocketMessage> next_message(TimePoint end);
  bool pass_message(bool has_receiver, TimePoint end);
  std::optional<WebSocketMessage> read_message(TimePoint end);
  bool begin_frame();
  void take_payload();
  WebSocketMessage finish_message();
  bool finish_control(Opcode opcode);
  void answer_close(std::uint16_t code);
  void break_off(std::uint16_t code);
  bool send_last_close(std::uint16_t code, TimePoint end);
  void linger(TimePoint end);

  void fill(TimePoint end);
  TimePoint next_look(TimePoint now, std::optional<WebSocketError>& overdue);
  TimePoint beat(TimePoint now, std::optional<WebSocketError>& overdue);
  [[nodiscard]] bool has_heartbeat() const { return options_.heartbeat > Duration::zero(); }

  const std::unique_ptr<ByteStream> owned_;  // or nothing
  ByteStream& stream_;
  const WebSocket::Role role_;
  const WebSocketOptions options_;
  WebSocketOutput output_;

  Lock receiver_lock_;  // in receive(): one task at most
  Lock read_lock_;      // what follows is with it
  InputBuffer input_;
  std::optional<FrameHeader> frame_;
  std::uint64_t left_ = 0;  // of the frame's payload
  WebSocketMessage message_;
  std::string control_;
  bool is_in_message_ = false;
  bool has_received_close_ = false;        // or nothing more will come
  std::optional<WebSocketError> failure_;  // the peer's, which receive() has not thrown yet
  bool is_breaking_off_ = false;           // our close has gone, or is to go, to a peer that may still send
  std::list<WebSocketMessage> kept_;       // by close(), for a receiver that was there when it began
  std::size_t kept_bytes_ = 0;             // of all that close() has read, up to max_message_bytes are kept
  bool has_passed_over_ = false;           // close() has dropped a message
  bool is_closing_ = false;                // it is close() that reads

  // Points in time, moved on by the time that nobody reads in.
  std::optional<TimePoint> quiet_since_;    // when the peer last showed that it is there; with a heartbeat
  std::optional<TimePoint> ping_tried_at_;  // since then
  bool has_pinged_ = false;                 // since then
  bool is_alive_ = false;                   // it has shown that since the last look
  std::uint64_t sent_seen_ = 0;
  std::optional<TimePoint> message_since_;  // when an unfinished message first had to be waited for
  std::optional<TimePoint> left_at_;        // by the last one that read
  int late_reads_ = 0;

  std::mutex wake_mutex_;  // for the Timeouts, and leave_end_; held over reschedule() alone
  Timeout* receiving_ = nullptr;
  Timeout* closing_ = nullptr;
  TimePoint leave_end_;
  std::atomic<bool> is_leaving_{false};  // the server's shutdown has begun; release: after leave_end_

  // close() or the destructor has ended it; release: receive() reads it behind its error.
  std::atomic<bool> is_over_{false};
  std::atomic<std::size_t> users_{1};  // in calls, and the owner; release in leaving, acquire in the last one
  Event last_user_left_;
};

}  // namespace fibrio::http::detail
