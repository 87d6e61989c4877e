// Cookies between a session and a server: kept, sent, shared, merged with the user's own; and forms.
#include <atomic>
#include <string>
#include <vector>

#include "fibrio/http/session.hpp"
#include "fibrio/testing.hpp"
#include "http/site.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::CookieJar;
using http::HttpError;
using http::Request;
using http::RequestOptions;
using http::Response;
using http::Session;
using http_test::Site;

namespace {

// /set gives a cookie, / says what it was sent.
void add_routes(http::Server& server) {
  server.route("GET", "/", [](Request& request) {
    std::string all;
    for (const auto& field : request.fields()) {
      if (field.name == "Cookie") all.append("[").append(field.value).append("]");
    }
    return Response(all);
  });
  server.route("GET", "/set", [](Request& request) {
    Response response(request.query("to") ? 302U : 200U);
    if (const auto to = request.query("to")) response.fields.add("Location", *to);
    response.fields.add("Set-Cookie", request.query("cookie").value_or(""));
    return response;
  });
  server.route("POST", "/form", [](Request& request) {
    std::string all;
    for (const auto& [name, value] : request.read_form())
      all.append("[").append(name).append("=").append(value).append("]");
    return Response(all);
  });
  server.route("POST", "/body", [](Request& request) {
    return Response(std::string(request.field("Content-Type")) + "|" + request.read_all());
  });
}

class CookieSite : public Site {
 public:
  explicit CookieSite(http::ServerOptions options = {}) : Site(add_routes, std::move(options)) {}

  // Lets `session` be given a cookie.
  void give(Session& session, const std::string& cookie, const std::string& to = {}) const {
    RequestOptions options{.query = {{"cookie", cookie}}};
    if (!to.empty()) options.query.emplace_back("to", to);
    (void)session.get(url("/set"), options).read_all();
  }
};

std::string text_at(Session& session, const std::string& url, RequestOptions options = {}) {
  return session.get(url, std::move(options)).read_all();
}

}  // namespace

TEST_CASE("A session sends back what it was given, and each session has a jar of its own",
          "[http][cookies]") {
  on_loops([] {
    const CookieSite site;
    Session session;
    Session other;
    expect(text_at(session, site.url()).empty(), "nothing yet");
    site.give(session, "a=1");
    site.give(session, "b=2; Path=/elsewhere");
    site.give(session, "c=3; Domain=example.org");
    expect(text_at(session, site.url()) == "[a=1]", "what is for this place");
    expect(text_at(other, site.url()).empty(), "the other one has none");
    site.give(session, "a=; Max-Age=0");
    expect(text_at(session, site.url()).empty(), "deleted");
    expect(session.cookie_jar()->size() == 1, "the one for elsewhere is left");
  });
}

TEST_CASE("Sessions share a jar that is given to them, and without one nothing is kept", "[http][cookies]") {
  on_loops([] {
    const CookieSite site;
    const auto jar = std::make_shared<CookieJar>();
    jar->set(http::Url::parse(site.url()), "own=0");
    Session first({.cookie_jar = jar});
    Session second({.cookie_jar = jar});
    site.give(first, "a=1");
    expect(text_at(second, site.url()) == "[own=0; a=1]", "the shared one");
    Session without({.cookie_jar = jar, .keep_cookies = false});
    site.give(without, "b=2");
    expect(without.cookie_jar() == nullptr && text_at(without, site.url()).empty(), "none");
    expect(text_at(without, site.url(), {.fields = {{"Cookie", "x=1"}}}) == "[x=1]", "but the user's");
  });
}

TEST_CASE("A user's own Cookie fields go in one with the jar's, and win over their names",
          "[http][cookies]") {
  on_loops([] {
    const CookieSite site;
    Session session({.fields = {{"Cookie", "s=0"}}});
    site.give(session, "a=1");
    site.give(session, "b=2");
    site.give(session, "s=3");
    expect(text_at(session, site.url()) == "[s=0; a=1; b=2]", "those of the session");
    expect(text_at(session, site.url(), {.fields = {{"cookie", "b=x; c=y"}, {"Cookie", "d=z"}}}) ==
               "[b=x; c=y; d=z; a=1; s=3]",
           "those of the request, instead of the session's");
    expect(text_at(session, site.url(), {.fields = {{"Cookie", ""}}}) == "[a=1; b=2; s=3]", "an empty one");
  });
}

TEST_CASE("Cookies are kept and sent over redirects, also to another origin", "[http][cookies]") {
  on_loops([] {
    const CookieSite site;
    const CookieSite other;  // another port: another origin, but the same host for cookies (RFC 6265, 8.5)
    Session session;
    const auto via = [&](const std::string& cookie, const std::string& to, RequestOptions options) {
      options.query = {{"cookie", cookie}, {"to", to}};
      return text_at(session, site.url("/set"), std::move(options));
    };
    expect(via("a=1", "/", {}) == "[a=1]", "set by the redirect itself");
    expect(via("b=2", other.url(), {.fields = {{"Cookie", "secret=1"}}}) == "[a=1; b=2]",
           "the jar's, without the user's own");
    expect(via("c=3", "/", {.fields = {{"Cookie", "mine=1"}}}) == "[mine=1; a=1; b=2; c=3]",
           "with them here");
    expect(via("d=4", "http://localhost" + other.url().substr(std::string("http://127.0.0.1").size()), {})
               .empty(),
           "another host");
  });
}

TEST_CASE("Cookies expire with virtual time, by Max-Age and by Expires", "[http][cookies]") {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    Config config;
    config.workers = workers;
    config.virtual_time = true;
    EventLoop loop(config);
    std::vector<std::string> sent;
    loop.run_until_complete([&] {
      // Half a second may pass at each wait for a socket: so no timeouts, and times in days.
      const Duration none = 24h * 10'000;
      const CookieSite site(
          {.header_timeout = none, .body_timeout = none, .idle_timeout = none, .write_timeout = none});
      Session session({.timeout = -1s, .connect_timeout = -1s});
      const auto later = std::chrono::system_clock::now() + 24h * 200;
      site.give(session, http::Cookie{.name = "age", .max_age = 24h * 100}.to_string());
      site.give(session, http::Cookie{.name = "date", .expires = later}.to_string());
      for (int i = 0; i < 4; ++i) {
        sent.push_back(text_at(session, site.url()));
        advance_time(24h * 80);
      }
    });
    CHECK(sent == std::vector<std::string>{"[age=; date=]", "[age=; date=]", "[date=]", ""});
  }
}

TEST_CASE("Tasks of several workers use one jar at once", "[http][cookies]") {
  on_loops([] {
    const CookieSite site;
    const auto jar = std::make_shared<CookieJar>(CookieJar::Limits{.max_cookies_per_domain = 5});
    Session session({.max_connections = 8, .cookie_jar = jar});
    std::atomic<int> wrong{0};
    task_group([&](TaskGroup& group) {
      for (int i = 0; i < 8; ++i) {
        group.create_task([&, i] {
          const std::string name = "n" + std::to_string(i);
          for (int round = 0; round < 20; ++round) {
            site.give(session, name + "=" + std::to_string(round));
            const std::string sent = text_at(session, site.url());
            // Whatever the others do: whole cookies, at most so many, mine not older than it may be.
            const auto count = std::count(sent.begin(), sent.end(), '=');
            if (count < 1 || count > 5 || !sent.starts_with("[n") || !sent.ends_with("]")) ++wrong;
            const bool has_mine = sent.find(name + "=") != std::string::npos;
            const std::string mine = name + "=" + std::to_string(round);
            if (has_mine && sent.find(mine + ";") == std::string::npos && !sent.ends_with(mine + "]"))
              ++wrong;
            if (i == 0 && round % 8 == 7) jar->set(http::Url::parse("http://h/"), "x=1");
          }
        });
      }
    });
    expect_equal(wrong.load(), 0, "answers that are wrong");
    expect_equal(jar->size(), 6, "cookies");
  });
}

TEST_CASE("A form is sent by a session and read by a server", "[http][forms]") {
  on_loops([] {
    const CookieSite site;
    Session session;
    const http::Form form = {
        {"a b", "c&d=e+f%"}, {"a b", ""}, {"", "x"}, {"\xc3\xa4", std::string("\0\r\n", 3)}};
    RequestOptions options{.form = form};
    expect(session.request("POST", site.url("/form"), options).read_all() ==
               "[a b=c&d=e+f%][a b=][=x][\xc3\xa4=" + std::string("\0\r\n", 3) + "]",
           "as it was sent");
    expect(session.post(site.url("/body"), "", options).read_all() ==
               "application/x-www-form-urlencoded|a+b=c%26d%3De%2Bf%25&a+b=&=x&%C3%A4=%00%0D%0A",
           "as text");
    options.fields.add("Content-Type", "text/x");
    expect(session.request("POST", site.url("/body"), options).read_all().starts_with("text/x|a+b="),
           "the user's type");
    expect(session.request("POST", site.url("/form"), options).status() == 415, "which is no form");
    expect(session.post(site.url("/form"), "a=b").status() == 415, "nor is a body without type");
    const RequestOptions typed{
        .fields = {{"Content-Type", "APPLICATION/x-www-form-urlencoded ; charset=UTF-8"}}};
    expect(session.post(site.url("/form"), "a=b&&%zz+=%4", typed).read_all() == "[a=b][%zz =%4]",
           "with a parameter");
    std::string many = "a";
    for (int i = 0; i < 1000; ++i) many += "&a";
    expect(session.post(site.url("/form"), many, typed).status() == 413, "too many fields");
    expect_throws<std::invalid_argument>([&] { session.post(site.url("/form"), "body", {.form = form}); },
                                         "two bodies");
    expect_throws<std::invalid_argument>(
        [&] {
          session.request("POST", site.url("/form"), {.form = form, .stream = [](http::BodyWriter&) {}});
        },
        "a body and a stream");
  });
}

TEST_CASE("The text of a form is read as browsers write it, whatever is in it", "[http][forms]") {
  using http::Form;
  const std::vector<std::pair<std::string, Form>> cases = {
      {"", {}},
      {"&", {}},
      {"&&a&&", {{"a", ""}}},
      {"=", {{"", ""}}},
      {"a=b=c", {{"a", "b=c"}}},
      {"a=1&a=2;b=3", {{"a", "1"}, {"a", "2;b=3"}}},
      {" a = b ", {{" a ", " b "}}},
      {"+a+=%20b%2B", {{" a ", " b+"}}},
      {"%41%4a%4A=%e4", {{"AJJ", "\xe4"}}},
      {"%=%1&%g0=%0g&%%41=%25", {{"%", "%1"}, {"%g0", "%0g"}, {"%A", "%"}}},
      {std::string("a\0b=\r\n", 6), {{std::string("a\0b", 3), "\r\n"}}},
      {"a%00=%26%3D", {{std::string("a\0", 2), "&="}}},
  };
  for (const auto& [text, form] : cases) {
    CAPTURE(text);
    CHECK(http::parse_form(text) == form);
    CHECK(http::parse_form(http::encode_form(form)) == form);
  }
  CHECK(http::encode_form({{"a b", "-._~*"}}) == "a+b=-._~%2A");
  CHECK(http::value_of({{"a", "1"}, {"b", "2"}, {"b", "3"}}, "b") == "2");
  CHECK(http::value_of({{"a", "1"}}, "A") == std::nullopt);
  CHECK(http::parse_form("a&b&c", 3).size() == 3);
  CHECK_THROWS_AS(http::parse_form("a&b&c", 2), HttpError);
}
