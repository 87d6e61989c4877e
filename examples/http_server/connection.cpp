#include "connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <system_error>

#include "input_buffer.hpp"
#include "request_parser.hpp"
#include "response.hpp"
#include "routes.hpp"

namespace http_server {

namespace {

using Phase = ConnectionTable::Phase;
using Progress = RequestParser::Progress;

constexpr std::size_t kMinFullBuffer = 16 * 1024;

class Connection {
 public:
  Connection(fibrio::TcpStream stream, ServerState& state)
      : state_(state),
        stream_(std::move(stream)),
        entry_(state.connections, stream_.native_handle()),
        input_(std::max(kMinFullBuffer, state.options.max_header_bytes)),
        parser_({state.options.max_header_bytes, state.options.max_body_bytes}) {}

  ~Connection() { state_.totals.requests.fetch_add(requests_, std::memory_order_relaxed); }

  void run() {
    try {
      converse();
    } catch (const std::system_error&) {
      // The peer is gone, or took too long to read: there is nobody to tell.
    } catch (const fibrio::CancelledError&) {
      if (is_handling_) {
        state_.totals.dropped.fetch_add(1, std::memory_order_relaxed);
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
      const Progress progress = parser_.feed(input_.data(), used);
      input_.consume(used);
      if (progress == Progress::kComplete) {
        if (!answer()) return finish();
      } else if (progress == Progress::kFailed) {
        return reject(parser_.failure_status());
      } else if (input_.is_full()) {
        return reject(431);  // a chunk header or a trailer that never ends
      } else if (!receive()) {
        return;
      }
    }
  }

  // Waits for more bytes. False: there will be none.
  bool receive() {
    if (parser_.take_expects_continue() && input_.empty()) output_.append_continue();
    flush();
    const Phase next = parser_.is_header_done() ? Phase::kBody
                       : parser_.is_started()   ? Phase::kHeader
                       : requests_ > 0          ? Phase::kIdle
                                                : Phase::kFresh;
    if (next != phase_) enter(next);  // more bytes of a header do not buy more time
    const std::size_t count = stream_.read_some(input_.space());
    input_.received(count);
    if (count > 0) return true;
    if (entry_.is_stopped() && (phase_ == Phase::kHeader || phase_ == Phase::kBody)) reject(408);
    return false;
  }

  // Answers the request that the parser holds. False: it is the last one of this connection.
  bool answer() {
    enter(Phase::kBusy);
    const Request& request = parser_.request();
    Response response;
    dispatch(request, response);
    ++requests_;
    if (response.status == 503) state_.totals.dropped.fetch_add(1, std::memory_order_relaxed);

    const bool keep_alive =
        request.keep_alive && !entry_.is_stopped() && !state_.draining.load(std::memory_order_relaxed);
    const ResponseWriter::Style style{request.method == Method::head, request.version, keep_alive};
    if (!output_.append(response, style, state_.connections.unix_time())) {
      enter(Phase::kWriting);
      stream_.write_all(std::as_bytes(std::span(output_.data())), std::as_bytes(std::span(response.body())));
      output_.clear();
    } else if (output_.is_full()) {
      flush();
    }
    is_client_closing_ = !request.keep_alive;
    parser_.reset();
    return keep_alive;
  }

  void dispatch(const Request& request, Response& response) {
    const Route* route = find_route(request.path());
    if (route == nullptr) {
      response = make_error(404);
    } else if (!route->allows(request.method)) {
      response = make_error(405);
      response.allow = route->allow;
    } else {
      is_handling_ = true;
      if (route->is_slow) flush();
      route->handle(request, response, state_);
      is_handling_ = false;
    }
  }

  void reject(unsigned status) {
    (void)output_.append(make_error(status), {.keep_alive = false}, state_.connections.unix_time());
    finish();
  }

  // Sends the last answer and ends. If the client may still be sending, closing at once would reset the
  // connection and could destroy the answer on its way: so half close, and read on until the client is done,
  // for a while.
  void finish() {
    flush();
    if (is_client_closing_ && input_.empty()) return;
    enter(Phase::kLinger);
    stream_.shutdown_write();
    do {
      input_.consume(input_.data().size());
      input_.received(stream_.read_some(input_.space()));
    } while (!input_.empty());
  }

  // A second cancellation, from the end of the loop, ends this too.
  void refuse_in_flight() {
    output_.clear();
    (void)output_.append(make_error(503, "the server stops"), {.keep_alive = false},
                         state_.connections.unix_time());
    try {
      finish();
    } catch (const std::system_error&) {
    }
  }

  void flush() {
    if (output_.empty()) return;
    enter(Phase::kWriting);
    stream_.write_all(output_.data());
    output_.clear();
  }

  void enter(Phase phase) {
    phase_ = phase;
    entry_.enter(phase);
  }

  ServerState& state_;
  fibrio::TcpStream stream_;
  ConnectionTable::Entry entry_;  // after the stream: leaves the table before the socket is closed
  InputBuffer input_;
  RequestParser parser_;
  ResponseWriter output_;
  Phase phase_ = Phase::kFresh;
  std::uint64_t requests_ = 0;
  bool is_handling_ = false;
  bool is_client_closing_ = false;
};

}  // namespace

void serve_connection(fibrio::TcpStream stream, ServerState& state) {
  Connection(std::move(stream), state).run();
}

void refuse_connection(fibrio::TcpStream stream, const ServerState& state) {
  ResponseWriter output;
  (void)output.append(make_error(503, "too many connections"), {.keep_alive = false},
                      state.connections.unix_time());
  // Straight to the kernel: an empty send buffer takes this at once, and a reading client is not waited for.
  (void)::send(stream.native_handle(), output.data().data(), output.data().size(),
               MSG_DONTWAIT | MSG_NOSIGNAL);
  // A request left unread would turn the close into a reset, which may overtake the answer.
  char unread[1024];
  while (::recv(stream.native_handle(), unread, sizeof unread, MSG_DONTWAIT) == sizeof unread) {
  }
}

}  // namespace http_server
