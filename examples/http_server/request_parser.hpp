// From bytes to requests, with Boost.Beast's incremental parser: it gets bytes and calls back, and knows
// nothing of sockets. We keep the fields we need and no others, so that a request costs no allocation.
//
// Stricter than Beast where leniency lets two servers disagree about where a request ends (request
// smuggling): a Transfer-Encoding other than "chunked", one in an HTTP/1.0 request, and more than one Host
// are refused.
#pragma once

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <optional>
#include <span>
#include <utility>

#include "request.hpp"

namespace http_server {

class RequestParser {
 public:
  struct Limits {
    std::size_t header_bytes;
    std::size_t body_bytes;
  };
  enum class Progress { kNeedMore, kComplete, kFailed };

  explicit RequestParser(Limits limits) : limits_(limits) { reset(); }

  // Reads from `input` up to the end of one request at most; `used` says how many bytes are done with.
  // What is not used must be there again, in front of more, in the next call.
  Progress feed(std::span<const char> input, std::size_t& used) {
    used = 0;
    // One empty line before a request is forgiven (RFC 9112, 2.2).
    if (!is_started() && !input.empty() && input[0] == '\r') {
      if (input.size() == 1) return Progress::kNeedMore;
      if (input[1] == '\n') used = 2;
      had_empty_line_ = true;
    }
    const std::span<const char> rest = input.subspan(used);
    if (rest.empty()) return Progress::kNeedMore;
    // Built with assertions, Beast asserts that what follows a last chunk's size line comes with that line and
    // one byte more at least. Nothing is lost by waiting: the shortest end of a chunked body has five bytes.
    if (parser_->is_header_done() && parser_->chunked() && rest.size() < kShortestEnd)
      return Progress::kNeedMore;

    boost::beast::error_code error;
    const std::size_t count = parser_->put(boost::asio::const_buffer(rest.data(), rest.size()), error);
    used += count;
    if (error && error != Error::need_more) return fail(error);
    if (!parser_->is_header_done() && parser_->header_bytes() + rest.size() - count > limits_.header_bytes) {
      return fail(Error::header_limit);  // Beast's own limit starts anew with each line
    }
    if (!parser_->is_done()) return Progress::kNeedMore;
    request_.keep_alive = parser_->keep_alive();
    return Progress::kComplete;
  }

  // Makes ready for the next request; the last one is gone then.
  void reset() {
    request_.target.clear();
    request_.body.clear();
    if (request_.body.capacity() > kKeptBody) request_.body.shrink_to_fit();
    status_ = 400;
    had_empty_line_ = false;
    parser_.emplace(*this);
  }

  [[nodiscard]] const Request& request() const { return request_; }
  // True once a byte of the current request was used.
  [[nodiscard]] bool is_started() const { return had_empty_line_ || parser_->got_some(); }
  [[nodiscard]] bool is_header_done() const { return parser_->is_header_done(); }
  // What to answer after kFailed.
  [[nodiscard]] unsigned failure_status() const { return status_; }
  // True, once, when the client waits for "100 Continue" before it sends the body.
  [[nodiscard]] bool take_expects_continue() {
    return parser_->is_header_done() && std::exchange(parser_->expects_continue, false);
  }

 private:
  static constexpr std::size_t kShortestEnd = sizeof("0\r\n\r\n") - 1;
  static constexpr int kMaxFields = 100;               // as Apache
  static constexpr std::size_t kKeptBody = 64 * 1024;  // memory of a larger body is given back

  using Error = boost::beast::http::error;
  using Field = boost::beast::http::field;
  using ErrorCode = boost::beast::error_code;
  using View = boost::beast::string_view;

  // Called back by Beast.
  class Callbacks final : public boost::beast::http::basic_parser<true> {
   public:
    explicit Callbacks(RequestParser& owner) : owner_(owner) {
      header_limit(static_cast<std::uint32_t>(owner.limits_.header_bytes));
      body_limit(owner.limits_.body_bytes);
      eager(true);  // header and body in one call
    }
    [[nodiscard]] std::size_t header_bytes() const { return header_bytes_; }
    bool expects_continue = false;

   private:
    void on_request_impl(Method method, View, View target, int version, ErrorCode&) override {
      header_bytes_ += target.size() + sizeof("GET  HTTP/1.1\r\n");
      Request& request = owner_.request_;
      request.method = method;
      request.version = version;
      if (target.starts_with("http://")) {  // absolute form, as to a proxy: the path is what counts
        const std::size_t slash = target.find('/', 7);
        target = slash == View::npos ? View("/") : target.substr(slash);
      }
      request.target.assign(target.data(), target.size());
    }

    void on_response_impl(int, View, int, ErrorCode&) override {}  // never called for requests

    void on_field_impl(Field field, View name, View value, ErrorCode& error) override {
      header_bytes_ += name.size() + value.size() + sizeof(": \r\n");
      if (++fields_ > kMaxFields || header_bytes_ > owner_.limits_.header_bytes) return refuse(431, error);
      if (is_header_done()) return;  // a trailer
      switch (field) {
        case Field::host:
          if (has_host_) return refuse(400, error);
          has_host_ = true;
          break;
        case Field::transfer_encoding:
          if (owner_.request_.version < 11) return refuse(400, error);
          if (!boost::beast::iequals(value, "chunked")) return refuse(501, error);
          break;
        case Field::expect:
          if (!boost::beast::iequals(value, "100-continue")) return refuse(417, error);
          expects_continue = owner_.request_.version >= 11;
          break;
        default:
          break;
      }
    }

    void on_header_impl(ErrorCode& error) override {
      if (!has_host_ && owner_.request_.version >= 11) refuse(400, error);
    }

    void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
    std::size_t on_body_impl(View piece, ErrorCode&) override {
      owner_.request_.body.append(piece.data(), piece.size());
      return piece.size();
    }
    void on_chunk_header_impl(std::uint64_t, View, ErrorCode&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, View piece, ErrorCode&) override {
      owner_.request_.body.append(piece.data(), piece.size());
      return piece.size();
    }
    void on_finish_impl(ErrorCode&) override {}

    void refuse(unsigned status, ErrorCode& error) {
      owner_.status_ = status;
      error = Error::bad_field;
    }

    RequestParser& owner_;
    int fields_ = 0;
    bool has_host_ = false;
    std::size_t header_bytes_ = 0;
  };

  Progress fail(const ErrorCode& error) {
    if (error == Error::header_limit) status_ = 431;
    if (error == Error::body_limit) status_ = 413;
    return Progress::kFailed;
  }

  Limits limits_;
  Request request_;
  unsigned status_ = 400;
  bool had_empty_line_ = false;
  std::optional<Callbacks> parser_;
};

}  // namespace http_server
