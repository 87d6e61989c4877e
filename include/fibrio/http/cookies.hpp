// Cookies (RFC 6265): what a server sets, and where a session keeps what servers gave it.
//
//   fibrio::http::set_cookie(response, {.name = "sid", .value = id, .http_only = true});
//   if (const auto id = request.cookie("sid")) ...  // in a later request
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/http/url.hpp"

namespace fibrio::http {

struct Response;

enum class SameSite { kUnset, kLax, kStrict, kNone };

// A cookie to be set. Without max_age and expires it lives until the browser ends.
struct Cookie {
  std::string name;
  // Printable ASCII but for space, '"', ',', ';' and '\': other data must be encoded (base64, percent).
  std::string value = {};
  std::string path = "/";                   // empty: that of the page which sets it
  std::string domain = {};                  // empty: for this host alone, without those below it
  std::optional<AnyDuration> max_age = {};  // in whole seconds
  std::optional<std::chrono::system_clock::time_point> expires = {};  // max_age wins
  bool secure = false;
  bool http_only = false;
  SameSite same_site = SameSite::kUnset;

  // The value of a Set-Cookie field. Throws: std::invalid_argument, which says what is wrong: a character that
  // RFC 6265 does not allow, a path or domain of more than 1024 bytes, a domain with an empty label, SameSite=None without secure, or what the name's prefix ("__Secure-", "__Host-")
  // forbids; browsers would drop such a cookie without a word.
  [[nodiscard]] std::string to_string() const;
};

// Adds a Set-Cookie field. Throws: as Cookie::to_string.
void set_cookie(Response& response, const Cookie& cookie);
// Tells the client to forget a cookie; name, path and domain must be those it was set with, and so must
// `secure` for a name with a prefix. Throws: as Cookie::to_string.
void delete_cookie(Response& response, Cookie cookie);

// The cookies of a client: stored and sent by RFC 6265, section 5. Those of IP addresses and of names without
// a dot ("localhost") go to that host alone. There is no list of public suffixes: a server of a.co.uk can set
// cookies for all of co.uk, but none for all of uk. As browsers do: plain http neither sets a Secure cookie
// nor hides one, and "__Secure-" and "__Host-" names keep their promise. SameSite has no meaning here.
// An attribute of more than 1024 bytes is ignored.
// Threads: any. asyncio: aiohttp.CookieJar, which by default ignores cookies of IP addresses.
class CookieJar {
 public:
  using Time = std::chrono::sys_time<std::chrono::milliseconds>;
  // Above a limit a cookie gives way: one that has expired, else one without Secure, else the one that was
  // not used for the longest time.
  struct Limits {
    std::size_t max_cookies = 3000;
    std::size_t max_cookies_per_domain = 50;
    std::size_t max_cookie_bytes = 4096;  // of name and value; what is longer is ignored
  };

  CookieJar() = default;
  // Throws: std::invalid_argument for a limit of 0.
  explicit CookieJar(Limits limits);
  CookieJar(const CookieJar&) = delete;
  CookieJar& operator=(const CookieJar&) = delete;

  // Takes what a Set-Cookie field in an answer from `url` says. False if there is nothing to keep: it is
  // malformed, not for that server to set, or has expired, which removes the one there was.
  bool set(const Url& url, std::string_view set_cookie, Time now = calendar());
  // The value of the Cookie field for a request to `url`, empty if there is none: `own`, and behind it the
  // jar's of other names; those with longer paths, and then older ones, first.
  [[nodiscard]] std::string cookies_for(const Url& url, std::string own = {}, Time now = calendar());
  void clear();
  [[nodiscard]] std::size_t size() const;  // also what has expired and has not given way yet

 private:
  struct Stored {
    std::string name;
    std::string value;
    std::string path;
    Time expires = Time::max();
    bool is_host_only = true;
    bool is_secure = false;
    std::uint64_t created = 0;  // of steps_
    std::uint64_t used = 0;
  };
  using Domains = std::map<std::string, std::vector<Stored>, std::less<>>;

  static Time calendar();
  bool parse(const Url& url, std::string_view text, Time now, Stored& cookie, std::string& domain) const;
  [[nodiscard]] bool hides_secure_locked(const Stored& cookie, std::string_view domain, Time now) const;
  void remove_expired_locked(Domains::iterator domain, Time now);
  void make_room_locked(const std::string& domain, Time now);

  const Limits limits_ = {};
  mutable std::mutex mutex_;  // never held over a wait
  Domains domains_;           // none is empty
  std::size_t count_ = 0;
  std::uint64_t steps_ = 0;  // of set and cookies_for
};

}  // namespace fibrio::http
