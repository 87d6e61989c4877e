// What: answers, written by hand into one buffer per connection: pipelined ones leave in one system call.
// Threads: its connection's task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fibrio/http/message.hpp"

namespace fibrio::http {

// Whether a handler may answer with its status.
[[nodiscard]] inline bool is_final(const Response& response) {
  return (response.status >= 200 && response.status <= 999) || (response.status == 101 && response.upgrade);
}

class ResponseWriter {
 public:
  enum class Framing {
    kLength,     // Content-Length: what begin() is told
    kChunked,    // chunks
    kUntilClose  // to the end of the connection; also what has no body by definition
  };
  struct Style {
    Framing framing = Framing::kLength;
    int version = 11;
    bool keep_alive = true;
  };

  // Appends a header.
  void begin(const Response& response, Style style, std::uint64_t length, std::int64_t unix_time);
  void append(std::string_view bytes) { buffer_.append(bytes); }
  // Appends a chunk's size line for `size` bytes; kChunkEnd goes behind them.
  void append_chunk_head(std::size_t size);
  static constexpr std::string_view kChunkEnd = "\r\n";
  static constexpr std::string_view kLastChunk = "0\r\n\r\n";
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

  [[nodiscard]] std::string_view data() const { return buffer_.view(); }
  [[nodiscard]] bool empty() const { return buffer_.size() == 0; }
  void clear() { buffer_.clear(); }

  // A body from this size on is sent from where it lies, not copied.
  static constexpr std::size_t kLargeBody = 16 * 1024;
  // Answers are sent at the latest when this many bytes have come together.
  static constexpr std::size_t kHighWater = 64 * 1024;
  [[nodiscard]] bool is_full() const { return buffer_.size() >= kHighWater; }

 private:
  detail::Text buffer_;
  std::string date_;  // "Date: ...\r\n", made anew once a second
  std::int64_t date_time_ = -1;
};

}  // namespace fibrio::http
