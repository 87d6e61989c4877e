#include "response.hpp"

#include <charconv>
#include <cstring>
#include <ctime>

namespace http_server {

namespace {

// Everything in a header but Content-Type and Allow.
constexpr std::size_t kMaxHeader = 256;

std::string_view status_line(unsigned status) {
  switch (status) {
    case 200:
      return "HTTP/1.1 200 OK\r\n";
    case 400:
      return "HTTP/1.1 400 Bad Request\r\n";
    case 404:
      return "HTTP/1.1 404 Not Found\r\n";
    case 405:
      return "HTTP/1.1 405 Method Not Allowed\r\n";
    case 408:
      return "HTTP/1.1 408 Request Timeout\r\n";
    case 413:
      return "HTTP/1.1 413 Payload Too Large\r\n";
    case 417:
      return "HTTP/1.1 417 Expectation Failed\r\n";
    case 431:
      return "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    case 501:
      return "HTTP/1.1 501 Not Implemented\r\n";
    case 503:
      return "HTTP/1.1 503 Service Unavailable\r\n";
    default:
      return "HTTP/1.1 500 Internal Server Error\r\n";
  }
}

// Writes into room that was made before.
class Cursor {
 public:
  explicit Cursor(char* place) : place_(place) {}
  Cursor& operator<<(std::string_view text) {
    std::memcpy(place_, text.data(), text.size());
    place_ += text.size();
    return *this;
  }
  Cursor& operator<<(std::size_t number) {
    place_ = std::to_chars(place_, place_ + 20, number).ptr;
    return *this;
  }
  [[nodiscard]] char* place() const { return place_; }

 private:
  char* place_;
};

}  // namespace

Response make_error(unsigned status, std::string_view detail) {
  const std::string_view line = status_line(status);
  Response response;
  response.status = status;
  response.text = line.substr(9, line.size() - 11);  // "404 Not Found"
  if (!detail.empty()) response.text.append(": ").append(detail);
  response.text += '\n';
  return response;
}

bool ResponseWriter::append(const Response& response, Style style, std::int64_t unix_time) {
  if (unix_time != date_time_) set_date(unix_time);
  const std::string_view body = response.body();
  const bool with_body = !style.head_only && body.size() < kLargeBody;
  const std::size_t start = buffer_.size();
  // Room for the most, once; appending piece by piece would ask for room each time.
  buffer_.resize(start + kMaxHeader + response.content_type.size() + response.allow.size() +
                 (with_body ? body.size() : 0));
  Cursor out(buffer_.data() + start);
  out << status_line(response.status) << date_ << "Content-Type: " << response.content_type
      << "\r\nContent-Length: " << body.size();
  if (!response.allow.empty()) out << "\r\nAllow: " << response.allow;
  if (!style.keep_alive) {
    out << "\r\nConnection: close";
  } else if (style.version < 11) {
    out << "\r\nConnection: keep-alive";
  }
  out << "\r\n\r\n";
  if (with_body) out << body;
  buffer_.resize(static_cast<std::size_t>(out.place() - buffer_.data()));
  return with_body || style.head_only;
}

void ResponseWriter::set_date(std::int64_t unix_time) {
  const std::time_t time = unix_time;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];  // "C" locale: the program never sets another
  date_.assign(text, std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts));
  date_time_ = unix_time;
}

}  // namespace http_server
