// What: from bytes to requests, with Boost.Beast's parser: it gets bytes and calls back, and knows nothing of
//   sockets. Stricter than Beast where leniency lets two servers disagree about where a request ends or whom
//   it is for: see the checks of fields.
// Threads: its connection's task.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>

#include "http/body_parser.hpp"
#include "http/request_access.hpp"
#include "http/text.hpp"

namespace fibrio::http {

class RequestParser {
 public:
  struct Limits {
    std::size_t header_bytes;
    std::size_t fields;
    std::uint64_t body_bytes;
  };
  enum class Progress { kNeedMore, kDone, kFailed };

  RequestParser(Limits limits, Request& request) : limits_(limits), request_(request) { reset(); }

  // Reads a header into the request; `used` says how many bytes are done with.
  // What is not used must be there again, in front of more, in the next call.
  Progress read_header(std::span<const char> input, std::size_t& used) {
    used = 0;
    // A few empty lines before a request are forgiven (RFC 9112, 2.2).
    while (!is_started() && used < input.size() && input[used] == '\r' && empty_lines_ < kMaxEmptyLines) {
      if (input.size() - used == 1) return Progress::kNeedMore;
      if (input[used + 1] != '\n') break;
      used += 2;
      ++empty_lines_;
    }
    std::span<const char> rest = input.subspan(used);
    if (rest.empty()) return Progress::kNeedMore;
    Callbacks::ErrorCode error;
    std::size_t count = parser_->feed_header(rest, Access::fields(request_), error);
    if (error == Callbacks::Error::bad_version) {
      const std::size_t line = read_other_version({rest.data(), rest.size()}, error);
      used += line;
      rest = rest.subspan(line);
      if (!error && line > 0 && !rest.empty()) {
        count = parser_->feed_header(rest, Access::fields(request_), error);
      } else {
        count = 0;
      }
    }
    used += count;
    if (error && error != Callbacks::Error::need_more) {
      note_too_large({rest.data(), rest.size()});
      return fail(error);
    }
    if (parser_->is_header_done()) {
      if (!authority_.empty()) Access::fields(request_).set("Host", authority_);
      Access::keep_alive(request_) = parser_->keep_alive();
      Access::content_length(request_).reset();
      if (!parser_->chunked()) Access::content_length(request_) = parser_->content_length().value_or(0);
      return Progress::kDone;
    }
    // Beast's own limit starts anew with each line.
    const std::string_view line(rest.data() + count, rest.size() - count);
    if (parser_->header_bytes() + line.size() > limits_.header_bytes) {
      note_too_large(line);
      return fail(Callbacks::Error::header_limit);
    }
    return is_hopeless(line) ? Progress::kFailed : Progress::kNeedMore;
  }

  // Reads more of the body; no target: drops it. `count` says how many bytes of it there were.
  Progress read_body(std::span<const char> input, std::size_t& used, std::span<std::byte> target,
                     std::size_t& count) {
    Callbacks::ErrorCode error;
    count = parser_->take(input, used, target, error);
    if (error) return fail(error);
    if (parser_->is_done()) return Progress::kDone;
    return parser_->may_go_on(input.subspan(used)) ? Progress::kNeedMore : Progress::kFailed;
  }

  // What to answer when no more of a header fits into the input, of which this is what is there.
  [[nodiscard]] unsigned too_large_status(std::span<const char> input) {
    note_too_large({input.data(), input.size()});
    return too_large_;
  }

  // Makes ready for the next request; the last one is gone then.
  void reset() {
    Access::fields(request_).clear();
    Access::parameters(request_).clear();
    status_ = 400;
    too_large_ = 431;
    authority_.clear();
    empty_lines_ = 0;
    parser_.emplace(*this);
  }

  // True once a byte of the current request was used.
  [[nodiscard]] bool is_started() const { return parser_->got_some(); }
  [[nodiscard]] bool is_done() const { return parser_->is_done(); }
  // How much of a plain body is still to come; 0 for a chunked one.
  [[nodiscard]] std::uint64_t plain_rest() const {
    return parser_->chunked() ? 0 : parser_->content_length_remaining().value_or(0);
  }
  // What to answer after kFailed.
  [[nodiscard]] unsigned failure_status() const { return status_; }
  [[nodiscard]] bool expects_continue() const { return parser_->expects_continue; }
  // True, once, when the client waits for "100 Continue" before it sends the body.
  [[nodiscard]] bool take_expects_continue() { return std::exchange(parser_->expects_continue, false); }

 private:
  using Access = detail::RequestAccess;
  static constexpr int kMaxEmptyLines = 8;

  // Called back by Beast.
  class Callbacks final : public BodyParser<true> {
   public:
    explicit Callbacks(RequestParser& owner) : owner_(owner) {
      header_limit(static_cast<std::uint32_t>(owner.limits_.header_bytes));
      body_limit(owner.limits_.body_bytes);
    }
    [[nodiscard]] std::size_t header_bytes() const { return header_bytes_; }
    [[nodiscard]] bool has_request_line() const { return header_bytes_ > 0; }
    bool expects_continue = false;

   private:
    void on_request_impl(beast_http::verb, View method, View target, int version, ErrorCode& error) override {
      header_bytes_ += method.size() + target.size() + sizeof("  HTTP/1.1\r\n");
      set_first_line_end(target.end() + sizeof(" HTTP/1.1\r\n") - 1);
      Access::version(owner_.request_) = version;
      std::string& kept = Access::method(owner_.request_);  // the last one's, and most often the same
      if (const std::string_view text(method.data(), method.size()); text != kept) kept = text;
      std::string_view path(target.data(), target.size());
      if (!is_target(path)) return refuse(400, error);
      if (path.starts_with('/')) {
        Access::set_target(owner_.request_, path);
      } else {
        take_other_target(method, path, error);
      }
    }

    // Absolute form, as to a proxy, of which the path is what counts; "*"; the form of CONNECT.
    void take_other_target(View method, std::string_view text, ErrorCode& error) {
      if (method == "CONNECT") return refuse(501, error);
      for (const std::string_view scheme : {"http://", "https://"}) {
        if (!equals_without_case(text.substr(0, scheme.size()), scheme)) continue;
        text.remove_prefix(scheme.size());
        const std::size_t end = std::min(text.find_first_of("/?"), text.size());
        if (end == 0 || !is_host(text.substr(0, end))) return refuse(400, error);
        owner_.authority_ = text.substr(0, end);  // counts instead of the Host field (RFC 9112, 3.2.2)
        text.remove_prefix(end);
        return Access::set_target(owner_.request_, (text.starts_with('/') ? "" : "/") + std::string(text));
      }
      if (text != "*" || method != "OPTIONS") return refuse(400, error);
      Access::set_target(owner_.request_, text);
    }

    void on_response_impl(int, View, int, ErrorCode&) override {}  // never called for requests

    void on_field_impl(beast_http::field field, View name, View value, ErrorCode& error) override {
      header_bytes_ += name.size() + value.size() + sizeof(": \r\n");
      if (++fields_ > owner_.limits_.fields || header_bytes_ > owner_.limits_.header_bytes) {
        return refuse(431, error);
      }
      if (is_folded(name, value)) return refuse(400, error);
      if (is_header_done()) return;  // a trailer
      const std::string_view text(value.data(), value.size());
      using Field = beast_http::field;
      switch (field) {
        case Field::host:
          if (std::exchange(has_host_, true)) return refuse(400, error);
          if (text == owner_.good_host_) break;  // most connections have one
          if (!is_host(text)) return refuse(400, error);
          owner_.good_host_ = text;
          break;
        case Field::content_length:
          // The same length twice is what Beast takes, and one of two servers may take the other one.
          if (std::exchange(has_length_, true) || !parse_number(text)) return refuse(400, error);
          break;
        case Field::transfer_encoding:
          if (Access::version(owner_.request_) < 11) return refuse(400, error);
          if (!equals_without_case(text, "chunked")) return refuse(501, error);
          break;
        case Field::expect:
          if (!equals_without_case(text, "100-continue")) return refuse(417, error);
          expects_continue = Access::version(owner_.request_) >= 11;
          break;
        default:
          break;
      }
    }

    void on_header_impl(ErrorCode& error) override {
      if (!has_host_ && Access::version(owner_.request_) >= 11) refuse(400, error);
      if (is_done()) expects_continue = false;  // there is no body to wait for
    }

    void refuse(unsigned status, ErrorCode& error) {
      owner_.status_ = status;
      error = Error::bad_field;
    }

    RequestParser& owner_;
    std::size_t fields_ = 0;
    std::size_t header_bytes_ = 0;
    bool has_host_ = false;
    bool has_length_ = false;
  };

  // Reads a request line whose version Beast does not know, and returns its length. A later minor one is 1.1
  // to us (RFC 9110, 2.5): the line is read once more as if it said so.
  std::size_t read_other_version(std::string_view text, Callbacks::ErrorCode& error) {
    constexpr std::string_view kVersion = "HTTP/1.1\r\n";
    constexpr std::size_t kMajor = 5;
    constexpr std::size_t kMinor = 7;
    const std::size_t begin = text.find(' ', std::min(text.find(' '), text.size() - 1) + 1) + 1;
    const std::string_view version = text.substr(begin).substr(0, kVersion.size());
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (begin == 0 || version.size() <= kMinor || version.substr(0, kMajor) != kVersion.substr(0, kMajor) ||
        !is_digit(version[kMajor]) || version[kMajor + 1] != '.' || !is_digit(version[kMinor])) {
      return 0;
    }
    if (version[kMajor] > '1') status_ = 505;
    const std::string_view end = version.substr(kMinor + 1);
    if (version[kMajor] != '1' || !std::string_view("\r\n").starts_with(end)) return 0;
    parser_.emplace(*this);
    error = {};
    if (end.size() < 2) return 0;
    const std::string line = std::string(text.substr(0, begin)).append(kVersion);
    parser_->feed_header(line, Access::fields(request_), error);
    if (error == Callbacks::Error::need_more) error = {};
    return line.size();
  }

  // No more bytes make a request of it: Beast, which looks for the end of the header, waits for them all the same.
  [[nodiscard]] bool is_hopeless(std::string_view rest) const {
    if (has_bare_line_end(rest)) return true;
    const std::size_t end = rest.find('\r');
    if (parser_->has_request_line() || end == std::string_view::npos) return false;
    const std::string_view line = rest.substr(0, end);
    const std::size_t last = line.rfind(' ');
    return last == std::string_view::npos || line.find(' ') == last || !is_version(line.substr(last + 1));
  }
  static bool is_version(std::string_view text) {
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5]) && text[6] == '.' &&
           is_digit(text[7]);
  }

  // Of the first line the target is what is too long, once the method is there.
  void note_too_large(std::string_view line) {
    if (!parser_->has_request_line() && line.find(' ') != std::string_view::npos) too_large_ = 414;
  }

  Progress fail(const Callbacks::ErrorCode& error) {
    if (error == Callbacks::Error::header_limit) status_ = too_large_;
    if (error == Callbacks::Error::body_limit) status_ = 413;
    return Progress::kFailed;
  }

  const Limits limits_;
  Request& request_;
  unsigned status_ = 400;
  unsigned too_large_ = 431;
  std::string authority_;  // of a target in absolute form
  int empty_lines_ = 0;
  std::string good_host_;  // of a request before
  std::optional<Callbacks> parser_;
};

}  // namespace fibrio::http
