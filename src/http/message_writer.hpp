// What: where a stream writes the body of a message: in chunks, or of a length that was said before.
// Threads: one task at a time.
// Invariant: the message is broken from before a write begins until all of its bytes are on their way: a write
//   that is left in the middle, by a cancel, a timeout or an error, leaves it so for good. A broken message takes
//   nothing more, so no byte is sent twice and nothing follows the gap; its connection is to be cut off.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "fibrio/byte_stream.hpp"
#include "fibrio/http/message.hpp"

namespace fibrio::http::detail {

class MessageWriter final : public BodyWriter {
 public:
  MessageWriter(ByteStream& stream, std::optional<std::uint64_t> length) : stream_(stream), left_(length) {}

  void write(std::span<const std::byte> data) override {
    check_whole();
    if (data.empty()) return;
    if (left_) {
      if (data.size() > *left_) throw std::length_error("http: a stream wrote more than its stream_length");
      *left_ -= data.size();
    } else {
      char digits[16];
      buffer_.append(digits, std::to_chars(digits, digits + sizeof digits, data.size(), 16).ptr)
          .append("\r\n");
    }
    buffer_.append(reinterpret_cast<const char*>(data.data()), data.size());
    if (!left_) buffer_ += "\r\n";
    if (buffer_.size() >= kSendAt) flush();
  }
  using BodyWriter::write;
  void flush() override {
    check_whole();
    if (buffer_.empty()) return;
    send(std::as_bytes(std::span(buffer_)));
    buffer_.clear();
  }
  // Sends a body of the length that was said from where it lies.
  void write_now(std::string_view body) {
    check_whole();
    send(std::as_bytes(std::span(body)));
    left_ = left_.value_or(0) - body.size();
  }
  void finish() {
    check_whole();
    if (left_ && *left_ > 0) throw std::length_error("http: a stream wrote less than its stream_length");
    if (!left_) buffer_ += "0\r\n\r\n";
    flush();
  }
  // The connection failed under a write.
  [[nodiscard]] bool has_failed() const { return has_failed_; }

 private:
  // Pieces are sent when this many bytes have come together.
  static constexpr std::size_t kSendAt = 16 * 1024;

  void send(std::span<const std::byte> data) {
    is_broken_ = true;
    try {
      stream_.write_all(data);
    } catch (const std::system_error&) {
      has_failed_ = true;
      throw;
    }
    is_broken_ = false;
  }

  void check_whole() const {
    if (!is_broken_) return;
    throw std::system_error(std::make_error_code(std::errc::connection_aborted),
                            "http: a write of this body was left in its middle; nothing can follow");
  }

  ByteStream& stream_;
  std::optional<std::uint64_t> left_;  // none: chunks
  std::string buffer_;
  bool is_broken_ = false;
  bool has_failed_ = false;
};

}  // namespace fibrio::http::detail
