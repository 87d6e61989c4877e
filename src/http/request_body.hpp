// What: the body of a request, read by its handler straight from the connection.
// Threads: the handler's task, or one it hands the request to meanwhile.
//
// Invariant: bytes leave the input only as far as the parser has used them, and a wait that is cancelled has
//   read nothing. So a read that ends early, by whatever exception, leaves a body that can be read on, or
//   dropped; is_bad() says that it is neither, and then the bytes behind it are nobody's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "http/connection_table.hpp"
#include "http/input_buffer.hpp"
#include "http/message_sender.hpp"
#include "http/request_parser.hpp"

namespace fibrio::http {

class RequestBody final : public detail::BodySource {
 public:
  // All of them outlive it.
  RequestBody(ByteStream& stream, InputBuffer& input, RequestParser& parser, MessageSender& sender,
              ConnectionTable::Entry& entry)
      : stream_(stream), input_(input), parser_(parser), sender_(sender), entry_(entry) {}

  // Before each request.
  void begin() { deadline_ = 0; }

  std::size_t read_body(std::span<std::byte> buffer) override;
  [[nodiscard]] const ByteStream& stream() const noexcept override { return stream_; }

  // Asks for a body that the client holds back until it reads "100 Continue": now, or never.
  void ask_for_it();
  // Drops what the handler left of it. False if that fails, is too much, or would wait for a client that waits
  // for us.
  [[nodiscard]] bool drop(bool may_wait);

  // Whether it was malformed, too large or too slow.
  [[nodiscard]] bool is_bad() const { return is_bad_; }
  // Whether the stream failed or ended: nobody is left to tell.
  [[nodiscard]] bool is_peer_gone() const { return is_peer_gone_; }

  // Reads more bytes of whatever message; 0: the end, also where the sweeper brought it about, which TLS calls
  // an error.
  std::size_t read_stream(std::span<std::byte> space);

 private:
  std::size_t take(std::span<std::byte> target);
  std::pair<std::size_t, std::size_t> parse(std::span<const char> input, std::span<std::byte> target);
  std::size_t receive(std::span<std::byte> space);
  [[noreturn]] void fail(unsigned status);

  ByteStream& stream_;
  InputBuffer& input_;
  RequestParser& parser_;
  MessageSender& sender_;
  ConnectionTable::Entry& entry_;
  std::uint64_t deadline_ = 0;  // a word of the entry; 0: not waited yet
  bool is_bad_ = false;
  bool is_peer_gone_ = false;
};

}  // namespace fibrio::http
