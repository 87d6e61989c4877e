// Header fields, and the small rules of HTTP's texts.
#include "fibrio/http/fields.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "http/text.hpp"
#include "support/catch.hpp"

using namespace fibrio::http;

TEST_CASE("Fields keep their order and are found without case", "[http]") {
  Fields fields = {{"Accept", " text/html "}, {"X-One", "1"}};
  fields.add("accept", "text/plain, */*");
  CHECK(fields.get("ACCEPT") == "text/html");
  CHECK(fields.get("x-one") == "1");
  CHECK(fields.get("X") == "");
  CHECK(fields.contains("X-One"));
  CHECK_FALSE(fields.contains("One"));
  CHECK(fields.has_token("Accept", "TEXT/PLAIN"));
  CHECK_FALSE(fields.has_token("Accept", "text"));
  CHECK(fields.text() == "Accept: text/html\r\nX-One: 1\r\naccept: text/plain, */*\r\n");

  fields.set("Accept", "a");
  CHECK(fields.text() == "X-One: 1\r\nAccept: a\r\n");
  fields.set("X-Empty", "");
  std::vector<std::string> names;
  for (const Fields::Field& field : fields) names.emplace_back(field.name);
  CHECK(names == std::vector<std::string>{"X-One", "Accept", "X-Empty"});
  CHECK(fields.contains("X-Empty"));
  CHECK(fields.erase("x-one") == 1);
  CHECK(fields.erase("x-one") == 0);
  fields.set("Accept", fields.get("Accept"));  // a view into itself
  CHECK(fields.get("Accept") == "a");
  fields.clear();
  CHECK(fields.begin() == fields.end());
}

TEST_CASE("Fields that were received keep their text and lose nothing when they are changed", "[http]") {
  Fields fields;
  fields.add_parsed("A:1\r\nB: \t two \t\r\nC:\r\n");
  fields.add_parsed("Connection:close\r\n");
  CHECK(fields.text() == "A:1\r\nB: \t two \t\r\nC:\r\nConnection:close\r\n");
  CHECK(fields.get("a") == "1");
  CHECK(fields.get("b") == "two");
  CHECK(fields.contains("C"));
  CHECK(fields.get("c") == "");
  CHECK(fields.may_frame());
  CHECK(fields.erase("connection") == 1);
  CHECK(fields.text() == "A: 1\r\nB: two\r\nC: \r\n");
  CHECK_FALSE(fields.may_frame());
}

TEST_CASE("Fields are copied and moved, short ones and long ones", "[http]") {
  for (const std::size_t size : {1U, 50U, 96U, 97U, 5000U}) {
    CAPTURE(size);
    const std::string value(size, 'v');
    Fields first = {{"A", value}};
    Fields copy = first;
    CHECK(copy.get("A") == value);
    Fields moved = std::move(first);
    CHECK(moved.get("A") == value);
    first = Fields{{"B", "1"}};  // whose text was moved away
    CHECK(first.text() == "B: 1\r\n");
    moved = std::move(first);
    CHECK(moved.text() == "B: 1\r\n");
    moved = copy;
    moved.add("C", value);
    CHECK(moved.get("A") == value);
    CHECK(moved.get("C") == value);
    CHECK(copy.text().size() == size + 5);
  }
}

TEST_CASE("Fields refuse names and values that would be read as something else", "[http]") {
  Fields fields;
  for (const char* name : {"", "a b", "a:", "a\r\nb", "\xc3\xa4"})
    CHECK_THROWS_AS(fields.add(name, "x"), std::invalid_argument);
  for (const char* value : {"a\r\nSet-Cookie: b", "a\nb", "a\rb", "\x01", "\x7f"}) {
    CHECK_THROWS_AS(fields.add("A", value), std::invalid_argument);
    CHECK_THROWS_AS(fields.set("A", value), std::invalid_argument);
  }
  CHECK_THROWS_AS(fields.add("A", std::string_view("a\0b", 3)), std::invalid_argument);
  CHECK(fields.empty());
  fields.add("A", "tab\tand \xc3\xa4");
}

TEST_CASE("Percent-encoding goes both ways, and bad escapes are refused", "[http]") {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  CHECK(percent_decode(percent_encode(all)) == all);
  CHECK(percent_encode("a b/ü") == "a%20b%2F%C3%BC");
  CHECK(form_decode("a+b%2b%zz%4") == "a b+%zz%4");
  CHECK(percent_decode("a+b") == "a+b");
  for (const char* bad : {"%", "%1", "%g0", "a%2", "%%41"}) CHECK_FALSE(percent_decode(bad).has_value());
}

TEST_CASE("Dates are written and read as RFC 9110 says", "[http]") {
  CHECK(format_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");
  for (const std::int64_t time : {0LL, 784111777LL, 951782400LL, 4102444799LL, 253402300799LL})
    CHECK(parse_date(format_date(time)) == time);
  CHECK(format_date(951782400) == "Tue, 29 Feb 2000 00:00:00 GMT");
  CHECK(format_date(-1) == "Wed, 31 Dec 1969 23:59:59 GMT");
  // Of files that are older or newer: always four digits of a year.
  CHECK(format_date(std::numeric_limits<std::int64_t>::min()) == "Sat, 01 Jan 0000 00:00:00 GMT");
  CHECK(format_date(std::numeric_limits<std::int64_t>::max()) == "Fri, 31 Dec 9999 23:59:59 GMT");
  for (const char* bad : {"", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 32 Nov 1994 08:49:37 GMT",
                          "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, -6 Nov 1994 08:49:37 GMT"}) {
    CHECK_FALSE(parse_date(bad).has_value());
  }
}

TEST_CASE("A Host is a name or a literal with an optional port", "[http]") {
  for (const char* good : {"", "example.org", "example.org:80", "[::1]:8080", "[::1]", "127.0.0.1:", "a_b"}) {
    CAPTURE(good);
    CHECK(is_host(good));
  }
  for (const char* bad :
       {"a b", "a/b", "a@b", "a:b", "a:1:2", "a:70000", "[::1", "[]", "::1", "a,b\x80", "[::1]x"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_host(bad));
  }
}
