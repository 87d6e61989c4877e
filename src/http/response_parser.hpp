// What: from bytes to responses, with Boost.Beast's parser; as strict as the parser of requests.
// Threads: its connection's task.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "fibrio/http/fields.hpp"
#include "http/body_parser.hpp"
#include "http/text.hpp"

namespace fibrio::http {

class ResponseParser final : public BodyParser<false> {
 public:
  ResponseParser(std::size_t max_header_bytes, bool is_head) : max_header_bytes_(max_header_bytes) {
    header_limit(static_cast<std::uint32_t>(max_header_bytes));
    body_limit(std::numeric_limits<std::uint64_t>::max());  // Boost 1.74 takes "none" for 0
    skip(is_head);
  }

  // What follows "the answer" in the text of an error.
  static constexpr const char* kHeaderTooLarge = "'s header is longer than max_header_bytes";

  // Reads a header. False: it failed. What is not used must be there again, in front of more.
  bool read_header(std::span<const char> input, std::size_t& used) {
    used = 0;
    if (!got_some() && is_bare_status_line(input)) {
      if (input.size() < kBareStatusLine.size()) return true;
      used = kBareStatusLine.size();
      std::string line(input.data(), used);
      line.insert(line.size() - 2, " ");
      ErrorCode error;
      feed_header(line, fields_, error);
    }
    const std::span<const char> rest = input.subspan(used);
    if (rest.empty()) return true;
    ErrorCode error;
    const std::size_t count = feed_header(rest, fields_, error);
    used += count;
    if (error && error != Error::need_more) {
      if (failure_ == nullptr) failure_ = describe_header(error);
      return false;
    }
    if (is_header_done() || header_bytes_ + rest.size() - count <= max_header_bytes_) return true;
    failure_ = kHeaderTooLarge;
    return false;
  }

  // What was wrong with the header, after read_header has returned false.
  [[nodiscard]] const char* failure() const { return failure_; }
  [[nodiscard]] static const char* describe_body(const ErrorCode& error) {
    if (error == Error::bad_chunk) return "'s body has a malformed chunk";
    if (error == Error::bad_chunk_extension) return "'s body has a malformed chunk extension";
    return "'s body has a malformed trailer";
  }

  [[nodiscard]] unsigned status() const { return status_; }
  [[nodiscard]] const Fields& fields() const { return fields_; }
  [[nodiscard]] bool sets_cookies() const { return sets_cookies_; }

 private:
  static constexpr std::size_t kMaxFields = 500;
  static constexpr std::string_view kBareStatusLine = "HTTP/1.1 200\r\n";

  // Whether it begins, or may go on to begin, with a status line without a reason and without the space
  // before it, as some servers send them: Beast wants the space.
  static bool is_bare_status_line(std::span<const char> input) {
    constexpr std::string_view kShape = "HTTP/1.# ###\r\n";
    const std::size_t size = std::min(input.size(), kShape.size());
    return std::equal(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size), kShape.begin(),
                      [](char c, char wanted) { return wanted == '#' ? c >= '0' && c <= '9' : c == wanted; });
  }

  const char* describe_header(const ErrorCode& error) const {
    if (error == Error::header_limit) return kHeaderTooLarge;
    if (error == Error::bad_version) return " does not begin as one of HTTP/1.1";
    if (error == Error::bad_status || error == Error::bad_reason) return " has a malformed status line";
    const bool is_length = error == Error::bad_content_length;
    if (is_length && has_length_) return " has more than one Content-Length";
    if ((is_length && chunked()) || (error == Error::bad_transfer_encoding && has_length_)) {
      return " has both Content-Length and Transfer-Encoding";
    }
    if (is_length) return " has a malformed Content-Length";
    if (error == Error::bad_transfer_encoding) return " has a malformed Transfer-Encoding";
    return " has a malformed field";
  }

  void on_request_impl(beast_http::verb, View, View, int, ErrorCode&) override {
  }  // never called for responses

  void on_response_impl(int status, View reason, int version, ErrorCode&) override {
    status_ = static_cast<unsigned>(status);
    version_ = version;
    header_bytes_ += reason.size() + sizeof("HTTP/1.1 200 \r\n");
    set_first_line_end(reason.end() + sizeof("\r\n") - 1);
  }

  void on_field_impl(beast_http::field field, View name, View value, ErrorCode& error) override {
    header_bytes_ += name.size() + value.size() + sizeof(": \r\n");
    const std::string_view text(value.data(), value.size());
    if (++count_ > kMaxFields) return refuse(" has more than 500 fields", error);
    if (header_bytes_ > max_header_bytes_) return refuse(kHeaderTooLarge, error);
    if (is_folded(name, value)) return refuse(" has a field over several lines", error);
    if (is_header_done()) return;  // a trailer
    if (field == beast_http::field::content_length) {
      if (std::exchange(has_length_, true)) return refuse(" has more than one Content-Length", error);
      if (!parse_number(text)) return refuse(" has a malformed Content-Length", error);
    } else if (field == beast_http::field::transfer_encoding) {
      if (version_ < 11) return refuse(" of HTTP/1.0 has a Transfer-Encoding", error);
      if (!equals_without_case(text, "chunked")) {
        return refuse(" has a Transfer-Encoding other than chunked", error);
      }
    } else if (field == beast_http::field::set_cookie) {
      sets_cookies_ = true;
    }
  }

  void refuse(const char* why, ErrorCode& error) {
    failure_ = why;
    error = Error::bad_field;
  }

  void on_header_impl(ErrorCode&) override {}

  const std::size_t max_header_bytes_;
  Fields fields_;
  std::size_t header_bytes_ = 0;
  std::size_t count_ = 0;
  unsigned status_ = 0;
  int version_ = 11;
  bool has_length_ = false;
  bool sets_cookies_ = false;
  const char* failure_ = nullptr;
};

}  // namespace fibrio::http
