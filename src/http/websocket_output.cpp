#include "http/websocket_output.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <system_error>
#include <utility>

#include "http/acknowledged.hpp"

namespace fibrio::http {

namespace {

// A frame begins with a piece of at most this size, header included: one record of TLS, and one system call.
constexpr std::size_t kPiece = 16 * 1024;
// Looks at a peer that takes nothing, in one send_timeout.
constexpr int kLooks = 4;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

class WebSocketOutput::Turn {
 public:
  explicit Turn(WebSocketOutput& output) : output_(output) {
    try {
      output.turn_.lock();
    } catch (...) {  // others took our place in the line for a reason to wait
      output.push();
      throw;
    }
  }
  Turn(WebSocketOutput& output, std::adopt_lock_t) : output_(output) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    output_.turn_.unlock();
    output_.push();
  }

 private:
  WebSocketOutput& output_;
};

// A frame that is being sent: see the invariant, 1.
class WebSocketOutput::Frame {
 public:
  explicit Frame(WebSocketOutput& output) : output_(output) {}
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  ~Frame() {
    // A peer that has gone needs no reset, and what it sent before can still be read.
    if (!has_begun_ || is_complete_ || output_.is_gone_) return;
    output_.is_cut_.store(true, std::memory_order_release);
    output_.shut(true);
  }
  void write(std::span<const std::byte> data) {
    while (!data.empty()) {
      data = data.subspan(output_.write_some(data));
      has_begun_ = true;
    }
  }
  void complete() { is_complete_ = true; }

 private:
  WebSocketOutput& output_;
  bool has_begun_ = false;
  bool is_complete_ = false;
};

WebSocketOutput::WebSocketOutput(ByteStream& stream, WebSocket::Role role, Duration send_timeout)
    : stream_(stream), role_(role), send_timeout_(send_timeout) {}

void WebSocketOutput::send(Opcode opcode, std::string_view payload) {
  const Turn turn(*this);
  if (is_gone_ || has_begun_close() || is_shut_.load(std::memory_order_acquire)) throw closed_error();
  flush_control();
  if (has_begun_close()) throw closed_error();  // it was among what was requested
  write_frame(opcode, payload);
}

void WebSocketOutput::send_close(std::uint16_t code, std::string_view reason) {
  const Turn turn(*this);
  if (is_gone_ || is_shut_.load(std::memory_order_acquire)) return;
  take_requests();
  if (!has_begun_close()) add_close(code, reason);
  flush_control();
}

void WebSocketOutput::request_pong(std::string payload) noexcept {
  {
    const std::lock_guard lock(mutex_);
    requests_.pong = std::move(payload);
  }
  push();
}

void WebSocketOutput::request_close(std::uint16_t code) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!requests_.close) requests_.close = code;
  }
  push();
}

bool WebSocketOutput::push() noexcept {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (!requests_.any()) return true;
    }
    if (!turn_.try_lock()) return false;
    bool is_empty = true;
    try {
      is_empty = push_control();
    } catch (const std::system_error&) {
      is_gone_ = true;  // the reader finds out why
    } catch (const std::exception&) {
      // No memory for a pong: the peer pings again.
    }
    turn_.unlock();
    if (!is_empty) return false;
  }
}

bool WebSocketOutput::try_ping() {
  if (!turn_.try_lock()) return false;
  const Turn turn(*this, std::adopt_lock);
  if (!push_control() || is_gone_ || has_begun_close()) return false;
  add_control(Opcode::kPing, {});
  if (push_control() || control_at_ > 0) return true;
  drop_control();
  return false;
}

void WebSocketOutput::shut(bool with_reset) noexcept {
  if (is_shut_.exchange(true, std::memory_order_acq_rel)) return;
  with_reset ? stream_.abort() : stream_.close();
}

WebSocketError WebSocketOutput::closed_error() const {
  if (is_cut())
    return {1006, "websocket: it was cut off, because a send was left in the middle of its frame"};
  if (close_code_.load(std::memory_order_relaxed) == 1001)
    return {1001, "websocket: we are going away: it is closed"};
  return {1006, "websocket: it is closed"};
}

FrameHeader WebSocketOutput::header_of(Opcode opcode, std::size_t length) const {
  FrameHeader header{.opcode = opcode, .mask = {}, .length = length};
  if (role_ == WebSocket::Role::kClient) fill_random(header.mask.emplace());
  return header;
}

void WebSocketOutput::add_control(Opcode opcode, std::string_view payload) {
  const FrameHeader header = header_of(opcode, payload.size());
  std::string frame = make_frame_header(header);
  const std::size_t begin = frame.size();
  frame += payload;
  if (header.mask) apply_mask(std::span(frame).subspan(begin), *header.mask, 0);
  control_ += frame;
  const std::lock_guard lock(mutex_);
  requests_.is_rest = true;
}

void WebSocketOutput::add_close(std::uint16_t code, std::string_view reason) {
  std::string payload = {static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  add_control(Opcode::kClose, payload.append(reason));
  close_code_.store(code, std::memory_order_relaxed);
}

void WebSocketOutput::took_control(std::size_t count) {
  control_at_ += count;
  if (has_control()) return;
  drop_control();
  if (has_begun_close()) has_sent_close_.store(true, std::memory_order_release);
}

void WebSocketOutput::drop_control() {
  control_.clear();
  control_at_ = 0;
  const std::lock_guard lock(mutex_);
  requests_.is_rest = false;
}

void WebSocketOutput::take_requests() {
  Requests taken;
  {
    const std::lock_guard lock(mutex_);
    taken.pong = std::exchange(requests_.pong, std::nullopt);
    taken.close = std::exchange(requests_.close, std::nullopt);
  }
  if (is_gone_ || is_shut_.load(std::memory_order_acquire)) return drop_control();
  if (has_begun_close()) return;
  if (taken.pong) add_control(Opcode::kPong, *taken.pong);
  if (taken.close) add_close(*taken.close, {});
}

// True: nothing is left to be sent.
bool WebSocketOutput::push_control() {
  take_requests();
  while (has_control()) {
    const std::size_t count = stream_.try_write_some(bytes_of(control_).subspan(control_at_));
    if (count == 0) return false;
    sent_.fetch_add(count, std::memory_order_relaxed);
    took_control(count);
  }
  return true;
}

void WebSocketOutput::flush_control() {
  take_requests();
  while (has_control()) took_control(write_some(bytes_of(control_).subspan(control_at_)));
}

void WebSocketOutput::write_frame(Opcode opcode, std::string_view payload) {
  constexpr std::size_t kSmall = 512;
  constexpr std::size_t kMaxHeader = 14;
  const FrameHeader header = header_of(opcode, payload.size());
  const std::string head = make_frame_header(header);
  std::array<char, kSmall> small;
  std::unique_ptr<char[]> large;
  std::span<char> piece(small);
  if (payload.size() > kSmall - kMaxHeader) {
    const std::size_t size = std::min(kPiece, head.size() + payload.size());
    large = std::make_unique_for_overwrite<char[]>(size);
    piece = {large.get(), size};
  }
  std::size_t filled = head.copy(piece.data(), piece.size());

  Frame frame(*this);
  std::size_t at = 0;
  do {
    const std::size_t count = std::min(piece.size() - filled, payload.size() - at);
    payload.copy(piece.data() + filled, count, at);
    if (header.mask) apply_mask(piece.subspan(filled, count), *header.mask, at);
    frame.write(std::as_bytes(piece.first(filled + count)));
    filled = 0;
    at += count;
  } while (at < payload.size() && header.mask);
  if (at < payload.size()) frame.write(bytes_of(payload.substr(at)));
  frame.complete();
}

// Writes a part of `data`. A peer that takes nothing, and whose TCP acknowledges nothing, is given up.
std::size_t WebSocketOutput::write_some(std::span<const std::byte> data) {
  std::uint64_t acknowledged = 0;
  try {
    for (int looks = 0;;) {
      try {
        const auto call = [&] { return stream_.write_some(data); };
        const std::size_t count =
            send_timeout_ < Duration::zero() ? call() : timeout(send_timeout_ / kLooks, call);
        sent_.fetch_add(count, std::memory_order_relaxed);
        return count;
      } catch (const TimeoutError&) {
        const std::uint64_t now = acknowledged_bytes(stream_.native_handle());
        looks = now == std::exchange(acknowledged, now) ? looks + 1 : 1;
        if (looks >= kLooks) break;
      }
    }
  } catch (const std::system_error& error) {
    if (is_shut_.load(std::memory_order_acquire)) throw closed_error();
    is_gone_ = error.code() == std::errc::connection_reset || error.code() == std::errc::broken_pipe;
    throw;
  }
  is_cut_.store(true, std::memory_order_release);
  shut(true);
  throw WebSocketError(1006, "websocket: the peer takes nothing (send_timeout)");
}

}  // namespace fibrio::http
