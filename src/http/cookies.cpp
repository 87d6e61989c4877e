#include "fibrio/http/cookies.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "fibrio/http/message.hpp"
#include "http/cookie_text.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace {

constexpr std::size_t kMaxBytes = 4096;      // of name and value: what browsers take
constexpr std::size_t kMaxAttribute = 1024;  // likewise
constexpr std::array<const char*, 4> kSameSite = {"", "Lax", "Strict", "None"};

bool starts_without_case(std::string_view text, std::string_view prefix) {
  return equals_without_case(text.substr(0, prefix.size()), prefix);
}

// Whether all of it is printable ASCII, and none of `not_allowed`.
bool is_clean(std::string_view text, std::string_view not_allowed) {
  return std::all_of(text.begin(), text.end(), [not_allowed](char c) {
    return c >= ' ' && c < '\x7f' && not_allowed.find(c) == std::string_view::npos;
  });
}

// A value that Python's http.cookies put in quotes: \" and \\ are one character, \073 is one by its number.
std::string unquote(std::string_view text) {
  std::string plain;
  const auto is_octal = [&text](std::size_t at, char last) { return text[at] >= '0' && text[at] <= last; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      plain += text[i];
    } else if (i + 3 < text.size() && is_octal(i + 1, '3') && is_octal(i + 2, '7') && is_octal(i + 3, '7')) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[++i];
    }
  }
  return plain;
}

}  // namespace

std::optional<std::string_view> find_cookie(std::string_view field, std::string_view name) {
  while (!field.empty()) {
    std::string_view value = take_item(field, ';');
    if (value.find('=') == std::string_view::npos || take_item(value, '=') != name) continue;
    return trim(value);
  }
  return std::nullopt;
}

const char* prefix_problem(std::string_view name, bool is_secure, bool has_domain, std::string_view path) {
  const bool is_host = starts_without_case(name, "__Host-");
  if ((is_host || starts_without_case(name, "__Secure-")) && !is_secure) return "its prefix needs secure";
  if (is_host && (has_domain || path != "/")) return "__Host- needs the path \"/\" and no domain";
  return nullptr;
}

std::optional<std::string> Request::cookie(std::string_view name) const {
  for (const Fields::Field& field : fields_) {
    if (!equals_without_case(field.name, "Cookie")) continue;
    const auto value = find_cookie(field.value, name);
    if (!value) continue;
    if (value->size() < 2 || value->front() != '"' || value->back() != '"') return std::string(*value);
    return unquote(value->substr(1, value->size() - 2));
  }
  return std::nullopt;
}

std::string Cookie::to_string() const {
  const auto require = [this](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument("http: the cookie '" + name + "': " + what);
  };
  require(is_token(name), "its name is no token");
  require(is_clean(value, " \",;\\"), "its value has a character that must be encoded");
  require(name.size() + value.size() <= kMaxBytes, "name and value are longer than 4096 bytes");
  require(path.empty() || path[0] == '/', "its path must begin with '/'");
  require(is_clean(path, ";"), "its path has a control character, ';', or one that is not ASCII");
  require(path.size() <= kMaxAttribute, "its path is longer than 1024 bytes");
  require(is_clean(domain, " \",;\\/:") && domain != "." && domain.find("..") == std::string::npos,
          "its domain is no name of a host");
  require(domain.size() <= kMaxAttribute, "its domain is longer than 1024 bytes");
  require(!max_age || *max_age >= Duration::zero(), "its max_age is negative");
  require(same_site != SameSite::kNone || secure, "SameSite=None needs secure");
  const char* const problem = prefix_problem(name, secure, !domain.empty(), path);
  require(problem == nullptr, problem);

  std::string text = name + '=' + value;
  if (!path.empty()) text += "; Path=" + path;
  if (!domain.empty()) text += "; Domain=" + domain;
  if (max_age)
    text += "; Max-Age=" + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(*max_age).count());
  if (expires)
    text += "; Expires=" +
            format_date(std::chrono::floor<std::chrono::seconds>(*expires).time_since_epoch().count());
  if (secure) text += "; Secure";
  if (http_only) text += "; HttpOnly";
  if (same_site != SameSite::kUnset)
    text.append("; SameSite=").append(kSameSite[static_cast<std::size_t>(same_site)]);
  return text;
}

void set_cookie(Response& response, const Cookie& cookie) {
  response.fields.add("Set-Cookie", cookie.to_string());
}

void delete_cookie(Response& response, Cookie cookie) {
  cookie.value.clear();
  cookie.max_age = std::chrono::seconds(0);
  cookie.expires = std::chrono::system_clock::time_point();
  set_cookie(response, cookie);
}

}  // namespace fibrio::http
