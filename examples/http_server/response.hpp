// Answers, written by hand into one buffer per connection: pipelined ones leave in one system call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace http_server {

struct Response {
  unsigned status = 200;
  std::string_view content_type = "text/plain";
  std::string_view allow;     // for 405
  std::string_view borrowed;  // a body that outlives the answer,
  std::string text;           // or one that was made for it

  [[nodiscard]] std::string_view body() const { return text.empty() ? borrowed : text; }
};

// A short answer that explains `status`.
Response make_error(unsigned status, std::string_view detail = {});

class ResponseWriter {
 public:
  struct Style {
    bool head_only = false;  // HEAD: all but the body
    int version = 11;
    bool keep_alive = true;
  };

  // Appends the header, and the body unless it is large: then it is left to the caller, and false is
  // returned.
  [[nodiscard]] bool append(const Response& response, Style style, std::int64_t unix_time);
  void append_continue() { buffer_ += "HTTP/1.1 100 Continue\r\n\r\n"; }

  [[nodiscard]] std::string_view data() const { return buffer_; }
  [[nodiscard]] bool empty() const { return buffer_.empty(); }
  void clear() { buffer_.clear(); }

  // A body from this size on is sent from where it lies, not copied.
  static constexpr std::size_t kLargeBody = 16 * 1024;
  // Answers are sent at the latest when this many bytes have come together.
  static constexpr std::size_t kHighWater = 64 * 1024;
  [[nodiscard]] bool is_full() const { return buffer_.size() >= kHighWater; }

 private:
  void set_date(std::int64_t unix_time);

  std::string buffer_;
  std::string date_;  // "Date: ...\r\n", made anew once a second
  std::int64_t date_time_ = -1;
};

}  // namespace http_server
