// What: one request and its response on one connection of a session.
// Threads: the task that has it. A body that is long or streamed is sent by a task of its own, the sender.
// Protocol: 1. send(). 2. receive_header(). 3. await_stream(). 4. read_body() until it returns 0: then the
//   connection goes back to the pool, if both sides may go on.
// Invariant: only a conversation that is whole goes on: its request was sent to the last byte, its answer read to
//   the last byte, and nothing is behind it. Everything else ends in break_off(), which cuts the connection.
//   1. Writing: MessageWriter is broken from before each write until its bytes are on their way.
//   2. Reading: an error breaks it off. A cancelled read_body loses nothing, and may be called again.
//   3. The user's stream runs in the sender. Whoever gives up on it cancels the sender and waits for its end,
//      masked, so that request() is never outlived by a callable that refers to its caller's frame.
//   4. What the user's stream throws is the exchange's failure: the sender aborts the connection, which wakes the
//      reader, which finds it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/session.hpp"
#include "http/connection_pool.hpp"
#include "http/input_buffer.hpp"
#include "http/response_parser.hpp"

namespace fibrio::http::detail {

class Exchange {
 public:
  Exchange(ConnectionPool::Lease lease, std::shared_ptr<const SessionOptions> options, Url url,
           std::optional<TimePoint> deadline);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void send(std::string_view method, std::shared_ptr<const RequestOptions> request, bool with_credentials);
  void receive_header();
  // Returns when the request's stream has ended; what comes of the answer meanwhile is kept. An answer that wants
  // no more of it (a status from 300 on, or a complete one) cancels it.
  void await_stream();
  std::size_t read_body(std::span<std::byte> buffer);
  // Drops what is there of the answer's body, without a wait for more.
  void drop_body();
  // Cuts the connection and ends the sender; later reads throw.
  void break_off() noexcept;
  std::unique_ptr<ByteStream> take_stream();

  [[nodiscard]] unsigned status() const { return parser_->status(); }
  [[nodiscard]] const Fields& fields() const { return parser_->fields(); }
  [[nodiscard]] const Url& url() const { return url_; }
  // True once a byte of the answer was there: then the request must not be repeated.
  [[nodiscard]] bool has_answer() const { return has_answer_; }
  [[nodiscard]] bool is_reused() const { return is_reused_; }
  // Throws a ClientError about the answer, and breaks off.
  [[noreturn]] void fail(const std::string& what);

  int redirects = 0;

 private:
  struct Outgoing;

  std::size_t receive(std::span<std::byte> space, bool is_limited = true);
  std::size_t read_parsed(std::span<std::byte> buffer, bool is_limited);
  void read_ahead();
  void finish();
  static void send_body(Outgoing& outgoing);
  [[nodiscard]] bool is_sending() const;
  void wait_for_sender(std::optional<Duration> limit);
  void stop_sender() noexcept;
  void throw_failure();

  std::optional<ConnectionPool::Lease> lease_;
  const bool is_reused_;
  const std::shared_ptr<const SessionOptions> options_;
  const Url url_;
  const std::optional<TimePoint> deadline_;
  InputBuffer input_;
  std::optional<ResponseParser> parser_;
  std::string ahead_;  // of the body, read while the request was sent
  std::size_t ahead_at_ = 0;
  bool is_head_ = false;
  bool has_answer_ = false;
  bool says_close_ = false;  // the request asked for the end of the connection
  bool is_broken_ = false;
  std::shared_ptr<Outgoing> outgoing_;
  Task<> sender_;  // none unless the body needs one
};

}  // namespace fibrio::http::detail
