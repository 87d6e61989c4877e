#include "http/response_header.hpp"

#include "http/text.hpp"
#include "http/text_writer.hpp"

namespace fibrio::http {

namespace {

// Everything in a header but the response's own fields, about.
constexpr std::size_t kUsualHeader = 256;
constexpr std::string_view kStatusLine = "HTTP/1.1 200 OK\r\n";

// What says where the answer ends is ours alone.
void append_fields(const Fields& fields, TextWriter& out) {
  if (!fields.may_frame()) {
    out << fields.text();
    return;
  }
  for (const Fields::Field& field : fields) {
    if (!Fields::is_framing(field.name)) out << field.name << ": " << field.value << "\r\n";
  }
}

}  // namespace

void ResponseHeader::write(detail::Text& text, const Response& response, Style style, std::uint64_t length,
                           std::int64_t unix_time) {
  if (unix_time != date_time_) {
    head_ = std::string(kStatusLine) + "Date: " + format_date(unix_time) + "\r\n";
    date_time_ = unix_time;
  }
  // Room for all of it, once. Fields that are passed on may take more than they did: "a:" becomes "a: ".
  TextWriter out(text, kUsualHeader + response.fields.text().size());
  if (response.status == 200) {
    out << head_;
  } else {
    out << "HTTP/1.1 " << response.status << " " << reason_of(response.status) << "\r\n";
    out << std::string_view(head_).substr(kStatusLine.size());
  }
  append_fields(response.fields, out);
  if (style.framing == Framing::kLength) out << "Content-Length: " << length << "\r\n";
  if (style.framing == Framing::kChunked) out << "Transfer-Encoding: chunked\r\n";
  if (response.status == 101) {
    out << "Connection: Upgrade\r\n";
  } else if (!style.keep_alive) {
    out << "Connection: close\r\n";
  } else if (style.version < 11) {
    out << "Connection: keep-alive\r\n";
  }
  out << "\r\n";
  out.keep();
}

}  // namespace fibrio::http
