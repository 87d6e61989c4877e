// What of HTTP's grammar is refused because two readers could disagree, and what is forgiven.
#include <string>

#include "fibrio/http/server.hpp"
#include "fibrio/http/url.hpp"
#include "http/request_parser.hpp"
#include "http/server_thread.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::string_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

ServerThread::Setup echo() {
  return [](http::Server& server) {
    server.route("GET", "/", [](Request& request) { return Response(std::to_string(request.version())); });
    server.route("POST", "/", [](Request& request) { return Response(request.read_all()); });
  };
}

// Both at once and byte by byte.
template <class Check>
void in_both_ways(int port, const std::string& text, Check check) {
  for (const bool is_split : {false, true}) {
    CAPTURE(is_split, text);
    Client client(port);
    for (std::size_t at = 0; at < text.size(); at += is_split ? 1 : text.size()) {
      if (!client.send(is_split ? text.substr(at, 1) : text)) break;
    }
    check(client);
  }
}

}  // namespace

TEST_CASE("Control characters in a chunk's extension are refused, quoted or not", "[http]") {
  const ServerThread server(echo());
  const std::string head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& extension :
       {";a=\"\n\""s, ";a=\"\0\""s, ";a=\"\x01\""s, ";a=\"b\\\n\""s, ";a=\"\x7f\""s, ";a=\n"s, ";a\0=b"s}) {
    in_both_ways(server.port(), head + "5" + extension + "\r\nhello\r\n0\r\n\r\n",
                 [](Client& client) { CHECK(client.receive().status == 400); });
    in_both_ways(server.port(), head + "5\r\nhello\r\n0" + extension + "\r\n\r\n",
                 [](Client& client) { CHECK(client.receive().status == 400); });
  }
  for (const char* extension : {";a=\"b \tc\"", ";a=b;c", ";a=\"\xc3\xa4\""}) {
    in_both_ways(server.port(), head + "5" + extension + "\r\nhello\r\n0" + extension + "\r\n\r\n",
                 [](Client& client) { CHECK(client.receive().body == "hello"); });
  }
}

TEST_CASE("A request of a later minor version is read, wherever its bytes are parted", "[http]") {
  const std::string text = "GET / HTTP/1.2\r\nHost: t\r\n\r\n";
  for (std::size_t first = 1; first < text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      http::Request request;
      http::RequestParser parser({8192, 100, 100'000}, request);
      std::string input;
      std::size_t sent = 0;
      auto progress = http::RequestParser::Progress::kNeedMore;
      for (const std::size_t end : {first, second, text.size()}) {
        input += text.substr(sent, end - sent);
        sent = end;
        std::size_t used = 0;
        progress = parser.read_header(input, used);
        input.erase(0, used);
        if (progress != http::RequestParser::Progress::kNeedMore) break;
      }
      INFO(first << " and " << second);
      CHECK(progress == http::RequestParser::Progress::kDone);
    }
  }
}

TEST_CASE("Later minor versions are 1.1, other major ones are answered with 505", "[http]") {
  const ServerThread server(echo());
  for (const char* version : {"1.1", "1.2", "1.9"}) {
    in_both_ways(server.port(), "GET / HTTP/"s + version + "\r\nHost: t\r\n\r\n", [](Client& client) {
      CHECK(client.receive().body == "11");
      CHECK(client.ask(get("/")).body == "11");  // it stays open, as for 1.1
    });
  }
  for (const char* version : {"2.0", "3.0", "9.9"}) {
    in_both_ways(server.port(), "GET / HTTP/"s + version + "\r\nHost: t\r\n\r\n",
                 [](Client& client) { CHECK(client.receive().status == 505); });
  }
  for (const char* version :
       {"HTTP/0.9", "HTTP/1.2x", "HTTP/1.22", "HTTP/2", "HTTP/a.0", "http/1.2", "HTTP/1.2 "}) {
    in_both_ways(server.port(), "GET / "s + version + "\r\nHost: t\r\n\r\n",
                 [](Client& client) { CHECK(client.receive().status == 400); });
  }
  // Whatever the version says, the rules of its fields are those of 1.1.
  in_both_ways(server.port(), "GET / HTTP/1.2\r\n\r\n",
               [](Client& client) { CHECK(client.receive().status == 400); });
}

TEST_CASE("A few empty lines before a request are forgiven, more are not", "[http]") {
  const ServerThread server(echo());
  for (const int lines : {1, 2, 8}) {
    std::string text;
    for (int i = 0; i < lines; ++i) text += "\r\n";
    in_both_ways(server.port(), text + get("/") + text + get("/"), [](Client& client) {
      CHECK(client.receive().body == "11");
      CHECK(client.receive().body == "11");
    });
  }
  in_both_ways(server.port(), "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" + get("/"),
               [](Client& client) { CHECK(client.receive().status == 400); });
  in_both_ways(server.port(), "\n" + get("/"), [](Client& client) { CHECK(client.receive().status == 400); });
}

TEST_CASE("A reference with a scheme is never a path", "[http]") {
  const http::Url base = http::Url::parse("http://a.example/b/c?d");
  for (const char* reference : {"javascript:alert(1)", "mailto:a@b", "data:text/html,x", "http:foo",
                                "http:/foo", "https:", "a:b/c", ":x", "1:2", "ftp://a.example/"}) {
    CAPTURE(reference);
    CHECK_THROWS_AS(base.resolve(reference), std::invalid_argument);
  }
  try {
    (void)base.resolve("mailto:a@b");
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()).find("the scheme must be http") != std::string::npos);
  }
  CHECK(base.resolve("./a:b").to_string() == "http://a.example/b/a:b");
  CHECK(base.resolve("x/a:b").to_string() == "http://a.example/b/x/a:b");
  CHECK(base.resolve("?a:b").to_string() == "http://a.example/b/c?a:b");
  CHECK(base.resolve("HTTPS://b.example/").to_string() == "https://b.example/");
}
