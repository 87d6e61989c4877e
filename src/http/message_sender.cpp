#include "http/message_sender.hpp"

#include <charconv>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/errors.hpp"

namespace fibrio::http {

namespace {

constexpr std::string_view kChunkEnd = "\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

std::string_view text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

void MessageSender::require_whole() {
  if (!is_broken()) return;
  state_ = State::kGone;
  throw std::system_error(
      std::make_error_code(std::errc::connection_aborted),
      "http: the message is broken: an earlier write of it failed or was left in the middle");
}

void MessageSender::require_body() {
  require_whole();
  if (state_ != State::kBody) throw RuntimeError("http: the body is complete: nothing can be written to it");
}

void MessageSender::take_length(std::uint64_t count) {
  if (framing_ != Framing::kLength) return;
  if (count > left_) throw std::length_error("http: a stream wrote more than its stream_length");
  left_ -= count;
}

// Calls what sends. Broken before it begins, and also if the exception is one that its caller may handle.
template <class Send>
auto MessageSender::send(Send&& send) {
  const State before = std::exchange(state_, State::kBroken);
  on_sending();
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Send>>) {
      send();
      state_ = before;
      on_sent();
    } else {
      const auto result = send();
      state_ = before;
      on_sent();
      return result;
    }
  } catch (const std::system_error& error) {
    // What cannot be read, or is no file, is the affair of who wanted it sent.
    if (error.code() != std::errc::io_error && error.code() != std::errc::bad_file_descriptor) {
      state_ = State::kGone;
    }
    throw;
  }
}

// Sends what was collected, and then `more`.
void MessageSender::send_with(std::span<const std::byte> more) {
  send([this, more] {
    const auto first = std::as_bytes(std::span(buffer_.view()));
    more.empty() ? stream_.write_all(first) : stream_.write_all(first, more);
    buffer_.clear();
  });
}

void MessageSender::flush_used() {
  require_whole();
  if (buffer_.size() > 0) send_with({});
}

void MessageSender::put_large_body(std::string_view bytes) {
  require_whole();
  send_with(std::as_bytes(std::span(bytes)));
}

void MessageSender::begin_body(Framing framing, std::uint64_t length) {
  state_ = State::kBody;
  framing_ = framing;
  left_ = length;
}

bool MessageSender::finish_body() {
  if (is_broken()) return false;
  if (framing_ == Framing::kLength && left_ > 0) {
    throw std::length_error("http: a stream wrote less than its stream_length");
  }
  if (framing_ == Framing::kChunked) put(kLastChunk);
  state_ = State::kBetween;
  return true;
}

void MessageSender::write(std::span<const std::byte> data) {
  require_body();
  if (data.empty()) return;
  take_length(data.size());
  const bool is_chunked = framing_ == Framing::kChunked;
  state_ = State::kBroken;
  if (is_chunked) {
    char line[18];
    char* const end = std::to_chars(line, line + 16, data.size(), 16).ptr;
    end[0] = '\r';
    end[1] = '\n';
    buffer_.append({line, end + 2});
  }
  if (data.size() >= kLargeBody) {
    send_with(data);
  } else {
    buffer_.append(text_of(data));
  }
  if (is_chunked) buffer_.append(kChunkEnd);
  state_ = State::kBody;
  if (buffer_.size() >= kLargeBody) send_with({});
}

std::uint64_t MessageSender::send_file(int file, std::uint64_t offset, std::uint64_t count) {
  require_body();
  // Chunks, and streams that could only copy and would wait for the disk meanwhile.
  if (framing_ == Framing::kChunked || !can_send_files()) return BodyWriter::send_file(file, offset, count);
  if (framing_ == Framing::kLength && count > left_) {
    throw std::length_error("http: a stream wrote more than its stream_length");
  }
  flush();
  const std::uint64_t sent = send([&] { return stream_.send_file(file, offset, count); });
  if (framing_ == Framing::kLength) left_ -= sent;
  return sent;
}

}  // namespace fibrio::http
