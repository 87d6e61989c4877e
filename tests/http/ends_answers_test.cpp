// Answers that are left in the middle: what the client sees is a part of the right bytes, and then a reset.
#include <string>
#include <string_view>

#include "http/in_memory.hpp"
#include "support/catch.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using http::Request;
using http::Response;

namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
constexpr std::string_view kNext = "GET /next HTTP/1.1\r\nHost: t\r\n\r\n";

// The n-th piece of a body: no two are alike.
std::string piece(int number, std::size_t size = 1000) {
  std::string text = '<' + std::to_string(number) + '>';
  text.resize(size, 'x');
  return text;
}
std::string pieces(int count, bool in_chunks) {
  std::string text;
  for (int i = 0; i < count; ++i) text += in_chunks ? "3e8\r\n" + piece(i) + "\r\n" : piece(i);
  return in_chunks ? text + "0\r\n\r\n" : text;
}
std::string_view body_of(std::string_view bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  return end == std::string_view::npos ? std::string_view() : bytes.substr(end + 4);
}
Response next(Request&) { return Response("next"); }

// What a user's loop does with a write that took too long.
enum class Habit { kGoOn, kReturn, kTask };

Response streamed(Habit habit, bool in_chunks, fibrio::Duration limit) {
  Response response;
  if (!in_chunks) response.stream_length = 100 * 1000;
  response.stream = [habit, limit](http::BodyWriter& out) {
    for (int i = 0; i < 100; ++i) {
      const auto send = [&] {
        out.write(piece(i));
        out.flush();
      };
      if (habit == Habit::kTask) {
        fibrio::Task<> writer = fibrio::create_task(send);
        fibrio::wait(std::vector{writer}, {.timeout = limit});
        writer.cancel();
        writer.wait();
        if (!writer.cancelled()) (void)writer.exception();
        continue;
      }
      try {
        fibrio::timeout(limit, send);
      } catch (const fibrio::TimeoutError&) {
        if (habit == Habit::kReturn) return;
      }
    }
  };
  return response;
}

void check_prefix(std::string_view seen, std::string_view whole) {
  CHECK(whole.starts_with(seen.substr(0, whole.size())));
  CHECK(seen.size() <= whole.size());
}

}  // namespace

TEST_CASE("A write that its user gave up is never sent again, and nothing comes behind it", "[http][ends]") {
  for (const std::size_t workers : {1, 2, 4}) {
    for (const Habit habit : {Habit::kGoOn, Habit::kReturn, Habit::kTask}) {
      for (const bool in_chunks : {false, true}) {
        CAPTURE(workers, static_cast<int>(habit), in_chunks);
        Routes routes;
        routes.add("GET", "/", [=](Request&) { return streamed(habit, in_chunks, 20ms); });
        routes.add("GET", "/next", next);
        Seen seen;
        talk(
            routes, {.capacity = 3000},
            [&](fibrio::ByteStream& client, fibrio::Task<>&) {
              say(client, std::string(kGet) + std::string(kNext));
              seen = read_to_end(client, 30ms, 700);
            },
            workers);
        CHECK(seen.is_cut);
        CHECK(seen.bytes.find("HTTP/1.1 ", 1) == std::string::npos);
        check_prefix(body_of(seen.bytes), pieces(100, in_chunks));
        CHECK(body_of(seen.bytes).size() < 100 * 1000);
      }
    }
  }
}

TEST_CASE("Writes whose limits are never reached make one right answer", "[http][ends]") {
  for (const bool in_chunks : {false, true}) {
    Routes routes;
    routes.add("GET", "/", [=](Request&) { return streamed(Habit::kGoOn, in_chunks, 10s); });
    routes.add("GET", "/next", next);
    Seen seen;
    talk(routes, {.capacity = 3000}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
      say(client, std::string(kGet) + std::string(kNext));
      client.shutdown_write();
      seen = read_to_end(client, 30ms, 700);
    });
    CHECK_FALSE(seen.is_cut);
    const std::string whole = pieces(100, in_chunks);
    CHECK(body_of(seen.bytes).substr(0, whole.size()) == whole);
    CHECK(body_of(body_of(seen.bytes).substr(whole.size())) == "next");
  }
}

TEST_CASE("A body that is written after its end is refused", "[http][ends]") {
  Routes routes;
  http::BodyWriter* kept = nullptr;
  std::string error;
  routes.add("GET", "/", [&](Request&) {
    Response response;
    response.stream = [&](http::BodyWriter& out) {
      out.write(std::string_view("all"));
      kept = &out;
    };
    return response;
  });
  routes.add("GET", "/next", [&](Request&) {
    try {
      kept->write(std::string_view("more"));
    } catch (const fibrio::RuntimeError& late) {
      error = late.what();
    }
    return Response("next");
  });
  Seen seen;
  talk(routes, {}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
    say(client, std::string(kGet) + std::string(kNext));
    client.shutdown_write();
    seen = read_to_end(client);
  });
  CHECK(error == "http: the body is complete: nothing can be written to it");
  CHECK(seen.bytes.find("more") == std::string::npos);
  CHECK(seen.bytes.ends_with("\r\n\r\nnext"));
}

TEST_CASE("A limit around read_all never cuts an answer of the pipeline short and goes on", "[http][ends]") {
  for (const int answers : {1, 2, 3, 4, 5, 6, 7}) {
    CAPTURE(answers);
    Routes routes;
    routes.add(
        "GET", "/", [](Request&) { return Response(std::string(5000, 'A')); }, true);
    routes.add(
        "POST", "/",
        [](Request& request) {
          try {
            return Response(fibrio::timeout(100ms, [&] { return request.read_all(); }));
          } catch (const fibrio::TimeoutError&) {
            return Response("too slow", "text/plain", 408);
          }
        },
        true);
    std::string sent;
    for (int i = 0; i < answers; ++i) sent += kGet;
    Seen seen;
    talk(routes, {.capacity = 2000}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
      say(client, sent + "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc");
      seen = read_to_end(client, 10ms, 100);
    });
    CHECK(seen.is_cut);
    CHECK(seen.bytes.find("408") == std::string::npos);
  }
}

TEST_CASE("The 503 of a shutdown comes behind whole answers, or not at all", "[http][ends]") {
  for (const bool is_slow : {false, true}) {
    CAPTURE(is_slow);
    Routes routes;
    routes.add(
        "GET", "/", [](Request&) { return Response(std::string(5000, 'A')); }, true);
    routes.add(
        "POST", "/", [](Request& request) { return Response(request.read_all()); }, true);
    Seen seen;
    talk(routes, {.capacity = is_slow ? 2000U : 60000U},
         [&](fibrio::ByteStream& client, fibrio::Task<>& server) {
           say(client, std::string(kGet) + std::string(kGet) +
                           "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc");
           fibrio::sleep(1s);
           server.cancel();
           fibrio::sleep(1s);
           seen = read_to_end(client);
         });
    CHECK(seen.is_cut == is_slow);
    const std::size_t last = seen.bytes.find("HTTP/1.1 503");
    CHECK((last == std::string::npos) == is_slow);
    if (!is_slow) CHECK(seen.bytes.substr(last - 5000, 5000) == std::string(5000, 'A'));
  }
}

TEST_CASE("Answers that wait are sent before the 503 of a shutdown", "[http][ends]") {
  Routes routes;
  routes.add(
      "GET", "/", [](Request&) { return Response("first"); }, true);
  routes.add(
      "GET", "/next",
      [](Request&) {
        fibrio::sleep(1h);
        return Response("never");
      },
      true);
  Seen seen;
  talk(routes, {}, [&](fibrio::ByteStream& client, fibrio::Task<>& server) {
    say(client, std::string(kGet) + std::string(kNext));
    fibrio::sleep(1s);
    server.cancel();
    seen = read_to_end(client);
  });
  CHECK(seen.bytes.starts_with("HTTP/1.1 200"));
  CHECK(body_of(seen.bytes).starts_with("firstHTTP/1.1 503"));
}

TEST_CASE("100 Continue comes before an answer whose stream reads the body", "[http][ends]") {
  for (const bool is_fixed : {false, true}) {
    CAPTURE(is_fixed);
    Routes routes;
    routes.add("PUT", "/", [is_fixed](Request& request) {
      Response response;
      if (is_fixed) response.stream_length = 5;
      response.stream = [&request](http::BodyWriter& out) { out.write(request.read_all()); };
      return response;
    });
    Seen seen;
    talk(routes, {}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
      say(client, "PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
      fibrio::sleep(1s);
      say(client, "hello");
      client.shutdown_write();
      seen = read_to_end(client);
    });
    CHECK(seen.bytes.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    CHECK(seen.bytes.ends_with(is_fixed ? "\r\n\r\nhello" : "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
  }
}

TEST_CASE("A stream behind an error answer never asks for the body that it reads", "[http][ends]") {
  Routes routes;
  routes.add("PUT", "/", [](Request& request) {
    Response response(413);
    response.stream_length = 5;
    response.stream = [&request](http::BodyWriter& out) { out.write(request.read_all()); };
    return response;
  });
  Seen seen;
  talk(routes, {}, [&](fibrio::ByteStream& client, fibrio::Task<>&) {
    say(client, "PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    fibrio::sleep(1s);
    say(client, "hello");
    client.shutdown_write();
    seen = read_to_end(client);
  });
  CHECK(seen.bytes.starts_with("HTTP/1.1 413 "));
  CHECK(seen.bytes.ends_with("\r\n\r\nhello"));
  CHECK(seen.bytes.find("100 Continue") == std::string::npos);
}
