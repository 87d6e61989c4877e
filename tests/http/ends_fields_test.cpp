// What was received and is sent on, and what is set from a view into the object that it changes.
#include <string>
#include <string_view>

#include "fibrio/http/message.hpp"
#include "fibrio/http/url.hpp"
#include "http/request_access.hpp"
#include "http/response_header.hpp"
#include "http/text_writer.hpp"
#include "support/catch.hpp"

using namespace fibrio::http;

namespace {

std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

Fields received(std::size_t count, std::string_view line) {
  Fields fields;
  for (std::size_t i = 0; i < count; ++i) fields.add_parsed(line);
  return fields;
}

}  // namespace

TEST_CASE("Fields that are sent on may grow by any number of bytes", "[http][ends]") {
  for (const std::size_t count : {1, 90, 257, 500, 5000}) {
    CAPTURE(count);
    Response response("hi");
    response.fields = received(count, "a:\r\n");
    ResponseHeader header;
    detail::Text text;
    for (int answers = 1; answers <= 3; ++answers) {
      header.write(text, response, {}, 2, 0);
      CHECK(count_of(text.view(), "\r\na: \r\n") > 0);
      CHECK(count_of(text.view(), "\r\na: ") == count * static_cast<std::size_t>(answers));
      CHECK(text.view().ends_with("\r\nContent-Length: 2\r\n\r\n"));
    }
  }
}

TEST_CASE("TextWriter makes room for what was not expected, and takes back what is not kept",
          "[http][ends]") {
  detail::Text text;
  text.append("before ");
  std::string expected = "before ";
  {
    TextWriter out(text, 3);
    for (std::uint64_t i = 0; i < 300; ++i) {
      out << "piece " << i << std::string_view();
      expected += "piece " + std::to_string(i);
    }
    out.keep();
  }
  CHECK(text.view() == expected);
  {
    TextWriter out(text, 1);
    out << "of a header that is never complete";
  }
  CHECK(text.view() == expected);
}

TEST_CASE("Fields copy names and values that are views into themselves", "[http][ends]") {
  const std::string tag(60, 'e');
  Fields fields;
  fields.add("ETag", tag);
  std::string expected = "ETag: " + tag + "\r\n";
  for (int i = 0; i < 200; ++i) {
    fields.add("X-Copy", fields.get("ETag"));
    fields.add(fields.begin()->name, "v");
    expected += "X-Copy: " + tag + "\r\nETag: v\r\n";
  }
  CHECK(fields.text() == expected);
  fields.add_parsed(fields.text());
  CHECK(fields.text() == expected + expected);
  fields.set(fields.begin()->name, fields.begin()->value);
  CHECK(fields.get("ETag") == tag);
  fields.set_content_type(fields.get("ETag"));
  CHECK(fields.get("Content-Type") == tag);
  CHECK(fields.erase(fields.begin()->name) > 0);
}

TEST_CASE("Targets and queries copy views into themselves", "[http][ends]") {
  Url url = Url::parse("http://a/" + std::string(40, 'p'));
  for (int i = 0; i < 10; ++i) {
    const std::string before = url.target();
    url.add_query(std::string_view(url.target()).substr(1, 30), std::string_view(url.target()).substr(1, 40));
    CHECK(url.target() == before + (i == 0 ? '?' : '&') + std::string(30, 'p') + '=' + std::string(40, 'p'));
  }
  Request request;
  detail::RequestAccess::set_target(request, "/a/" + std::string(80, 'b') + "?q=1");
  detail::RequestAccess::set_target(request, std::string_view(request.target()).substr(2));
  CHECK(request.path() == "/" + std::string(80, 'b'));
  CHECK(request.query() == "q=1");
}
