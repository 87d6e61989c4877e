#include "response.hpp"

#include <charconv>
#include <ctime>

namespace http_server {

namespace {

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

void append_number(std::string& out, std::size_t number) {
  char digits[20];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

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
  buffer_ += status_line(response.status);
  buffer_ += date_;
  buffer_ += "Content-Type: ";
  buffer_ += response.content_type;
  buffer_ += "\r\nContent-Length: ";
  append_number(buffer_, body.size());
  if (!response.allow.empty()) buffer_.append("\r\nAllow: ").append(response.allow);
  if (!style.keep_alive) {
    buffer_ += "\r\nConnection: close";
  } else if (style.version < 11) {
    buffer_ += "\r\nConnection: keep-alive";
  }
  buffer_ += "\r\n\r\n";
  if (style.head_only) return true;
  if (body.size() >= kLargeBody) return false;
  buffer_ += body;
  return true;
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
