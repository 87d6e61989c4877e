// What: WebSockets: messages over frames, and the closing handshake.
// Threads: one task in receive(), any number in send(); see Protocol.
// Protocol: 1. `write_lock_` is held for whole frames, also for those that receive() sends (pongs, the answer
//   to a close); after our close nothing is sent. 2. `read_lock_` is held while one message is read. receive()
//   and close() take turns; whatever ends a receive(), a close() that waits reads on. All of a half-read
//   message is kept in members, so that a cancelled receive() loses nothing.
// Rejected: Boost.Beast's websocket::stream. Its synchronous functions allow no writer beside a reader, which
//   answers pings by itself, and its close() reads: with a task for each direction, which is what fibers are
//   for, its state would be used by two at once. The tests have it as the peer.
#include "fibrio/http/websocket.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "http/in_time.hpp"
#include "http/input_buffer.hpp"
#include "http/websocket_frame.hpp"

namespace fibrio::http {

namespace {

constexpr std::size_t kInput = 16 * 1024;
// A client masks a copy of its data, in pieces of this size.
constexpr std::size_t kMaskPiece = 16 * 1024;

}  // namespace

namespace detail {

class WebSocketImpl {
 public:
  WebSocketImpl(ByteStream& stream, WebSocket::Role role, WebSocketOptions options, std::string chosen,
                std::unique_ptr<ByteStream> owned)
      : protocol(std::move(chosen)),
        owned_(std::move(owned)),
        stream_(stream),
        role_(role),
        options_(std::move(options)) {}
  ~WebSocketImpl() {
    if (!is_over_.load(std::memory_order_relaxed)) stream_.abort();
  }

  std::optional<WebSocketMessage> receive() {
    const std::unique_lock receiving(receiver_lock_, std::try_to_lock);
    if (!receiving) throw RuntimeError("websocket: another task receives already");
    try {
      if (options_.receive_timeout < Duration::zero()) return next_message();
      return in_time("receive_timeout", options_.receive_timeout, [this] { return next_message(); });
    } catch (const std::runtime_error&) {  // of the connection
      if (!is_over_.load(std::memory_order_acquire)) throw;
      return std::nullopt;  // close() has ended it
    }
  }

  void send_frame(Opcode opcode, std::string_view payload) {
    const std::lock_guard lock(write_lock_);
    send_frame_locked(opcode, payload);
  }

  void close(std::uint16_t code, std::string_view reason) {
    if (is_over_.load(std::memory_order_relaxed)) return;
    const bool has_receiver = receiver_lock_.locked();
    try {
      timeout(options_.close_timeout, [&] {
        send_close(code, reason);
        while (pass_message(has_receiver)) {
        }
      });
    } catch (const TimeoutError&) {
    } catch (const WebSocketError&) {
    } catch (const std::system_error&) {
    }
    is_over_.store(true, std::memory_order_release);
    stream_.close();
  }

  void try_say_goodbye(std::uint16_t code) noexcept {
    if (!write_lock_.try_lock()) return;
    const std::lock_guard lock(write_lock_, std::adopt_lock);
    if (std::exchange(has_sent_close_, true)) return;
    try {
      const std::string frame = frame_of(Opcode::kClose, close_payload(code, {}));
      (void)stream_.try_write_some(std::as_bytes(std::span(frame)));
    } catch (const std::exception&) {
      // It was a courtesy.
    }
  }

  const std::string protocol;
  std::uint16_t close_code = 1006;
  std::string close_reason;

 private:
  // One's turn to read.
  struct Reading {
    explicit Reading(WebSocketImpl& its_socket) : lock(its_socket.read_lock_), socket(its_socket) {
      if (!socket.has_heartbeat()) return;
      const TimePoint now = get_running_loop().time();
      socket.quiet_since_ = socket.left_at_ ? socket.quiet_since_ + (now - *socket.left_at_) : now;
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() {
      if (socket.has_heartbeat()) socket.left_at_ = get_running_loop().time();
    }
    const std::lock_guard<Lock> lock;
    WebSocketImpl& socket;
  };

  static std::string close_payload(std::uint16_t code, std::string_view reason) {
    std::string payload = {static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
    return payload.append(reason);
  }

  FrameHeader header_of(Opcode opcode, std::size_t length) const {
    FrameHeader header{.opcode = opcode, .mask = {}, .length = length};
    if (role_ == WebSocket::Role::kClient) fill_random(header.mask.emplace());
    return header;
  }
  std::string frame_of(Opcode opcode, std::string_view payload) const {
    const FrameHeader header = header_of(opcode, payload.size());
    std::string frame = make_frame_header(header);
    const std::size_t begin = frame.size();
    frame += payload;
    if (header.mask) apply_mask(std::span(frame).subspan(begin), *header.mask, 0);
    return frame;
  }

  void send_frame_locked(Opcode opcode, std::string_view payload) {
    if (has_sent_close_ || is_broken_) throw WebSocketError(1006, "websocket: it is closed");
    is_broken_ = true;  // unless the whole frame is sent
    if (role_ == WebSocket::Role::kServer) {
      const std::string header = make_frame_header(header_of(opcode, payload.size()));
      stream_.write_all(std::as_bytes(std::span(header)), std::as_bytes(std::span(payload)));
    } else {
      send_masked(opcode, payload);
    }
    is_broken_ = false;
  }

  void send_masked(Opcode opcode, std::string_view payload) {
    const FrameHeader header = header_of(opcode, payload.size());
    std::string piece = make_frame_header(header);
    std::size_t at = 0;
    do {
      const std::size_t begin = piece.size();
      const std::size_t count = std::min(kMaskPiece, payload.size() - at);
      piece += payload.substr(at, count);
      apply_mask(std::span(piece).subspan(begin), *header.mask, at);
      stream_.write_all(std::as_bytes(std::span(piece)));
      piece.clear();
      at += count;
    } while (at < payload.size());
  }

  void send_close(std::uint16_t code, std::string_view reason) {
    const std::lock_guard lock(write_lock_);
    if (has_sent_close_ || is_broken_) return;
    send_frame_locked(Opcode::kClose, close_payload(code, reason));
    has_sent_close_ = true;
  }

  // For receive().
  std::optional<WebSocketMessage> next_message() {
    const Reading reading(*this);
    if (!kept_.empty()) {
      WebSocketMessage message = std::move(kept_.front());
      kept_.pop_front();
      return message;
    }
    if (has_passed_over_) return std::nullopt;  // what comes now would follow a gap
    return read_message();
  }

  // For close(): keeps the next message for a receiver, or passes it over. False: there will be none.
  bool pass_message(bool has_receiver) {
    const Reading reading(*this);
    std::optional<WebSocketMessage> message = read_message();
    if (!message) return false;
    kept_bytes_ += sizeof(WebSocketMessage) + message->data.size();
    has_passed_over_ = has_passed_over_ || !has_receiver || kept_bytes_ > options_.max_message_bytes;
    if (!has_passed_over_) kept_.push_back(std::move(*message));
    return true;
  }

  std::optional<WebSocketMessage> read_message() {
    if (has_received_close_) return std::nullopt;
    try {
      for (;;) {
        if (!frame_ && !begin_frame()) {
          fill();
          continue;
        }
        take_payload();
        if (left_ > 0) {
          fill();
          continue;
        }
        const FrameHeader frame = *std::exchange(frame_, std::nullopt);
        if (!frame.is_control()) {
          if (frame.is_final) return finish_message();
        } else if (!finish_control(frame.opcode)) {
          return std::nullopt;
        }
      }
    } catch (const WebSocketError& error) {
      if (error.code() != 1006) send_last_close(error.code());
      has_received_close_ = true;
      throw;
    } catch (const std::system_error&) {
      has_received_close_ = true;
      throw;
    }
  }

  bool begin_frame() {
    std::size_t used = 0;
    const FrameHeader frame = parse_frame_header(input_.data(), used);
    if (used == 0) return false;
    input_.consume(used);
    if (frame.mask.has_value() != (role_ == WebSocket::Role::kServer))
      fail(1002, "frames of clients, and no others, are masked");
    if (!frame.is_control()) {
      if ((frame.opcode == Opcode::kContinuation) != is_in_message_)
        fail(1002, "a message inside another, or a piece of none");
      if (frame.length > options_.max_message_bytes - message_.data.size())
        fail(1009, "a message that is too large");
      if (!is_in_message_) message_.is_text = frame.opcode == Opcode::kText;
      is_in_message_ = true;
    }
    frame_ = frame;
    left_ = frame.length;
    return true;
  }

  void take_payload() {
    const std::span<const char> data = input_.data();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, data.size()));
    std::string& target = frame_->is_control() ? control_ : message_.data;
    const std::size_t begin = target.size();
    target.append(data.data(), count);
    if (frame_->mask) apply_mask(std::span(target).subspan(begin), *frame_->mask, frame_->length - left_);
    input_.consume(count);
    left_ -= count;
  }

  void fill() {
    const std::span<std::byte> space = input_.space();
    const std::size_t count = has_heartbeat() ? read_with_heartbeat(space) : stream_.read_some(space);
    if (count == 0) throw WebSocketError(1006, "websocket: the peer left without a close");
    input_.received(count);
  }

  [[nodiscard]] bool has_heartbeat() const { return options_.heartbeat > Duration::zero(); }

  std::size_t read_with_heartbeat(std::span<std::byte> space) {
    const EventLoop& loop = get_running_loop();
    for (bool has_pinged = false;;) {
      const TimePoint now = loop.time();
      const TimePoint ping_at = quiet_since_ + options_.heartbeat;
      const TimePoint end = ping_at + options_.heartbeat / 2;
      if (now >= end) throw WebSocketError(1006, "websocket: the peer answers no ping (heartbeat)");
      if (now >= ping_at && !has_pinged) has_pinged = try_ping();
      TimePoint until = now < ping_at ? ping_at : end;
      if (now >= ping_at && !has_pinged) until = std::min(end, now + options_.heartbeat / 8);
      try {
        const std::size_t count = timeout_at(until, [&] { return stream_.read_some(space); });
        quiet_since_ = loop.time();
        return count;
      } catch (const TimeoutError&) {
      }
    }
  }

  // False if that would wait: for a sender, or for a peer that takes nothing, and perhaps waits for us to
  // read.
  bool try_ping() {
    if (!write_lock_.try_lock()) return false;
    const std::lock_guard lock(write_lock_, std::adopt_lock);
    if (has_sent_close_ || is_broken_) return false;
    const std::string frame = frame_of(Opcode::kPing, {});
    const auto bytes = std::as_bytes(std::span(frame));
    const std::size_t sent = stream_.try_write_some(bytes);
    if (sent == 0) return false;
    is_broken_ = true;  // unless the whole frame is sent
    stream_.write_all(bytes.subspan(sent));
    is_broken_ = false;
    return true;
  }

  WebSocketMessage finish_message() {
    WebSocketMessage message = std::exchange(message_, {});
    is_in_message_ = false;
    if (message.is_text && !is_utf8(message.data)) fail(1007, "a text that is no UTF-8");
    return message;
  }

  // False: it was a close.
  bool finish_control(Opcode opcode) {
    const std::string payload = std::exchange(control_, {});
    if (opcode == Opcode::kPing) answer_ping(payload);
    if (opcode != Opcode::kClose) return true;
    std::uint16_t code = 1005;
    if (!payload.empty()) {
      if (payload.size() < 2) fail(1002, "a close with half a code");
      code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(payload[0]) << 8 |
                                        static_cast<std::uint8_t>(payload[1]));
      if (!is_close_code(code)) fail(1002, "a close with a code that means nothing");
      if (!is_utf8(std::string_view(payload).substr(2))) fail(1007, "a reason that is no UTF-8");
      close_reason = payload.substr(2);
    }
    close_code = code;
    has_received_close_ = true;
    send_last_close(code == 1005 ? 1000 : code);
    return false;
  }

  void answer_ping(const std::string& payload) {
    const std::lock_guard lock(write_lock_);
    if (!has_sent_close_ && !is_broken_) send_frame_locked(Opcode::kPong, payload);
  }

  void send_last_close(std::uint16_t code) {
    try {
      send_close(code, {});
    } catch (const std::system_error&) {
      // The peer need not wait for it.
    }
  }

  [[noreturn]] static void fail(std::uint16_t code, const char* what) {
    throw WebSocketError(code, std::string("websocket: ") + what);
  }

  const std::unique_ptr<ByteStream> owned_;  // or nothing
  ByteStream& stream_;
  const WebSocket::Role role_;
  const WebSocketOptions options_;

  Lock write_lock_;
  bool has_sent_close_ = false;  // with write_lock_
  bool is_broken_ = false;       // with write_lock_: a part of a frame was sent, and no more

  Lock receiver_lock_;  // in receive(): one task at most
  Lock read_lock_;      // what follows is with it
  InputBuffer input_{kInput};
  std::optional<FrameHeader> frame_;
  std::uint64_t left_ = 0;  // of the frame's payload
  WebSocketMessage message_;
  std::string control_;
  bool is_in_message_ = false;
  bool has_received_close_ = false;   // or nothing more will come
  std::list<WebSocketMessage> kept_;  // by close(), for a receiver that was there when it began
  std::size_t kept_bytes_ = 0;        // of all that close() has read, up to max_message_bytes are kept
  bool has_passed_over_ = false;      // close() has dropped a message
  TimePoint quiet_since_;             // when something came last, without the time that nobody received
  std::optional<TimePoint> left_at_;  // by the last receiver; only with a heartbeat

  std::atomic<bool> is_over_{false};  // close() is for one task; release: receive() reads it behind its error
};

}  // namespace detail

WebSocket::WebSocket(ByteStream& stream, Role role, WebSocketOptions options, std::string protocol)
    : impl_(std::make_unique<detail::WebSocketImpl>(stream, role, std::move(options), std::move(protocol),
                                                    nullptr)) {}
WebSocket::WebSocket(std::unique_ptr<ByteStream> stream, Role role, WebSocketOptions options,
                     std::string protocol) {
  ByteStream& same = *stream;
  impl_ = std::make_unique<detail::WebSocketImpl>(same, role, std::move(options), std::move(protocol),
                                                  std::move(stream));
}
WebSocket::~WebSocket() = default;

std::optional<WebSocketMessage> WebSocket::receive() { return impl_->receive(); }
void WebSocket::send(std::string_view text) { impl_->send_frame(Opcode::kText, text); }
void WebSocket::send_binary(std::span<const std::byte> data) {
  impl_->send_frame(Opcode::kBinary, {reinterpret_cast<const char*>(data.data()), data.size()});
}
void WebSocket::send(const WebSocketMessage& message) {
  impl_->send_frame(message.is_text ? Opcode::kText : Opcode::kBinary, message.data);
}
void WebSocket::ping(std::string_view payload) {
  if (payload.size() > kMaxControl) throw std::invalid_argument("websocket: a ping has at most 125 bytes");
  impl_->send_frame(Opcode::kPing, payload);
}
void WebSocket::close(std::uint16_t code, std::string_view reason) {
  if (!is_close_code(code)) throw std::invalid_argument("websocket: close: a code that may be sent");
  if (reason.size() > kMaxControl - 2)
    throw std::invalid_argument("websocket: a reason has at most 123 bytes");
  impl_->close(code, reason);
}
void WebSocket::try_say_goodbye(std::uint16_t code) noexcept { impl_->try_say_goodbye(code); }
const std::string& WebSocket::protocol() const noexcept { return impl_->protocol; }
std::uint16_t WebSocket::close_code() const noexcept { return impl_->close_code; }
const std::string& WebSocket::close_reason() const noexcept { return impl_->close_reason; }

}  // namespace fibrio::http
