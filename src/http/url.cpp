#include "fibrio/http/url.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>
#include <vector>

#include "http/text.hpp"

namespace fibrio::http {

namespace {

constexpr std::array<std::pair<std::string_view, std::uint16_t>, 4> kSchemes = {
    {{"http", std::uint16_t{80}},
     {"https", std::uint16_t{443}},
     {"ws", std::uint16_t{80}},
     {"wss", std::uint16_t{443}}}};

[[noreturn]] void refuse(std::string_view text, const char* why) {
  throw std::invalid_argument("http: the URL '" + std::string(text) + "': " + why);
}

std::uint16_t default_port(std::string_view scheme) {
  for (const auto& [name, port] : kSchemes) {
    if (name == scheme) return port;
  }
  return 0;
}

// What is before a colon in the first segment is a scheme, and nothing else (RFC 3986, 4.2).
bool has_scheme(std::string_view reference) {
  return reference.substr(0, reference.find_first_of("/?")).find(':') != std::string_view::npos;
}

// "/a/./b/../c" is "/a/c" (RFC 3986, 5.2.4).
std::string remove_dots(std::string_view path) {
  std::vector<std::string_view> kept;
  bool is_folder = false;
  for (std::string_view rest = path; !rest.empty();) {
    rest.remove_prefix(1);
    const std::string_view segment = rest.substr(0, rest.find('/'));
    rest.remove_prefix(segment.size());
    is_folder = segment == "." || segment == "..";
    if (segment == ".." && !kept.empty()) kept.pop_back();
    if (!is_folder) kept.push_back(segment);
  }
  std::string clean;
  for (const std::string_view segment : kept) clean.append("/").append(segment);
  return is_folder || clean.empty() ? clean + "/" : clean;
}

// What must be percent-encoded; also bytes above 0x7f.
bool is_bad(char c) {
  return c <= ' ' || c >= '\x7f' || c == '"' || c == '<' || c == '>' || c == '\\' || c == '^' || c == '`' ||
         c == '{' || c == '|' || c == '}';
}

// A reference as servers write it, as browsers read it (WHATWG): blanks around it and tabs within are nothing, a
// backslash before the query is a slash, a user's name and password are left out, and behind the authority what must
// be percent-encoded is.
std::string as_browsers_read(std::string_view reference) {
  reference = trim(reference.substr(0, reference.find('#')));
  std::string text;
  for (const char c : reference) {
    if (c != '\t') text += c;
  }
  std::replace(text.begin(),
               text.begin() + static_cast<std::ptrdiff_t>(std::min(text.find('?'), text.size())), '\\', '/');
  std::size_t begin = 0;  // of the path, behind the authority
  const std::size_t slashes = text.find("//");
  if (slashes == 0 || (slashes != std::string::npos && has_scheme(text) && text[slashes - 1] == ':')) {
    begin = std::min(text.find_first_of("/?", slashes + 2), text.size());
    const std::size_t at = text.rfind('@', begin);
    if (at != std::string::npos && at > slashes && at < begin) {
      text.erase(slashes + 2, at - slashes - 1);
      begin -= at - slashes - 1;
    }
  }
  std::string clean = text.substr(0, begin);
  for (const char c : std::string_view(text).substr(begin)) {
    if (is_bad(c)) {
      clean += percent_encode({&c, 1});
    } else {
      clean += c;
    }
  }
  return clean;
}

}  // namespace

Url Url::parse(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), is_bad)) refuse(text, "a character that must be percent-encoded");
  if (!has_scheme(text)) refuse(text, "it must begin with a scheme and \"://\"");
  const std::size_t colon = text.find(':');
  Url url;
  url.scheme_ = lower(text.substr(0, colon));
  url.port_ = default_port(url.scheme_);
  if (url.port_ == 0) refuse(text, "the scheme must be http, https, ws or wss");
  if (!text.substr(colon).starts_with("://")) refuse(text, "its scheme must be followed by \"://\"");

  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != std::string_view::npos)
    refuse(text, "credentials are not taken from URLs; use a field");
  if (!is_host(authority)) refuse(text, "the host or port is malformed");
  const std::size_t bracket = authority.find(']');
  const std::size_t port = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (port != std::string_view::npos) {
    if (port + 1 < authority.size())
      url.port_ = static_cast<std::uint16_t>(*parse_number(authority.substr(port + 1)));
    authority = authority.substr(0, port);
  }
  if (bracket != std::string_view::npos) authority = authority.substr(1, bracket - 1);
  url.host_ = lower(authority);
  // The zone of an IPv6 address, whose '%' is encoded as RFC 6874 has it, or is not.
  if (const std::size_t zone = url.host_.find("%25");
      bracket != std::string_view::npos && zone != url.host_.npos)
    url.host_.erase(zone + 1, 2);
  if (url.host_.empty()) refuse(text, "there is no host");
  if (url.port_ == 0) refuse(text, "port 0");
  if (!rest.substr(end).starts_with('/')) url.target_ = "/";
  url.target_ += rest.substr(end);
  return url;
}

Url Url::resolve(std::string_view reference) const {
  const std::string readable = as_browsers_read(reference);
  reference = readable;
  if (has_scheme(reference)) return parse(reference);
  if (reference.starts_with("//")) return parse(scheme_ + ":" + std::string(reference));
  const std::string_view path = std::string_view(target_).substr(0, target_.find('?'));
  std::string target;
  if (reference.empty()) {
    target = target_;
  } else if (reference.starts_with('?')) {
    target = std::string(path) + std::string(reference);
  } else {
    const std::size_t mark = std::min(reference.find('?'), reference.size());
    std::string whole(reference.substr(0, mark));
    if (!whole.starts_with('/')) whole = std::string(path.substr(0, path.rfind('/') + 1)) + whole;
    target = remove_dots(whole) + std::string(reference.substr(mark));
  }
  return parse(origin() + target);
}

std::string Url::authority() const {
  std::string text = host_;
  if (host_.find(':') != std::string::npos) {
    if (const std::size_t zone = text.find('%'); zone != std::string::npos) text.insert(zone + 1, "25");
    text = "[" + text + "]";
  }
  if (port_ != default_port(scheme_)) text += ":" + std::to_string(port_);
  return text;
}

void Url::add_query(std::string_view name, std::string_view value) {
  // Whole before the target changes: `name` and `value` may be views into it.
  const std::string pair = percent_encode(name) + "=" + percent_encode(value);
  target_.append(target_.find('?') == std::string::npos ? "?" : "&").append(pair);
}

}  // namespace fibrio::http
