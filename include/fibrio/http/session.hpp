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
  AnyDuration keep_alive = std::chrono::seconds(15);       // how long an idle connection is used again
  // Where cookies are kept, and sent from. None: the session has a jar of its own; several sessions may share
  // one, also of several loops.
  std::shared_ptr<CookieJar> cookie_jar = {};
  bool keep_cookies = true;  // false: no jar; Set-Cookie is a field as any
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
  // Instead of `body`: writes it while it is sent, in a task of its own. In chunks unless stream_length is
  // set.
  std::function<void(BodyWriter&)> stream = {};
  std::optional<std::uint64_t> stream_length = {};
  std::optional<AnyDuration> timeout = {};  // instead of the session's
  // 301, 302 and 303 are followed by GET (HEAD stays HEAD), 307 and 308 by the same request unless its body
  // was a stream. Authorization, Cookie and Proxy-Authorization do not go to another origin; the
  // jar's cookies go where they belong.
  bool follow_redirects = true;
};

namespace detail {
class Exchange;
class ConnectionPool;
}  // namespace detail

// The answer, whose body is still to be read. Movable. Read to its end, or read_all, its connection goes back
// to the session; destroyed before, the connection is closed.
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
  // Throws: HttpError with the status and the URL if the status is 400 or more (above 599: as 502).
  void raise_for_status() const;

  // Reads at least one byte of the body; 0 = its end. Waits: if nothing is there.
  // Cancel: CancelledError, nothing is lost. Throws: TimeoutError; HttpError(502) if the body is malformed or
  // ends early; std::system_error.
  std::size_t read_some(std::span<std::byte> buffer);
  // Reads the rest. Throws: HttpError(502) also if it is longer than `max_bytes`.
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
  // ("connect_timeout"); std::system_error; HttpError(502) for an answer that is malformed (its text says
  // what) or one redirect too many; std::invalid_argument for a URL, a method, or a field that cannot be
  // sent, and for a form beside another body.
  // Threads: tasks of one loop.
  ClientResponse request(std::string_view method, std::string_view url, RequestOptions options = {});
  ClientResponse get(std::string_view url, RequestOptions options = {});
  ClientResponse head(std::string_view url, RequestOptions options = {});
  ClientResponse post(std::string_view url, std::string body, RequestOptions options = {});

  // Null with keep_cookies = false.
  [[nodiscard]] const std::shared_ptr<CookieJar>& cookie_jar() const noexcept { return options_->cookie_jar; }
  // Connections that wait for a next request.
  [[nodiscard]] std::size_t idle_connections() const;
  // Closes them; later requests throw RuntimeError.
  void close();

 private:
  ClientResponse send_once(std::string_view method, const Url& url,
                           const std::shared_ptr<RequestOptions>& options, std::optional<TimePoint> deadline,
                           bool with_credentials);

  std::shared_ptr<const SessionOptions> options_;
  std::shared_ptr<detail::ConnectionPool> pool_;
};

}  // namespace fibrio::http
