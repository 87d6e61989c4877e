#include "fibrio/http/websocket.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <system_error>
#include <utility>

#include "fibrio/detail/budget.hpp"
#include "http/websocket_impl.hpp"

namespace fibrio::http {

namespace {

using namespace std::chrono_literals;

using fibrio::detail::deadline_after;

constexpr std::size_t kInput = 16 * 1024;
constexpr TimePoint kNoEnd = TimePoint::max();
// Requests that found no room (pongs) are tried again so often.
constexpr Duration kPushAgain = 20ms;
// A message may take a second more for each so many bytes.
constexpr std::uint64_t kBytesPerSecond = 16 * 1024;
// Reads that are made after a deadline, for what had come before it: a mebibyte.
constexpr int kLateReads = 64;
// How long a peer that we break off with may say nothing before we go, and how long it may take to answer the close of
// a server that stops.
constexpr Duration kQuiet = 1s;
constexpr Duration kLeaveWait = 1s;
// For peers of a client, and of streams without a server.
constexpr Duration kTimeLimit = 30s;

[[noreturn]] void throw_error(std::uint16_t code, const char* what) {
  throw WebSocketError(code, std::string("websocket: ") + what);
}

}  // namespace

namespace detail {

// A call that is under way.
class WebSocketImpl::Use {
 public:
  explicit Use(WebSocketImpl& socket) : socket_(socket) {
    socket_.users_.fetch_add(1, std::memory_order_relaxed);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (socket_.users_.fetch_sub(1, std::memory_order_acq_rel) == 1) socket_.last_user_left_.set();
  }

 private:
  WebSocketImpl& socket_;
};

// One's turn to read.
class WebSocketImpl::Reading {
 public:
  Reading(WebSocketImpl& its_socket, bool is_closing) : lock_(its_socket.read_lock_), socket_(its_socket) {
    socket_.is_closing_ = is_closing;
    if (socket_.has_heartbeat() && !socket_.quiet_since_) socket_.quiet_since_ = get_running_loop().time();
    if (!socket_.left_at_) return;
    const Duration away = get_running_loop().time() - *std::exchange(socket_.left_at_, std::nullopt);
    for (auto* time : {&socket_.quiet_since_, &socket_.ping_tried_at_, &socket_.message_since_}) {
      if (*time) **time += away;
    }
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  ~Reading() {
    if (socket_.has_heartbeat() || socket_.message_since_) socket_.left_at_ = get_running_loop().time();
  }

 private:
  const std::lock_guard<Lock> lock_;
  WebSocketImpl& socket_;
};

// A Timeout that the server's shutdown brings forward.
class WebSocketImpl::Waking {
 public:
  Waking(WebSocketImpl& socket, Timeout*& place, Timeout& limit)
      : socket_(socket), place_(place), limit_(limit) {
    const std::lock_guard lock(socket_.wake_mutex_);
    place_ = &limit_;
  }
  Waking(const Waking&) = delete;
  Waking& operator=(const Waking&) = delete;
  ~Waking() {
    const std::lock_guard lock(socket_.wake_mutex_);
    if (place_ == &limit_) place_ = nullptr;
  }
  // With wake_mutex_.
  static void end_by(Timeout* limit, TimePoint end) {
    if (limit == nullptr) return;
    try {
      if (const auto when = limit->when(); !when || *when > end) limit->reschedule(end);
    } catch (const RuntimeError&) {
      // Its time is up already.
    }
  }

 private:
  WebSocketImpl& socket_;
  Timeout*& place_;
  Timeout& limit_;
};

WebSocketImpl::WebSocketImpl(ByteStream& stream, WebSocket::Role role, WebSocketOptions options,
                             std::string chosen, std::unique_ptr<ByteStream> owned)
    : protocol(std::move(chosen)),
      owned_(std::move(owned)),
      stream_(stream),
      role_(role),
      options_(std::move(options)),
      output_(stream, role, options_.send_timeout.value_or(kTimeLimit)),
      input_(kInput) {}

WebSocketImpl::~WebSocketImpl() {
  if (!is_over_.exchange(true, std::memory_order_acq_rel)) output_.shut(!output_.has_sent_close());
  if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) return;
  const CancelMask mask;
  last_user_left_.wait();
}

void WebSocketImpl::send(Opcode opcode, std::string_view payload) {
  const Use use(*this);
  output_.send(opcode, payload);
}

std::optional<WebSocketMessage> WebSocketImpl::receive() {
  const Use use(*this);
  const std::unique_lock receiving(receiver_lock_, std::try_to_lock);
  if (!receiving) throw RuntimeError("websocket: another task receives already");
  try {
    const bool is_limited = options_.receive_timeout >= Duration::zero();
    const TimePoint end = is_limited ? deadline_after(options_.receive_timeout) : kNoEnd;
    return until_woken(end, [this, end] { return next_message(end); });
  } catch (const std::runtime_error&) {                                 // of the connection
    if (is_over_.load(std::memory_order_acquire)) return std::nullopt;  // close() has ended it
    if (output_.is_cut()) throw output_.closed_error();
    throw;
  }
}

// Calls `body` until a shutdown begins, or until `end`, the receive_timeout's.
template <class Body>
std::optional<WebSocketMessage> WebSocketImpl::until_woken(TimePoint end, Body&& body) {
  const auto call = [&](Timeout& limit) -> std::optional<WebSocketMessage> {
    const Waking waking(*this, receiving_, limit);
    if (is_leaving_.load(std::memory_order_acquire)) return std::nullopt;
    return body();
  };
  std::optional<WebSocketMessage> message;
  try {
    message = end == kNoEnd ? timeout(never, call) : timeout_at(end, call);
  } catch (const TimeoutError&) {
    if (!is_leaving_.load(std::memory_order_acquire)) throw TimeoutError("timed out (receive_timeout)");
  }
  if (!message && is_leaving_.load(std::memory_order_acquire)) {
    std::uint16_t none = 1006;
    close_code.compare_exchange_strong(none, 1001, std::memory_order_relaxed);
  }
  return message;
}

// For receive().
std::optional<WebSocketMessage> WebSocketImpl::next_message(TimePoint end) {
  fibrio::detail::spend_turn();  // messages that are buffered are received without a wait
  const Reading reading(*this, false);
  if (!kept_.empty()) {
    WebSocketMessage message = std::move(kept_.front());
    kept_.pop_front();
    return message;
  }
  if (has_passed_over_) return std::nullopt;  // what comes now would follow a gap
  return read_message(end);
}

void WebSocketImpl::on_shutdown() noexcept {
  {
    const std::lock_guard lock(wake_mutex_);
    const TimePoint now = get_running_loop().time();
    leave_end_ = now + kLeaveWait;
    is_leaving_.store(true, std::memory_order_release);
    Waking::end_by(receiving_, now);
    Waking::end_by(closing_, leave_end_);
  }
  output_.request_close(1001);
}

void WebSocketImpl::close(std::uint16_t code, std::string_view reason) {
  const Use use(*this);
  if (is_over_.load(std::memory_order_relaxed)) return;
  const bool has_receiver = receiver_lock_.locked();
  TimePoint end = deadline_after(options_.close_timeout);
  try {
    timeout_at(end, [&](Timeout& limit) {
      const Waking waking(*this, closing_, limit);
      const bool is_leaving = is_leaving_.load(std::memory_order_acquire);
      if (is_leaving) Waking::end_by(&limit, end = std::min(end, deadline_after(kLeaveWait)));
      output_.send_close(is_leaving ? 1001 : code, reason);
      if (!output_.has_sent_close()) return;  // it cannot be sent, and so not be answered
      while (pass_message(has_receiver, end)) {
      }
      const Reading reading(*this, true);
      if (is_breaking_off_ || !input_.empty()) linger(end);
    });
  } catch (const TimeoutError&) {
  } catch (const WebSocketError&) {
  } catch (const std::system_error&) {
  }
  is_over_.store(true, std::memory_order_release);
  output_.shut(output_.is_cut());
}

// For close(): keeps the next message for a receiver, or passes it over. False: there will be none.
bool WebSocketImpl::pass_message(bool has_receiver, TimePoint end) {
  const Reading reading(*this, true);
  if (is_breaking_off_) return false;
  std::optional<WebSocketMessage> message = read_message(end);
  if (!message) return false;
  kept_bytes_ += sizeof(WebSocketMessage) + message->data.size();
  has_passed_over_ = has_passed_over_ || !has_receiver || kept_bytes_ > options_.max_message_bytes;
  if (!has_passed_over_) kept_.push_back(std::move(*message));
  return true;
}

std::optional<WebSocketMessage> WebSocketImpl::read_message(TimePoint end) {
  if (failure_) throw *std::exchange(failure_, std::nullopt);  // whoever met it was cancelled
  if (has_received_close_) return std::nullopt;
  try {
    for (;;) {
      if (!frame_ && !begin_frame()) {
        fill(end);
        continue;
      }
      take_payload();
      if (left_ > 0) {
        fill(end);
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
    has_received_close_ = true;
    if (error.code() != 1006) {
      failure_ = error;
      break_off(error.code());
      failure_.reset();
    }
    throw;
  } catch (const std::system_error&) {
    has_received_close_ = true;
    throw;
  }
}

bool WebSocketImpl::begin_frame() {
  std::size_t used = 0;
  const FrameHeader frame = parse_frame_header(input_.data(), used);
  if (used == 0) return false;
  input_.consume(used);
  if (frame.mask.has_value() != (role_ == WebSocket::Role::kServer))
    throw_error(1002, "frames of clients, and no others, are masked");
  if (!frame.is_control()) {
    if ((frame.opcode == Opcode::kContinuation) != is_in_message_)
      throw_error(1002, "a message inside another, or a piece of none");
    if (frame.length > options_.max_message_bytes - message_.data.size())
      throw_error(1009, "a message that is too large");
    if (!is_in_message_) message_.is_text = frame.opcode == Opcode::kText;
    is_in_message_ = true;
    is_alive_ = true;
  }
  frame_ = frame;
  left_ = frame.length;
  return true;
}

void WebSocketImpl::take_payload() {
  const std::span<const char> data = input_.data();
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, data.size()));
  std::string& target = frame_->is_control() ? control_ : message_.data;
  const std::size_t begin = target.size();
  target.append(data.data(), count);
  if (frame_->mask) apply_mask(std::span(target).subspan(begin), *frame_->mask, frame_->length - left_);
  input_.consume(count);
  left_ -= count;
  if (count > 0 && !frame_->is_control()) is_alive_ = true;
}

WebSocketMessage WebSocketImpl::finish_message() {
  WebSocketMessage message = std::exchange(message_, {});
  is_in_message_ = false;
  message_since_.reset();
  if (message.is_text && !is_utf8(message.data)) throw_error(1007, "a text that is no UTF-8");
  return message;
}

// False: it was a close.
bool WebSocketImpl::finish_control(Opcode opcode) {
  std::string payload = std::exchange(control_, {});
  if (opcode == Opcode::kPong && has_pinged_) is_alive_ = true;
  if (opcode == Opcode::kPing) {
    output_.request_pong(std::move(payload));
    return true;
  }
  if (opcode != Opcode::kClose) return true;
  std::uint16_t code = 1005;
  if (!payload.empty()) {
    if (payload.size() < 2) throw_error(1002, "a close with half a code");
    code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(payload[0]) << 8 |
                                      static_cast<std::uint8_t>(payload[1]));
    if (!is_close_code(code)) throw_error(1002, "a close with a code that means nothing");
    if (!is_utf8(std::string_view(payload).substr(2))) throw_error(1007, "a reason that is no UTF-8");
    close_reason = payload.substr(2);
  }
  close_code.store(code, std::memory_order_relaxed);
  has_received_close_ = true;
  answer_close(code == 1005 ? 1000 : code);
  return false;
}

void WebSocketImpl::answer_close(std::uint16_t code) {
  try {
    timeout(options_.close_timeout, [&] { output_.send_close(code, {}); });
  } catch (const std::runtime_error&) {
    // The peer need not wait for it.
  }
}

// Says why, and lets the peer read that.
void WebSocketImpl::break_off(std::uint16_t code) {
  is_breaking_off_ = true;
  const TimePoint end = deadline_after(options_.close_timeout);
  try {
    if (send_last_close(code, end)) timeout_at(end, [&] { linger(end); });
  } catch (const std::runtime_error&) {
  }
  output_.shut(false);
  is_breaking_off_ = false;
}

// True: it is wholly on its way. Given up at `end`, or once the peer has taken nothing for kQuiet.
bool WebSocketImpl::send_last_close(std::uint16_t code, TimePoint end) {
  for (;;) {
    const std::uint64_t before = output_.sent_bytes();
    const TimePoint now = get_running_loop().time();
    try {
      timeout_at(std::min(end, now + kQuiet), [&] { output_.send_close(code, {}); });
      return output_.has_sent_close();
    } catch (const TimeoutError&) {
      if (get_running_loop().time() >= end || output_.sent_bytes() == before) return false;
    }
  }
}

// After our close: ends our output, and drops what comes until the peer has gone, says nothing any more, or `end`.
void WebSocketImpl::linger(TimePoint end) {
  stream_.end_output();
  const EventLoop& loop = get_running_loop();
  for (TimePoint now = loop.time(); now < end; now = loop.time()) {
    input_.consume(input_.data().size());
    const std::span<std::byte> space = input_.space();
    const std::size_t count =
        timeout_at(std::min(end, now + kQuiet), [&] { return stream_.read_some(space); });
    if (count == 0) return;
    input_.received(count);
  }
}

// Waits for bytes. Throws: TimeoutError at `end`.
void WebSocketImpl::fill(TimePoint end) {
  const std::span<std::byte> space = input_.space();
  std::size_t count = 0;
  for (bool is_read = false; !is_read;) {
    const bool is_pushed = output_.push();
    if (is_leaving_.load(std::memory_order_acquire)) {
      if (!is_closing_) throw TimeoutError();
      end = std::min(end, leave_end_);
    }
    TimePoint until = kNoEnd;
    std::optional<WebSocketError> overdue;
    bool is_late = false;
    if (!is_pushed || end != kNoEnd || has_heartbeat() || is_in_message_) {
      const TimePoint now = get_running_loop().time();
      until = std::min(end, next_look(now, overdue));
      if (!is_pushed) until = std::min(until, now + kPushAgain);
      is_late = overdue || now >= end;
    }
    late_reads_ = is_late ? late_reads_ + 1 : 0;
    if (late_reads_ > kLateReads) {
      late_reads_ = 0;
      if (overdue) throw *overdue;
      throw TimeoutError();
    }
    try {
      const auto read = [&] { return stream_.read_some(space); };
      count = until == kNoEnd ? read() : timeout_at(until, read);
      is_read = true;
    } catch (const TimeoutError&) {
      if (overdue) throw *overdue;
      if (is_late) throw;
    }
  }
  if (count == 0) throw WebSocketError(1006, "websocket: the peer left without a close");
  input_.received(count);
}

// Until when may be read before this is called again. `overdue`: what is wrong, unless that has come already which
// puts it right.
TimePoint WebSocketImpl::next_look(TimePoint now, std::optional<WebSocketError>& overdue) {
  TimePoint look = has_heartbeat() ? beat(now, overdue) : kNoEnd;
  const Duration limit = options_.message_timeout.value_or(kTimeLimit);
  if (is_in_message_ && limit >= Duration::zero()) {
    if (!message_since_) message_since_ = now;
    const std::chrono::seconds extra(message_.data.size() / kBytesPerSecond);
    const TimePoint end = *message_since_ + extra + limit;
    if (now >= end) overdue.emplace(1008, "websocket: a message took too long (message_timeout)");
    look = std::min(look, end);
  }
  return look;
}

TimePoint WebSocketImpl::beat(TimePoint now, std::optional<WebSocketError>& overdue) {
  if (std::exchange(is_alive_, false)) {
    quiet_since_ = now;
    ping_tried_at_.reset();
    has_pinged_ = false;
  }
  const TimePoint ping_at = *quiet_since_ + options_.heartbeat;
  if (now < ping_at) return ping_at;
  // A long frame of ours that moves on shows as well that the peer is there, and is what keeps the ping from going.
  if (!has_pinged_) {
    has_pinged_ = output_.try_ping();
    const std::uint64_t before = std::exchange(sent_seen_, output_.sent_bytes());
    if (has_pinged_ || before != sent_seen_ || !ping_tried_at_) ping_tried_at_ = now;
  }
  const TimePoint end = *ping_tried_at_ + options_.heartbeat / 2;
  if (now >= end) overdue.emplace(1006, "websocket: the peer answers no ping (heartbeat)");
  return has_pinged_ ? end : std::min(end, now + options_.heartbeat / 8);
}

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
void WebSocket::send(std::string_view text) { impl_->send(Opcode::kText, text); }
void WebSocket::send_binary(std::span<const std::byte> data) {
  impl_->send(Opcode::kBinary, {reinterpret_cast<const char*>(data.data()), data.size()});
}
void WebSocket::send(const WebSocketMessage& message) {
  impl_->send(message.is_text ? Opcode::kText : Opcode::kBinary, message.data);
}
void WebSocket::ping(std::string_view payload) {
  if (payload.size() > kMaxControl) throw std::invalid_argument("websocket: a ping has at most 125 bytes");
  impl_->send(Opcode::kPing, payload);
}
void WebSocket::close(std::uint16_t code, std::string_view reason) {
  if (!is_close_code(code)) throw std::invalid_argument("websocket: close: a code that may be sent");
  if (reason.size() > kMaxControl - 2)
    throw std::invalid_argument("websocket: a reason has at most 123 bytes");
  impl_->close(code, reason);
}
void WebSocket::try_say_goodbye(std::uint16_t code) noexcept { impl_->try_say_goodbye(code); }
const std::string& WebSocket::protocol() const noexcept { return impl_->protocol; }
std::uint16_t WebSocket::close_code() const noexcept {
  return impl_->close_code.load(std::memory_order_relaxed);
}
const std::string& WebSocket::close_reason() const noexcept { return impl_->close_reason; }

}  // namespace fibrio::http
