// What: WebSockets: messages over frames, the closing handshake, and the handshake by HTTP.
// Threads: one task in receive(), any number in send(); see Protocol.
// Protocol: 1. `write_lock_` is held for whole frames, also for those that receive() sends (pongs, the answer
//   to a close); after our close nothing is sent. 2. What is received belongs to the task in receive(), or,
//   if there is none, to close(). All of a half-read message is kept in members, so that a cancelled
//   receive() loses nothing.
// Rejected: Boost.Beast's websocket::stream. Its synchronous functions allow no writer beside a reader, which
//   answers pings by itself, and its close() reads: with a task for each direction, which is what fibers are
//   for, its state would be used by two at once. The tests have it as the peer.
#include "fibrio/http/websocket.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "http/in_time.hpp"
#include "http/input_buffer.hpp"
#include "http/text.hpp"
#include "http/upgraded_stream.hpp"
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
    if (!is_over_) stream_.abort();
  }

  std::optional<WebSocketMessage> receive() {
    if (is_reading_.exchange(true, std::memory_order_acquire)) {
      throw RuntimeError("websocket: another task receives already");
    }
    const Reading reading(*this);
    if (options_.receive_timeout < Duration::zero()) return read_message();
    return in_time("receive_timeout", options_.receive_timeout, [this] { return read_message(); });
  }

  void send_frame(Opcode opcode, std::string_view payload) {
    const std::lock_guard lock(write_lock_);
    send_frame_locked(opcode, payload);
  }

  void close(std::uint16_t code, std::string_view reason) {
    if (is_over_) return;
    try {
      timeout(options_.close_timeout, [&] {
        send_close(code, reason);
        if (is_reading_.exchange(true, std::memory_order_acquire)) {
          peer_closed_.wait();
        } else {
          const Reading reading(*this);
          while (read_message()) {
          }
        }
      });
    } catch (const TimeoutError&) {
    } catch (const WebSocketError&) {
    } catch (const std::system_error&) {
    }
    is_over_ = true;
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
  // What the task that has set is_reading_ holds.
  struct Reading {
    explicit Reading(WebSocketImpl& its_socket) : socket(its_socket) {
      if (!socket.has_heartbeat()) return;
      const TimePoint now = get_running_loop().time();
      socket.quiet_since_ = socket.left_at_ ? socket.quiet_since_ + (now - *socket.left_at_) : now;
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() {
      if (socket.has_heartbeat()) socket.left_at_ = get_running_loop().time();
      socket.is_reading_.store(false, std::memory_order_release);
    }
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
      end_receiving();
      throw;
    } catch (const std::system_error&) {
      end_receiving();
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
    end_receiving();
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

  void end_receiving() {
    has_received_close_ = true;
    peer_closed_.set();
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

  // Taken by who receives (acquire), left with release: what follows belongs to that task.
  std::atomic<bool> is_reading_{false};
  InputBuffer input_{kInput};
  std::optional<FrameHeader> frame_;
  std::uint64_t left_ = 0;  // of the frame's payload
  WebSocketMessage message_;
  std::string control_;
  bool is_in_message_ = false;
  bool has_received_close_ = false;
  TimePoint quiet_since_;             // when something came last, without the time that nobody received
  std::optional<TimePoint> left_at_;  // by the last receiver; only with a heartbeat

  Event peer_closed_;
  bool is_over_ = false;  // close() is for one task
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

namespace {

// The first of ours that the peer lists; empty if there is none.
std::string choose_protocol(const Request& request, const WebSocketOptions& options) {
  for (const std::string& protocol : options.protocols) {
    if (request.fields().has_token("Sec-WebSocket-Protocol", protocol)) return protocol;
  }
  return {};
}

void serve_upgraded(ByteStream& stream, const std::function<void(WebSocket&)>& serve,
                    const WebSocketOptions& options, const std::string& protocol) {
  WebSocket socket(stream, WebSocket::Role::kServer, options, protocol);
  try {
    serve(socket);
    socket.close();
  } catch (const WebSocketError&) {
    // The peer broke off: nothing of ours went wrong, and receive() has told it why.
  } catch (const std::system_error&) {
    if (stream.is_open()) socket.try_say_goodbye(1011);
    throw;
  } catch (const CancelledError&) {
    socket.try_say_goodbye(current_task().cancelling() > 0 ? 1001 : 1011);
    throw;
  } catch (...) {
    const std::exception_ptr failure = std::current_exception();
    if (is_peers_affair(failure, true)) {  // of tasks of a group
      if (stream.is_open()) socket.try_say_goodbye(1011);
    } else {
      socket.close(1011);
    }
    std::rethrow_exception(failure);
  }
}

}  // namespace

Response websocket_response(const Request& request, std::function<void(WebSocket&)> serve,
                            WebSocketOptions options) {
  const Fields& fields = request.fields();
  if (request.method() != "GET" || request.version() < 11 || !fields.has_token("Upgrade", "websocket") ||
      !fields.has_token("Connection", "Upgrade")) {
    Response response = error_response(426, "this is a WebSocket");
    response.fields.add("Upgrade", "websocket");
    return response;
  }
  if (fields.get("Sec-WebSocket-Version") != "13") {
    Response response = error_response(426);
    response.fields.add("Sec-WebSocket-Version", "13");
    return response;
  }
  const std::string_view key = fields.get("Sec-WebSocket-Key");
  const auto keys = std::count_if(fields.begin(), fields.end(), [](const Fields::Field& field) {
    return equals_without_case(field.name, "Sec-WebSocket-Key");
  });
  if (keys != 1 || !is_key(key)) return error_response(400, "Sec-WebSocket-Key");
  Response response(101);
  const std::string protocol = choose_protocol(request, options);
  response.fields.add("Upgrade", "websocket");
  response.fields.add("Sec-WebSocket-Accept", accept_of(key));
  if (!protocol.empty()) response.fields.add("Sec-WebSocket-Protocol", protocol);
  response.upgrade = [serve = std::move(serve), options = std::move(options), protocol](ByteStream& stream) {
    serve_upgraded(stream, serve, options, protocol);
  };
  return response;
}

std::unique_ptr<WebSocket> connect_websocket(Session& session, std::string_view url, WebSocketOptions options,
                                             RequestOptions request) {
  const std::string key = make_key();
  request.fields.set("Upgrade", "websocket");
  request.fields.set("Connection", "Upgrade");
  request.fields.set("Sec-WebSocket-Version", "13");
  request.fields.set("Sec-WebSocket-Key", key);
  std::string offered;
  for (const std::string& protocol : options.protocols) offered += (offered.empty() ? "" : ", ") + protocol;
  if (!offered.empty()) request.fields.set("Sec-WebSocket-Protocol", offered);

  ClientResponse response = session.request("GET", url, std::move(request));
  const Fields& fields = response.fields();
  if (response.status() != 101)
    throw HttpError(
        502, response.url().to_string() + ": no WebSocket: status " + std::to_string(response.status()));
  const std::string protocol(fields.get("Sec-WebSocket-Protocol"));
  const bool is_offered = protocol.empty() || std::find(options.protocols.begin(), options.protocols.end(),
                                                        protocol) != options.protocols.end();
  if (!fields.has_token("Upgrade", "websocket") || !fields.has_token("Connection", "Upgrade") ||
      !is_offered || fields.get("Sec-WebSocket-Accept") != accept_of(key) ||
      fields.contains("Sec-WebSocket-Extensions")) {
    throw HttpError(502, response.url().to_string() + ": no WebSocket: the handshake's answer is wrong");
  }
  return std::make_unique<WebSocket>(response.take_stream(), WebSocket::Role::kClient, std::move(options),
                                     protocol);
}

}  // namespace fibrio::http
