#include "http/text.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <limits>

namespace fibrio::http {

namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

using CharSet = std::array<bool, 256>;

constexpr CharSet make_set(std::string_view others) {
  CharSet set{};
  for (const std::string_view part : {kDigits, kLetters, others}) {
    for (const char c : part) set[static_cast<unsigned char>(c)] = true;
  }
  return set;
}

// All but control characters; a tab is none here.
constexpr CharSet make_text_set() {
  CharSet set{};
  for (std::size_t i = 0; i < set.size(); ++i) set[i] = (i >= ' ' && i != 0x7f) || i == '\t';
  return set;
}

constexpr CharSet make_target_set() {
  CharSet set{};
  for (std::size_t i = '!'; i < 0x7f; ++i) set[i] = i != '#';
  return set;
}

constexpr CharSet kFieldText = make_text_set();
constexpr CharSet kTarget = make_target_set();
constexpr CharSet kToken = make_set("!#$%&'*+-.^_`|~");
constexpr CharSet kUnreserved = make_set("-._~");
constexpr CharSet kHost = make_set("-._~%!$&'()*+,;=");  // a reg-name
constexpr CharSet kLiteral = make_set(":.%-_~");         // inside brackets

bool all_in(std::string_view text, const CharSet& set) noexcept {
  return std::all_of(text.begin(), text.end(), [&set](char c) { return set[static_cast<unsigned char>(c)]; });
}

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = to_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The year with these last two digits that is not more than 50 years ahead (RFC 9110, 5.6.7).
int century_of(int digits) {
  const std::chrono::year_month_day today(
      std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now()));
  const int now = static_cast<int>(today.year());
  const int year = now - now % 100 + digits;
  return year > now + 50 ? year - 100 : year;
}

// `is_whole` becomes false if there is a '%' that stands for itself.
std::string decode(std::string_view text, bool is_form, bool& is_whole) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '%';
    const int high = is_escape && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low >= 0) {
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      is_whole = is_whole && !is_escape;
      decoded += is_form && text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string all(text);
  std::transform(all.begin(), all.end(), all.begin(), to_lower);
  return all;
}

bool equals_without_case(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return to_lower(x) == to_lower(y); });
}

bool is_token(std::string_view text) noexcept { return !text.empty() && all_in(text, kToken); }

bool is_field_text(std::string_view text) noexcept { return all_in(text, kFieldText); }

bool has_bare_line_end(std::string_view text) noexcept {
  for (std::size_t at = 0; (at = text.find_first_of("\r\n", at)) != std::string_view::npos; at += 2) {
    if (text[at] == '\n' || (at + 1 < text.size() && text[at + 1] != '\n')) return true;
  }
  return false;
}

bool is_target(std::string_view text) noexcept { return all_in(text, kTarget); }

std::string_view trim(std::string_view text) noexcept {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::string_view take_item(std::string_view& list, char separator) noexcept {
  const std::size_t end = list.find(separator);
  const std::string_view item = list.substr(0, end);
  list = end == std::string_view::npos ? std::string_view() : list.substr(end + 1);
  return trim(item);
}

std::optional<std::uint64_t> parse_number(std::string_view digits) noexcept {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  if (digits.empty()) return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (number > (kMax - digit) / 10) return std::nullopt;
    number = number * 10 + digit;
  }
  return number;
}

std::optional<std::string> percent_decode(std::string_view text) {
  bool is_whole = true;
  std::string decoded = decode(text, false, is_whole);
  if (!is_whole) return std::nullopt;
  return decoded;
}

std::string form_decode(std::string_view text) {
  bool is_whole = true;
  return decode(text, true, is_whole);
}

std::string percent_encode(std::string_view text, bool is_form) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (kUnreserved[byte] || (is_form && c == ' ')) {
      encoded += c == ' ' ? '+' : c;
    } else {
      encoded += '%';
      encoded += kHex[byte >> 4];
      encoded += kHex[byte & 15];
    }
  }
  return encoded;
}

// By hand: every connection writes one per second, and strftime takes 3,600 instructions (and a locale).
std::string format_date(std::int64_t unix_time) {
  namespace chrono = std::chrono;
  constexpr std::int64_t kFirst = -62'167'219'200;  // of the year 0
  constexpr std::int64_t kLast = 253'402'300'799;   // of the year 9999
  const chrono::sys_seconds time(chrono::seconds(std::clamp(unix_time, kFirst, kLast)));
  const chrono::sys_days day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date(day);
  const chrono::hh_mm_ss clock(time - day);
  std::string text = "Sun, 06 Nov 1994 08:49:37 GMT";
  const auto put_name = [&text](std::size_t at, std::string_view name) { name.copy(&text[at], name.size()); };
  const auto put_number = [&text](std::size_t at, unsigned number) {
    text[at] = kDigits[number / 10];
    text[at + 1] = kDigits[number % 10];
  };
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  put_name(0, kDays[chrono::weekday(day).c_encoding()]);
  put_number(5, static_cast<unsigned>(date.day()));
  put_name(8, kMonths[static_cast<unsigned>(date.month()) - 1]);
  put_number(12, year / 100);
  put_number(14, year % 100);
  put_number(17, static_cast<unsigned>(clock.hours().count()));
  put_number(20, static_cast<unsigned>(clock.minutes().count()));
  put_number(23, static_cast<unsigned>(clock.seconds().count()));
  return text;
}

std::optional<std::int64_t> parse_date(std::string_view text) {
  // Where the parts of a date stand, in one of its three forms (RFC 9110, 5.6.7).
  struct Places {
    std::size_t day, month, year, year_digits, clock;
  };
  constexpr std::string_view kShape = "Sun, 06 Nov 1994 08:49:37 GMT";
  constexpr std::string_view kShape850 = "06-Nov-94 08:49:37 GMT";  // behind "Sunday, "
  constexpr std::string_view kShapeAscTime = "Sun Nov  6 08:49:37 1994";
  Places at{5, 8, 12, 4, 17};
  std::string padded;
  if (text.size() == kShape.size() && text.ends_with(" GMT") && text[3] == ',') {
    // As it is sent today.
  } else if (const std::size_t comma = text.find(", ");
             comma != std::string_view::npos && text.size() == comma + 2 + kShape850.size() &&
             text.ends_with(" GMT") && text[comma + 4] == '-' && text[comma + 8] == '-') {
    text.remove_prefix(comma + 2);
    at = {0, 3, 7, 2, 10};
  } else if (text.size() == kShapeAscTime.size() && text[3] == ' ' && text[10] == ' ' && text[19] == ' ') {
    padded = text;
    if (padded[8] == ' ') padded[8] = '0';
    text = padded;
    at = {8, 4, 20, 4, 11};
  } else {
    return std::nullopt;
  }
  const auto number = [&text](std::size_t begin, std::size_t length) {
    const auto value = parse_number(text.substr(begin, length));
    return value ? static_cast<int>(*value) : -1;
  };
  std::tm parts{};
  parts.tm_mday = number(at.day, 2);
  parts.tm_mon =
      static_cast<int>(std::find(kMonths.begin(), kMonths.end(), text.substr(at.month, 3)) - kMonths.begin());
  int year = number(at.year, at.year_digits);
  if (at.year_digits == 2 && year >= 0) year = century_of(year);
  parts.tm_year = year - 1900;
  parts.tm_hour = number(at.clock, 2);
  parts.tm_min = number(at.clock + 3, 2);
  parts.tm_sec = number(at.clock + 6, 2);
  const auto within = [](int value, int low, int high) { return value >= low && value <= high; };
  if (!within(parts.tm_mday, 1, 31) || !within(parts.tm_mon, 0, 11) || !within(parts.tm_year, -300, 8099) ||
      !within(parts.tm_hour, 0, 23) || !within(parts.tm_min, 0, 59) || !within(parts.tm_sec, 0, 60)) {
    return std::nullopt;
  }
  return ::timegm(&parts);
}

bool is_host(std::string_view text) noexcept {
  std::size_t end = 0;  // of the host
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos || end == 1 || !all_in(text.substr(1, end - 1), kLiteral)) return false;
    ++end;
  } else {
    end = std::min(text.find(':'), text.size());
    if (!all_in(text.substr(0, end), kHost)) return false;
  }
  const std::string_view port = text.substr(end);
  if (port.empty() || port == ":") return true;
  const auto number = port[0] == ':' ? parse_number(port.substr(1)) : std::nullopt;
  return number && *number <= 65'535;
}

std::string_view reason_of(unsigned status) noexcept {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Payload Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return {};
  }
}

}  // namespace fibrio::http
