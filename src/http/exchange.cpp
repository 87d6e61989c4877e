#include "http/exchange.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <system_error>
#include <utility>
#include <vector>

#include "http/in_time.hpp"
#include "http/message_writer.hpp"
#include "http/request_header.hpp"
#include "http/text.hpp"
#include "http/upgraded_stream.hpp"

namespace fibrio::http::detail {

namespace {

using namespace std::chrono_literals;

// A body up to this size is sent before the answer is read: no peer stops reading that early.
constexpr std::size_t kInlineBody = 16 * 1024;
// How long a body waits for "100 Continue" from a server that may not know it.
constexpr Duration kContinueWait = 1s;
// How long a complete answer waits for the end of the task that sends the body.
constexpr Duration kSenderEnd = 20ms;
// The most of an answer's body that is kept while the request's stream is still sent.
constexpr std::size_t kMaxAhead = 16 * 1024 * 1024;
constexpr int kMaxInterim = 100;
constexpr std::size_t kAheadStep = 16 * 1024;

// Ends the task and waits for that, whatever becomes of the caller meanwhile.
void end_task(const Task<>& task) noexcept {
  const CancelMask mask;
  task.cancel();
  task.wait();
}

}  // namespace

Exchange::Exchange(ConnectionPool::Lease lease, std::shared_ptr<const SessionOptions> options, Url url,
                   std::optional<TimePoint> deadline)
    : lease_(std::move(lease)),
      is_reused_(lease_->is_reused),
      options_(std::move(options)),
      url_(std::move(url)),
      deadline_(deadline),
      input_(std::max<std::size_t>(16 * 1024, options_->max_header_bytes)) {}

struct Exchange::Outgoing {
  std::shared_ptr<ByteStream> stream;
  std::shared_ptr<const RequestOptions> request;
  Event may_send;  // the body: the server said "100 Continue", or nothing for a while
  // Release by the sender, acquire by the reader.
  std::atomic<bool> is_sent{false};     // all of the request
  std::atomic<bool> has_failed{false};  // with `failure`
  std::exception_ptr failure;           // the stream callable ended with it
  // Nobody wants the rest of the body. Relaxed: it only says whose fault an end is.
  std::atomic<bool> is_given_up{false};
};

Exchange::~Exchange() {
  if (lease_ && lease_->stream != nullptr) lease_->stream->abort();  // nobody reads the rest of the answer
  stop_sender();
}

bool Exchange::is_sending() const { return sender_.state() != nullptr && !sender_.done(); }

// --- sending -----------------------------------------------------------------------------------------------

void Exchange::send(std::string_view method, std::shared_ptr<const RequestOptions> request,
                    bool with_credentials) {
  is_head_ = method == "HEAD";
  says_close_ = asks_for_close(*options_, *request);
  ByteStream& stream = *lease_->stream;
  const std::string header = make_request_header(method, url_, *options_, *request, with_credentials);
  const bool expects = equals_without_case(request->fields.get("Expect"), "100-continue");
  const auto body = std::as_bytes(std::span(request->body));
  outgoing_ = std::make_shared<Outgoing>();
  if (!request->stream && !expects && body.size() <= kInlineBody) {
    stream.write_all(std::as_bytes(std::span(header)), body);
    outgoing_->is_sent.store(true, std::memory_order_relaxed);
    return;
  }
  stream.write_all(std::as_bytes(std::span(header)));
  outgoing_->stream = lease_->stream;
  outgoing_->request = std::move(request);
  if (!expects) outgoing_->may_send.set();
  sender_ = create_task([outgoing = outgoing_] { send_body(*outgoing); });
}

void Exchange::send_body(Outgoing& outgoing) {
  try {
    timeout(kContinueWait, [&outgoing] { outgoing.may_send.wait(); });
  } catch (const TimeoutError&) {
  }
  const RequestOptions& request = *outgoing.request;
  MessageWriter writer(*outgoing.stream,
                       request.stream ? request.stream_length : std::optional(request.body.size()));
  try {
    if (request.stream) {
      request.stream(writer);
    } else {
      writer.write_now(request.body);
    }
    writer.finish();
    outgoing.is_sent.store(true, std::memory_order_release);
  } catch (...) {
    // The server does not want the rest, or its reader does not: what was answered is still to be read.
    if (writer.has_failed() || outgoing.is_given_up.load(std::memory_order_relaxed)) return;
    outgoing.failure = std::current_exception();
    outgoing.has_failed.store(true, std::memory_order_release);
    outgoing.stream->abort();  // whoever reads the answer is not to wait for one
  }
}

// A wait of the task itself would pass a cancellation on, and make it the sender's own failure.
void Exchange::wait_for_sender(std::optional<Duration> limit) {
  static_cast<void>(fibrio::wait(std::vector<Task<>>{sender_}, {.timeout = limit}));
}

void Exchange::stop_sender() noexcept {
  if (!is_sending()) return;
  outgoing_->is_given_up.store(true, std::memory_order_relaxed);
  if (is_in_task()) {
    end_task(sender_);
  } else {
    sender_.cancel();  // a callback cannot wait; what the sender uses it shares
  }
}

void Exchange::throw_failure() {
  if (outgoing_ == nullptr || !outgoing_->has_failed.load(std::memory_order_acquire)) return;
  break_off();
  std::rethrow_exception(outgoing_->failure);
}

void Exchange::await_stream() {
  if (is_sending() && outgoing_->request->stream) {
    if (parser_->status() == 101 || parser_->status() >= 300) {
      stop_sender();
    } else {
      const Task<> ahead = create_task([this] { read_ahead(); });
      try {
        wait_for_sender({});
      } catch (...) {
        end_task(ahead);
        if (!ahead.cancelled()) static_cast<void>(ahead.exception());  // that of the caller comes first
        throw;
      }
      end_task(ahead);
      if (!ahead.cancelled()) await(ahead);
    }
  }
  throw_failure();
}

// Ends with the answer, or when it is cancelled, which loses nothing. The sender ends with it.
void Exchange::read_ahead() {
  try {
    while (!parser_->is_done()) {
      const std::size_t at = ahead_.size();
      if (at >= kMaxAhead) {
        fail("'s body is longer than " + std::to_string(kMaxAhead) +
             " bytes before the request's stream has ended; RequestOptions::full_duplex lets it be read");
      }
      struct Fit {
        std::string& text;
        std::size_t used;
        ~Fit() { text.resize(used); }
      } fit{ahead_, at};
      ahead_.resize(at + kAheadStep);
      fit.used += read_parsed(std::as_writable_bytes(std::span(ahead_).subspan(at)), false);
    }
    if (lease_) finish();
  } catch (const CancelledError&) {
    throw;
  } catch (...) {
    break_off();
    throw;
  }
}

// --- receiving ---------------------------------------------------------------------------------------------

void Exchange::fail(const std::string& what) {
  break_off();
  throw ClientError("http: " + url_.to_string() + ": the answer" + what);
}

void Exchange::break_off() noexcept {
  is_broken_ = true;
  if (lease_ && lease_->stream != nullptr) lease_->stream->abort();
  stop_sender();
  lease_.reset();
}

std::size_t Exchange::receive(std::span<std::byte> space, bool is_limited) {
  const auto read = [&] { return lease_->stream->read_some(space); };
  const auto read_in_time = [&] {
    return !is_limited || options_->read_timeout < Duration::zero()
               ? read()
               : in_time("read_timeout", options_->read_timeout, read);
  };
  try {
    const std::size_t count = deadline_ ? in_time("timeout", *deadline_, read_in_time) : read_in_time();
    if (count == 0) throw_failure();
    return count;
  } catch (const std::system_error&) {
    // The sender fails as well, if it did not before; but the user's stream may be waiting for anything.
    break_off();
    throw_failure();
    throw;
  }
}

void Exchange::receive_header() {
  for (int interim = 0;; ++interim) {
    if (interim > kMaxInterim)
      fail(" has more than " + std::to_string(kMaxInterim) + " interim ones before it");
    parser_.emplace(options_->max_header_bytes, is_head_, options_->lenient_reading);
    for (;;) {
      std::size_t used = 0;
      if (!parser_->read_header(input_.data(), used)) fail(parser_->failure());
      input_.consume(used);
      if (parser_->is_header_done()) break;
      if (input_.is_full()) fail(ResponseParser::kHeaderTooLarge);
      const std::size_t count = receive(input_.space());
      if (count == 0) {
        if (has_answer_) fail(" ends within its header");
        throw std::system_error(
            std::make_error_code(std::errc::connection_reset),
            "http: " + url_.to_string() + ": the server closed the connection before it answered");
      }
      has_answer_ = true;
      input_.received(count);
    }
    if (parser_->status() == 100) outgoing_->may_send.set();
    if (parser_->status() >= 200 || parser_->status() == 101) break;
  }
  if (!outgoing_->may_send.is_set())
    stop_sender();  // the server answers without the body that it did not ask for
  if (parser_->sets_cookies() && options_->cookie_jar != nullptr) {
    for (const Fields::Field& field : fields()) {
      if (equals_without_case(field.name, "Set-Cookie"))
        options_->cookie_jar->set(url_, field.value, calendar());
    }
  }
  if (parser_->is_done() && parser_->status() != 101) finish();
}

std::size_t Exchange::read_body(std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  if (ahead_at_ < ahead_.size()) {
    const std::size_t count = std::min(buffer.size(), ahead_.size() - ahead_at_);
    std::copy_n(std::as_bytes(std::span(ahead_)).begin() + static_cast<std::ptrdiff_t>(ahead_at_), count,
                buffer.begin());
    ahead_at_ += count;
    if (ahead_at_ == ahead_.size()) ahead_ = {}, ahead_at_ = 0;
    return count;
  }
  if (is_broken_) {
    throw ClientError("http: " + url_.to_string() +
                      ": an earlier read of the answer failed, and its connection is cut off");
  }
  const std::size_t count = read_parsed(buffer, true);
  // With bytes in hand nothing may wait or throw: then the next call, which returns 0, ends it.
  if (parser_->is_done() && lease_ && parser_->status() != 101 && (count == 0 || !is_sending())) finish();
  return count;
}

// Body bytes; 0 at its end.
std::size_t Exchange::read_parsed(std::span<std::byte> buffer, bool is_limited) {
  while (!parser_->is_done()) {
    std::size_t used = 0;
    const std::size_t count = parser_->take(input_.data(), used, buffer);
    input_.consume(used);
    if (parser_->failure() != nullptr) fail(parser_->failure());
    if (count > 0) return count;
    if (parser_->is_done()) break;
    if (input_.is_full()) fail("'s body has a chunk or a trailer that is too large");
    const std::size_t received = receive(input_.space(), is_limited);
    input_.received(received);
    if (received > 0) continue;
    if (!parser_->put_eof()) fail(" ends within its body");
  }
  return 0;
}

void Exchange::drop_body() {
  std::array<std::byte, 2048> dropped;
  try {
    for (std::size_t total = 0; lease_ && !parser_->is_done();) {
      std::size_t used = 0;
      const std::size_t count = parser_->take(input_.data(), used, dropped);
      input_.consume(used);
      total += count;
      if (parser_->failure() != nullptr || total > kInlineBody || input_.is_full()) break;
      if (count > 0 || parser_->is_done()) continue;
      const std::optional<std::size_t> received = lease_->stream->try_read_some(input_.space());
      if (received.value_or(0) == 0) break;
      input_.received(*received);
    }
    if (lease_ && parser_->is_done()) return finish();
  } catch (const std::system_error&) {  // nobody wants that body
  }
  throw_failure();
  break_off();
}

// The answer is complete.
void Exchange::finish() {
  if (is_sending()) {
    // A server that has answered has read all of it, or does not want the rest.
    wait_for_sender(kSenderEnd);
    stop_sender();
  }
  throw_failure();
  if (!outgoing_->is_sent.load(std::memory_order_acquire)) {
    lease_->stream->abort();
  } else if (parser_->keep_alive() && input_.empty() && !says_close_) {
    lease_->keep();
  }
  lease_.reset();
}

std::unique_ptr<ByteStream> Exchange::take_stream() {
  if (!lease_ || parser_->status() != 101) {
    throw RuntimeError("http: take_stream is for an answer with status 101");
  }
  stop_sender();
  auto stream = std::make_unique<UpgradedStream>(std::move(lease_->stream), input_.data());
  lease_.reset();
  return stream;
}

}  // namespace fibrio::http::detail
