// What: the cookies that a session keeps. Numbers in comments are sections of RFC 6265.
// Rejected: reading HTTP's dates alone (parse_date): servers write Expires in a dozen ways.
#include <algorithm>
#include <array>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "fibrio/http/cookies.hpp"
#include "http/cookie_text.hpp"
#include "http/text.hpp"

namespace fibrio::http {

namespace {

constexpr std::size_t kMaxAttributeBytes = 1024;
constexpr std::uint64_t kMaxAge = 10'000'000'000;  // in seconds; 300 years are for ever

// No name of a top-level domain begins with a digit.
bool is_ip_address(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::string_view label = host.substr(host.rfind('.') + 1);
  return host.find(':') != std::string_view::npos || (!label.empty() && label[0] >= '0' && label[0] <= '9');
}

// 5.1.3; both in lower case.
bool domain_matches(std::string_view host, std::string_view domain) {
  if (!host.ends_with(domain)) return false;
  if (host.size() == domain.size()) return true;
  return host[host.size() - domain.size() - 1] == '.' && !is_ip_address(host);
}

// 5.1.4.
bool path_matches(std::string_view path, std::string_view of_cookie) {
  return path.starts_with(of_cookie) &&
         (path.size() == of_cookie.size() || of_cookie.ends_with('/') || path[of_cookie.size()] == '/');
}

std::string_view path_of(const Url& url) {
  return std::string_view(url.target()).substr(0, url.target().find('?'));
}

std::string_view default_path(const Url& url) {
  const std::string_view path = path_of(url);
  return path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
}

// Takes a number of `min` to `max` digits, which no further digit follows; -1 if there is none.
int take_digits(std::string_view& text, std::size_t min, std::size_t max) {
  const std::size_t count = std::min(text.find_first_not_of("0123456789"), text.size());
  if (count < min || count > max) return -1;
  const int number = static_cast<int>(*parse_number(text.substr(0, count)));
  text.remove_prefix(count);
  return number;
}

// "8:49:37", and what follows it.
bool read_clock(std::string_view token, std::array<int, 3>& clock) {
  std::array<int, 3> parts{};
  for (std::size_t i = 0; i < 3; ++i) {
    if (i > 0 && !token.starts_with(':')) return false;
    token.remove_prefix(i > 0 ? 1 : 0);
    parts[i] = take_digits(token, 1, 2);
    if (parts[i] < 0) return false;
  }
  clock = parts;
  return true;
}

int month_of(std::string_view token) {
  constexpr std::string_view kMonths = "jan feb mar apr may jun jul aug sep oct nov dec";
  const std::string name = lower(token.substr(0, 3));
  const std::size_t at = kMonths.find(name);
  return name.size() < 3 || at == std::string_view::npos ? -1 : static_cast<int>(at / 4) + 1;
}

}  // namespace

std::optional<std::int64_t> parse_cookie_date(std::string_view text) {
  const auto is_delimiter = [](char c) {
    return c == '\t' || (c >= ' ' && c <= '/') || (c >= ';' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  };
  std::array<int, 3> clock = {-1, -1, -1};
  int day = -1, month = -1, year = -1;
  while (!text.empty()) {
    const auto begin = std::find_if_not(text.begin(), text.end(), is_delimiter);
    const auto end = std::find_if(begin, text.end(), is_delimiter);
    std::string_view token(begin, end);
    text = std::string_view(end, text.end());
    if (clock[0] < 0 && read_clock(token, clock)) continue;
    if (day < 0 && (day = take_digits(token, 1, 2)) >= 0) continue;
    if (month < 0 && (month = month_of(token)) >= 0) continue;
    if (year < 0) year = take_digits(token, 2, 4);
  }
  if (year >= 0 && year < 100) year += year < 70 ? 2000 : 1900;
  const auto [hour, minute, second] = clock;
  if (hour < 0 || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  if (day < 1 || month < 1 || year < 1601) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return std::nullopt;
  const std::chrono::sys_seconds time = std::chrono::sys_days(date) + std::chrono::hours(hour) +
                                        std::chrono::minutes(minute) + std::chrono::seconds(second);
  return time.time_since_epoch().count();
}

CookieJar::CookieJar(Limits limits) : limits_(limits) {
  if (limits.max_cookies == 0 || limits.max_cookies_per_domain == 0)
    throw std::invalid_argument("http: CookieJar: limits must be at least 1");
}

CookieJar::Time CookieJar::calendar() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

// 5.2, and of 5.3 what needs no look at other cookies. False: it is ignored.
bool CookieJar::parse(const Url& url, std::string_view text, Time now, Stored& cookie,
                      std::string& domain) const {
  std::string_view value = take_item(text, ';');
  if (!is_field_text(value) || value.find('=') == std::string_view::npos) return false;
  cookie.name = take_item(value, '=');
  cookie.value = trim(value);
  if (cookie.name.empty() || cookie.name.size() + cookie.value.size() > limits_.max_cookie_bytes)
    return false;

  bool has_max_age = false;
  while (!text.empty()) {
    value = take_item(text, ';');
    const std::string_view name = take_item(value, '=');
    value = trim(value);
    if (value.size() > kMaxAttributeBytes || !is_field_text(value)) continue;
    if (equals_without_case(name, "Expires")) {
      const auto date = has_max_age ? std::nullopt : parse_cookie_date(value);
      if (date) cookie.expires = Time(std::chrono::seconds(*date));
    } else if (equals_without_case(name, "Max-Age")) {
      const bool is_past = value.starts_with('-');
      const std::string_view digits = value.substr(is_past ? 1 : 0);
      if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) continue;
      has_max_age = true;
      const std::uint64_t age = is_past ? 0 : std::min(parse_number(digits).value_or(kMaxAge), kMaxAge);
      cookie.expires = now + std::chrono::seconds(age);
    } else if (equals_without_case(name, "Domain") && !value.empty()) {
      if (value.starts_with('.')) value.remove_prefix(1);
      domain = lower(value);
    } else if (equals_without_case(name, "Path")) {
      cookie.path = value;
    } else if (equals_without_case(name, "Secure")) {
      cookie.is_secure = true;
    }
  }
  if (!cookie.path.starts_with('/')) cookie.path = default_path(url);
  const bool has_domain = !domain.empty();
  if (has_domain && !domain_matches(url.host(), domain)) return false;
  // A name with no dot within is a public suffix, unless it is the host itself.
  cookie.is_host_only = !has_domain || domain.find('.') >= domain.size() - 1;
  if (cookie.is_host_only && has_domain && domain != url.host()) return false;
  if (!has_domain) domain = url.host();
  return (url.is_secure() || !cookie.is_secure) &&
         prefix_problem(cookie.name, cookie.is_secure, has_domain, cookie.path) == nullptr;
}

bool CookieJar::hides_secure_locked(const Stored& cookie, std::string_view domain, Time now) const {
  for (const auto& [other, cookies] : domains_) {
    if (!domain_matches(other, domain) && !domain_matches(domain, other)) continue;
    for (const Stored& one : cookies) {
      if (one.is_secure && one.expires > now && one.name == cookie.name &&
          path_matches(cookie.path, one.path)) {
        return true;
      }
    }
  }
  return false;
}

void CookieJar::remove_expired_locked(Domains::iterator domain, Time now) {
  count_ -= std::erase_if(domain->second, [now](const Stored& cookie) { return cookie.expires <= now; });
  if (domain->second.empty()) domains_.erase(domain);
}

void CookieJar::make_room_locked(const std::string& domain, Time now) {
  const auto is_full = [&] {
    const auto same = domains_.find(domain);
    return same != domains_.end() && same->second.size() >= limits_.max_cookies_per_domain;
  };
  if (!is_full() && count_ < limits_.max_cookies) return;
  for (auto entry = domains_.begin(); entry != domains_.end();) remove_expired_locked(entry++, now);
  const bool is_domain_full = is_full();
  if (!is_domain_full && count_ < limits_.max_cookies) return;
  Domains::iterator from;
  const Stored* least = nullptr;
  for (auto entry = domains_.begin(); entry != domains_.end(); ++entry) {
    if (is_domain_full && entry->first != domain) continue;
    for (const Stored& one : entry->second) {
      if (least != nullptr && std::tie(one.is_secure, one.used) >= std::tie(least->is_secure, least->used))
        continue;
      least = &one;
      from = entry;
    }
  }
  from->second.erase(from->second.begin() + (least - from->second.data()));
  --count_;
  if (from->second.empty()) domains_.erase(from);
}

bool CookieJar::set(const Url& url, std::string_view set_cookie, Time now) {
  Stored cookie;
  std::string domain;
  if (!parse(url, set_cookie, now, cookie, domain)) return false;
  const std::lock_guard lock(mutex_);
  if (!url.is_secure() && hides_secure_locked(cookie, domain, now)) return false;
  cookie.created = cookie.used = ++steps_;
  if (const auto entry = domains_.find(domain); entry != domains_.end()) {
    for (Stored& one : entry->second) {
      if (one.name != cookie.name || one.path != cookie.path) continue;
      cookie.created = one.created;
      one = std::move(cookie);
      const bool is_kept = one.expires > now;
      remove_expired_locked(entry, now);
      return is_kept;
    }
  }
  if (cookie.expires <= now) return false;
  make_room_locked(domain, now);
  domains_[domain].push_back(std::move(cookie));
  ++count_;
  return true;
}

std::string CookieJar::cookies_for(const Url& url, std::string own, Time now) {
  const std::string_view host = url.host();
  const std::lock_guard lock(mutex_);
  if (count_ == 0) return own;
  ++steps_;
  std::vector<Stored*> found;
  for (std::string_view domain = host;; domain.remove_prefix(domain.find('.') + 1)) {
    if (auto entry = domains_.find(domain); entry != domains_.end()) {
      for (Stored& one : entry->second) {
        if (one.expires > now && (!one.is_host_only || domain == host) &&
            (!one.is_secure || url.is_secure()) && path_matches(path_of(url), one.path)) {
          found.push_back(&one);
        }
      }
    }
    if (is_ip_address(host) || domain.find('.') == std::string_view::npos) break;
  }
  std::sort(found.begin(), found.end(), [](const Stored* a, const Stored* b) {
    return a->path.size() != b->path.size() ? a->path.size() > b->path.size() : a->created < b->created;
  });
  std::string text = own;
  for (Stored* one : found) {
    one->used = steps_;
    if (find_cookie(own, one->name)) continue;
    text.append(text.empty() ? "" : "; ").append(one->name).append("=").append(one->value);
  }
  return text;
}

void CookieJar::clear() {
  const std::lock_guard lock(mutex_);
  domains_.clear();
  count_ = 0;
}

std::size_t CookieJar::size() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

}  // namespace fibrio::http
