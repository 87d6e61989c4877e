// What: from bytes to responses, line by line, written by hand. Strict, or lenient as RFC 9112 asks of a client and
//   as curl reads: folded fields, blanks before the colon and after a chunk's size, bare LF, HTTP/1.2, equal lengths
//   said twice, both a length and chunks, chunks in HTTP/1.0.
// Threads: its connection's task.
// Protocol: 1. read_header() until is_header_done(). 2. take() until is_done(); put_eof() at the end of the
//   connection. After a failure() nothing more is called.
// Invariant: fields() is what text() of Fields promises, whatever came: one line per field, a name that is a token, a
//   value without control characters. What could be understood in two ways is not kept alive.
// Rejected: Boost.Beast's parser, which the requests have: what it refuses cannot be read through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fibrio/http/fields.hpp"

namespace fibrio::http {

class ResponseParser {
 public:
  ResponseParser(std::size_t max_header_bytes, bool is_head, bool is_lenient = true)
      : max_header_bytes_(max_header_bytes), is_head_(is_head), is_lenient_(is_lenient) {}

  // What follows "the answer" in the text of an error.
  static constexpr const char* kHeaderTooLarge = "'s header is longer than max_header_bytes";

  // Reads a header. False: it failed. What is not used must be there again, in front of more.
  bool read_header(std::span<const char> input, std::size_t& used);
  [[nodiscard]] bool is_header_done() const { return state_ > State::kFields; }
  // Moves body bytes to `target`, of at least one byte, until it is full, the input is used up or the body ends.
  // Returns how many; `used` says how much of the input is done with. What is not used must be there again, in
  // front of more.
  std::size_t take(std::span<const char> input, std::size_t& used, std::span<std::byte> target);
  // The connection has ended. False: the body has not.
  bool put_eof();
  [[nodiscard]] bool need_eof() const { return state_ == State::kUntilClose; }
  [[nodiscard]] bool is_done() const { return state_ == State::kDone; }

  // What was wrong; null if nothing was.
  [[nodiscard]] const char* failure() const { return failure_; }

  // Whether another answer may follow this one.
  [[nodiscard]] bool keep_alive() const;
  [[nodiscard]] unsigned status() const { return status_; }
  [[nodiscard]] const Fields& fields() const { return fields_; }
  [[nodiscard]] bool sets_cookies() const { return sets_cookies_; }

 private:
  enum class State {
    kStatusLine,
    kFields,
    kLength,      // left_ bytes
    kUntilClose,  // all that comes
    kChunkSize,
    kChunkData,  // left_ bytes
    kChunkEnd,   // the line end behind them
    kTrailer,
    kDone
  };

  // Takes a line off the input, without its end. Nothing: it has not come whole, or failed with `what`.
  std::optional<std::string_view> take_line(std::string_view& rest, const char* what);
  bool fail(const char* why);
  bool read_status_line(std::string_view line);
  bool add_line(std::string_view line);
  bool add_field();
  bool add_length(std::string_view value);
  bool add_coding(std::string_view value);
  bool end_header();
  bool read_chunk_size(std::string_view line);
  bool read_trailer(std::string_view line);
  // Reads what is between the pieces of a body. False: more is needed, or it failed.
  bool read_framing(std::string_view& rest);

  const std::size_t max_header_bytes_;
  const bool is_head_;
  const bool is_lenient_;
  State state_ = State::kStatusLine;
  Fields fields_;
  std::string field_;  // the last one, which may go on in the next line: "name: value"
  std::size_t name_size_ = 0;
  std::size_t header_bytes_ = 0;  // of lines, trailers and extensions too
  std::size_t count_ = 0;
  unsigned status_ = 0;
  int version_ = 11;
  std::optional<std::uint64_t> length_;
  std::uint64_t left_ = 0;
  bool is_chunked_ = false;
  bool is_ambiguous_ = false;
  bool has_bare_end_ = false;  // the last line taken ended with a bare LF
  bool sets_cookies_ = false;
  const char* failure_ = nullptr;
};

}  // namespace fibrio::http
