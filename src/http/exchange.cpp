#include "http/exchange.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/version.hpp"
#include "http/in_time.hpp"
#include "http/text.hpp"
#include "http/upgraded_stream.hpp"

namespace fibrio::http::detail {

namespace {

using namespace std::chrono_literals;

// A body up to this size is sent before the answer is read: no peer stops reading that early.
constexpr std::size_t kInlineBody = 16 * 1024;
// Pieces of a stream are sent when this many bytes have come together.
constexpr std::size_t kSendAt = 16 * 1024;
// How long a body waits for "100 Continue" from a server that may not know it.
constexpr Duration kContinueWait = 1s;
// How long a complete answer waits for the end of the task that sends the body.
constexpr Duration kSenderEnd = 20ms;

// What the calendar says; with virtual time it goes on with that.
CookieJar::Time calendar() {
  const EventLoop& loop = get_running_loop();
  const auto moved = loop.config().virtual_time ? loop.time().time_since_epoch() : Duration::zero();
  return std::chrono::floor<CookieJar::Time::duration>(std::chrono::system_clock::now() + moved);
}

bool is_credential(std::string_view name) {
  return equals_without_case(name, "Authorization") || equals_without_case(name, "Cookie") ||
         equals_without_case(name, "Proxy-Authorization");
}

// What is sent unless the user has another one, or an empty one.
bool is_own(std::string_view name) {
  return equals_without_case(name, "User-Agent") || equals_without_case(name, "Accept");
}

std::string make_header(std::string_view method, const Url& url, const SessionOptions& session,
                        const RequestOptions& request, bool with_credentials) {
  std::string text(method);
  text.append(" ").append(url.target()).append(" HTTP/1.1\r\n");
  const auto add = [&text](std::string_view name, std::string_view value) {
    if (value.empty() && is_own(name)) return;  // the user wants none
    text.append(name).append(": ").append(value).append("\r\n");
  };
  const auto has = [&](std::string_view name) {
    return request.fields.contains(name) || session.fields.contains(name);
  };
  std::string cookies;  // all in one field, as servers expect
  const auto add_users = [&](const Fields::Field& field) {
    if (equals_without_case(field.name, "Cookie")) {
      cookies.append(cookies.empty() ? "" : "; ").append(field.value);
    } else {
      add(field.name, field.value);
    }
  };
  if (!has("Host")) add("Host", url.authority());
  for (const Fields::Field& field : session.fields) {
    // What says where the request ends is ours alone.
    if (Fields::is_framing(field.name) || request.fields.contains(field.name)) continue;
    if (with_credentials || !is_credential(field.name)) add_users(field);
  }
  for (const Fields::Field& field : request.fields) {
    if (!Fields::is_framing(field.name)) add_users(field);
  }
  const auto& jar = session.cookie_jar;
  if (jar != nullptr && jar->size() > 0) cookies = jar->cookies_for(url, std::move(cookies), calendar());
  if (!cookies.empty()) add("Cookie", cookies);
  if (!has("Accept")) add("Accept", "*/*");
  if (!has("User-Agent")) add("User-Agent", "fibrio/" + std::string(fibrio::version()));
  if (request.fields.has_token("Connection", "Upgrade")) add("Connection", "Upgrade");
  if (request.stream && !request.stream_length) {
    add("Transfer-Encoding", "chunked");
  } else {
    const std::uint64_t length = request.stream ? *request.stream_length : request.body.size();
    const bool is_expected = method != "GET" && method != "HEAD";
    if (length > 0 || is_expected) add("Content-Length", std::to_string(length));
  }
  return text + "\r\n";
}

}  // namespace

// Where a request's stream writes its body.
class Exchange::Writer final : public BodyWriter {
 public:
  Writer(ByteStream& stream, std::optional<std::uint64_t> length) : stream_(stream), left_(length) {}

  void write(std::span<const std::byte> data) override {
    if (data.empty()) return;
    if (left_) {
      if (data.size() > *left_) throw std::length_error("http: a stream wrote more than its stream_length");
      *left_ -= data.size();
    } else {
      char digits[16];
      buffer_.append(digits, std::to_chars(digits, digits + sizeof digits, data.size(), 16).ptr)
          .append("\r\n");
    }
    buffer_.append(reinterpret_cast<const char*>(data.data()), data.size());
    if (!left_) buffer_ += "\r\n";
    if (buffer_.size() >= kSendAt) flush();
  }
  void flush() override {
    stream_.write_all(std::as_bytes(std::span(buffer_)));
    buffer_.clear();
  }
  void finish() {
    if (left_ && *left_ > 0) throw std::length_error("http: a stream wrote less than its stream_length");
    if (!left_) buffer_ += "0\r\n\r\n";
    flush();
  }

 private:
  ByteStream& stream_;
  std::optional<std::uint64_t> left_;  // none: chunks
  std::string buffer_;
};

Exchange::Exchange(ConnectionPool::Lease lease, std::shared_ptr<const SessionOptions> options, Url url,
                   std::optional<TimePoint> deadline)
    : lease_(std::move(lease)),
      options_(std::move(options)),
      url_(std::move(url)),
      deadline_(deadline),
      input_(std::max<std::size_t>(16 * 1024, options_->max_header_bytes)) {}

struct Exchange::Outgoing {
  std::shared_ptr<ByteStream> stream;
  std::shared_ptr<const RequestOptions> request;
  Event may_send;                    // the body: the server said "100 Continue", or nothing for a while
  std::atomic<bool> is_sent{false};  // all of the request; release by the sender, acquire by the reader
  std::exception_ptr failure;        // of the user's stream; before the task is done
};

Exchange::~Exchange() {
  const bool was_sending = is_sending();
  if (lease_ && lease_->stream != nullptr) lease_->stream->abort();  // nobody reads the rest of the answer
  if (was_sending) sender_.cancel();
}

bool Exchange::is_sending() const { return sender_.state() != nullptr && !sender_.done(); }

void Exchange::send(std::string_view method, std::shared_ptr<const RequestOptions> request,
                    bool with_credentials) {
  is_head_ = method == "HEAD";
  ByteStream& stream = *lease_->stream;
  const std::string header = make_header(method, url_, *options_, *request, with_credentials);
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
  try {
    if (request.stream) {
      Writer writer(*outgoing.stream, request.stream_length);
      request.stream(writer);
      writer.finish();
    } else {
      outgoing.stream->write_all(std::as_bytes(std::span(request.body)));
    }
    outgoing.is_sent.store(true, std::memory_order_release);
  } catch (const std::system_error&) {
    // The server does not want the rest; what it has answered is still to be read.
  } catch (const std::exception&) {
    outgoing.failure = std::current_exception();
    outgoing.stream->abort();  // who reads the answer shall not wait for one
  }
}

void Exchange::fail(const std::string& what) const {
  throw HttpError(502, url_.to_string() + ": the answer" + what);
}

std::size_t Exchange::receive(std::span<std::byte> space) {
  const auto read = [&] { return lease_->stream->read_some(space); };
  const auto read_in_time = [&] {
    return options_->read_timeout < Duration::zero() ? read()
                                                     : in_time("read_timeout", options_->read_timeout, read);
  };
  try {
    return deadline_ ? in_time("timeout", *deadline_, read_in_time) : read_in_time();
  } catch (const std::system_error&) {
    // The sender fails as well, if it did not before; but the user's stream may be waiting for anything.
    if (is_sending()) {
      lease_->stream->abort();
      sender_.cancel();
      sender_.wait();
    }
    if (outgoing_->failure) std::rethrow_exception(outgoing_->failure);
    throw;
  }
}

void Exchange::receive_header() {
  for (;;) {
    parser_.emplace(options_->max_header_bytes, is_head_);
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
    outgoing_->may_send.set();
    if (parser_->status() >= 200 || parser_->status() == 101) break;
  }
  if (parser_->sets_cookies() && options_->cookie_jar != nullptr) {
    for (const Fields::Field& field : fields()) {
      if (equals_without_case(field.name, "Set-Cookie"))
        options_->cookie_jar->set(url_, field.value, calendar());
    }
  }
  if (parser_->is_done()) finish();
}

std::size_t Exchange::read_body(std::span<std::byte> buffer) {
  while (!buffer.empty() && !parser_->is_done()) {
    std::size_t used = 0;
    ResponseParser::ErrorCode error;
    const std::size_t count = parser_->take(input_.data(), used, buffer, error);
    input_.consume(used);
    if (error) fail(ResponseParser::describe_body(error));
    if (parser_->is_done()) finish();
    if (count > 0 || parser_->is_done()) return count;
    if (input_.is_full()) fail("'s body has a chunk or a trailer that is too large");
    const std::size_t received = receive(input_.space());
    input_.received(received);
    if (received > 0) continue;
    parser_->put_eof(error);
    if (error) fail(" ends within its body");
    finish();
  }
  return 0;
}

// The answer is complete.
void Exchange::finish() {
  if (parser_->status() == 101) return;
  if (is_sending()) {
    // A server that has answered has read all of it, or does not want the rest.
    try {
      timeout(kSenderEnd, [this] { sender_.wait(); });
    } catch (const TimeoutError&) {
      return;
    }
  }
  const bool is_sent = outgoing_->is_sent.load(std::memory_order_acquire);
  if (is_sent && parser_->keep_alive() && input_.empty()) lease_->keep();
  lease_.reset();
  if (outgoing_->failure) std::rethrow_exception(outgoing_->failure);
}

std::unique_ptr<ByteStream> Exchange::take_stream() {
  if (!lease_ || parser_->status() != 101) {
    throw RuntimeError("http: take_stream is for an answer with status 101");
  }
  auto stream = std::make_unique<UpgradedStream>(std::move(lease_->stream), input_.data());
  lease_.reset();
  return stream;
}

}  // namespace fibrio::http::detail
