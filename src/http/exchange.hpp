// What: one request and its response on one connection of a session.
// Threads: the task that has it. A body that is long or streamed is sent by a task of its own; what that uses
//   it shares with the exchange, so that nobody has to wait for it.
// Protocol: 1. send(). 2. receive_header(). 3. read_body() until it returns 0: then the connection goes back
//   to the pool, if both sides may go on. An exchange that ends before closes its connection.
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
  std::size_t read_body(std::span<std::byte> buffer);
  std::unique_ptr<ByteStream> take_stream();

  [[nodiscard]] unsigned status() const { return parser_->status(); }
  [[nodiscard]] const Fields& fields() const { return parser_->fields(); }
  [[nodiscard]] const Url& url() const { return url_; }
  // True once a byte of the answer was there: then the request must not be repeated.
  [[nodiscard]] bool has_answer() const { return has_answer_; }
  [[nodiscard]] bool is_reused() const { return lease_->is_reused; }

  int redirects = 0;

 private:
  class Writer;
  struct Outgoing;

  [[noreturn]] void fail(const std::string& what) const;
  std::size_t receive(std::span<std::byte> space);
  void finish();
  static void send_body(Outgoing& outgoing);
  [[nodiscard]] bool is_sending() const;

  std::optional<ConnectionPool::Lease> lease_;
  const std::shared_ptr<const SessionOptions> options_;
  const Url url_;
  const std::optional<TimePoint> deadline_;
  InputBuffer input_;
  std::optional<ResponseParser> parser_;
  bool is_head_ = false;
  bool has_answer_ = false;
  std::shared_ptr<Outgoing> outgoing_;
  Task<> sender_;  // none unless the body needs one
};

}  // namespace fibrio::http::detail
