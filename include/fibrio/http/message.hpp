// Requests and responses of a server: what a handler gets and gives.
//
//   fibrio::http::Response greet(fibrio::http::Request& request) {
//     return fibrio::http::Response("Hello, " + request.parameter("name") + "\n");
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fibrio/byte_stream.hpp"
#include "fibrio/http/fields.hpp"

namespace fibrio::http {

// Thrown by a handler it is the answer: a short text with that status, which the client reads. What a client's
// function meets is a ClientError (session.hpp), which a handler that lets it pass answers with 500.
class HttpError : public std::runtime_error {
 public:
  // `text` empty: the status and its reason alone. `status` 400 to 599.
  explicit HttpError(unsigned status, const std::string& text = {});
  [[nodiscard]] unsigned status() const noexcept { return status_; }

 private:
  unsigned status_;
};

// Names and values of application/x-www-form-urlencoded, decoded, in their order.
using Form = std::vector<std::pair<std::string, std::string>>;
// Reads such a text as browsers do (WHATWG): '+' is a space, and a '%' without two hexadecimal digits stands for
// itself. Throws: HttpError with 413 for more than `max_pairs`, each of which takes memory.
[[nodiscard]] Form parse_form(std::string_view text, std::size_t max_pairs = 1000);
[[nodiscard]] std::string encode_form(const Form& form);
// The first value of `name`; nothing if it is not there.
[[nodiscard]] std::optional<std::string_view> value_of(const Form& form, std::string_view name);

namespace detail {
struct RequestAccess;
struct ServerState;

// Where the body of a request comes from.
class BodySource {
 public:
  virtual std::size_t read_body(std::span<std::byte> buffer) = 0;
  [[nodiscard]] virtual const ByteStream& stream() const noexcept = 0;

 protected:
  ~BodySource() = default;
};
}  // namespace detail

// A request, for as long as its handler runs, and then its Response::stream or upgrade: these may keep a
// reference to it. Its body is read on demand, straight from the connection.
// Threads: the handler's task, or one it hands it to meanwhile.
class Request {
 public:
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] const std::string& method() const noexcept { return method_; }  // "GET"
  // Path and query as they came, percent-encoded, beginning with "/" (or "*", for OPTIONS).
  [[nodiscard]] const std::string& target() const noexcept { return target_; }
  // The path decoded, as routes and Server::files see it: what middleware may look at to allow it. As it came if
  // it cannot be decoded (which no pattern matches). aiohttp: request.path.
  [[nodiscard]] std::string_view path() const noexcept {
    return decoded_path_ ? std::string_view(*decoded_path_) : std::string_view(target_.data(), path_size_);
  }
  [[nodiscard]] std::string_view query() const noexcept;  // without "?"
  // The first value of `name` in the query, decoded as a form; nothing if it is not there.
  [[nodiscard]] std::optional<std::string> query(std::string_view name) const;
  // What stood in the path for {name} of the route's pattern, decoded: any text, also "..", "/" and NUL, so that it
  // is no name of a file before that is checked (file_response does). Throws: std::out_of_range if the pattern
  // has no such name.
  [[nodiscard]] const std::string& parameter(std::string_view name) const;
  [[nodiscard]] const Fields& fields() const noexcept { return fields_; }
  [[nodiscard]] std::string_view field(std::string_view name) const noexcept { return fields_.get(name); }
  // The first value of the cookie `name` (cookies.hpp); nothing if it is not there. A value in quotes loses
  // them, with the escapes of Python's http.cookies within. Read at every call: a request without cookies
  // costs nothing.
  [[nodiscard]] std::optional<std::string> cookie(std::string_view name) const;
  [[nodiscard]] int version() const noexcept { return version_; }  // 10 or 11
  // Whether the client would keep the connection.
  [[nodiscard]] bool keep_alive() const noexcept { return keep_alive_; }
  [[nodiscard]] Address peer_address() const { return body_->stream().peer_address(); }
  [[nodiscard]] Address local_address() const { return body_->stream().local_address(); }

  // The length of the body if it was said; nothing for a chunked one.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept { return content_length_; }
  // Reads at least one byte of the body; 0 = its end. A client that waits for "100 Continue" gets that now.
  // Waits: if nothing is there. Cancel: CancelledError, nothing is lost.
  // Throws: HttpError with 400, 408 or 413 for what is malformed, too slow or too large, which is best left
  // to be the answer; std::system_error if the client is gone.
  std::size_t read_some(std::span<std::byte> buffer) { return body_->read_body(buffer); }
  // Reads the rest of the body; ServerOptions::max_body_bytes is its limit.
  std::string read_all();
  // Reads the rest of the body as a form. Throws: HttpError with 415 if the Content-Type is another one than
  // application/x-www-form-urlencoded, as parse_form, and as read_some.
  Form read_form();

  // Returns when the server's shutdown begins, at once if it has begun. Handlers that wait or stream for long
  // run it in a task beside their work, or with a limit between two pieces, and end before the grace is over.
  //   auto stopping = group.create_task([&] { request.wait_for_shutdown(); end_the_work(); });
  // Waits: yes; for ever if no server received this request. Cancel: CancelledError, nothing else changes.
  // aiohttp: on_shutdown.
  void wait_for_shutdown() const;
  // Whether it has begun. Waits: no.
  [[nodiscard]] bool is_shutting_down() const noexcept;

 private:
  friend struct detail::RequestAccess;
  friend Request make_request(std::string, std::string, Fields, std::string);
  Request(std::string method, std::string target, Fields fields, std::string body);

  std::string method_;
  std::string target_;
  std::size_t path_size_ = 0;
  std::optional<std::string> decoded_path_;  // if it has a '%' and can be decoded
  Fields fields_;
  std::vector<std::pair<std::string_view, std::string>> parameters_;  // names: views into the pattern
  std::optional<std::uint64_t> content_length_;
  int version_ = 11;
  bool keep_alive_ = true;
  detail::BodySource* body_ = nullptr;
  std::shared_ptr<detail::BodySource> own_body_;  // of make_request
  detail::ServerState* server_ = nullptr;
};

// Where a response with a stream writes its body.
class BodyWriter {
 public:
  BodyWriter() = default;
  BodyWriter(const BodyWriter&) = delete;
  BodyWriter& operator=(const BodyWriter&) = delete;

  // Collects small pieces and sends large ones. Waits: while the peer does not take them.
  // Cancel: CancelledError, also by a timeout around it: how much was sent is unknown then, so that nothing more
  // is: every later call throws, and the connection is reset, whether the stream returns or throws.
  // Throws: std::system_error if the client is gone, or an earlier call was left in the middle;
  // std::length_error for more than Response::stream_length; RuntimeError after the stream has returned.
  virtual void write(std::span<const std::byte> data) = 0;
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  // Sends what was collected.
  virtual void flush() = 0;
  // Writes `count` bytes of `file`, a regular file, from `offset` on, or less if it ends before; returns how
  // many. Sent by the kernel (sendfile), which waits for the disk on this worker, if it goes over a plain
  // connection of a server and not in chunks; else read on the default executor and copied. Waits, Cancel,
  // Throws: as write; std::system_error if the file cannot be read.
  virtual std::uint64_t send_file(int file, std::uint64_t offset, std::uint64_t count);

 protected:
  ~BodyWriter() = default;
};

// An answer. The server adds Date, Content-Length or Transfer-Encoding, and Connection; such fields of the
// handler's are left out.
struct Response {
  Response() = default;
  // A text, which is the body.
  explicit Response(std::string text, std::string_view content_type = "text/plain; charset=utf-8",
                    unsigned status_code = 200);
  explicit Response(unsigned status_code) : status(status_code) {}

  unsigned status = 200;
  Fields fields;
  std::string body;
  // Instead of `body`: writes it while it is sent. Called in the connection's task after the handler has
  // returned, not for HEAD. It goes out in chunks unless stream_length is set; then it must write exactly
  // that much. If it throws, the exception handler is told and the connection is cut off, so that the client
  // cannot take the part for the whole.
  std::function<void(BodyWriter&)> stream;
  std::optional<std::uint64_t> stream_length;
  // Ends the connection after this answer.
  bool close = false;
  // With status 101: called with the connection once the header is sent; what speaks over it from then on is
  // the function's affair, and when it returns the connection is closed. What it throws is reported, unless
  // it is the connection's own std::system_error. For WebSockets: websocket.hpp.
  std::function<void(ByteStream&)> upgrade;
};

// A short text that says what `status` means.
[[nodiscard]] Response error_response(unsigned status, std::string_view detail = {});

}  // namespace fibrio::http
