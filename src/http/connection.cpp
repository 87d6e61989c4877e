// Protocol: one task does everything, in the order of the bytes. State says where it is:
//   kReading    a header is read; whole answers may wait in the sender
//   kHandling   the handler runs, and reads the body as it likes; no byte of its answer is there
//   kSending    its answer is sent, or collected to be sent before anything waits for the peer
//   kStreaming  the same, by Response::stream
//   kUpgraded   another protocol has the connection, for its rest
//   kCut        it was reset: nothing more is sent
// What the handler left of the body is dropped, and the next header read; or the connection ends: after an error,
// when either side wants to, when the server stops, or when the rest of the body is too long.
//
// Invariant: an answer begins only where MessageSender::is_between() holds, also "100 Continue" and the 503 of a
// shutdown. A sender that is not, when its answer should be complete or the task ends, is cut off by a reset, so that
// no client takes a part for the whole.
#include "http/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include "fibrio/detail/saved_context.hpp"
#include "http/borrowed_stream.hpp"
#include "http/input_buffer.hpp"
#include "http/message_sender.hpp"
#include "http/request_body.hpp"
#include "http/request_parser.hpp"
#include "http/response_header.hpp"
#include "http/upgraded_stream.hpp"

namespace fibrio::http {

namespace {

using detail::ServerState;
using Phase = ConnectionTable::Phase;
using Progress = RequestParser::Progress;
using Framing = MessageSender::Framing;

constexpr std::size_t kMinFullBuffer = 16 * 1024;
constexpr std::size_t kMaxUnread = 4096;  // of a connection that is refused

class AnswerSender final : public MessageSender {
 public:
  AnswerSender(ByteStream& stream, const ServerState& state, ConnectionTable::Entry& entry)
      : MessageSender(stream), state_(state), entry_(entry) {}

  void begin(const Response& response, ResponseHeader::Style style, std::uint64_t length) {
    header_.write(text(), response, style, length, state_.connections.unix_time());
  }

 private:
  void on_sending() override { entry_.enter(Phase::kWriting); }
  void on_sent() override { entry_.enter(Phase::kBusy); }
  [[nodiscard]] bool can_send_files() const override { return !state_.options.make_stream; }

  const ServerState& state_;
  ConnectionTable::Entry& entry_;
  ResponseHeader header_;
};

class Connection {
 public:
  // `context`: what each request begins with. All of them outlive it.
  Connection(ByteStream& stream, ServerState& state, ConnectionTable::Entry& entry,
             const fibrio::detail::SavedContext& context)
      : state_(state),
        stream_(stream),
        entry_(entry),
        context_(context),
        input_(std::max(kMinFullBuffer, state.options.max_header_bytes)),
        parser_({state.options.max_header_bytes, state.options.max_fields, state.options.max_body_bytes},
                request_),
        sender_(stream, state, entry),
        body_(stream, input_, parser_, sender_, entry) {
    detail::RequestAccess::set_source(request_, body_);
    detail::RequestAccess::set_server(request_, state_);
  }

  void run() {
    try {
      converse();
    } catch (const std::system_error&) {
      // The peer is gone, or took too long to read: there is nobody to tell.
      end_broken();
    } catch (const CancelledError&) {
      if (is_at_work()) state_.dropped.fetch_add(1, std::memory_order_relaxed);
      if (at_ == State::kHandling && sender_.is_between()) refuse_in_flight();
      end_broken();
      throw;
    } catch (...) {
      end_broken();
      throw;
    }
  }

 private:
  enum class State : std::uint8_t { kReading, kHandling, kSending, kStreaming, kUpgraded, kCut };

  [[nodiscard]] bool is_at_work() const { return at_ == State::kHandling || at_ == State::kStreaming; }

  // Requests are answered one after the other. Answers wait in the sender while more requests are there
  // already, so that a pipeline of them is answered in one send.
  void converse() {
    for (;;) {
      std::size_t used = 0;
      const Progress progress = parser_.read_header(input_.data(), used);
      input_.consume(used);
      if (progress == Progress::kDone) {
        const bool goes_on = answer();
        context_.restore();
        if (!goes_on) return finish();
      } else if (progress == Progress::kFailed) {
        return reject(parser_.failure_status());
      } else if (input_.is_full()) {
        return reject(parser_.too_large_status(input_.data()));
      } else if (!receive_header()) {
        return;
      }
    }
  }

  // Waits for more bytes. False: there will be none.
  bool receive_header() {
    sender_.flush();
    const Phase next = parser_.is_started() ? Phase::kHeader : requests_ > 0 ? Phase::kIdle : Phase::kFresh;
    if (next != entry_.phase()) entry_.enter(next);  // more bytes of a header do not buy more time
    const std::size_t count = body_.read_stream(input_.space());
    input_.received(count);
    if (count > 0) return true;
    if (entry_.is_stopped() && next == Phase::kHeader) reject(408);
    return false;
  }

  // Answers the request that the parser holds. False: it is the last one of this connection.
  bool answer() {
    entry_.enter(Phase::kBusy);
    body_.begin();
    Response response = call_handler();
    if (!is_final(response)) [[unlikely]]
      response = refuse_status_of(response);
    at_ = State::kSending;
    // The handler has read the body, and caught what ended the sending of answers before its own.
    if (sender_.is_broken()) return cut_off();
    ++requests_;
    entry_.count_request();
    bool keep_alive = request_.keep_alive() && !response.close && !body_.is_bad() && !entry_.is_stopped() &&
                      requests_ != state_.options.max_requests_per_connection &&
                      !state_.is_draining.load(std::memory_order_relaxed);
    // A stream may still read the body that it answers.
    if (!response.stream && !parser_.is_done()) keep_alive = body_.drop(false) && keep_alive;
    if (response.status == 101 && !parser_.is_done() && !body_.drop(true)) {
      // The bytes of the body would be taken for the other protocol's.
      response = error_response(400, "an upgrade with a body that nobody has read");
      keep_alive = false;
    }
    if (!send(response, keep_alive)) return false;
    if (!parser_.is_done() && !body_.drop(true)) return false;
    parser_.reset();
    at_ = State::kReading;
    return true;
  }

  Response call_handler() {
    const Router::Route& route = state_.router.find(request_);
    if (!route.is_quick) sender_.flush();
    at_ = State::kHandling;
    try {
      return route.handler(request_);
    } catch (const HttpError& error) {
      return error_response_of(error);
    } catch (...) {
      if (is_cancelled()) throw;
      if (is_peer_gone()) throw_gone();
      report("an exception in the handler of ");
      return error_response(500);
    }
  }

  // As if the handler had thrown.
  [[gnu::noinline]] Response refuse_status_of(const Response& response) const {
    if (is_peer_gone()) throw_gone();
    try {
      throw std::logic_error("no answer has the status " + std::to_string(response.status) +
                             (response.status == 101 ? " without upgrade" : ""));
    } catch (const std::logic_error&) {
      report("an exception in the handler of ");
    }
    return error_response(500);
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
        {.message = "http: " + std::string(message) + request_.method() + ' ' +
                    request_.target().substr(0, request_.target().find('?')),
         .exception = std::current_exception()});
  }

  // Nobody is left to tell, whatever the handler throws.
  [[nodiscard]] bool is_peer_gone() const { return sender_.is_gone() || body_.is_peer_gone(); }
  [[noreturn]] static void throw_gone() {
    throw std::system_error(std::make_error_code(std::errc::connection_aborted));
  }

  // Sends the response, or appends it to what is sent later. Returns whether the connection can go on.
  bool send(const Response& response, bool keep_alive) {
    const bool is_head = std::string_view(request_.method()) == "HEAD";
    const bool is_bodiless = response.status < 200 || response.status == 204 || response.status == 304;
    const bool is_empty = response.status == 205;  // "reset": of a length, and that is 0
    ResponseHeader::Style style{Framing::kLength, request_.version(), keep_alive};
    std::uint64_t length = response.stream ? response.stream_length.value_or(0) : response.body.size();
    if (is_bodiless) {
      style.framing = Framing::kUntilClose;
    } else if (is_empty) {
      length = 0;
    } else if (response.stream && !response.stream_length) {
      style.framing = request_.version() >= 11 ? Framing::kChunked : Framing::kUntilClose;
      if (style.framing == Framing::kUntilClose) style.keep_alive = is_head && keep_alive;
    }
    const bool has_body = !is_head && !is_bodiless && !is_empty;
    // A stream that reads what the client holds back: asked for before the answer begins, or never.
    if (has_body && response.stream && response.status < 400) body_.ask_for_it();
    sender_.begin(response, style, length);

    if (response.status == 101) {
      upgrade(response);
      return false;
    }
    if (!has_body) {
      // All but the body.
    } else if (response.stream) {
      if (!stream_body(response, style.framing, length)) return false;
    } else {
      sender_.put_body(response.body);
    }
    if (sender_.is_full()) sender_.flush();
    return style.keep_alive;
  }

  // False: the answer is not complete, and the connection was cut off.
  bool stream_body(const Response& response, Framing framing, std::uint64_t length) {
    sender_.begin_body(framing, length);
    at_ = State::kStreaming;
    try {
      response.stream(sender_);
      // Not if the stream has caught what ended a write.
      if (!sender_.finish_body()) return cut_off();
    } catch (...) {
      if (is_cancelled()) throw;
      if (!is_peer_gone()) report("an exception in the stream of ");
      return cut_off();
    }
    at_ = State::kSending;
    return true;
  }

  void upgrade(const Response& response) {
    sender_.flush();
    entry_.forget_socket();  // whoever has it now closes it as he likes
    at_ = State::kUpgraded;
    UpgradedStream upgraded(stream_, input_.data());
    try {
      response.upgrade(upgraded);
    } catch (...) {
      if (is_cancelled()) throw;
      if (is_peers_affair(std::current_exception(), upgraded.has_failed())) return;
      report("an exception in the upgraded connection of ");
    }
  }

  void reject(unsigned status) {
    const Response response = error_response(status);
    sender_.begin(response, {.keep_alive = false}, response.body.size());
    sender_.put(response.body);
    is_rejected_ = true;
    finish();
  }

  // Sends the last answer and ends. If the client may still be sending, closing at once would reset the
  // connection and could destroy the answer on its way: so half close, and read on until the client is done,
  // for a while.
  void finish() {
    if (at_ == State::kUpgraded || at_ == State::kCut) return;
    sender_.flush();
    if (!is_rejected_ && !request_.keep_alive() && parser_.is_done() && input_.empty()) return;
    entry_.enter(Phase::kWriting);
    stream_.end_output();
    entry_.enter(Phase::kLinger);
    do {
      input_.consume(input_.data().size());
      input_.received(stream_.read_some(input_.space()));
    } while (!input_.empty());
  }

  // A second cancellation, from the end of the loop, ends this too.
  void refuse_in_flight() {
    const Response response = error_response(503, "the server stops");
    sender_.begin(response, {.keep_alive = false}, response.body.size());
    if (request_.method() != "HEAD") sender_.put(response.body);
    is_rejected_ = true;
    try {
      finish();
    } catch (const std::system_error&) {
    }
  }

  // What was begun and is not complete must not look as if it were.
  void end_broken() {
    if (!sender_.is_between()) cut_off();
  }
  bool cut_off() {
    entry_.forget_socket();  // the sweeper keeps away from a number that may soon be another's
    stream_.abort();
    at_ = State::kCut;
    return false;
  }

  ServerState& state_;
  ByteStream& stream_;
  ConnectionTable::Entry& entry_;
  const fibrio::detail::SavedContext& context_;
  InputBuffer input_;
  Request request_;
  RequestParser parser_;
  AnswerSender sender_;
  RequestBody body_;
  std::uint64_t requests_ = 0;
  State at_ = State::kReading;
  bool is_rejected_ = false;  // the last answer says that the client may have sent more than we read
};

// `open`: makes the stream, given the connection's entry in the table.
template <class Open>
void serve(ServerState& state, Open&& open) {
  std::unique_ptr<ByteStream> stream;
  ConnectionTable::Entry entry(state.connections);  // leaves the table before the socket is closed
  const fibrio::detail::SavedContext context;
  stream = open(entry);
  context.restore();
  Connection(*stream, state, entry, context).run();
}

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
    serve(state, open);
  } catch (const std::exception&) {
    // The handshake of make_stream failed: that is the peer's affair. Or there is no memory.
  }
}

void serve_connection(ByteStream& stream, ServerState& state) {
  serve(state, [&](ConnectionTable::Entry& entry) -> std::unique_ptr<ByteStream> {
    return std::make_unique<BorrowedStream>(stream, entry, state.options);
  });
}

void refuse_connection(TcpStream stream, const ServerState& state) {
  if (state.options.make_stream) return;  // what it speaks is not plain text
  const Response response = error_response(503, "too many connections");
  detail::Text text;
  ResponseHeader().write(text, response, {.keep_alive = false}, response.body.size(),
                         state.connections.unix_time());
  text.append(response.body);
  try {
    (void)stream.try_write_some(std::as_bytes(std::span(text.view())));
  } catch (const std::system_error&) {
    return;
  }
  // A request left unread would turn the close into a reset, which may overtake the answer. One of usual length;
  // a client that floods may have its reset: the next connection waits for us here.
  char unread[kMaxUnread];
  (void)::recv(stream.native_handle(), unread, sizeof unread, MSG_DONTWAIT);
}

}  // namespace fibrio::http
