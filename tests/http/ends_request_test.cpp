// How a request ends: with its stream, before its stream, by its stream's error; and what becomes of its connection.
#include <atomic>
#include <stdexcept>
#include <string>

#include "http/ends_streams.hpp"

using namespace http_test;
using http::BodyWriter;
using http::RequestOptions;

namespace {

// Is set when what its holder's frame has is gone.
struct Frame {
  explicit Frame(std::atomic<bool>& flag) : has_ended(flag) {}
  ~Frame() { has_ended = true; }
  std::atomic<bool>& has_ended;
};

RequestOptions endless(std::atomic<bool>& has_ended, Event* has_begun = nullptr) {
  RequestOptions options;
  options.stream = [&has_ended, has_begun](BodyWriter& out) {
    const Frame frame(has_ended);
    if (has_begun != nullptr) has_begun->set();
    for (const std::string data(60'000, 'x');;) out.write(data);
  };
  return options;
}

// Reads headers and nothing more, answers with `answer`, and stays until the client is gone.
Peer::Serve answers(std::string answer, Event& leaves) {
  return [answer = std::move(answer), &leaves](ByteStream& stream, int) {
    (void)read_header(stream);
    if (!answer.empty()) stream.write_all(bytes_in(answer));
    leaves.wait();
  };
}

template <class Call>
std::string thrown_by(Call&& call) {
  try {
    call();
    return "nothing";
  } catch (const CancelledError&) {
    return "CancelledError";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("A request's stream has ended when request() throws", "[http]") {
  on_loops([] {
    Event unset;
    Peer silent(answers("", unset));
    for (const bool is_cancelled : {false, true}) {
      http::Session session;
      std::atomic<bool> has_ended = false;
      Event has_begun;
      bool had_ended = false;
      auto task = create_task([&] {
        RequestOptions options = endless(has_ended, &has_begun);
        if (!is_cancelled) options.timeout = 20ms;
        try {
          (void)session.request("PUT", silent.url(), std::move(options));
        } catch (...) {
          had_ended = has_ended;
          throw;
        }
      });
      has_begun.wait();
      if (is_cancelled) {
        let_others_wait();
        task.cancel();
      }
      task.wait();
      expect(had_ended, is_cancelled ? "an end before the cancellation's" : "an end before the timeout's");
      if (!is_cancelled) expect_throws<TimeoutError>([&] { await(task); }, "the timeout");
    }
  });
}

TEST_CASE("A request's stream has ended when request() returns an early answer", "[http]") {
  on_loops([] {
    Event unset;
    const std::string refusal =
        "HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\nsome";  // the rest is late
    for (const std::string& answer : {refusal, ok("early"), ok("")}) {
      Peer peer(answers(answer, unset));
      http::Session session;
      std::atomic<bool> has_ended = false;
      auto response = session.request("PUT", peer.url(), endless(has_ended));
      expect(has_ended, "the stream's end before the answer's");
      std::string part(4, ' ');
      if (answer == refusal) {
        expect(response.status() == 413 && response.read_some(bytes_of(part)) == 4 && part == "some",
               "the answer is there");
      } else {
        expect(response.read_all() == (answer == ok("") ? "" : "early"), "the answer");
      }
      expect_equal(session.idle_connections(), 0, "connections kept in the middle of a request");
    }
  });
}

TEST_CASE("What a request's stream throws is the error of the request at once", "[http]") {
  on_loops([] {
    Event unset;
    Peer silent(answers("", unset));
    http::Session session({.timeout = Duration(-1)});
    const auto ends_with = [&](std::function<void(BodyWriter&)> stream, const std::string& wanted) {
      for (const bool is_duplex : {false, true}) {
        RequestOptions options;
        options.stream = stream;
        options.full_duplex = is_duplex;
        const std::string text = thrown_by([&] { (void)session.request("PUT", silent.url(), options); });
        expect(text.find(wanted) != std::string::npos, wanted + ", not: " + text);
      }
    };
    ends_with([](BodyWriter&) { throw std::system_error(ENOENT, std::generic_category(), "my own file"); },
              "my own file");
    ends_with(
        [](BodyWriter& out) {
          out.write("some");
          out.flush();
          throw std::runtime_error("mine");
        },
        "mine");
    ends_with(
        [](BodyWriter&) {
          auto other = create_task([] { sleep(1h); });
          other.cancel();
          await(other);
        },
        "CancelledError");
    ends_with([](BodyWriter&) { (void)timeout(1ms, [] { sleep(1h); }); }, "");
  });
}

TEST_CASE("A write of a request's stream that was cut short is never sent again", "[http]") {
  on_loops([] {
    // Takes the whole of the first request's connection only when its client has given up.
    Event has_failed;
    std::string received;
    Peer peer([&](ByteStream& stream, int number) {
      if (number > 0) {
        (void)read_header(stream);
        return stream.write_all(bytes_in(ok("next")));
      }
      std::string more = read_header(stream);
      has_failed.wait();
      while (!more.empty()) {
        received += more;
        try {
          more = read_once(stream);
        } catch (const std::system_error&) {
          break;
        }
      }
    });
    http::Session session;
    RequestOptions options;
    options.stream_length = 40'000'000;
    int cut = 0;
    int after = 0;
    options.stream = [&](BodyWriter& out) {
      for (int i = 0; i < 10'000 && after < 3; ++i) {
        std::string data(4000, static_cast<char>('a' + i % 26));
        try {
          timeout(20ms, [&] {
            out.write(data);
            out.flush();
          });
        } catch (const TimeoutError&) {
          ++cut;
        } catch (const std::system_error&) {
          ++after;
        }
      }
    };
    const std::string text = thrown_by([&] { (void)session.request("POST", peer.url(), options); });
    has_failed.set();
    expect_equal(cut, 1, "writes that were cut short");
    expect_equal(after, 3, "writes after it, all refused");
    expect(text.find("left in its middle") != std::string::npos, text);
    expect_equal(session.idle_connections(), 0, "connections kept");
    expect(session.get(peer.url()).read_all() == "next", "a new connection for the next request");
    const std::size_t begin = received.find("\r\n\r\n") + 4;
    for (std::size_t i = begin; i < received.size(); ++i) {
      if (received[i] == static_cast<char>('a' + (i - begin) / 4000 % 26)) continue;
      throw ExpectationFailed("each byte once: wrong at " + std::to_string(i - begin));
    }
  });
}

TEST_CASE("An answer that was read in part, and then not, is not read on", "[http]") {
  on_loops([] {
    Event unset;
    Peer peer(answers("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf", unset));
    http::Session session({.max_connections = 1});
    auto response = session.get(peer.url());
    expect_throws<TimeoutError>([&] { timeout(20ms, [&] { (void)response.read_all(); }); }, "a timeout");
    expect_throws<http::ClientError>([&] { (void)response.read_all(); }, "the rest is not the whole");
    // Its place is free, though the response is still there.
    auto other = timeout(10s, [&] { return session.get(peer.url()); });
    std::string part(4, ' ');
    expect(other.read_some(bytes_of(part)) == 4 && part == "half", "another one's answer");
    expect_throws<TimeoutError>([&] { timeout(20ms, [&] { (void)other.read_some(bytes_of(part)); }); },
                                "one");
    expect_equal(session.idle_connections(), 0, "connections kept");
  });
}

TEST_CASE("A full-duplex request returns before its stream has ended, and its response waits for that",
          "[http]") {
  on_loops([] {
    Peer echo([](ByteStream& stream, int) {
      (void)read_header(stream);
      stream.write_all(bytes_in("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"));
      while (!read_once(stream).empty()) {
      }
    });
    http::Session session;
    std::atomic<bool> has_ended = false;
    {
      RequestOptions options = endless(has_ended);
      options.full_duplex = true;
      auto response = session.request("PUT", echo.url(), std::move(options));
      std::string part(4, ' ');
      expect(response.read_some(bytes_of(part)) == 4 && part == "part", "the answer meanwhile");
      expect(!has_ended, "the stream still runs");
    }
    expect(has_ended, "the stream has ended with its response");
  });
}

TEST_CASE("A body that the server did not ask for is not sent behind its answer", "[http]") {
  on_loops([] {
    std::string rest;
    Event is_read;
    Peer peer([&](ByteStream& stream, int) {
      (void)read_header(stream);
      stream.write_all(bytes_in("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno"));
      try {
        rest = read_once(stream);
      } catch (const std::system_error&) {
      }
      is_read.set();
    });
    http::Session session;
    RequestOptions options{.fields = {{"Expect", "100-continue"}}, .body = "unwanted"};
    expect(session.request("POST", peer.url(), options).read_all() == "no", "the refusal");
    is_read.wait();
    expect(rest.empty(), "no body behind it: " + rest);
    expect_equal(session.idle_connections(), 0, "connections kept");
  });
}

TEST_CASE("A session may be destroyed while its requests are under way", "[http]") {
  on_loops([] {
    Event may_answer;
    Peer peer([&](ByteStream& stream, int) {
      (void)read_header(stream);
      may_answer.wait();
      stream.write_all(bytes_in("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"));
      (void)read_header(stream);
      stream.write_all(bytes_in(ok("there")));
    });
    auto session = std::make_unique<http::Session>();
    auto task = create_task([&] { return session->get(peer.url()).read_all(); });
    wait_until([&] { return peer.connections() == 1; }, "a request under way");
    session.reset();
    may_answer.set();
    const std::string text = thrown_by([&] { expect(await(task) == "there", "the answer"); });
    expect(text == "nothing" || text.find("closed") != std::string::npos, text);
  });
}
