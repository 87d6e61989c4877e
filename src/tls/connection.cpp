#include "tls/connection.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"
#include "fibrio/timeouts.hpp"

namespace fibrio::tls {
namespace {

// Output that readers may pile up: some thousand answers to key updates.
constexpr std::size_t kMaxReplies = 256 * 1024;
// What a client that closes takes from a server that goes on sending.
constexpr std::size_t kMaxDropped = 64 * 1024;
// Larger buffers are given back when all is sent.
constexpr std::size_t kKeptBytes = 4 * 1024;

std::string seconds_text(Duration time) {
  std::string text = std::to_string(std::chrono::duration<double>(time).count());
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

// 0 if the peer has reset the connection already: then the first call of the handshake says so.
std::uint16_t peer_port(const ByteStream& transport) {
  try {
    return transport.peer_address().port();
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::not_connected) throw;
    return 0;
  }
}

}  // namespace

Connection::Connection(std::unique_ptr<ByteStream> transport, const Context& context,
                       const std::string& server_hostname, const HandshakeOptions& options,
                       std::span<const std::byte> received)
    : transport_(std::move(transport)),
      engine_(ContextImpl::of(context), server_hostname,
              context.is_server() ? std::uint16_t{0} : peer_port(*transport_), received),
      options_(options),
      is_client_(!context.is_server()) {}

// --- the handshake -----------------------------------------------------------------------------------------

void Connection::handshake() {
  try {
    timeout(options_.handshake_timeout, [this] { do_handshake(); });
  } catch (const TimeoutError&) {
    abort();
    throw TimeoutError("the TLS handshake took longer than " + seconds_text(options_.handshake_timeout));
  } catch (const CancelledError&) {
    abort();
    throw;
  } catch (...) {
    static_cast<void>(mark_closed());
    transport_->close();
    throw;
  }
  agreement_ = engine_.agreement();
}

void Connection::do_handshake() {
  for (;;) {
    bool is_done = false;
    try {
      is_done = engine_.handshake();
    } catch (...) {
      send_replies();  // the alert
      throw;
    }
    send_all_locked();  // without the lock: nobody else has the stream yet
    if (is_done) return;
    if (!receive()) {
      throw std::system_error(ECONNRESET, std::system_category(),
                              "the TLS handshake: the peer ended the connection");
    }
  }
}

// --- reading -----------------------------------------------------------------------------------------------

void Connection::check_open(const char* call) const {
  if (!is_open()) throw std::system_error(ECANCELED, std::system_category(), call);
}

bool Connection::receive() {
  if (has_ended_) return false;
  const std::size_t count = transport_->read_some(engine_.input_room());
  engine_.received(count);
  has_ended_ = count == 0;
  return !has_ended_;
}

std::size_t Connection::read_some(std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  check_open("TLS read");  // what closes in the background has the locks
  const std::lock_guard guard(read_lock_);
  check_open("TLS read");
  if (!engine_.is_drained()) {
    if (const std::optional<std::size_t> count = try_read(buffer)) return *count;
  }
  while (receive()) {
    check_open("TLS read");
    if (const std::optional<std::size_t> count = try_read(buffer)) return *count;
  }
  return end_of_transport();
}

std::size_t Connection::end_of_transport() const {
  if (options_.suppress_ragged_eofs) return 0;
  throw engine_.truncated();
}

std::optional<bool> Connection::try_receive() {
  if (has_ended_) return false;
  const std::optional<std::size_t> count = transport_->try_read_some(engine_.input_room());
  if (!count) return std::nullopt;
  engine_.received(*count);
  has_ended_ = *count == 0;
  return !has_ended_;
}

std::optional<std::size_t> Connection::try_read_some(std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  check_open("TLS read");
  const std::unique_lock guard(read_lock_, std::try_to_lock);
  if (!guard.owns_lock()) return std::nullopt;
  if (!engine_.is_drained()) {
    if (const std::optional<std::size_t> count = try_read(buffer)) return count;
  }
  for (;;) {
    const std::optional<bool> came = try_receive();
    if (!came) return std::nullopt;
    if (!*came) return end_of_transport();
    if (const std::optional<std::size_t> count = try_read(buffer)) return count;
  }
}

bool Connection::has_buffered_input() const {
  return !engine_.is_drained() || transport_->has_buffered_input();
}

std::optional<std::size_t> Connection::try_read(std::span<std::byte> buffer) {
  std::optional<std::size_t> count;
  try {
    count = engine_.read(buffer);
  } catch (...) {
    send_replies();
    throw;
  }
  send_replies();
  return count;
}

void Connection::send_replies() {
  const std::size_t size = engine_.output_size();
  if (size == 0) return;
  std::unique_lock guard(write_lock_, std::defer_lock);
  try {
    if (size > kMaxReplies) {
      guard.lock();
      send_all_locked();
    } else if (!guard.try_lock() || !try_send_locked()) {
      start_sender();
    }
  } catch (const std::system_error&) {  // what comes in may still be read
  }
}

// --- writing -----------------------------------------------------------------------------------------------

void Connection::send_all_locked() {
  do {
    while (sent_ < sending_.size()) sent_ += transport_->write_some(std::span(sending_).subspan(sent_));
    sent_ = 0;
    sending_.clear();
  } while (engine_.take_output(sending_));
}

bool Connection::try_send_locked() {
  do {
    while (sent_ < sending_.size()) {
      const std::size_t count = transport_->try_write_some(std::span(sending_).subspan(sent_));
      if (count == 0) return false;
      sent_ += count;
    }
    sent_ = 0;
    sending_.clear();
  } while (engine_.take_output(sending_));
  return true;
}

std::size_t Connection::write_some(std::span<const std::byte> data) {
  if (data.empty()) return 0;
  check_open("TLS write");
  const std::lock_guard guard(write_lock_);
  send_all_locked();
  check_open("TLS write");
  data = data.first(std::min(data.size(), kMaxPlaintext));
  engine_.write(data);
  if (!try_send_locked()) start_sender();
  return data.size();
}

std::size_t Connection::try_write_some(std::span<const std::byte> data) {
  if (data.empty()) return 0;
  check_open("TLS write");
  const std::unique_lock guard(write_lock_, std::try_to_lock);
  if (!guard.owns_lock() || !try_send_locked()) return 0;
  try {
    static_cast<void>(get_running_loop());
  } catch (const RuntimeError&) {
    return 0;  // nobody could send the rest
  }
  data = data.first(std::min(data.size(), kMaxPlaintext));
  engine_.write(data);
  if (!try_send_locked()) start_sender();
  return data.size();
}

void Connection::write_all(std::span<const std::byte> first, std::span<const std::byte> second) {
  if (first.empty() && second.empty()) return;
  check_open("TLS write");
  const std::lock_guard guard(write_lock_);
  send_all_locked();
  try {
    // Two short ones leave together.
    for (std::span<const std::byte> data : {first, second}) {
      while (!data.empty()) {
        check_open("TLS write");
        const std::size_t count = std::min(data.size(), kMaxPlaintext);
        engine_.write(data.first(count));
        data = data.subspan(count);
        if (engine_.output_size() >= kMaxPlaintext) send_all_locked();
      }
    }
    send_all_locked();
  } catch (const CancelledError&) {
    start_sender();
    throw;
  }
  if (sending_.capacity() > kKeptBytes) {
    sending_.shrink_to_fit();
    engine_.release_output();
  }
}

bool Connection::start_sender() noexcept {
  {
    const std::lock_guard guard(flags_);
    if (has_sender_) return sender_again_ = true;
    has_sender_ = true;
  }
  return spawn_sender();
}

bool Connection::spawn_sender() noexcept {
  try {
    spawn(TaskOptions{.name = "TLS sender"}, [self = shared_from_this()] { self->run_sender(); });
    return true;
  } catch (const std::exception&) {  // no loop here, or no memory
    const std::lock_guard guard(flags_);
    has_sender_ = false;
    return false;
  }
}

void Connection::run_sender() {
  bool closes = false;
  bool has_failed = false;
  for (bool is_over = false; !is_over;) {
    try {
      const std::lock_guard guard(write_lock_);
      send_all_locked();
    } catch (const std::exception&) {  // the next write fails as well, and says so
      has_failed = true;
    } catch (const CancelledError&) {  // the loop ends
      has_failed = true;
    }
    // With the lock given back: who finds it taken and no sender has met a writer.
    const std::lock_guard guard(flags_);
    bool again = std::exchange(sender_again_, false);
    if (sender_closes_ && !closes) {
      closes = again = true;
      engine_.say_end();
    }
    is_over = has_failed || !again;
    if (is_over) has_sender_ = false;
  }
  if (!closes) return;
  bool goes_on = false;
  try {
    if (!has_failed && is_client_) goes_on = !drop_input(kMaxDropped);
  } catch (const std::exception&) {  // nothing more comes
  } catch (const CancelledError&) {
  }
  close_limit_.cancel();
  goes_on ? transport_->abort() : transport_->close();
}

// --- the end -----------------------------------------------------------------------------------------------

bool Connection::mark_closed() noexcept {
  // release: partner of the acquire in is_open.
  return !is_closed_.exchange(true, std::memory_order_acq_rel);
}

bool Connection::drop_input(std::size_t most) {
  std::byte dropped[1024];
  const std::lock_guard guard(read_lock_);
  for (std::size_t total = 0; total < most;) {
    const std::optional<std::size_t> count = engine_.read(dropped);
    if (count == std::size_t{0}) return true;
    if (!count.has_value() && !receive()) return true;
    total += count.value_or(0);
  }
  return false;
}

void Connection::end_output() {
  check_open("TLS end_output");
  const std::lock_guard guard(write_lock_);
  send_all_locked();
  engine_.say_end();
  send_all_locked();
}

bool Connection::has_unsent() const noexcept {
  const std::lock_guard guard(flags_);
  return has_sender_;
}

void Connection::shutdown() {
  check_open("TLS shutdown");
  try {
    timeout(options_.shutdown_timeout, [this] {
      end_output();
      static_cast<void>(drop_input(SIZE_MAX));
    });
  } catch (const TimeoutError&) {
    abort();
    throw TimeoutError("the TLS shutdown took longer than " + seconds_text(options_.shutdown_timeout));
  } catch (...) {
    abort();
    throw;
  }
  static_cast<void>(mark_closed());
  transport_->close();
}

bool Connection::leave_closing_to_sender(bool may_start) noexcept {
  TimerHandle limit;
  try {
    limit = get_running_loop().call_later(options_.shutdown_timeout,
                                          [self = shared_from_this()] { self->transport_->abort(); });
  } catch (const std::exception&) {
    return false;  // no loop here: nobody would end a sender that waits for ever
  }
  bool has_sender = false;
  {
    const std::lock_guard guard(flags_);
    has_sender = has_sender_;
    if (has_sender || may_start) {
      has_sender_ = sender_closes_ = true;
      close_limit_ = limit;
    }
  }
  if (has_sender || (may_start && spawn_sender())) return true;
  limit.cancel();
  return false;
}

void Connection::close() noexcept {
  if (!mark_closed()) return;
  // A reader that waits has read everything; closing the transport is what ends its wait.
  const bool is_read = !read_lock_.try_lock();
  const bool may_have_input = is_client_ && !is_read && !has_ended_ && !engine_.peer_has_ended();
  if (!is_read) read_lock_.unlock();
  bool is_left = false;
  // Twice: a sender may have had the lock, and have gone before it was asked for.
  for (int tries = 0; tries < 2 && !is_left; ++tries) {
    std::unique_lock guard(write_lock_, std::try_to_lock);
    if (!guard.owns_lock()) {
      is_left = leave_closing_to_sender(false);
      continue;
    }
    try {
      engine_.say_end();
      is_left = (!try_send_locked() || may_have_input) && leave_closing_to_sender(true);
    } catch (const std::exception&) {  // the transport is broken
    }
    break;
  }
  if (!is_left) transport_->close();
}

void Connection::abort() noexcept {
  static_cast<void>(mark_closed());
  transport_->abort();
}

}  // namespace fibrio::tls
