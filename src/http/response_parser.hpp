// What: from bytes to responses, with Boost.Beast's parser; as strict as the parser of requests.
// Threads: its connection's task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
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

  // Reads a header. False: it failed. What is not used must be there again, in front of more.
  bool read_header(std::span<const char> input, std::size_t& used) {
    used = 0;
    if (input.empty()) return true;
    ErrorCode error;
    used = feed_header(input, fields_, error);
    if (error && error != Error::need_more) return false;
    return is_header_done() || header_bytes_ + input.size() - used <= max_header_bytes_;
  }

  [[nodiscard]] unsigned status() const { return status_; }
  [[nodiscard]] const Fields& fields() const { return fields_; }

 private:
  static constexpr std::size_t kMaxFields = 500;

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
    bool is_bad = ++count_ > kMaxFields || header_bytes_ > max_header_bytes_ || is_folded(name, value);
    if (field == beast_http::field::content_length && !is_header_done()) {
      is_bad = is_bad || std::exchange(has_length_, true) || !parse_number(text);
    } else if (field == beast_http::field::transfer_encoding && !is_header_done()) {
      is_bad = is_bad || version_ < 11 || !equals_without_case(text, "chunked");
    }
    if (is_bad) error = Error::bad_field;
  }

  void on_header_impl(ErrorCode&) override {}

  const std::size_t max_header_bytes_;
  Fields fields_;
  std::size_t header_bytes_ = 0;
  std::size_t count_ = 0;
  unsigned status_ = 0;
  int version_ = 11;
  bool has_length_ = false;
};

}  // namespace fibrio::http
