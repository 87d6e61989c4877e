#include "fibrio/http/session.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "fibrio/detail/budget.hpp"
#include "fibrio/fibrio.hpp"
#include "http/connection_pool.hpp"
#include "http/exchange.hpp"
#include "http/in_time.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace {

constexpr std::size_t kBodyStep = 16 * 1024;

bool is_idempotent(std::string_view method) {
  constexpr std::array<std::string_view, 6> kMethods = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
  return std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
}

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

void drop_body(RequestOptions& options) {
  options.body.clear();
  options.stream = nullptr;
  options.stream_length.reset();
  for (const char* name :
       {"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Expect"}) {
    options.fields.erase(name);
  }
}

void drop_credentials(RequestOptions& options) {
  for (const char* name : {"Authorization", "Cookie", "Proxy-Authorization", "Host"}) {
    options.fields.erase(name);
  }
}

Url resolve(const Url& base, std::string_view location) {
  try {
    return base.resolve(location);
  } catch (const std::invalid_argument& error) {
    throw ClientError("http: " + base.to_string() + ": a redirect to nowhere: " + error.what());
  }
}

// Calls `body`; a timeout says whose it is.
template <class Body>
auto with_name(const Url& url, Body&& body) {
  try {
    return body();
  } catch (const TimeoutError& error) {
    throw TimeoutError("http: " + url.to_string() + ": " + error.what());
  }
}

}  // namespace

ClientError::ClientError(const std::string& text, unsigned status)
    : std::runtime_error(text), status_(status) {}

ClientResponse::ClientResponse(std::unique_ptr<detail::Exchange> exchange) noexcept
    : exchange_(std::move(exchange)) {}
ClientResponse::ClientResponse(ClientResponse&&) noexcept = default;
ClientResponse& ClientResponse::operator=(ClientResponse&&) noexcept = default;
ClientResponse::~ClientResponse() = default;

unsigned ClientResponse::status() const noexcept { return exchange_->status(); }
const Fields& ClientResponse::fields() const noexcept { return exchange_->fields(); }
const Url& ClientResponse::url() const noexcept { return exchange_->url(); }
int ClientResponse::redirects() const noexcept { return exchange_->redirects; }
void ClientResponse::raise_for_status() const {
  if (status() < 400) return;
  std::string text = "http: " + url().to_string() + ": status " + std::to_string(status());
  if (const std::string_view reason = reason_of(status()); !reason.empty()) text.append(" ").append(reason);
  throw ClientError(text, status());
}
std::size_t ClientResponse::read_some(std::span<std::byte> buffer) {
  fibrio::detail::spend_turn();  // what is buffered is read without a wait
  return with_name(exchange_->url(), [&] { return exchange_->read_body(buffer); });
}
std::unique_ptr<ByteStream> ClientResponse::take_stream() { return exchange_->take_stream(); }

std::string ClientResponse::read_all(std::size_t max_bytes) {
  std::string text;
  std::size_t used = 0;
  try {
    for (;;) {
      if (used == text.size()) text.resize(used + std::max(kBodyStep, used));
      const std::size_t count = read_some(std::as_writable_bytes(std::span(text).subspan(used)));
      if (count == 0) break;
      used += count;
      if (used > max_bytes) exchange_->fail("'s body is longer than " + std::to_string(max_bytes) + " bytes");
    }
  } catch (...) {
    exchange_->break_off();  // what was read is lost: nothing may be taken for the whole
    throw;
  }
  text.resize(used);
  return text;
}

Session::Session(SessionOptions options) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("http: SessionOptions: ") + what);
  };
  require(options.max_connections > 0, "max_connections must be at least 1");
  require(options.max_header_bytes >= 256 && options.max_header_bytes <= 1024 * 1024,
          "max_header_bytes must be from 256 to 1048576");
  if (!options.keep_cookies) {
    options.cookie_jar.reset();
  } else if (options.cookie_jar == nullptr) {
    options.cookie_jar = std::make_shared<CookieJar>();
  }
  options_ = std::make_shared<const SessionOptions>(std::move(options));
  pool_ = std::make_shared<detail::ConnectionPool>(options_);
}

Session::~Session() { close(); }

void Session::close() { pool_->close(); }

std::size_t Session::idle_connections() const { return pool_->idle(); }

ClientResponse Session::send_once(const std::shared_ptr<detail::ConnectionPool>& pool,
                                  const std::shared_ptr<const SessionOptions>& session,
                                  std::string_view method, const Url& url,
                                  const std::shared_ptr<RequestOptions>& options,
                                  std::optional<TimePoint> deadline, bool with_credentials) {
  const bool may_repeat = is_idempotent(method) && !options->stream;
  for (bool may_reuse = true;; may_reuse = false) {
    auto exchange = std::make_unique<detail::Exchange>(pool->lease(url, may_reuse), session, url, deadline);
    try {
      exchange->send(method, options, with_credentials);
      exchange->receive_header();
      if (!options->full_duplex) exchange->await_stream();
      return ClientResponse(std::move(exchange));
    } catch (const std::system_error&) {
      if (!exchange->is_reused() || exchange->has_answer() || !may_repeat) throw;
    }
  }
}

ClientResponse Session::request(std::string_view method, std::string_view url, RequestOptions options) {
  if (!is_token(method)) throw std::invalid_argument("http: no method: '" + std::string(method) + "'");
  Url target = Url::parse(url);
  for (const auto& [name, value] : options.query) target.add_query(name, value);
  if (!options.form.empty()) {
    if (!options.body.empty() || options.stream)
      throw std::invalid_argument("http: a request has a form and another body");
    options.body = encode_form(options.form);
    if (!options.fields.contains("Content-Type")) options.fields.set_content_type(kFormType);
  }
  // The session may be gone before its requests.
  const std::shared_ptr<const SessionOptions> session = options_;
  const std::shared_ptr<detail::ConnectionPool> pool = pool_;
  const Duration limit = options.timeout.value_or(session->timeout);
  std::optional<TimePoint> deadline;
  const TimePoint now = get_running_loop().time();
  if (limit >= Duration::zero() && limit < TimePoint::max() - now)
    deadline = now + limit;  // beyond: for ever

  const auto run = [&] {
    std::string verb(method);
    auto request = std::make_shared<RequestOptions>(std::move(options));
    bool with_credentials = true;
    for (int redirects = 0;; ++redirects) {
      if (target.is_secure() && !session->make_secure) {
        throw std::invalid_argument("http: " + target.to_string() +
                                    " needs SessionOptions::make_secure (TLS)");
      }
      ClientResponse response = send_once(pool, session, verb, target, request, deadline, with_credentials);
      response.exchange_->redirects = redirects;
      const std::string_view location = response.field("Location");
      const unsigned status = response.status();
      if (!request->follow_redirects || !is_redirect(status) || location.empty()) return response;
      const bool is_see_other = status == 303 || (status < 303 && verb == "POST");
      if (!is_see_other && request->stream) return response;  // it cannot be sent again
      if (redirects >= session->max_redirects) {
        throw ClientError("http: " + target.to_string() + ": more than " + std::to_string(redirects) +
                          " redirects");
      }
      Url next = resolve(target, location);
      if (target.scheme() == "wss" && !next.is_secure()) {
        throw ClientError("http: " + target.to_string() + ": a redirect to " + next.to_string() +
                          " is not followed: the WebSocket would go on without TLS");
      }
      request = std::make_shared<RequestOptions>(*request);  // the old one may still be in use by a sender
      if (is_see_other && verb != "HEAD" && verb != "GET") {
        verb = "GET";
        drop_body(*request);
      }
      if (next.origin() != target.origin()) {
        drop_credentials(*request);
        with_credentials = false;
      }
      response.exchange_->drop_body();
      target = std::move(next);
    }
  };
  return with_name(target, [&] { return deadline ? detail::in_time("timeout", *deadline, run) : run(); });
}

ClientResponse Session::get(std::string_view url, RequestOptions options) {
  return request("GET", url, std::move(options));
}
ClientResponse Session::head(std::string_view url, RequestOptions options) {
  return request("HEAD", url, std::move(options));
}
ClientResponse Session::post(std::string_view url, std::string body, RequestOptions options) {
  options.body = std::move(body);
  return request("POST", url, std::move(options));
}

}  // namespace fibrio::http
