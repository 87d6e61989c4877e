// What: the part of Boost.Beast's incremental parser that requests and responses share: bodies, plain or in
//   chunks, are taken out piece by piece, as much at a time as the reader has room for.
// Threads: its connection's task.
// Protocol: 1. put() header bytes until is_header_done(). 2. take() until is_done().
#pragma once

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "fibrio/http/fields.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace beast_http = boost::beast::http;

template <bool kIsRequest>
class BodyParser : public beast_http::basic_parser<kIsRequest> {
 public:
  using Base = beast_http::basic_parser<kIsRequest>;
  using Error = beast_http::error;
  using ErrorCode = boost::beast::error_code;
  using View = boost::beast::string_view;

  // put(), remembering what it reads.
  std::size_t feed(std::span<const char> input, ErrorCode& error) {
    input_ = input;
    return this->put(boost::asio::const_buffer(input.data(), input.size()), error);
  }

  // The same for a header; appends the fields that were complete to `fields`, as they came.
  std::size_t feed_header(std::span<const char> input, Fields& fields, ErrorCode& error) {
    fields_begin_ = input.data();
    const std::size_t count = feed(input, error);
    const char* end = input.data() + count;
    if (this->is_header_done()) end -= sizeof("\r\n") - 1;  // the empty line behind them
    if (end > fields_begin_) fields.add_parsed({fields_begin_, end});
    return count;
  }

  // Moves body bytes from `input` to `target` until one of them is used up, or the body ends. `target` may be
  // the same memory as `input`; without one the body is dropped. Returns how many were moved; `used` says how
  // much of the input is done with. What is not used must be there again, in front of more, in the next call.
  std::size_t take(std::span<const char> input, std::size_t& used, std::span<std::byte> target,
                   ErrorCode& error) {
    target_ = target;
    filled_ = 0;
    used = 0;
    error = {};
    while (!error && !this->is_done()) {
      const std::span<const char> rest = input.subspan(used);
      // Built with assertions, Beast asserts that what follows a last chunk's size line comes with that line
      // and one byte more at least. Nothing is lost by waiting: the shortest end has five bytes.
      if (rest.empty() || (this->chunked() && !in_chunk_ && rest.size() < kShortestEnd)) break;
      if (!target_.empty() && filled_ == target_.size()) break;
      used += feed(rest, error);
    }
    if (error == Error::need_more) error = {};
    if (this->chunked()) check_chunks(used, error);
    return filled_;
  }

  // False: `rest`, which take() has left, is no prefix of what may follow a chunk, whatever is still to come. (take()
  // waits for whole lines.)
  [[nodiscard]] bool may_go_on(std::span<const char> rest) const {
    if (!this->chunked() || in_chunk_) return true;
    if (!target_.empty() && filled_ == target_.size())
      return true;  // it holds more than what take() looked at
    std::string_view text(rest.data(), rest.size());
    if (has_bare_line_end(text)) return false;
    if (is_last_chunk_) return true;
    if (has_chunk_) {
      if (text.size() < 2) return text.empty() || text == "\r";
      if (!text.starts_with("\r\n")) return false;
      text.remove_prefix(2);
    }
    if (text.empty()) return true;
    const std::size_t end = std::min(text.find_first_not_of("0123456789abcdefABCDEF"), text.size());
    const std::size_t zeros = std::min(text.find_first_not_of('0'), end);
    if (end == 0 || end - zeros > kMaxSizeDigits) return false;
    return end == text.size() || std::string_view("\r; \t").find(text[end]) != std::string_view::npos;
  }

 protected:
  // To be called for the first line of a header, which ends there: the fields begin behind it.
  void set_first_line_end(const char* end) { fields_begin_ = end; }

  // True if the field was folded over several lines: obsolete, and a way to hide one.
  [[nodiscard]] bool is_folded(View name, View value) const {
    const char* const end = name.data() + name.size();
    // Beast puts the pieces together elsewhere; if the first ones were empty, it skips their line ends.
    const std::less<const char*> before;
    if (before(value.data(), end) || before(input_.data() + input_.size(), value.data())) return true;
    return std::find(end, value.data(), '\r') != value.data();
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) final {}
  std::size_t on_body_impl(View piece, ErrorCode&) final { return move(piece); }
  void on_chunk_header_impl(std::uint64_t size, View extension, ErrorCode& error) final {
    in_chunk_ = size > 0;
    has_chunk_ = has_chunk_ || in_chunk_;
    is_last_chunk_ = !in_chunk_;
    // Beast takes any character within quotes; a line end there is one for other servers.
    if (!is_field_text({extension.data(), extension.size()})) error = Error::bad_chunk_extension;
  }
  std::size_t on_chunk_body_impl(std::uint64_t left, View piece, ErrorCode&) final {
    const std::size_t count = move(piece);
    in_chunk_ = left > count;
    return count;
  }
  void on_finish_impl(ErrorCode&) final {}

 private:
  // Of extensions, zeros before sizes, trailers: together, and more for each byte of the body.
  static constexpr std::uint64_t kMaxFraming = 16 * 1024;
  static constexpr std::uint64_t kMaxFramingPerByte = 16;
  static constexpr std::size_t kShortestEnd = sizeof("0\r\n\r\n") - 1;
  static constexpr std::size_t kMaxSizeDigits = 16;  // of 64 bits

  // What is in the way of chunks may be no large multiple of what is in them.
  void check_chunks(std::size_t used, ErrorCode& error) {
    body_bytes_ += filled_;
    framing_bytes_ += used - filled_;
    if (error) return;
    if (framing_bytes_ > kMaxFraming + kMaxFramingPerByte * body_bytes_) {
      error = Error::bad_chunk_extension;
    }
  }
  std::size_t move(View piece) {
    if (target_.empty()) {
      filled_ += piece.size();
      return piece.size();
    }
    const std::size_t count = std::min(piece.size(), target_.size() - filled_);
    std::byte* const place = target_.data() + filled_;
    if (static_cast<const void*>(place) != piece.data()) std::memcpy(place, piece.data(), count);
    filled_ += count;
    return count;
  }

  std::span<const char> input_;
  const char* fields_begin_ = nullptr;
  std::span<std::byte> target_;
  std::size_t filled_ = 0;
  bool in_chunk_ = false;
  bool has_chunk_ = false;           // a line end belongs before the next size
  bool is_last_chunk_ = false;       // what follows are trailers
  std::uint64_t body_bytes_ = 0;     // of a body in chunks
  std::uint64_t framing_bytes_ = 0;  // of what is between its bytes
};

}  // namespace fibrio::http
