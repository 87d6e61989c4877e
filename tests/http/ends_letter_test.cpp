// What RFC 9110 and 9112 say to the letter, as a client sees it.
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "http/in_memory.hpp"
#include "http/text.hpp"
#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace http_test;
using namespace std::chrono_literals;
using namespace std::string_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

// What comes for `text`, whose connection stays open: an answer that needs more time than `limit` is none.
std::string answer_to(Routes& routes, std::string_view text, fibrio::Duration limit = 100ms,
                      const fibrio::StreamPairOptions& options = {}) {
  std::string seen;
  talk(routes, options, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
    say(client, text);
    char buffer[4096];
    try {
      fibrio::timeout(limit, [&] {
        while (const std::size_t count = client.read_some(std::as_writable_bytes(std::span(buffer)))) {
          seen.append(buffer, count);
        }
      });
    } catch (const fibrio::TimeoutError&) {
    }
  });
  return seen;
}
std::string status_of(std::string_view seen) { return std::string(seen.substr(0, 12)); }

std::string ask(std::string_view text, const fibrio::StreamPairOptions& options = {}) {
  Routes routes;
  routes.add("GET", "/", [](Request& request) { return Response(std::string(request.field("Host"))); });
  routes.add("POST", "/",
             [](Request& request) { return Response(std::to_string(request.read_all().size())); });
  routes.add("GET", "/a/{name}", [](Request& request) {
    return Response(std::string(request.path()) + ' ' + request.target() + ' ' + request.parameter("name"));
  });
  routes.add("DELETE", "/a/{name}", [](Request&) { return Response("deleted"); });
  routes.add("GET", "/caf\xc3\xa9", [](Request&) { return Response("coffee"); });
  routes.add("GET", "/205", [](Request&) { return Response("body", "text/plain", 205); });
  return answer_to(routes, text, 100ms, options);
}
const fibrio::StreamPairOptions kByteByByte{.max_read = 1};
std::string get(std::string_view target, std::string_view fields = {}, std::string_view method = "GET") {
  return std::string(method) + ' ' + std::string(target) + " HTTP/1.1\r\nHost: t\r\n" + std::string(fields) +
         "\r\n";
}
std::string chunked(std::string_view body) {
  return "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(body);
}

void put(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

}  // namespace

TEST_CASE("A target in absolute form says which host it is for", "[http][ends]") {
  CHECK(ask(get("http://a.example:81/")).ends_with("\r\n\r\na.example:81"));
  CHECK(ask(get("HtTp://a.example/")).ends_with("\r\n\r\na.example"));
  CHECK(ask(get("/")).ends_with("\r\n\r\nt"));
  CHECK(ask(get("http://a.example/") + get("/")).ends_with("\r\n\r\nt"));
  CHECK(status_of(ask(get("http:///"))) == "HTTP/1.1 400");
}

// Those who sent them wait for an answer, and it came when a time limit was over.
TEST_CASE("What can be no request any more is refused at once", "[http][ends]") {
  const std::string whole = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
  for (const std::string text :
       {"GET / \r\n\r\n", "GET / \r\n", "GET /\r\n", "GET\r\n", "GET / HTTP\r\n", "GET / HTTP/1.1\n",
        "GET / HTTP/1.2\n", "\n", "\r\r", "GET / HTTP/1.1\r\nHost: t\n", "GET / HTTP/1.1\r\nHost: t\r\n\n",
        "GET / HTTP/1.1\r\nHost: t\rA", "GET / HTTP/1.1\r\nHost: t\r\n\rA"}) {
    CAPTURE(text);
    CHECK(status_of(ask(text)) == "HTTP/1.1 400");
    CHECK(status_of(ask(text, kByteByByte)) == "HTTP/1.1 400");
    const std::string second = ask(whole + text);
    CHECK(second.find("HTTP/1.1 400") != std::string::npos);
  }
  for (const std::string body :
       {"\r\n", "\n", "5\n", "5\rA", "g", ";a\r\n", " 5", "-1", "0x", "12345678123456781", "5\r\nhelloX",
        "5\r\nhello\n", "5\r\nhello\r\n\r", "5\r\nhello\r\n\n", "5\r\nhello\r\nx", "0\n", "0\r\n\n",
        "0\r\nA: b\n", "5\r\nhello\r\n0\r\n\n"}) {
    CAPTURE(body);
    CHECK(status_of(ask(chunked(body))) == "HTTP/1.1 400");
    CHECK(status_of(ask(chunked(body), kByteByByte)) == "HTTP/1.1 400");
  }
}

TEST_CASE("What may become a request yet is waited for", "[http][ends]") {
  for (const std::string& text :
       {"GET / HTTP/1.2\r\nHost: t\r\nA: \r\nB: c\r\n\r\n"s, "\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n"s,
        chunked("0\r\n\r\n"), chunked("00000000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunked("5;a=\"b c\"\r\nhello\r\n5\r\n\r\n\r\n\n\r\n0;z\r\nA: b\r\nC:\r\n\r\n")}) {
    CAPTURE(text);
    for (std::size_t end = 1; end < text.size(); ++end) {
      CAPTURE(end);
      CHECK(ask(text.substr(0, end)).empty());
    }
    CHECK(status_of(ask(text)) == "HTTP/1.1 200");
    CHECK(status_of(ask(text, kByteByByte)) == "HTTP/1.1 200");
  }
  // Chunks as long as what the handler reads at once: what is left is not one line.
  const std::string piece(16 * 1024, '\n');
  std::string body;
  for (int i = 0; i < 8; ++i) body += "4000\r\n" + piece + "\r\n";
  CHECK(ask(chunked(body + "0\r\n\r\n")).ends_with("\r\n\r\n131072"));
}

TEST_CASE("What stands between chunks is limited together", "[http][ends]") {
  std::string extensions;
  std::string zeros;
  std::string small;
  for (int i = 0; i < 99; ++i) {
    extensions += "1;" + std::string(1500, 'x') + "\r\na\r\n";
    zeros += std::string(1500, '0') + "1\r\na\r\n";
  }
  for (int i = 0; i < 5000; ++i) small += "1;x=y\r\na\r\n";
  CHECK(status_of(ask(chunked(extensions + "0\r\n\r\n"))) == "HTTP/1.1 400");
  CHECK(status_of(ask(chunked(zeros + "0\r\n\r\n"))) == "HTTP/1.1 400");
  CHECK(ask(chunked(small + "0\r\n\r\n")).ends_with("\r\n\r\n5000"));
  CHECK(ask(chunked("1;" + std::string(9000, 'x') + "\r\na\r\n0\r\n\r\n")).ends_with("\r\n\r\n1"));
}

TEST_CASE("A target that is too long is 414, a header 431", "[http][ends]") {
  CHECK(status_of(ask(get("/" + std::string(20'000, 'x')))) == "HTTP/1.1 414");
  CHECK(status_of(ask(get("/", "X: " + std::string(20'000, 'x') + "\r\n"))) == "HTTP/1.1 431");
  CHECK(status_of(ask(std::string(20'000, 'X'))) == "HTTP/1.1 431");
}

TEST_CASE("OPTIONS is answered with what a path allows", "[http][ends]") {
  CHECK(ask(get("/a/b", "", "OPTIONS")).find("\r\nAllow: GET, HEAD, DELETE, OPTIONS\r\n") !=
        std::string::npos);
  CHECK(status_of(ask(get("/a/b", "", "OPTIONS"))) == "HTTP/1.1 204");
  CHECK(ask(get("*", "", "OPTIONS")).find("\r\nAllow: DELETE, GET, HEAD, OPTIONS, POST\r\n") !=
        std::string::npos);
  CHECK(status_of(ask(get("/nowhere", "", "OPTIONS"))) == "HTTP/1.1 404");
  CHECK(status_of(ask(get("/a/b", "", "PUT"))) == "HTTP/1.1 405");
}

TEST_CASE("205 has no body, and says so", "[http][ends]") {
  const std::string seen = ask(get("/205") + get("/"));
  CHECK(seen.starts_with("HTTP/1.1 205"));
  CHECK(seen.find("\r\nContent-Length: 0\r\n") != std::string::npos);
  CHECK(seen.find("\r\n\r\nHTTP/1.1 200") != std::string::npos);
}

TEST_CASE("Handlers see a path decoded, and its target as it came", "[http][ends]") {
  CHECK(ask(get("/%61/%62%2Fc?x=%41")).ends_with("\r\n\r\n/a/b/c /%61/%62%2Fc?x=%41 b/c"));
  CHECK(ask(get("/a/b")).ends_with("\r\n\r\n/a/b /a/b b"));
  CHECK(ask(get("/caf%C3%A9")).ends_with("\r\n\r\ncoffee"));
  CHECK(status_of(ask(get("/a/%zz"))) == "HTTP/1.1 404");
}

TEST_CASE("A guard of a prefix sees the path that the files see", "[http][ends]") {
  const fibrio::test::TempFolder folder;
  REQUIRE(::mkdir((folder.path() + "/private").c_str(), 0700) == 0);
  put(folder / "private/key", "secret");
  put(folder / "key", "open");
  for (const std::string& target :
       {std::string("/s/private/key"), std::string("/s/%70rivate/key"), std::string("/%73/private/key"),
        std::string("/s/private%2Fkey"), std::string("/s//private/key"), std::string("/s/./private/key"),
        std::string("/s/%2e/private/key"), std::string("/s/x/../private/key"), std::string("/f/..%2Fkey"),
        std::string("/f/key%00.png"), std::string("/f/%2e%2e/key"), std::string("/f//key"),
        std::string("/f/x/%2e%2e/%2e%2e/key"), std::string("/f/..")}) {
    CAPTURE(target);
    Routes routes;
    routes.add("GET", "/f/{path*}", [&](Request& request) {
      return http::file_response(request, folder.path() + "/private/" + request.parameter("path"));
    });
    routes.add("GET", "/s/{path*}", [&](Request& request) {
      return http::file_response(request, folder.path() + "/" + request.parameter("path"));
    });
    routes.state.router.use([](Request& request, const http::Handler& next) {
      if (request.path().starts_with("/s/private")) return Response(403);
      return next(request);
    });
    const std::string seen = answer_to(routes, get(target), 1s);
    CHECK((status_of(seen) == "HTTP/1.1 403" || status_of(seen) == "HTTP/1.1 404"));
  }
}

TEST_CASE("Conditions of a request for a file hold in the order of the RFC", "[http][ends]") {
  const fibrio::test::TempFolder folder;
  const std::string file = folder / "a.txt";
  put(file, "0123456789");
  timespec times[2] = {{784111777, 0}, {784111777, 0}};
  REQUIRE(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
  const auto status = [&](std::string_view fields, std::string_view method = "GET") {
    Routes routes;
    routes.add("GET", "/", [&](Request& request) { return http::file_response(request, file); });
    return answer_to(routes, get("/", fields, method), 1s).substr(9, 3);
  };
  const std::string tag = "\"2ebc98a1.0-a\"";
  const std::string old = "Sat, 05 Nov 1994 08:49:37 GMT";
  const std::string same = "Sun, 06 Nov 1994 08:49:37 GMT";
  CHECK(status("") == "200");
  CHECK(status("If-Match: " + tag + "\r\n") == "200");
  CHECK(status("If-Match: W/" + tag + "\r\n") == "412");
  CHECK(status("If-Match: \"other\"\r\n") == "412");
  CHECK(status("If-Match: \"other\"\r\nRange: bytes=5-\r\n") == "412");
  CHECK(status("If-Match: \"other\"\r\nIf-Match: " + tag + "\r\n") == "200");
  CHECK(status("If-Match: *\r\nIf-Unmodified-Since: " + old + "\r\n") == "200");
  CHECK(status("If-Unmodified-Since: " + old + "\r\n") == "412");
  CHECK(status("If-Unmodified-Since: " + same + "\r\n") == "200");
  CHECK(status("If-Unmodified-Since: nonsense\r\n") == "200");
  CHECK(status("If-Match: " + tag + "\r\nIf-None-Match: W/" + tag + "\r\n") == "304");
  CHECK(status("If-None-Match: \"other\"\r\nIf-Modified-Since: " + same + "\r\n") == "200");
  CHECK(status("Range: bytes=2-3\r\n") == "206");
  CHECK(status("Range: bytes=2-3\r\n", "HEAD") == "200");
  for (const char* date :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"}) {
    CHECK(http::parse_date(date) == 784111777);
    CHECK(status("If-Modified-Since: " + std::string(date) + "\r\n") == "304");
  }
  for (const char* date : {"Sunday, 06-Nov-1994 08:49:37 GMT", "Sun Nov 66 08:49:37 1994",
                           "Sun, 06 Nov 1994 08:49:37", "", "Sunday, ", "Sun Nov    08:49:37 1994"}) {
    CHECK(http::parse_date(date) == std::nullopt);
  }
}
