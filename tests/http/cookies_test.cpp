// fibrio/http/cookies.hpp: cookies that are set, read, kept and sent; forms of nonsense do no harm.
#include "fibrio/http/cookies.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/http/message.hpp"
#include "http/cookie_text.hpp"
#include "http/request_access.hpp"
#include "http/text.hpp"
#include "support/catch.hpp"

using namespace fibrio::http;
using namespace std::chrono_literals;

namespace {

using Texts = std::vector<std::string>;
constexpr CookieJar::Time kNow(1'000'000'000s);  // 9 September 2001

const Url kPage = Url::parse("http://www.example.org/a/b/page?q=/x/");
const Url kSafePage = Url::parse("https://www.example.org/a/b/page");

std::string sent_to(CookieJar& jar, const std::string& url, CookieJar::Time now = kNow) {
  return jar.cookies_for(Url::parse(url), {}, now);
}

// What comes back to kSafePage of one Set-Cookie from there, later on.
std::string kept(const std::string& set_cookie, CookieJar::Time now = kNow) {
  CookieJar jar;
  jar.set(kSafePage, set_cookie, kNow);
  return jar.cookies_for(kSafePage, {}, now);
}

std::optional<std::string> read(const Texts& fields, const char* name) {
  Request request;
  for (const std::string& field : fields) detail::RequestAccess::fields(request).add("Cookie", field);
  return request.cookie(name);
}

}  // namespace

TEST_CASE("A request's cookie is found by name, wherever it stands", "[http][cookies]") {
  CHECK(read({}, "a") == std::nullopt);
  CHECK(read({"a=1"}, "a") == "1");
  CHECK(read({"x=0; a=1; a=2"}, "a") == "1");
  CHECK(read({"x=0", "a=1"}, "a") == "1");
  CHECK(read({"xa=0;a=1"}, "a") == "1");
  CHECK(read({"A=1"}, "a") == std::nullopt);
  CHECK(read({"a"}, "a") == std::nullopt);
  CHECK(read({";;=;; = ;a=b=c ; "}, "a") == "b=c");
  CHECK(read({"a=; b=1"}, "a") == "");
  CHECK(read({"a = 1 2 ; b"}, "a") == "1 2");
  CHECK(read({"=1"}, "") == "1");
  CHECK(read({"a=\xc3\xa4,\x80"}, "a") == "\xc3\xa4,\x80");
  // Quotes as Python's http.cookies writes them.
  CHECK(read({R"(a="b c"; d=e)"}, "a") == "b c");
  CHECK(read({R"(a="")"}, "a") == "");
  CHECK(read({R"(a=")"}, "a") == "\"");
  CHECK(read({R"(a="b)"}, "a") == "\"b");
  CHECK(read({R"(a="\"\\\054\303\244\9\0")"}, "a") ==
        "\"\\,\xc3\xa4"
        "90");
  CHECK(read({R"(a="\054\777\01")"}, "a") == ",77701");
  CHECK(read({R"(a="b\")"}, "a") == "b\\");
  // A quote protects no semicolon: nobody smuggles a cookie of another name in, or hides one.
  CHECK(read({R"(x="; a=1; y=")"}, "a") == "1");
}

TEST_CASE("A cookie says all of its attributes, and reads back", "[http][cookies]") {
  CHECK(Cookie{.name = "a", .value = "b"}.to_string() == "a=b; Path=/");
  CHECK(Cookie{.name = "a", .path = ""}.to_string() == "a=");
  CHECK(Cookie{.name = "a", .path = "", .max_age = std::chrono::hours::max()}.to_string() ==
        "a=; Max-Age=9223372036");  // 292 years
  const Cookie all{.name = "__Secure-sid",
                   .value = "AZaz09!#$%&'()*+-./:<=>?@[]^_`{|}~",
                   .path = "/app",
                   .domain = "example.org",
                   .max_age = 3600s,
                   .expires = std::chrono::system_clock::time_point(784'111'777s + 999ms),
                   .secure = true,
                   .http_only = true,
                   .same_site = SameSite::kNone};
  CHECK(all.to_string() ==
        "__Secure-sid=" + all.value +
            "; Path=/app; Domain=example.org; Max-Age=3600; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Secure; "
            "HttpOnly; SameSite=None");
  CHECK(read({"__Secure-sid=" + all.value}, "__Secure-sid") == all.value);
  Response response;
  set_cookie(response, {.name = "a", .value = "1", .same_site = SameSite::kLax});
  set_cookie(response, {.name = "b", .value = "2", .same_site = SameSite::kStrict});
  delete_cookie(response, {.name = "__Host-c", .value = "3", .secure = true});
  CHECK(response.fields.text() ==
        "Set-Cookie: a=1; Path=/; SameSite=Lax\r\nSet-Cookie: b=2; Path=/; SameSite=Strict\r\n"
        "Set-Cookie: __Host-c=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure\r\n");
}

TEST_CASE("A cookie that browsers would drop or misread is refused, and it is said why", "[http][cookies]") {
  const auto refusal = [](const Cookie& cookie) {
    try {
      return cookie.to_string();
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
  };
  const auto says = [&](const Cookie& cookie, const std::string& why) {
    CHECK(refusal(cookie) == "http: the cookie '" + cookie.name + "': " + why);
  };
  for (const char* name : {"", "a b", "a=b", "a;b", "a,b", "a\r\nb", "\"a\"", "\xc3\xa4", "a\x7f"}) {
    says({.name = name}, "its name is no token");
  }
  for (const std::string& value :
       {std::string("a b"), std::string("a;b"), std::string("a,b"), std::string("\"a\""), std::string("a\\"),
        std::string("a\r\nSet-Cookie: b"), std::string("\0", 1), std::string("\x7f"),
        std::string("\xc3\xa4")}) {
    says({.name = "a", .value = value}, "its value has a character that must be encoded");
  }
  says({.name = "a", .path = "x"}, "its path must begin with '/'");
  for (const char* path : {"/;Domain=x", "/\n", "/\xc3\xa4"}) {
    says({.name = "a", .path = path}, "its path has a control character, ';', or one that is not ASCII");
  }
  for (const char* domain : {"a b", "a;b", "a/b", "a:80", "a\r\n", ".", "..", "a..b", "..a", "a.."}) {
    says({.name = "a", .domain = domain}, "its domain is no name of a host");
  }
  for (const std::size_t size : {1024U, 1025U}) {
    const Cookie path{.name = "a", .path = '/' + std::string(size - 1, 'p')};
    const Cookie domain{.name = "a", .domain = std::string(size, 'd')};
    if (size == 1024) {
      CHECK(refusal(path).size() > size);
      CHECK(refusal(domain).size() > size);
    } else {
      says(path, "its path is longer than 1024 bytes");
      says(domain, "its domain is longer than 1024 bytes");
    }
  }
  CHECK(refusal({.name = "a", .domain = ".example.org"}) == "a=; Path=/; Domain=.example.org");
  says({.name = "a", .max_age = -1s}, "its max_age is negative");
  says({.name = "a", .same_site = SameSite::kNone}, "SameSite=None needs secure");
  says({.name = "__Secure-a"}, "its prefix needs secure");
  says({.name = "__secure-a"}, "its prefix needs secure");
  says({.name = "__Host-a"}, "its prefix needs secure");
  says({.name = "__Host-a", .path = "/x", .secure = true}, "__Host- needs the path \"/\" and no domain");
  says({.name = "__Host-a", .domain = "h", .secure = true}, "__Host- needs the path \"/\" and no domain");
  says({.name = "a", .value = std::string(4096, 'x')}, "name and value are longer than 4096 bytes");
  CHECK(refusal({.name = "a", .value = std::string(4095, 'x')}).size() > 4096);
}

TEST_CASE("The dates of cookies are read in the shapes that servers write", "[http][cookies]") {
  for (const char* text :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
        "Sun, 06-Nov-1994 08:49:37 GMT", "6 november 1994 8:49:37", "08:49:37 6x nOv 94",
        "Sun, 06 Nov 1994 08:49:37 PST",  // the zone is not looked at (5.1.1)
        "1994x;6\tNov/08:49:37abc", "x Mon 06 nov 1994 08:49:37 31 dec 2010 10:10:10"}) {
    CAPTURE(text);
    CHECK(parse_cookie_date(text) == 784'111'777);
  }
  CHECK(parse_cookie_date("1 Jan 70 0:0:0") == 0);
  CHECK(parse_cookie_date("1 Jan 1601 0:0:0") == -11'644'473'600);
  CHECK(parse_cookie_date("31 Dec 9999 23:59:59") == 253'402'300'799);
  CHECK(parse_cookie_date("29 Feb 2000 1:2:3") == 951'786'123);
  for (const char* text : {"",
                           "GMT",
                           "06 Nov 1994",
                           "08:49:37",
                           "Nov 1994 08:49:37",
                           "06 1994 08:49:37",
                           "06 Nov 08:49:37",
                           "32 Nov 1994 08:49:37",
                           "0 Nov 1994 08:49:37",
                           "31 Nov 1994 08:49:37",
                           "29 Feb 2001 08:49:37",
                           "06 Nov 1600 08:49:37",
                           "06 Nov 19940 08:49:37",
                           "06 Nov 1994 24:49:37",
                           "06 Nov 1994 08:60:37",
                           "06 Nov 1994 08:49:60",
                           "06 Nov 1994 08:49",
                           "06 Nov 1994 08:49:370",
                           "06 Nov 1994 108:49:37",
                           "006 Nov 1994 08:49:37",
                           "06 Nob 1994 08:49:37",
                           "6 Nov -1 08:49:37",
                           "99999999999999999999 Nov 1994 08:49:37"}) {
    CAPTURE(text);
    CHECK(parse_cookie_date(text) == std::nullopt);
  }
}

TEST_CASE("A jar sends a cookie to its host or domain alone", "[http][cookies]") {
  CookieJar jar;
  CHECK(jar.set(kPage, "h=1", kNow));
  CHECK(jar.set(kPage, "d=2; Path=/; DOMAIN=.Example.ORG", kNow));
  CHECK(jar.set(kPage, "w=3; domain=www.example.org; path=/", kNow));
  CHECK(sent_to(jar, "http://www.example.org/a/b/") == "h=1; d=2; w=3");
  CHECK(sent_to(jar, "https://WWW.Example.org:8443/a/b/") == "h=1; d=2; w=3");  // not by port, nor by scheme
  CHECK(sent_to(jar, "http://x.www.example.org/a/b/") == "d=2; w=3");
  CHECK(sent_to(jar, "http://example.org/a/b/") == "d=2");
  CHECK(sent_to(jar, "http://other.example.org/") == "d=2");
  CHECK(sent_to(jar, "http://notexample.org/") == "");
  CHECK(sent_to(jar, "http://example.org.evil.net/") == "");
  CHECK(sent_to(jar, "http://org/") == "");
  for (const char* domain : {"org", ".org", "org.", "other.org", "x.www.example.org", "ww.example.org",
                             "ample.org", "example.org.", "..example.org", "www.example.org:80", "*.org"}) {
    CAPTURE(domain);
    CHECK_FALSE(jar.set(kPage, std::string("e=1; Domain=") + domain, kNow));
  }
  CHECK(jar.size() == 3);
  jar.clear();
  CHECK(jar.size() == 0);
  CHECK(sent_to(jar, "http://www.example.org/a/b/") == "");
}

TEST_CASE("Cookies of an address or of a name without dots are of that host alone", "[http][cookies]") {
  for (const char* host : {"127.0.0.1", "[::1]", "localhost", "127.0.0.1."}) {
    CAPTURE(host);
    CookieJar jar;
    const Url url = Url::parse("http://" + std::string(host) + ":8080/");
    CHECK(jar.set(url, "a=1", kNow));
    CHECK(jar.set(url, "b=2; Domain=" + url.host(), kNow));
    CHECK(sent_to(jar, url.to_string()) == "a=1; b=2");
    CHECK(sent_to(jar, "http://x." + std::string(host[0] == '[' ? "1" : host) + "/") == "");
  }
  CookieJar jar;
  CHECK_FALSE(jar.set(Url::parse("http://127.0.0.1/"), "a=1; Domain=0.0.1", kNow));
  CHECK_FALSE(jar.set(Url::parse("http://127.0.0.1/"), "a=1; Domain=1", kNow));
  CHECK_FALSE(jar.set(Url::parse("http://127.0.0.1./"), "a=1; Domain=0.0.1.", kNow));
}

TEST_CASE("A jar sends a cookie below its path alone", "[http][cookies]") {
  CookieJar jar;
  jar.set(kPage, "def=1", kNow);  // "/a/b"
  jar.set(kPage, "root=2; Path=/", kNow);
  jar.set(kPage, "slash=3; Path=/a/", kNow);
  jar.set(kPage, "bad=4; Path=x", kNow);  // as without
  jar.set(kPage, "last=5; Path=/x; Path=/a", kNow);
  CHECK(sent_to(jar, "http://www.example.org/") == "root=2");
  CHECK(sent_to(jar, "http://www.example.org/?/a/b/") == "root=2");
  CHECK(sent_to(jar, "http://www.example.org/a") == "last=5; root=2");
  CHECK(sent_to(jar, "http://www.example.org/ab") == "root=2");
  CHECK(sent_to(jar, "http://www.example.org/a/") == "slash=3; last=5; root=2");
  CHECK(sent_to(jar, "http://www.example.org/a/b?x") == "def=1; bad=4; slash=3; last=5; root=2");
  CHECK(sent_to(jar, "http://www.example.org/a/bc") == "slash=3; last=5; root=2");
  for (const char* url : {"http://h", "http://h/", "http://h/x", "http://h/x?/y/"}) {
    CookieJar other;
    other.set(Url::parse(url), "a=1", kNow);
    CHECK(sent_to(other, "http://h/") == "a=1");
  }
}

TEST_CASE("Secure cookies stay with https, and plain http cannot hide or push them out", "[http][cookies]") {
  CookieJar jar({.max_cookies_per_domain = 3});
  CHECK(jar.set(kSafePage, "s=1; Secure; Path=/a", kNow));
  CHECK(jar.set(kSafePage, "t=1; secure=whatever; Path=/; Domain=example.org", kNow));
  CHECK(sent_to(jar, "https://www.example.org/a") == "s=1; t=1");
  CHECK(sent_to(jar, "wss://www.example.org/a") == "s=1; t=1");
  CHECK(sent_to(jar, "http://www.example.org/a") == "");
  CHECK_FALSE(jar.set(kPage, "x=1; Secure", kNow));
  CHECK_FALSE(jar.set(kPage, "s=evil; Path=/a", kNow));
  CHECK_FALSE(jar.set(kPage, "s=evil; Path=/a/b", kNow));
  CHECK_FALSE(jar.set(kPage, "s=evil; Path=/a; Max-Age=0", kNow));
  CHECK_FALSE(jar.set(kPage, "s=evil; Path=/a; Domain=example.org", kNow));
  CHECK_FALSE(jar.set(kPage, "t=evil", kNow));
  CHECK(jar.set(kPage, "s=other; Path=/", kNow));  // sent behind the other one
  for (int i = 0; i < 10; ++i) CHECK(jar.set(kPage, "fill" + std::to_string(i) + "=1; Path=/", kNow));
  CHECK(sent_to(jar, "https://www.example.org/a") == "s=1; t=1; fill8=1; fill9=1");

  CHECK_FALSE(jar.set(kSafePage, "__Secure-a=1", kNow));
  CHECK_FALSE(jar.set(kSafePage, "__Host-a=1; Secure; Path=/; Domain=www.example.org", kNow));
  CHECK_FALSE(jar.set(kSafePage, "__host-a=1; Secure; Path=/a", kNow));
  CHECK(jar.set(kSafePage, "__Host-a=1; Secure; Path=/", kNow));
}

TEST_CASE("A cookie ends by Max-Age, which wins over Expires, or with the jar", "[http][cookies]") {
  CHECK(kept("a=1", CookieJar::Time(9'999'999'999s)) == "a=1");
  CHECK(kept("a=1; Max-Age=10", kNow + 9'999ms) == "a=1");
  CHECK(kept("a=1; Max-Age=10", kNow + 10s).empty());
  CHECK(kept("a=1; Max-Age=10; Expires=Sun, 06 Nov 1994 08:49:37 GMT") == "a=1");
  CHECK(kept("a=1; Expires=Sun, 06 Nov 2094 08:49:37 GMT; Max-Age=0").empty());
  CHECK(kept("a=1; Expires=Sun, 06 Nov 2094 08:49:37 GMT; Max-Age=10", kNow + 11s).empty());
  CHECK(kept("a=1; Expires=Sun, 09 Sep 2001 01:46:41 GMT") == "a=1");
  CHECK(kept("a=1; Expires=Sun, 09 Sep 2001 01:46:41 GMT", kNow + 1s).empty());
  for (const char* past : {"Max-Age=0", "Max-Age=-5", "max-age=-99999999999999999999", "Max-Age=00",
                           "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "EXPIRES = 1 jan 1601 0:0:0"}) {
    CAPTURE(past);
    CHECK(kept(std::string("a=1; ") + past).empty());
  }
  for (const char* nothing : {"Max-Age", "Max-Age=", "Max-Age=x", "Max-Age=1x", "Max-Age=-", "Max-Age=+0",
                              "Max-Age=\"0\"", "Expires=never", "Expires", "Max-Age=99999999999999999999999",
                              "Max-Age=18446744073709551615", "Expires=Fri, 31 Dec 9999 23:59:59 GMT"}) {
    CAPTURE(nothing);
    CHECK(kept(std::string("a=1; ") + nothing, kNow + 1000s) == "a=1");
  }
  CookieJar jar;
  CHECK(jar.set(kPage, "a=1", kNow));
  CHECK(jar.set(kPage, "a=1; Max-Age=5; Path=/", kNow));
  CHECK_FALSE(jar.set(kPage, "a=; Max-Age=0", kNow));
  CHECK(jar.size() == 1);
  CHECK_FALSE(jar.set(kPage, "never=1; Max-Age=0", kNow));
  CHECK(jar.size() == 1);
}

TEST_CASE("A cookie replaces the one of its name, domain and path, and keeps its place", "[http][cookies]") {
  CookieJar jar;
  for (const char* text : {"a=1", "b=1", "A=2", "a=3", "a=4; Path=/", "a=5; Domain=example.org"}) {
    CHECK(jar.set(kPage, text, kNow));
  }
  CHECK(sent_to(jar, kPage.to_string()) == "a=3; b=1; A=2; a=5; a=4");
  CHECK(jar.cookies_for(kPage, "a=own; c=own", kNow) == "a=own; c=own; b=1; A=2");
  CHECK(jar.cookies_for(Url::parse("http://elsewhere/"), "a=own", kNow) == "a=own");
}

TEST_CASE("A jar's limits hold, and the cookie that nobody used gives way", "[http][cookies]") {
  CHECK_THROWS_AS(CookieJar({.max_cookies = 0}), std::invalid_argument);
  CHECK_THROWS_AS(CookieJar({.max_cookies_per_domain = 0}), std::invalid_argument);
  CookieJar narrow({.max_cookie_bytes = 3});
  CHECK(narrow.set(kPage, "ab=1", kNow));
  CHECK_FALSE(narrow.set(kPage, "ab=12", kNow));
  CookieJar jar({.max_cookies = 4, .max_cookies_per_domain = 2});
  const Url a = Url::parse("http://a/"), b = Url::parse("http://b/"), c = Url::parse("http://c/");
  for (const char* text : {"1=1; Path=/1", "2=2; Path=/2"}) jar.set(a, text, kNow);
  CHECK(sent_to(jar, "http://a/1") == "1=1");
  jar.set(a, "3=3; Path=/", kNow);  // in place of 2
  CHECK(sent_to(jar, "http://a/2") == "3=3");
  CHECK(sent_to(jar, "http://a/1") == "1=1; 3=3");
  jar.set(b, "1=1", kNow);
  jar.set(b, "2=2; Max-Age=5", kNow);
  jar.set(c, "1=1", kNow);  // in place of the first one of a, used before those of b were made
  CHECK(jar.size() == 4);
  CHECK(sent_to(jar, "http://a/1") == "3=3");
  jar.set(c, "2=2", kNow + 5s);  // in place of what has expired
  CHECK(sent_to(jar, "http://b/") == "1=1");
  CHECK(sent_to(jar, "http://c/") == "1=1; 2=2");
  CHECK(jar.size() == 4);

  CookieJar full;
  for (int i = 0; i < 4000; ++i)
    full.set(Url::parse("http://h" + std::to_string(i % 100) + "/"), std::to_string(i) + "=1", kNow);
  CHECK(full.size() == 3000);
  CookieJar small;
  for (int i = 0; i < 51; ++i) small.set(a, std::to_string(i) + "=1", kNow);
  CHECK(small.size() == 50);
  CHECK(sent_to(small, "http://a/").starts_with("1=1; 2=1;"));
}

TEST_CASE("A Set-Cookie that is malformed or too long is ignored, or its attribute is", "[http][cookies]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {";", ""},
      {"=", ""},
      {"=b", ""},
      {" = b", ""},
      {"a", ""},
      {"a; b=c", ""},
      {"; a=b", ""},
      {"a=", "a="},
      {"  a  =  b  ;x", "a=b"},
      {"\ta\t=\tb\t", "a=b"},
      {"a=b=c", "a=b=c"},
      {"a=\"b;c\"", "a=\"b"},
      {"a=\"b\"", "a=\"b\""},
      {"a b=c d,e=f", "a b=c d,e=f"},
      {"\xc3\xa4=\xff", "\xc3\xa4=\xff"},
      {"a=b;;;=;=x;Secure=;HttpOnly;SameSite=None;Priority=High;Partitioned", "a=b"},
      {std::string("a=b\0c", 5), ""},
      {"a=b\r\nX: y", ""},
      {"a=b\x7f", ""},
      {"a=" + std::string(4095, 'v'), "a=" + std::string(4095, 'v')},
      {"a=" + std::string(4096, 'v'), ""},
      {std::string(4097, 'a') + "=", ""},
      {"a=b; Path=/" + std::string(1024, 'p'), "a=b"},
      {"a=b; Domain=" + std::string(1025, 'd'), "a=b"},
      {"a=b; Path=/\x01", "a=b"},
      {"a=b; Domain=", "a=b"},
      {"a=b; Domain=.", "a=b"},
      {"a=b; Domain", "a=b"},
      {"a=b" + std::string(10'000, ';'), "a=b"},
  };
  for (const auto& [text, cookie] : cases) {
    CAPTURE(text);
    CHECK(kept(text) == cookie);
  }
}
