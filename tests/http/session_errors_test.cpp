// fibrio/http/session.hpp: what is wrong with an answer is said, with the URL; what may be forgiven is.
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/http/session.hpp"
#include "fibrio/version.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::ClientError;
using http::ClientResponse;
using http::Fields;
using http::Session;

namespace {

// Answers each connection's first bytes with `answer`, byte by byte if `is_split`, and closes; keeps what it
// was asked last.
class Canned {
 public:
  explicit Canned(const std::string& answer, bool is_split = false)
      : listener_(TcpListener::bind(loopback())) {
    task_ = create_task([this, answer, is_split] {
      for (;;) {
        TcpStream stream = listener_.accept();
        stream.set_no_delay(true);
        std::string request = read_once(stream);
        {
          const std::lock_guard lock(mutex_);
          request_ = std::move(request);
        }
        for (std::size_t at = 0; at < answer.size(); at += is_split ? 1 : answer.size()) {
          stream.write_all(is_split ? answer.substr(at, 1) : answer);
        }
      }
    });
  }
  ~Canned() {
    const CancelMask mask;
    task_.cancel();
    task_.wait();
  }
  [[nodiscard]] std::string url() const { return "http://" + listener_.local_address().to_string() + "/x"; }
  [[nodiscard]] std::string request() const {
    const std::lock_guard lock(mutex_);
    return request_;
  }

 private:
  TcpListener listener_;
  mutable std::mutex mutex_;
  std::string request_;
  Task<> task_;
};

template <class Call>
std::string text_of(Call&& call) {
  try {
    call();
  } catch (const ClientError& error) {
    return error.what();
  }
  throw ExpectationFailed("a ClientError");
}

}  // namespace

TEST_CASE("The error of a malformed answer says what is wrong with it, and whose it is", "[http]") {
  struct Case {
    std::string answer;
    std::string text;
    bool is_forgiven = false;  // unless lenient_reading is off
  };
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string chunked = ok + "Transfer-Encoding: chunked\r\n\r\n";
  const std::vector<Case> cases = {
      {"SSH-2.0-OpenSSH_9\r\n", " does not begin as one of HTTP/1.1"},
      {"HTTP/2.0 200 OK\r\n\r\n", " does not begin as one of HTTP/1.1"},
      {"HTTP/1.1 2x0 OK\r\n\r\n", " has a malformed status line"},
      {"HTTP/1.1 20\r\n\r\n", " has a malformed status line"},
      {"HTTP/1.1 200x\r\n\r\n", " has a malformed status line"},
      {ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", " has more than one Content-Length"},
      {ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", " has more than one Content-Length", true},
      {ok + "Content-Length: -1\r\n\r\n", " has a malformed Content-Length"},
      {ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       " has both Content-Length and Transfer-Encoding", true},
      {ok + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
       " has both Content-Length and Transfer-Encoding", true},
      {ok + "Transfer-Encoding: gzip\r\n\r\nx", " has a Transfer-Encoding other than chunked"},
      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       " of HTTP/1.0 has a Transfer-Encoding", true},
      {ok + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", " has a field over several lines", true},
      {ok + "A : b\r\nContent-Length: 0\r\n\r\n", " has a malformed field", true},
      {"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", " does not begin as one of HTTP/1.1", true},
      {"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", " has a malformed status line", true},
      {ok + "Content-Length: 2\n\r\nok", " has a malformed field", true},
      {chunked + "2 \r\nok\r\n0\r\n\r\n", "'s body has a malformed chunk", true},
      {chunked + "2\nok\r\n0\r\n\r\n", "'s body has a malformed chunk", true},
      {"HTTP/1.1 099 What\r\n\r\n", " has a malformed status line"},
      {"SSH-2.0", " does not begin as one of HTTP/1.1"},
      {ok + "A: b\rC: d\r\n\r\n", " has a malformed field"},
      {ok + " A: b\r\n\r\n", " has a malformed field"},
      {ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       " has a malformed Transfer-Encoding"},
      {chunked + "2\r\nokay\r\n0\r\n\r\n", "'s body has a malformed chunk"},
      {chunked + "fffffffffffffffff\r\n", "'s body has a malformed chunk"},
      {ok + "A b\r\n\r\n", " has a malformed field"},
      {ok + "X: " + std::string(100'000, 'x') + "\r\n\r\n", "'s header is longer than max_header_bytes"},
      {ok + "Content-Le", " ends within its header"},
      {ok + "Content-Length: 10\r\n\r\nshort", " ends within its body"},
      {chunked + "5\r\nhello\r\n", " ends within its body"},
      {chunked + "x\r\nhello\r\n0\r\n\r\n", "'s body has a malformed chunk"},
      {chunked + "5;a=\"\x01\"\r\nhello\r\n0\r\n\r\n", "'s body has a malformed chunk extension"},
      {chunked + "0\r\nA b\r\n\r\n", "'s body has a malformed trailer"},
  };
  on_loops([&] {
    Session session({.lenient_reading = false});
    Session lenient;
    for (const Case& one : cases) {
      const Canned server(one.answer);
      const std::string text = text_of([&] { (void)session.get(server.url()).read_all(); });
      if (one.is_forgiven) {
        (void)lenient.get(server.url()).read_all();
      } else {
        expect(text_of([&] { (void)lenient.get(server.url()).read_all(); }) == text, "the same: " + text);
      }
      const std::string wanted = "http: " + server.url() + ": the answer" + one.text;
      expect(text == wanted, text + ", instead of: " + wanted);
    }
    const Canned silent("");
    std::string text;
    (void)error_of([&] { (void)session.get(silent.url()); }, &text);
    expect(text.starts_with("http: " + silent.url() + ": the server closed the connection before"), text);
    const Canned long_one(ok + "Content-Length: 1000\r\n\r\n" + std::string(1000, 'x'));
    expect(text_of([&] { (void)session.get(long_one.url()).read_all(99); }) ==
               "http: " + long_one.url() + ": the answer's body is longer than 99 bytes",
           "a body that is too long");
  });
}

TEST_CASE("A status line without reason, and without the space before it, is accepted", "[http]") {
  on_loops([] {
    Session session;
    for (const bool is_split : {false, true}) {
      for (const std::string line : {"HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n", "HTTP/1.0 200\r\n"}) {
        const Canned server(line + "A: b\r\nContent-Length: 2\r\n\r\nok", is_split);
        ClientResponse response = session.get(server.url());
        expect_equal(response.status(), 200, "status of " + line);
        expect(response.field("A") == "b", "its field");
        expect(response.read_all() == "ok", "its body");
      }
      const Canned bare("HTTP/1.1 204\r\n\r\n", is_split);
      expect_equal(session.get(bare.url()).status(), 204, "status");
    }
  });
}

TEST_CASE("A redirect to what is no HTTP is an error, not a path", "[http]") {
  on_loops([] {
    Session session;
    for (const std::string location :
         {"javascript:alert(1)", "mailto:a@b", "data:text/plain,x", "http:foo"}) {
      const Canned server("HTTP/1.1 302 Found\r\nLocation: " + location + "\r\nContent-Length: 0\r\n\r\n");
      const std::string text = text_of([&] { (void)session.get(server.url()); });
      expect(text.find(server.url() + ": a redirect to nowhere: http: the URL '" + location) !=
                 std::string::npos,
             text);
    }
  });
}

TEST_CASE("raise_for_status throws the status and the URL", "[http]") {
  on_loops([] {
    Session session;
    const auto answer = [](const char* status) {
      return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: 0\r\n\r\n";
    };
    for (const char* good : {"200 OK", "304 Not Modified", "399 What"}) {
      const Canned server(answer(good));
      session.get(server.url()).raise_for_status();
    }
    const Canned missing(answer("404 Not Here"));
    expect(text_of([&] { session.get(missing.url()).raise_for_status(); }) ==
               "http: " + missing.url() + ": status 404 Not Found",
           "404");
    const Canned strange(answer("700 What"));
    expect(text_of([&] { session.get(strange.url()).raise_for_status(); }) ==
               "http: " + strange.url() + ": status 700",
           "700");
  });
}

TEST_CASE("User-Agent and Accept have a default, and can be set and left out", "[http]") {
  on_loops([] {
    const Canned server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    const auto ask = [&](const Fields& of_session, const Fields& of_request) {
      Session session({.fields = of_session});
      (void)session.get(server.url(), {.fields = of_request}).read_all();
      return server.request();
    };
    const auto has = [](const std::string& request, const std::string& line) {
      return request.find(line) != std::string::npos;
    };
    const std::string plain = ask({}, {});
    expect(has(plain, "\r\nUser-Agent: fibrio/" + std::string(fibrio::version()) + "\r\n"), plain);
    expect(has(plain, "\r\nAccept: */*\r\n"), plain);
    const std::string own = ask({{"user-agent", "mine/1"}}, {{"Accept", "text/html"}});
    expect(has(own, "\r\nuser-agent: mine/1\r\n") && !has(own, "fibrio"), own);
    expect(has(own, "\r\nAccept: text/html\r\n") && !has(own, "*/*"), own);
    const std::string none = ask({{"User-Agent", ""}}, {{"accept", ""}, {"X-Empty", ""}});
    expect(!has(none, "gent:") && !has(none, "ccept:"), none);
    expect(has(none, "\r\nX-Empty: \r\n"), none);
  });
}
