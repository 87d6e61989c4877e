// What: sends messages of HTTP over a stream: their headers, which others write, and bodies by length, in chunks
//   or to the end of the connection. A server's answers and a client's requests are sent by it.
// Threads: its conversation's task, or the one that sends a body; one at a time.
//
// Invariant: a message is on its way as a whole, or the sender says that it is not.
//   1. What can stop in the middle (by cancel, timeout or exception) sets kBroken *before* it begins, and takes
//      that back when it is complete. Nothing but the end of such a call takes it back.
//   2. A broken sender sends nothing more, not a byte: write, flush and finish fail. What was collected may be on
//      its way in part, and nobody can say how far, so the conversation is cut off by its owner.
//   3. is_between() is the only state in which another message may begin.
// So no byte is sent twice, and nothing stands inside of a message that does not belong there, whatever the user's
// code does with what it catches.
//
// Rejected: remembering how much of a cut write was sent, and going on there: what the user's code writes next
//   does not know of the rest (a timeout says "not sent"), and TLS cannot say how much it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "fibrio/byte_stream.hpp"
#include "fibrio/http/fields.hpp"
#include "fibrio/http/message.hpp"

namespace fibrio::http {

class MessageSender : public BodyWriter {
 public:
  enum class Framing : std::uint8_t {
    kLength,     // Content-Length
    kChunked,    // chunks
    kUntilClose  // to the end of the connection
  };

  // `stream` outlives it.
  explicit MessageSender(ByteStream& stream) : stream_(stream) {}
  virtual ~MessageSender() = default;

  // --- its owner's -----------------------------------------------------------------------------------------

  // Where the headers of messages are written; sent by the next flush. Only while is_between().
  [[nodiscard]] detail::Text& text() { return buffer_; }
  // Appends a whole message or a whole body. Only while is_between().
  void put(std::string_view bytes) {
    const State before = std::exchange(state_, State::kBroken);
    buffer_.append(bytes);
    state_ = before;
  }
  // The same, of any size: a large one is sent at once, from where it lies.
  void put_body(std::string_view bytes) { bytes.size() < kLargeBody ? put(bytes) : put_large_body(bytes); }
  // The header that was written has a body, which write() writes. `length`: of one by its length.
  void begin_body(Framing framing, std::uint64_t length);
  // The body is complete. Throws: std::length_error if it is shorter than its length. False: it is broken.
  [[nodiscard]] bool finish_body();

  // Whether a message may begin: all that was begun before is complete (sent, or waiting for the next flush).
  [[nodiscard]] bool is_between() const { return state_ == State::kBetween; }
  // Whether a message was left in the middle: nothing more can be sent.
  [[nodiscard]] bool is_broken() const { return state_ >= State::kBroken; }
  // Whether that was the peer's affair, or was said to the user's code by an exception.
  [[nodiscard]] bool is_gone() const { return state_ == State::kGone; }
  [[nodiscard]] bool has_unsent() const { return buffer_.size() > 0; }
  // Whether so much has come together that it should be sent.
  [[nodiscard]] bool is_full() const { return buffer_.size() >= kHighWater; }

  // --- BodyWriter, for the user's code ---------------------------------------------------------------------

  using BodyWriter::write;
  void write(std::span<const std::byte> data) override;
  void flush() override {
    if (buffer_.size() > 0 || state_ != State::kBetween) flush_used();
  }
  std::uint64_t send_file(int file, std::uint64_t offset, std::uint64_t count) override;

 protected:
  // Around whatever may wait for the peer, for its owner's deadlines.
  virtual void on_sending() {}
  virtual void on_sent() {}
  // Whether the stream's own send_file is to be used.
  [[nodiscard]] virtual bool can_send_files() const { return false; }

 private:
  enum class State : std::uint8_t {
    kBetween,  // all messages are whole
    kBody,     // of a message whose header is there; more of the body is to come
    kBroken,   // something was begun and is not complete, now or for ever
    kGone      // the same, and nobody is left to tell
  };
  // A body from this size on is sent from where it lies, not copied.
  static constexpr std::size_t kLargeBody = 16 * 1024;
  // Messages are sent at the latest when this many bytes have come together.
  static constexpr std::size_t kHighWater = 64 * 1024;

  void put_large_body(std::string_view bytes);
  void flush_used();
  void require_whole();
  void require_body();
  void take_length(std::uint64_t count);
  void send_with(std::span<const std::byte> more);
  template <class Send>
  auto send(Send&& send);

  ByteStream& stream_;
  detail::Text buffer_;
  State state_ = State::kBetween;
  Framing framing_ = Framing::kLength;
  std::uint64_t left_ = 0;  // of a body by its length
};

}  // namespace fibrio::http
