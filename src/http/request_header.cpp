#include "http/request_header.hpp"

#include <chrono>
#include <utility>

#include "fibrio/event_loop.hpp"
#include "fibrio/version.hpp"
#include "http/text.hpp"

namespace fibrio::http::detail {

namespace {

bool is_credential(std::string_view name) {
  return equals_without_case(name, "Authorization") || equals_without_case(name, "Cookie") ||
         equals_without_case(name, "Proxy-Authorization");
}

// What is sent unless the user has another one, or an empty one.
bool is_own(std::string_view name) {
  return equals_without_case(name, "User-Agent") || equals_without_case(name, "Accept");
}

// A zone is for this machine alone (RFC 6874, 4).
std::string without_zone(std::string authority) {
  const std::size_t zone = authority.find('%');
  if (!authority.starts_with('[') || zone == std::string::npos) return authority;
  return authority.erase(zone, authority.find(']') - zone);
}

}  // namespace

CookieJar::Time calendar() {
  const EventLoop& loop = get_running_loop();
  const auto moved = loop.config().virtual_time ? loop.time().time_since_epoch() : Duration::zero();
  return std::chrono::floor<CookieJar::Time::duration>(std::chrono::system_clock::now() + moved);
}

bool asks_for_close(const SessionOptions& session, const RequestOptions& request) {
  const Fields& fields = request.fields.contains("Connection") ? request.fields : session.fields;
  return fields.has_token("Connection", "close");
}

std::string make_request_header(std::string_view method, const Url& url, const SessionOptions& session,
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
  if (!has("Host")) add("Host", without_zone(url.authority()));
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
  if (request.fields.has_token("Connection", "Upgrade")) {
    add("Connection", "Upgrade");
  } else if (asks_for_close(session, request)) {
    add("Connection", "close");
  }
  if (request.stream && !request.stream_length) {
    add("Transfer-Encoding", "chunked");
  } else {
    const std::uint64_t length = request.stream ? *request.stream_length : request.body.size();
    const bool is_expected = method != "GET" && method != "HEAD";
    if (length > 0 || is_expected) add("Content-Length", std::to_string(length));
  }
  return text + "\r\n";
}

}  // namespace fibrio::http::detail
