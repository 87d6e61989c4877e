// fibrio/http/session.hpp: requests, the pool of connections, redirects, timeouts, streams; URLs.
#include "fibrio/http/session.hpp"

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "http/site.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::ClientError;
using http::ClientResponse;
using http::Request;
using http::RequestOptions;
using http::Response;
using http::Session;
using http::Url;
using http_test::Site;

namespace {

// Answers the first connection's first bytes with `answer`, and closes; as often as it is connected to.
class Canned {
 public:
  explicit Canned(std::string answer) : listener_(TcpListener::bind(loopback())) {
    task_ = create_task([this, answer] {
      for (;;) {
        TcpStream stream = listener_.accept();
        ++connections_;
        (void)read_once(stream);
        stream.write_all(answer);
      }
    });
  }
  ~Canned() {
    const CancelMask mask;
    task_.cancel();
    task_.wait();
  }
  [[nodiscard]] std::string url() const { return "http://" + listener_.local_address().to_string() + "/"; }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  TcpListener listener_;
  int connections_ = 0;
  Task<> task_;
};

void add_echo(http::Server& server) {
  server.route("POST", "/echo", [](Request& request) {
    Response response(request.read_all());
    response.fields.add("X-Method", request.method());
    response.fields.add("X-Query", request.query());
    return response;
  });
  server.route("GET", "/", [](Request&) { return Response("hello"); });
}

}  // namespace

TEST_CASE("URLs are taken apart, put together and resolved", "[http]") {
  const Url url = Url::parse("HTTP://Example.ORG:8080/a/b?c=d#fragment");
  CHECK(url.scheme() == "http");
  CHECK(url.host() == "example.org");
  CHECK(url.port() == 8080);
  CHECK(url.target() == "/a/b?c=d");
  CHECK(url.to_string() == "http://example.org:8080/a/b?c=d");
  CHECK(Url::parse("https://h").to_string() == "https://h/");
  CHECK(Url::parse("https://h:443?x").to_string() == "https://h/?x");
  CHECK(Url::parse("ws://[::1]:9/x").host() == "::1");
  CHECK(Url::parse("ws://[::1]:9/x").authority() == "[::1]:9");
  CHECK(Url::parse("http://[::1]/").authority() == "[::1]");
  for (const char* bad : {"", "example.org", "ftp://h/", "http://", "http:///x", "http://u:p@h/",
                          "http://h:0/", "http://h:99999/", "http://h:x/", "http://h/a b",
                          "http://h/\r\nX: y", "http://[::1/", "http://h/\xc3\xa4"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(Url::parse(bad), std::invalid_argument);
  }
  const Url base = Url::parse("http://h/a/b/c?q");
  for (const auto& [reference, target] :
       std::vector<std::pair<std::string, std::string>>{{"https://o/x", "https://o/x"},
                                                        {"//o/x", "http://o/x"},
                                                        {"/x?y", "http://h/x?y"},
                                                        {"x", "http://h/a/b/x"},
                                                        {"../x", "http://h/a/x"},
                                                        {"../../../x", "http://h/x"},
                                                        {"./", "http://h/a/b/"},
                                                        {"..", "http://h/a/"},
                                                        {"?z", "http://h/a/b/c?z"},
                                                        {"", "http://h/a/b/c?q"},
                                                        {"x?u=http://y", "http://h/a/b/x?u=http://y"}}) {
    CAPTURE(reference);
    CHECK(base.resolve(reference).to_string() == target);
  }
  Url query = Url::parse("http://h/x");
  query.add_query("a b", "c&d");
  query.add_query("e", "");
  CHECK(query.target() == "/x?a%20b=c%26d&e=");
}

TEST_CASE("A session sends requests and keeps its connections", "[http]") {
  on_loops([] {
    Site site(add_echo);
    Session session({.fields = {{"X-Session", "1"}}});
    for (int i = 0; i < 5; ++i) {
      expect(session.get(site.url()).read_all() == "hello", "the answer");
      ClientResponse response = session.post(site.url("/echo?x=1"), "body", {.query = {{"y", "2 3"}}});
      expect(response.status() == 200 && response.field("x-method") == "POST", "a POST");
      expect(response.field("X-Query") == "x=1&y=2%203", "the query");
      expect(response.read_all() == "body", "the body");
      ClientResponse head = session.head(site.url());
      expect(head.field("Content-Length") == "5" && head.read_all().empty(), "HEAD has no body");
    }
    expect_equal(site.stats().accepted, 1, "connections");
    expect_equal(session.idle_connections(), 1, "idle connections");
    expect(session.request("DELETE", site.url("/nowhere")).status() == 404, "a 404 is an answer");
    session.close();
    expect_throws<RuntimeError>([&] { (void)session.get(site.url()); }, "a closed session");
  });
}

TEST_CASE("Many tasks share a session within its limits", "[http]") {
  on_loops([] {
    Site site([](http::Server& server) {
      server.route("GET", "/{n}", [](Request& request) {
        sleep(1ms);
        return Response(request.parameter("n"));
      });
    });
    Session session({.max_connections = 8, .max_connections_per_host = 3});
    std::vector<Task<std::string>> tasks;
    for (int i = 0; i < 60; ++i) {
      tasks.push_back(spawn([&, i] { return session.get(site.url("/" + std::to_string(i))).read_all(); }));
    }
    for (int i = 0; i < 60; ++i)
      expect(await(tasks[static_cast<std::size_t>(i)]) == std::to_string(i), "its own answer");
    expect(site.stats().accepted <= 3, "three connections at most");
    expect(session.idle_connections() <= 3, "three are kept at most");

    // One who leaves while it waits for a place takes none along.
    Site other(add_echo);
    Session one({.max_connections = 1});
    ClientResponse held = one.get(site.url("/1"));
    auto waiter = create_task([&] { return one.get(other.url()).read_all(); });
    auto leaver = create_task([&] { return one.get(other.url()).read_all(); });
    let_others_wait();
    leaver.cancel();
    leaver.wait();
    expect(held.read_all() == "1", "the one that is read");
    expect(await(waiter) == "hello", "an idle connection of another host makes room");
  });
}

TEST_CASE("A request that may be repeated survives a kept connection that the server closed", "[http]") {
  on_loops([] {
    // Reads one request per connection, answers as if it were to go on, and is silent after the second one.
    TcpListener listener = TcpListener::bind(loopback());
    const std::string url = "http://" + listener.local_address().to_string() + "/";
    auto server = create_task([&] {
      for (int i = 0; i < 4; ++i) {
        TcpStream stream = listener.accept();
        (void)read_once(stream);
        stream.write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        (void)read_once(stream);  // the next request: the connection is closed in its face
      }
    });
    Session session;
    for (int i = 0; i < 3; ++i) expect(session.get(url).read_all() == "ok", "the answer");
    expect_throws<std::system_error>([&] { (void)session.post(url, "x"); }, "a POST is not repeated");
    expect(session.get(url).read_all() == "ok", "the next one");
    session.close();
    await(server);
  });
}

TEST_CASE("Redirects are followed by the rules, and credentials stay with their origin", "[http]") {
  on_loops([] {
    Site other([](http::Server& server) {
      server.route("GET", "/who", [](Request& request) {
        return Response(std::string(request.field("Authorization")) + "|" +
                        std::string(request.field("Cookie")) + "|" + std::string(request.field("X-Plain")) +
                        "|" + std::string(request.field("Host")));
      });
    });
    const std::string far = other.url("/who");
    Site site([&far](http::Server& server) {
      const auto redirect = [](unsigned status, std::string location) {
        return [status, location](Request&) {
          Response response("elsewhere", "text/plain", status);
          response.fields.add("Location", location);
          return response;
        };
      };
      const auto echo = [](Request& request) {
        return Response(request.method() + " " + std::string(request.field("Content-Type")) + " " +
                        request.read_all());
      };
      for (const char* method : {"GET", "POST", "PUT"}) {
        server.route(method, "/end", echo);
        for (const unsigned status : {301u, 302u, 303u, 307u, 308u}) {
          server.route(method, "/" + std::to_string(status), redirect(status, "end"));
        }
      }
      server.route("GET", "/far", redirect(302, far));
      server.route("GET", "/near",
                   [](Request& request) { return Response(std::string(request.field("Authorization"))); });
      server.route("GET", "/to_near", redirect(302, "/near"));
      server.route("GET", "/loop", redirect(302, "/loop"));
      server.route("GET", "/bad", redirect(302, "ftp://h/"));
      server.route("GET", "/no_location", [](Request&) { return Response("choose", "text/plain", 302); });
    });
    Session session({.fields = {{"Cookie", "c=1"}}});
    const auto send = [&](const char* method, const std::string& path) {
      RequestOptions options{.fields = {{"Content-Type", "text/x"}}};
      if (std::string(method) != "GET") options.body = "body";
      return session.request(method, site.url(path), options).read_all();
    };
    for (const char* path : {"/301", "/302", "/303"}) {
      expect(send("POST", path) == "GET  ", std::string("POST becomes GET by ") + path);
      expect(send("GET", path).starts_with("GET text/x"), "GET stays GET");
    }
    expect(send("PUT", "/301") == "PUT text/x body", "PUT stays PUT by 301");
    expect(send("PUT", "/303") == "GET  ", "303 is GET for all");
    for (const char* path : {"/307", "/308"})
      expect(send("POST", path) == "POST text/x body", "the same again");

    const RequestOptions secret{.fields = {{"Authorization", "secret"}, {"X-Plain", "p"}}};
    ClientResponse away = session.get(site.url("/far"), secret);
    expect(away.url().to_string() == far && away.redirects() == 1, "where it ended");
    expect(away.read_all() == "||p|" + away.url().authority(), "no credentials for another origin");
    expect(session.get(site.url("/to_near"), secret).read_all() == "secret", "but for the same one");
    expect_throws<ClientError>([&] { (void)session.get(site.url("/loop")); }, "a loop ends");
    expect_throws<ClientError>([&] { (void)session.get(site.url("/bad")); }, "a redirect to nowhere");
    expect(session.get(site.url("/no_location")).read_all() == "choose", "without Location it is an answer");
    ClientResponse kept = session.get(site.url("/302"), {.follow_redirects = false});
    expect(kept.status() == 302 && kept.read_all() == "elsewhere", "not followed on request");
    expect(session.idle_connections() >= 1, "connections are kept over redirects");
  });
}

TEST_CASE("Bodies are streamed both ways at once", "[http]") {
  on_loops([] {
    Site site(
        [](http::Server& server) {
          // Sends back what it reads while more comes.
          server.route("POST", "/through", [](Request& request) {
            Response response;
            response.stream = [&request](http::BodyWriter& out) {
              std::byte buffer[8192];
              while (const std::size_t count = request.read_some(buffer))
                out.write(std::span(buffer).first(count));
            };
            return response;
          });
          add_echo(server);
        },
        {.max_body_bytes = 100'000'000});
    Session session;
    const std::vector<std::byte> data = test_data(3'000'000);
    for (const bool is_long : {true, false}) {
      RequestOptions options;
      options.stream = [&data](http::BodyWriter& out) {
        for (std::size_t at = 0; at < data.size(); at += 100'000)
          out.write(std::span(data).subspan(at, 100'000));
      };
      if (is_long) options.stream_length = data.size();
      ClientResponse response = session.request("POST", site.url("/through"), options);
      std::vector<std::byte> buffer(10'000);
      std::size_t at = 0;
      while (const std::size_t count = response.read_some(buffer)) {
        expect(at + count <= data.size() &&
                   std::equal(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count),
                              data.begin() + static_cast<std::ptrdiff_t>(at)),
               "the bytes that were sent");
        at += count;
      }
      expect_equal(at, data.size(), "bytes that came back");
    }
    const std::string large(1'000'000, 'l');
    expect(session.post(site.url("/through"), large).read_all() == large, "a long text body");
    expect(session.post(site.url("/echo"), "waits", {.fields = {{"Expect", "100-continue"}}}).read_all() ==
               "waits",
           "100-continue");
    RequestOptions broken;
    broken.stream = [](http::BodyWriter& out) {
      out.write("some");
      throw std::runtime_error("the source broke");
    };
    try {
      (void)session.request("POST", site.url("/echo"), broken).read_all();
      throw ExpectationFailed("a broken stream is told");
    } catch (const std::runtime_error& error) {
      expect(std::string(error.what()) == "the source broke",
             std::string("its own error, not: ") + error.what());
    }
    expect(session.get(site.url()).read_all() == "hello", "the session goes on");
  });
}

TEST_CASE("Timeouts end a request in the header and in the body, and a cancellation ends it at once",
          "[http]") {
  on_loops([] {
    Site site([](http::Server& server) {
      server.route("GET", "/slow", [](Request&) {
        sleep(1h);
        return Response("never");
      });
      server.route("GET", "/drip", [](Request&) {
        Response response;
        response.stream = [](http::BodyWriter& out) {
          for (;;) {
            out.write(".");
            out.flush();
            sleep(5ms);
          }
        };
        return response;
      });
      server.route("GET", "/stuck", [](Request&) {
        Response response;
        response.stream = [](http::BodyWriter& out) {
          out.write(".");
          out.flush();
          sleep(1h);
        };
        return response;
      });
    });
    Session session({.read_timeout = 100ms});
    const auto expect_timeout = [&](const char* target, RequestOptions options, const std::string& which) {
      try {
        (void)session.get(site.url(target), std::move(options)).read_all();
      } catch (const TimeoutError& error) {
        const std::string text = error.what();
        return expect(text == "http: " + site.url(target) + ": timed out (" + which + ")", text);
      }
      expect(false, "a timeout");
    };
    expect_timeout("/slow", {.timeout = 20ms}, "timeout");
    expect_timeout("/slow", {}, "read_timeout");
    expect_timeout("/drip", {.timeout = 50ms}, "timeout");
    expect_timeout("/stuck", {}, "read_timeout");
    auto task = create_task([&] { (void)session.get(site.url("/slow"), {.timeout = 1h}); });
    let_others_wait();
    task.cancel();
    task.wait();
    expect(task.cancelled(), "cancelled");
    expect_equal(session.idle_connections(), 0, "connections kept");
  });
}

TEST_CASE("Answers that are malformed, or end early, are refused", "[http]") {
  on_loops([] {
    Session session({.lenient_reading = false});
    const std::string ok = "HTTP/1.1 200 OK\r\n";
    for (const std::string& answer :
         {std::string("nonsense\r\n\r\n"), std::string("HTTP/2.0 200 OK\r\n\r\n"),
          std::string("HTTP/1.1 2x0 OK\r\n\r\n"), ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
          ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
          ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          ok + "Transfer-Encoding: gzip\r\n\r\nx", ok + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
          ok + "Content-Length: -1\r\n\r\n", ok + "X: " + std::string(100'000, 'x') + "\r\n\r\n",
          ok + "Content-Length: 10\r\n\r\nshort", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
          ok + "Transfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n", ok + "Content-Le"}) {
      Canned server(answer);
      expect_throws<ClientError>([&] { (void)session.get(server.url()).read_all(); }, answer.substr(0, 60));
      expect_equal(server.connections(), 1, "connections");
    }
    {
      Canned server("");
      expect_throws<std::system_error>([&] { (void)session.get(server.url()); }, "no answer at all");
    }
    {
      Canned server(ok + "\r\nup to the end");
      expect(session.get(server.url()).read_all() == "up to the end", "a body that ends with the connection");
    }
    {
      Canned server(
          "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
      ClientResponse response = session.get(server.url());
      expect(response.read_all() == "ok" && !response.fields().contains("Link"),
             "interim answers are passed over");
    }
    {
      Canned server(ok + "Content-Length: 1000\r\n\r\n" + std::string(100, 'x'));
      expect_throws<ClientError>([&] { (void)session.get(server.url()).read_all(99); },
                                 "longer than allowed");
    }
    expect_equal(session.idle_connections(), 0, "connections kept");
  });
}

TEST_CASE("A server that leaves at any byte of its answer leaves an error or a whole answer", "[http]") {
  const std::string plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n";
  on_loops([&] {
    Session session;
    for (const std::string& whole : {plain, chunked}) {
      for (std::size_t length = 0; length <= whole.size(); ++length) {
        Canned server(whole.substr(0, length));
        std::string body;
        try {
          body = session.get(server.url()).read_all();
        } catch (const ClientError&) {
          expect(length > 0 && length < whole.size(), "a part is an error");
          continue;
        } catch (const std::system_error&) {
          expect(length == 0, "no answer is an error of the connection");
          continue;
        }
        expect(length == whole.size() && body == "hello", "a whole answer");
      }
    }
  });
}

TEST_CASE("What cannot be sent is refused before anything is", "[http]") {
  on_loops([] {
    Session session;
    expect_throws<std::invalid_argument>([&] { (void)session.get("nonsense"); }, "a bad URL");
    expect_throws<std::invalid_argument>([&] { (void)session.request("G T", "http://h/"); }, "a bad method");
    expect_throws<std::invalid_argument>([&] { (void)session.get("https://h/"); }, "https without TLS");
    std::uint16_t port = 0;
    { port = TcpListener::bind(loopback()).local_address().port(); }
    expect_throws<std::system_error>([&] { (void)session.get("http://127.0.0.1:" + std::to_string(port)); },
                                     "nobody there");
  });
  CHECK_THROWS_AS(Session({.max_connections = 0}), std::invalid_argument);
}

TEST_CASE("make_secure is what https is spoken over", "[http]") {
  on_loops([] {
    const auto greet = [](TcpStream stream) {
      stream.write_all("!");
      return make_byte_stream(std::move(stream));
    };
    http::ServerOptions options;
    options.make_stream = [](TcpStream stream) {
      expect(read_text(stream, 1) == "!", "the handshake");
      return make_byte_stream(std::move(stream));
    };
    Site site(add_echo, std::move(options));
    std::string host;
    Session session({.make_secure = [&](TcpStream stream, const Url& url) {
      host = url.host();
      return greet(std::move(stream));
    }});
    std::string url = site.url();
    url.replace(0, 4, "https");
    expect(session.get(url).read_all() == "hello" && host == "127.0.0.1", "through the hook");
  });
}
