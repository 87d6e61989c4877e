// Answers that are not as they should be, and redirects as servers write them: read as RFC 9112 lets a client, as
// curl and browsers do.
#include <string>
#include <utility>
#include <vector>

#include "http/ends_streams.hpp"

using namespace http_test;
using http::ClientError;
using http::Url;

namespace {

// Answers each request with `answer`, at once or byte by byte; on later connections too.
Peer::Serve canned(std::string answer, bool is_split) {
  return [answer = std::move(answer), is_split](ByteStream& stream, int) {
    while (!read_header(stream).empty()) {
      for (std::size_t at = 0; at < answer.size(); at += is_split ? 1 : answer.size()) {
        stream.write_all(bytes_in(is_split ? answer.substr(at, 1) : answer));
      }
    }
  };
}

struct Shape {
  std::string answer;
  std::string body;
  std::string a;  // the field A
  bool is_kept = true;
};

std::string redirect(const std::string& location, const std::string& rest = "Content-Length: 0\r\n\r\n") {
  return "HTTP/1.1 302 Found\r\nLocation: " + location + "\r\n" + rest;
}

// The target that a session asks for after it was sent to `location`.
std::string target_after(const std::string& location) {
  std::string target;
  Peer peer([&](ByteStream& stream, int) {
    for (;;) {
      const std::string header = read_header(stream);
      if (header.empty()) return;
      if (header.starts_with("GET / ")) {
        stream.write_all(bytes_in(redirect(location)));
      } else {
        target = header.substr(4, header.find(" HTTP/") - 4);
        stream.write_all(bytes_in(ok("end")));
      }
    }
  });
  http::Session session;
  expect(session.get(peer.url()).read_all() == "end", "the end of " + location);
  return target;
}

}  // namespace

TEST_CASE("Answers that a client may understand are understood, and ambiguous ones end their connection",
          "[http]") {
  const std::string ok_line = "HTTP/1.1 200 OK\r\n";
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const std::vector<Shape> shapes = {
      {ok_line + "A: b\r\n c\r\n\td\r\nContent-Length: 2\r\n\r\nok", "ok", "b c d"},
      {ok_line + "A:\r\n b\r\nContent-Length: 2\r\n\r\nok", "ok", "b"},
      {ok_line + "Content-Length:\r\n 2\r\nA: b\r\n\r\nok", "ok", "b"},
      {ok_line + "A : b\r\nContent-Length : 2\r\n\r\nok", "ok", "b"},
      {ok_line + "A:b\nContent-Length: 2\n\nok", "ok", "b"},
      {"HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", "ok", "b"},
      {"HTTP/1.2 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nok", "ok", "b"},
      {ok_line + "A: b\r\nContent-Length: 2\r\ncontent-length: 2, 2\r\n\r\nok", "ok", "b"},
      {ok_line + "A: b\r\n" + chunked + "\r\n2  \r\nok\r\n0 \r\n\r\n", "ok", "b"},
      {ok_line + "A: b\r\n" + chunked + "\r\n2 ; x=\"y\"\r\nok\r\n0;z\r\nT: u\r\n\r\n", "ok", "b"},
      {ok_line + "A: b\r\n" + chunked + "\r\n2\nok\n0\n\n", "ok", "b"},
      {ok_line + "A: b\r\n" + chunked + "Content-Length: 99\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", "b", false},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nA: b\r\n" + chunked + "\r\n2\r\nok\r\n0\r\n\r\n", "ok",
       "b", false}};
  on_loops([&] {
    for (const Shape& shape : shapes) {
      for (const bool is_split : {false, true}) {
        Peer peer(canned(shape.answer, is_split));
        http::Session session;
        for (int i = 0; i < 2; ++i) {
          auto response = session.get(peer.url());
          expect(response.field("A") == shape.a, shape.answer + ": A is " + std::string(response.field("A")));
          expect(!response.fields().contains("Content-Length") || shape.is_kept, "no length beside chunks");
          expect(response.read_all() == shape.body, "the body of " + shape.answer);
        }
        expect_equal(peer.connections(), shape.is_kept ? 1 : 2, "connections for " + shape.answer);
      }
    }
  });
}

TEST_CASE("Extensions of chunks and interim answers have a limit", "[http]") {
  on_loops([] {
    std::string chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 1000; ++i) chunks += "1;" + std::string(2000, 'x') + "\r\na\r\n";
    std::string interim;
    for (int i = 0; i < 200; ++i) interim += "HTTP/1.1 103 Early Hints\r\n\r\n";
    for (const std::string& answer : {chunks + "0\r\n\r\n", interim + ok("late")}) {
      Peer peer(canned(answer, false));
      http::Session session;
      expect_throws<ClientError>([&] { (void)session.get(peer.url()).read_all(); }, answer.substr(0, 60));
    }
    std::string small = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 40'000; ++i) small += "1\r\na\r\n";
    Peer peer(canned(small + "0\r\n\r\n", false));
    http::Session session;
    expect_equal(session.get(peer.url()).read_all().size(), 40'000, "bytes in as many chunks");
  });
}

TEST_CASE("A Location is read as browsers read it", "[http]") {
  on_loop({1, false}, [] {
    const std::vector<std::pair<std::string, std::string>> cases = {{"/a b", "/a%20b"},
                                                                    {"/caf\xc3\xa9", "/caf%C3%A9"},
                                                                    {"/caf\xe9?x=\xe9", "/caf%E9?x=%E9"},
                                                                    {"/a|b\"c{d}", "/a%7Cb%22c%7Bd%7D"},
                                                                    {"/a%20b%zz", "/a%20b%zz"},
                                                                    {"  /x\t", "/x"},
                                                                    {"\\a\\b?c\\d", "/a/b?c%5Cd"},
                                                                    {"/x#frag ment", "/x"}};
    for (const auto& [location, target] : cases) {
      const std::string asked = target_after(location);
      expect(asked == target, location + " is " + asked);
    }
  });
  const Url base = Url::parse("http://h/a/b");
  CHECK(base.resolve("http://user:p%40ss@o:81/x y").to_string() == "http://o:81/x%20y");
  CHECK(base.resolve("//user@o/x@y").to_string() == "http://o/x@y");
  CHECK(base.resolve("/x?u=http://a@b/").to_string() == "http://h/x?u=http://a@b/");
  CHECK_THROWS_AS(base.resolve("http://h\xc3\xa4/"), std::invalid_argument);
  CHECK_THROWS_AS(base.resolve("http://a b/"), std::invalid_argument);
  CHECK(Url::parse("http://[fe80::1%25eth0]:81/").host() == "fe80::1%eth0");
  CHECK(Url::parse("http://[fe80::1%eth0]/").authority() == "[fe80::1%25eth0]");
}

TEST_CASE("A redirect's own body is not waited for, nor need it be whole", "[http]") {
  on_loops([] {
    Event unset;
    for (const std::string& rest :
         {std::string("Content-Length: 10\r\n\r\nabc"),
          std::string("Transfer-Encoding: chunked\r\n\r\nx\r\n"), std::string("\r\n"),
          std::string("Content-Length: 1000000\r\n\r\n" + std::string(30'000, 'x'))}) {
      for (const bool stays : {false, true}) {
        Peer peer([&](ByteStream& stream, int) {
          for (std::string header = read_header(stream); !header.empty(); header = read_header(stream)) {
            if (!header.starts_with("GET / ")) {
              stream.write_all(bytes_in(ok("end")));
              continue;
            }
            stream.write_all(bytes_in(redirect("/end", rest)));
            if (stays) unset.wait();
            return;
          }
        });
        http::Session session;
        expect(session.get(peer.url(), {.timeout = 20s}).read_all() == "end",
               "the end, after " + rest.substr(0, 40));
      }
    }
  });
}

TEST_CASE("wss is not redirected to where there is no TLS", "[http]") {
  on_loops([] {
    Peer plain(canned(ok("plain"), false));
    for (const std::string scheme : {"ws", "http"}) {
      Peer peer(canned(redirect(plain.url(scheme)), false), accept_tls);
      http::Session session({.make_secure = connect_tls});
      try {
        (void)session.get(peer.url("wss"));
        expect(false, "an error");
      } catch (const ClientError& error) {
        expect_contains(error.what(), "is not followed");
      }
      // As browsers, curl and aiohttp do.
      expect(session.get(peer.url("https")).read_all() == "plain", "https goes on");
    }
  });
}

TEST_CASE("A request says what its user asked of the connection, and nothing of this machine", "[http]") {
  on_loops([] {
    std::string header;
    Peer peer([&](ByteStream& stream, int) {
      for (std::string next = read_header(stream); !next.empty(); next = read_header(stream)) {
        header = next;
        stream.write_all(bytes_in(ok("x")));
      }
    });
    {
      http::Session session({.fields = {{"Connection", "close"}}});
      for (int i = 0; i < 2; ++i) (void)session.get(peer.url()).read_all();
      expect_contains(header, "\r\nConnection: close\r\n");
      expect_equal(peer.connections(), 2, "connections");
      expect_equal(session.idle_connections(), 0, "connections kept");
    }
    http::Session session;
    (void)session.get(peer.url(), {.fields = {{"Connection", "Close"}}}).read_all();
    expect_contains(header, "\r\nConnection: close\r\n");
    (void)session.get(peer.url()).read_all();
    expect(header.find("Connection:") == std::string::npos, "not for the next one");
  });
}
