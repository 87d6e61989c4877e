// An HTTP/1.1 client, as aiohttp's ClientSession: it keeps connections and uses them again.
//
//   fibrio::http::Session session;
//   fibrio::http::ClientResponse response = session.get("http://example.org/data");
//   if (response.status() == 200) use(response.read_all());
//
// Many tasks may use one session at once.
#pragma once

#include <chrono>
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
#include "fibrio/clock.hpp"
#include "fibrio/http/cookies.hpp"
#include "fibrio/http/fields.hpp"
#include "fibrio/http/message.hpp"
#include "fibrio/http/url.hpp"
#include "fibrio/sockets.hpp"

namespace fibrio::http {

// What a session meets at a server: an answer that is malformed, cut short or too large, a redirect that leads
// nowhere, a status that raise_for_status() refuses. The text names the URL. It is no HttpError: one that leaves a
// handler is the handler's failure, not the answer to its client.
class ClientError : public std::runtime_error {
 public:
  explicit ClientError(const std::string& text, unsigned status = 0);
  // Of the answer, if raise_for_status() threw it; else 0.
  [[nodiscard]] unsigned status() const noexcept { return status_; }

 private:
  unsigned status_;
};

// Timeouts that are negative are none.
struct SessionOptions {
  // Sent with every request, unless that has its own of the name. "User-Agent" is "fibrio/" and the version,
  // and "Accept" is "*/*", unless they are given; with an empty value they are not sent.
  Fields fields = {};
  std::size_t max_connections = 100;         // at a time; further requests wait. At least 1
  std::size_t max_connections_per_host = 0;  // 0: no limit of its own
  std::size_t max_header_bytes = 64 * 1024;  // of a response, 256 to 1 MiB
  int max_redirects = 10;
  AnyDuration timeout = std::chrono::minutes(5);           // of a request, until its body is read
  AnyDuration connect_timeout = std::chrono::seconds(30);  // of a connection, its handshake included
  AnyDuration read_timeout = Duration(-1);                 // of any wait for bytes
  AnyDuration keep_alive =
      std::chrono::seconds(15);  // how long an idle connection is kept, then it is closed
  // Where cookies are kept, and sent from. None: the session has a jar of its own; several sessions may share
  // one, also of several loops.
  std::shared_ptr<CookieJar> cookie_jar = {};
  bool keep_cookies = true;  // false: no jar; Set-Cookie is a field as any
  // Takes answers as RFC 9112 lets a client and as curl does: folded fields, blanks before a field's colon and
  // after a chunk's size, lines that end with LF alone, HTTP/1.2 and later, an equal Content-Length several times;
  // and on a connection that is then not used again, chunks beside a Content-Length, or in HTTP/1.0. False: they
  // are refused.
  bool lenient_reading = true;
  // Makes what is spoken over for https and wss: a TLS handshake for url.host(). None: such URLs are refused.
  //   [context](TcpStream stream, const Url& url) {
  //     return tls::handshake(make_byte_stream(std::move(stream)), context, url.host());
  //   }
  std::function<std::unique_ptr<ByteStream>(TcpStream, const Url& url)> make_secure = {};
};

struct RequestOptions {
  // A Cookie field, here or among the session's, is sent with what the jar has of other names.
  Fields fields = {};
  std::vector<std::pair<std::string, std::string>> query = {};  // added to the URL's, encoded
  std::string body = {};
  Form form = {};  // instead of `body`: sent as application/x-www-form-urlencoded, if there is any in it
  // Instead of `body`: writes it while it is sent, in a task of its own. In chunks unless stream_length is set.
  // It has ended when request() returns or throws: it may refer to the caller's frame. A request that gives up,
  // and an answer that wants no more of it (a status from 300 on, or a complete one), cancel it. What it throws
  // is thrown by request() at once. A write that was cancelled in its middle breaks the message: whatever the
  // stream does then, the request fails.
  std::function<void(BodyWriter&)> stream = {};
  std::optional<std::uint64_t> stream_length = {};
  // True: request() returns with the header of the answer, while `stream` goes on, so that the answer can be read
  // meanwhile; the end of the response then cancels it and waits for it. False: up to 16 MiB of the answer are
  // kept until it has ended.
  bool full_duplex = false;
  std::optional<AnyDuration> timeout = {};  // instead of the session's
  // 303 is followed by GET (HEAD stays HEAD), as are 301 and 302 after a POST; they, 307 and 308 otherwise by the
  // same request, unless its body was a stream. Authorization, Cookie and Proxy-Authorization do not go to another
  // origin; the jar's cookies go where they belong. From https to http is followed, as browsers, curl and aiohttp
  // do: that is another origin, and Secure cookies stay. From wss to ws or http is an error. A redirect's own body
  // is not waited for.
  bool follow_redirects = true;
};

namespace detail {
class Exchange;
class ConnectionPool;
}  // namespace detail

// The answer, whose body is still to be read. Movable. Read to its end, or read_all, its connection goes back
// to the session; destroyed before, the connection is cut off.
class ClientResponse {
 public:
  ClientResponse(ClientResponse&&) noexcept;
  ClientResponse& operator=(ClientResponse&&) noexcept;
  ~ClientResponse();

  [[nodiscard]] unsigned status() const noexcept;
  [[nodiscard]] const Fields& fields() const noexcept;
  [[nodiscard]] std::string_view field(std::string_view name) const noexcept { return fields().get(name); }
  [[nodiscard]] const Url& url() const noexcept;  // the last one, after redirects
  [[nodiscard]] int redirects() const noexcept;   // how many there were
  // Throws: ClientError with the status and the URL if the status is 400 or more.
  void raise_for_status() const;

  // Reads at least one byte of the body; 0 = its end. Waits: if nothing is there.
  // Cancel: CancelledError, nothing is lost. Throws: TimeoutError; ClientError if the body is malformed or ends
  // early, and in each later call; std::system_error.
  std::size_t read_some(std::span<std::byte> buffer);
  // Reads the rest. Throws: ClientError also if it is longer than `max_bytes`. Cancel: CancelledError, and the
  // connection is cut off, as after any error: what was read is lost.
  std::string read_all(std::size_t max_bytes = 64 * 1024 * 1024);
  // After 101: the connection, with what was received already; this response is then empty.
  [[nodiscard]] std::unique_ptr<ByteStream> take_stream();

 private:
  friend class Session;
  explicit ClientResponse(std::unique_ptr<detail::Exchange> exchange) noexcept;
  std::unique_ptr<detail::Exchange> exchange_;
};

class Session {
 public:
  // Throws: std::invalid_argument for an option out of range.
  explicit Session(SessionOptions options = {});
  // Closes idle connections; responses that are still being read go on.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Sends a request and returns when the header of its answer is there, whatever its status.
  // A request that may be repeated (GET, HEAD, PUT, DELETE, OPTIONS, TRACE, without a stream) and met a kept
  // connection that the server had closed is sent once more on a new one.
  // Requests that wait for a place are served in their order.
  // Waits: yes. Cancel: CancelledError, its connection is closed. Throws: TimeoutError, which says which one
  // ("connect_timeout"); std::system_error; ClientError for an answer that is malformed (its text says what)
  // or one redirect too many; what RequestOptions::stream throws; std::invalid_argument for a URL, a method, or a field that cannot be
  // sent, and for a form beside another body.
  // Threads: tasks of one loop. The session may be closed and destroyed meanwhile.
  ClientResponse request(std::string_view method, std::string_view url, RequestOptions options = {});
  ClientResponse get(std::string_view url, RequestOptions options = {});
  ClientResponse head(std::string_view url, RequestOptions options = {});
  ClientResponse post(std::string_view url, std::string body, RequestOptions options = {});

  // Null with keep_cookies = false.
  [[nodiscard]] const std::shared_ptr<CookieJar>& cookie_jar() const noexcept { return options_->cookie_jar; }
  // Connections that wait for a next request.
  [[nodiscard]] std::size_t idle_connections() const;
  // Closes them; later requests throw RuntimeError. Waits, if called in a task: for the tasks that watch them, a
  // pass or two.
  void close();

 private:
  static ClientResponse send_once(const std::shared_ptr<detail::ConnectionPool>& pool,
                                  const std::shared_ptr<const SessionOptions>& session,
                                  std::string_view method, const Url& url,
                                  const std::shared_ptr<RequestOptions>& options,
                                  std::optional<TimePoint> deadline, bool with_credentials);

  std::shared_ptr<const SessionOptions> options_;
  std::shared_ptr<detail::ConnectionPool> pool_;
};

}  // namespace fibrio::http
