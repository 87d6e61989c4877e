// Protocol: one task does everything, in the order of the bytes.
//   1. A header is read; its handler is called, and reads the body through read_body() as it likes.
//   2. What it returns is appended to `output_`, which is sent before anything waits for the peer.
//   3. What the handler left of the body is dropped, and the next request read; or the connection ends:
//      after an error, when either side wants to, when the server stops, or when the rest is too long.
//   `is_peer_gone_` says that the stream failed: nobody is left to tell, whatever the handler then throws.
#include "http/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include "http/borrowed_stream.hpp"
#include "http/input_buffer.hpp"
#include "http/request_parser.hpp"
#include "http/response_writer.hpp"
#include "http/upgraded_stream.hpp"

namespace fibrio::http {

namespace {

using detail::ServerState;
using Phase = ConnectionTable::Phase;
using Progress = RequestParser::Progress;
using Framing = ResponseWriter::Framing;

constexpr std::size_t kMinFullBuffer = 16 * 1024;
// A body that its handler did not read is read for it up to this length; beyond, closing is cheaper.
constexpr std::uint64_t kMaxDropped = 64 * 1024;
// Plain bodies go straight to a buffer of this size.
constexpr std::size_t kDirectRead = 4096;

class Connection final : private detail::BodySource, private BodyWriter {
 public:
  // `open` makes the stream, given the connection's entry in the table.
  template <class Open>
  Connection(ServerState& state, Open&& open)
      : state_(state),
        entry_(state.connections),
        input_(std::max(kMinFullBuffer, state.options.max_header_bytes)),
        parser_({state.options.max_header_bytes, state.options.max_fields, state.options.max_body_bytes},
                request_) {
    stream_ = std::forward<Open>(open)(entry_);
    detail::RequestAccess::set_source(request_, *this);
    detail::RequestAccess::set_server(request_, state_);
  }

  void run() {
    try {
      converse();
    } catch (const std::system_error&) {
      // The peer is gone, or took too long to read: there is nobody to tell.
    } catch (const CancelledError&) {
      if (is_handling_) {
        state_.dropped.fetch_add(1, std::memory_order_relaxed);
        refuse_in_flight();
      }
      throw;
    }
  }

 private:
  // Requests are answered one after the other. Answers wait in `output_` while more requests are there
  // already, so that a pipeline of them is answered in one send.
  void converse() {
    for (;;) {
      std::size_t used = 0;
      const Progress progress = parser_.read_header(input_.data(), used);
      input_.consume(used);
      if (progress == Progress::kDone) {
        if (!answer()) return finish();
      } else if (progress == Progress::kFailed) {
        return reject(parser_.failure_status());
      } else if (input_.is_full()) {
        return reject(431);
      } else if (!receive_header()) {
        return;
      }
    }
  }

  // Waits for more bytes. False: there will be none.
  bool receive_header() {
    flush();
    const Phase next = parser_.is_started() ? Phase::kHeader : requests_ > 0 ? Phase::kIdle : Phase::kFresh;
    if (next != phase_) enter(next);  // more bytes of a header do not buy more time
    const std::size_t count = read_stream(input_.space());
    input_.received(count);
    if (count > 0) return true;
    if (entry_.is_stopped() && phase_ == Phase::kHeader) reject(408);
    return false;
  }

  // 0: the end, also where the sweeper brought it about, which TLS calls an error.
  std::size_t read_stream(std::span<std::byte> space) {
    try {
      return stream_->read_some(space);
    } catch (const std::system_error&) {
      if (entry_.is_stopped()) return 0;
      is_peer_gone_ = true;
      throw;
    }
  }

  // Answers the request that the parser holds. False: it is the last one of this connection.
  bool answer() {
    enter(Phase::kBusy);
    body_deadline_ = 0;
    Response response = call_handler();
    is_handling_ = false;
    ++requests_;
    entry_.count_request();
    bool keep_alive = request_.keep_alive() && !response.close && !is_body_bad_ && !entry_.is_stopped() &&
                      requests_ != state_.options.max_requests_per_connection &&
                      !state_.is_draining.load(std::memory_order_relaxed);
    // A stream may still read the body that it answers.
    if (!response.stream) keep_alive = drop_body(false) && keep_alive;
    keep_alive = send(response, keep_alive);
    if (!keep_alive) return false;
    if (!parser_.is_done() && !drop_body(true)) return false;
    parser_.reset();
    return true;
  }

  Response call_handler() {
    const Router::Route& route = state_.router.find(request_);
    if (!route.is_quick) flush();
    is_handling_ = true;
    try {
      Response response = route.handler(request_);
      require_final(response);
      return response;
    } catch (const HttpError& error) {
      return error_response_of(error);
    } catch (...) {
      if (is_cancelled()) throw;
      if (is_peer_gone_) fail_gone();
      report("an exception in the handler of ");
      return error_response(500);
    }
  }

  static void require_final(const Response& response) {
    if (is_final(response)) return;
    throw std::logic_error("no answer has the status " + std::to_string(response.status) +
                           (response.status == 101 ? " without upgrade" : ""));
  }

  // Whether what is being handled is the server's cancellation, not one that the handler came across.
  static bool is_cancelled() {
    if (current_task().cancelling() == 0) return false;
    try {
      throw;
    } catch (const CancelledError&) {
      return true;
    } catch (...) {
      return false;
    }
  }

  static Response error_response_of(const HttpError& error) {
    return Response(error.what() + std::string("\n"), "text/plain; charset=utf-8", error.status());
  }

  void report(const char* message) const {
    get_running_loop().call_exception_handler(
        {.message = "http: " + std::string(message) + request_.method() + ' ' + std::string(request_.path()),
         .exception = std::current_exception()});
  }

  // Sends the response, or appends it to what is sent later. Returns whether the connection can go on.
  bool send(const Response& response, bool keep_alive) {
    const bool is_head = request_.method() == "HEAD";
    const bool is_bodiless = response.status < 200 || response.status == 204 || response.status == 304;
    ResponseWriter::Style style{Framing::kLength, request_.version(), keep_alive};
    if (is_bodiless) {
      style.framing = Framing::kUntilClose;
    } else if (response.stream && !response.stream_length) {
      style.framing = request_.version() >= 11 ? Framing::kChunked : Framing::kUntilClose;
      if (style.framing == Framing::kUntilClose) style.keep_alive = is_head && keep_alive;
    }
    const std::uint64_t length = response.stream ? response.stream_length.value_or(0) : response.body.size();
    output_.begin(response, style, length, state_.connections.unix_time());

    if (response.status == 101) {
      upgrade(response);
      return false;
    }
    if (is_head || is_bodiless) {
      // All but the body.
    } else if (response.stream) {
      stream_body(response, style.framing, length);
    } else if (response.body.size() < ResponseWriter::kLargeBody) {
      output_.append(response.body);
    } else {
      send_with(std::as_bytes(std::span(response.body)));
    }
    if (output_.is_full()) flush();
    return style.keep_alive;
  }

  void stream_body(const Response& response, Framing framing, std::uint64_t length) {
    writer_framing_ = framing;
    writer_left_ = length;
    try {
      is_handling_ = true;
      response.stream(*this);
      if (framing == Framing::kLength && writer_left_ > 0) {
        throw std::length_error("the stream wrote less than its stream_length");
      }
      is_handling_ = false;
      if (framing == Framing::kChunked) output_.append(ResponseWriter::kLastChunk);
    } catch (...) {
      is_handling_ = false;  // half an answer is out: there is no place for a 503
      const bool is_end = is_cancelled();
      if (!is_end && !is_peer_gone_) report("an exception in the stream of ");
      // The client must not take the part for the whole, so: a reset.
      entry_.enter(Phase::kBusy);  // the sweeper keeps away from a socket that is closed
      stream_->abort();
      if (!is_end) fail_gone();
      state_.dropped.fetch_add(1, std::memory_order_relaxed);
      throw;
    }
  }

  [[noreturn]] static void fail_gone() {
    throw std::system_error(std::make_error_code(std::errc::connection_aborted));
  }

  // BodyWriter, for response.stream.
  void write(std::span<const std::byte> data) override {
    if (data.empty()) return;
    if (writer_framing_ == Framing::kLength) {
      if (data.size() > writer_left_)
        throw std::length_error("http: a stream wrote more than its stream_length");
      writer_left_ -= data.size();
    }
    const bool is_chunked = writer_framing_ == Framing::kChunked;
    if (is_chunked) output_.append_chunk_head(data.size());
    if (data.size() >= ResponseWriter::kLargeBody) {
      send_with(data);
    } else {
      output_.append({reinterpret_cast<const char*>(data.data()), data.size()});
    }
    if (is_chunked) output_.append(ResponseWriter::kChunkEnd);
    if (output_.data().size() >= ResponseWriter::kLargeBody) flush();
    enter(Phase::kBusy);
  }
  void flush() override {
    if (output_.empty()) return;
    send_with({});
    enter(Phase::kBusy);
  }

  // Calls what sends.
  template <class Send>
  auto send_in_time(Send&& send) {
    enter(Phase::kWriting);
    try {
      return send();
    } catch (const std::system_error& error) {
      // What cannot be read, or is no file, is the handler's affair.
      is_peer_gone_ = error.code() != std::errc::io_error && error.code() != std::errc::bad_file_descriptor;
      throw;
    }
  }

  std::uint64_t send_file(int file, std::uint64_t offset, std::uint64_t count) override {
    // A stream of make_stream's could only copy, and would wait for the disk meanwhile.
    if (writer_framing_ == Framing::kChunked || state_.options.make_stream) {
      return BodyWriter::send_file(file, offset, count);
    }
    if (writer_framing_ == Framing::kLength && count > writer_left_)
      throw std::length_error("http: a stream wrote more than its stream_length");
    flush();
    const std::uint64_t sent = send_in_time([&] { return stream_->send_file(file, offset, count); });
    if (writer_framing_ == Framing::kLength) writer_left_ -= sent;
    enter(Phase::kBusy);
    return sent;
  }

  // Sends what is in `output_`, and then `more`.
  void send_with(std::span<const std::byte> more) {
    send_in_time([&] {
      const auto first = std::as_bytes(std::span(output_.data()));
      more.empty() ? stream_->write_all(first) : stream_->write_all(first, more);
    });
    output_.clear();
  }

  // BodySource, for request_.
  [[nodiscard]] const ByteStream& stream() const noexcept override { return *stream_; }
  std::size_t read_body(std::span<std::byte> buffer) override {
    if (buffer.empty()) return 0;
    for (;;) {
      if (const std::size_t count = take_body(input_, buffer); count > 0 || parser_.is_done()) return count;
      if (input_.is_full()) fail_body(431);  // a chunk header or a trailer that never ends
      const std::uint64_t rest = parser_.plain_rest();
      if (rest > 0 && input_.empty() && buffer.size() >= kDirectRead) {
        const auto place =
            buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(rest, buffer.size())));
        const std::size_t received = receive_body(place);
        return parse_body({reinterpret_cast<const char*>(place.data()), received}, place).second;
      }
      input_.received(receive_body(input_.space()));
    }
  }

  std::size_t take_body(InputBuffer& input, std::span<std::byte> target) {
    if (parser_.is_done()) return 0;
    const auto [used, count] = parse_body(input.data(), target);
    input.consume(used);
    return count;
  }

  // Returns how many bytes of input are used, and how many of the body there were.
  std::pair<std::size_t, std::size_t> parse_body(std::span<const char> input, std::span<std::byte> target) {
    std::size_t used = 0;
    std::size_t count = 0;
    if (parser_.read_body(input, used, target, count) == Progress::kFailed)
      fail_body(parser_.failure_status());
    return {used, count};
  }

  // Waits for bytes of a body. Returns how many came.
  std::size_t receive_body(std::span<std::byte> space) {
    if (parser_.take_expects_continue() && input_.empty()) output_.append(ResponseWriter::kContinue);
    flush();
    phase_ = Phase::kBody;
    if (body_deadline_ == 0) {
      body_deadline_ = entry_.enter(Phase::kBody);
    } else {
      entry_.resume(body_deadline_);
    }
    const std::size_t count = read_stream(space);
    enter(Phase::kBusy);
    if (count > 0) return count;
    if (entry_.is_stopped()) fail_body(408);
    is_peer_gone_ = true;
    throw std::system_error(std::make_error_code(std::errc::connection_aborted),
                            "the client left within a body");
  }

  [[noreturn]] void fail_body(unsigned status) {
    is_body_bad_ = true;
    throw HttpError(status);
  }

  // Drops what the handler left of the body. False if that fails, is too much, or would wait for a client
  // that waits for us.
  bool drop_body(bool may_wait) {
    std::uint64_t dropped = 0;
    try {
      while (!parser_.is_done() && !is_body_bad_) {
        dropped += take_body(input_, {});
        if (parser_.is_done()) break;
        if (dropped + parser_.plain_rest() > kMaxDropped || parser_.expects_continue() || input_.is_full())
          return false;
        if (!may_wait) return true;
        input_.received(receive_body(input_.space()));
      }
    } catch (const HttpError&) {
    }
    return !is_body_bad_;
  }

  void upgrade(const Response& response) {
    flush();
    entry_.enter(Phase::kBusy);
    is_upgraded_ = true;
    UpgradedStream upgraded(*stream_, input_.data());
    try {
      response.upgrade(upgraded);
    } catch (...) {
      if (is_cancelled()) throw;
      if (is_peers_affair(std::current_exception(), upgraded.has_failed())) return;
      report("an exception in the upgraded connection of ");
    }
  }

  void reject(unsigned status) {
    output_.begin(error_response(status), {.keep_alive = false}, error_response(status).body.size(),
                  state_.connections.unix_time());
    output_.append(error_response(status).body);
    is_body_bad_ = true;
    finish();
  }

  // Sends the last answer and ends. If the client may still be sending, closing at once would reset the
  // connection and could destroy the answer on its way: so half close, and read on until the client is done,
  // for a while.
  void finish() {
    if (is_upgraded_) return;
    flush();
    if (!request_.keep_alive() && parser_.is_done() && input_.empty()) return;
    enter(Phase::kWriting);
    stream_->end_output();
    enter(Phase::kLinger);
    do {
      input_.consume(input_.data().size());
      input_.received(stream_->read_some(input_.space()));
    } while (!input_.empty());
  }

  // A second cancellation, from the end of the loop, ends this too.
  void refuse_in_flight() {
    output_.clear();
    const Response response = error_response(503, "the server stops");
    output_.begin(response, {.keep_alive = false}, response.body.size(), state_.connections.unix_time());
    output_.append(response.body);
    try {
      finish();
    } catch (const std::system_error&) {
    }
  }

  void enter(Phase phase) {
    phase_ = phase;
    entry_.enter(phase);
  }

  ServerState& state_;
  std::unique_ptr<ByteStream> stream_;
  ConnectionTable::Entry entry_;  // after the stream: leaves the table before the socket is closed
  InputBuffer input_;
  Request request_;
  RequestParser parser_;
  ResponseWriter output_;
  Phase phase_ = Phase::kFresh;
  std::uint64_t body_deadline_ = 0;  // a word of the entry; 0: not waited yet
  std::uint64_t requests_ = 0;
  Framing writer_framing_ = Framing::kLength;
  std::uint64_t writer_left_ = 0;
  bool is_handling_ = false;
  bool is_body_bad_ = false;
  bool is_peer_gone_ = false;
  bool is_upgraded_ = false;
};

}  // namespace

void serve_connection(TcpStream tcp, ServerState& state) {
  const auto open = [&](ConnectionTable::Entry& entry) {
    const auto& make_stream = state.options.make_stream;
    auto stream = make_stream
                      ? timeout(state.options.header_timeout, [&] { return make_stream(std::move(tcp)); })
                      : make_byte_stream(std::move(tcp));
    entry.set_socket(stream->native_handle());
    return stream;
  };
  try {
    Connection(state, open).run();
  } catch (const std::exception&) {
    // The handshake of make_stream failed: that is the peer's affair.
  }
}

void serve_connection(ByteStream& stream, ServerState& state) {
  Connection(state, [&](ConnectionTable::Entry& entry) -> std::unique_ptr<ByteStream> {
    return std::make_unique<BorrowedStream>(stream, entry, state.options);
  }).run();
}

void refuse_connection(TcpStream stream, const ServerState& state) {
  if (state.options.make_stream) return;  // what it speaks is not plain text
  ResponseWriter output;
  const Response response = error_response(503, "too many connections");
  output.begin(response, {.keep_alive = false}, response.body.size(), state.connections.unix_time());
  output.append(response.body);
  try {
    (void)stream.try_write_some(std::as_bytes(std::span(output.data())));
  } catch (const std::system_error&) {
    return;
  }
  // A request left unread would turn the close into a reset, which may overtake the answer.
  char unread[1024];
  while (::recv(stream.native_handle(), unread, sizeof unread, MSG_DONTWAIT) == sizeof unread) {
  }
}

}  // namespace fibrio::http
