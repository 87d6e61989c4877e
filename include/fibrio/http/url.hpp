// Absolute URLs of http, https, ws and wss.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fibrio::http {

// Strict and small: a scheme, a host, perhaps a port, and the target. What belongs into it percent-encoded
// must come so; a user name or password is refused (use a field), a fragment is dropped.
class Url {
 public:
  // Throws: std::invalid_argument, which says what is wrong.
  static Url parse(std::string_view text);
  // The URL that `reference`, as in a Location field, means on the page of this one: absolute, "//host/path",
  // "/path", "path" or "?query". It is read as browsers do: what must be percent-encoded (blanks, UTF-8, '|', '"',
  // '{') is, a backslash is a slash, a user's name and password are left out. Throws: std::invalid_argument, also for
  // one with another scheme ("mailto:x").
  [[nodiscard]] Url resolve(std::string_view reference) const;

  [[nodiscard]] const std::string& scheme() const noexcept { return scheme_; }  // lower case
  [[nodiscard]] const std::string& host() const noexcept {
    return host_;
  }                                                                    // lower case; IPv6 without brackets
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }  // the scheme's if none was given
  [[nodiscard]] const std::string& target() const noexcept { return target_; }  // "/path?query"
  [[nodiscard]] bool is_secure() const noexcept { return scheme_ == "https" || scheme_ == "wss"; }
  // "host" or "host:port": without the port if it is the scheme's; the zone of an IPv6 address behind "%25". A Host
  // field has it without the zone.
  [[nodiscard]] std::string authority() const;
  // "scheme://authority": what connections and credentials belong to.
  [[nodiscard]] std::string origin() const { return scheme_ + "://" + authority(); }
  [[nodiscard]] std::string to_string() const { return origin() + target_; }

  // Adds "name=value" to the query, encoded.
  void add_query(std::string_view name, std::string_view value);

 private:
  std::string scheme_;
  std::string host_;
  std::string target_;
  std::uint16_t port_ = 0;
};

}  // namespace fibrio::http
