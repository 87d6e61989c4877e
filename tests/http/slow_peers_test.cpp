// Peers that are slow, leave half-way or do not listen: each meets its deadline or its end, nobody beside it
// waits for that, and nothing is left.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "http/server_thread.hpp"
#include "support/catch.hpp"
#include "support/net.hpp"
#include "support/temp_folder.hpp"

using namespace http_test;
using namespace std::chrono_literals;
namespace http = fibrio::http;
using fibrio::net_test::RawPeer;
using http::Request;
using http::Response;

namespace {

constexpr std::size_t kPeers = 12;
constexpr std::size_t kPiece = 100'000;

// What the routes below have done.
struct Done {
  std::atomic<std::uint64_t> written{0};  // bytes of /endless
  std::atomic<int> answered{0};           // by /large
  std::atomic<int> begun{0};              // calls of /wait
};

ServerThread::Setup routes(Done& done) {
  return [&done](http::Server& server) {
    server.route("GET", "/", [](Request&) { return Response("pong"); });
    server.route("POST", "/echo", [](Request& request) { return Response(request.read_all()); });
    server.route("GET", "/wait", [&done](Request&) {
      ++done.begun;
      fibrio::sleep(50ms);
      return Response("waited");
    });
    server.route("GET", "/large/{n}", [&done](Request& request) {
      ++done.answered;
      return Response(request.parameter("n") + std::string(8192, 'l'));
    });
    server.route("GET", "/endless", [&done](Request&) {
      Response response;
      response.stream = [&done](http::BodyWriter& out) {
        for (const std::string piece(kPiece, 'x');; done.written += kPiece) out.write(piece);
      };
      return response;
    });
  };
}

std::vector<Client> connect_many(int port) {
  std::vector<Client> clients;
  for (std::size_t i = 0; i < kPeers; ++i) clients.emplace_back(port);
  return clients;
}

// Sends the next byte of `text` to each, every few milliseconds, until all were answered or closed. Meanwhile
// `live` is served.
void trickle(std::vector<Client>& clients, Client& live, const std::string& text) {
  const auto end = std::chrono::steady_clock::now() + patience();
  bool is_over = false;
  for (std::size_t i = 0; i < text.size() && !is_over && std::chrono::steady_clock::now() < end; ++i) {
    is_over = true;
    for (Client& client : clients) {
      if (client.has_input_within(0ms)) continue;
      is_over = false;
      (void)client.send(text.substr(i, 1));
    }
    REQUIRE(live.ask(get("/")).body == "pong");
    std::this_thread::sleep_for(5ms);
  }
  CHECK(is_over);
}

template <class Test>
void with_servers(const http::ServerOptions& options, Test test) {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    CAPTURE(workers);
    Done done;
    ServerThread server(routes(done), options, workers);
    Client live(server.port());
    REQUIRE(live.ask(get("/")).body == "pong");
    test(server, live, done);
    CHECK(live.ask(get("/")).body == "pong");
    CHECK(eventually([&] { return server.server().stats().connections == 1; }));
    CHECK(server.server().stats().refused == 0);
    CHECK(server.server().stats().dropped == 0);
    server.stop(5s);  // looks for tasks, fds and stacks that are left, and for reports
    CHECK(server.server().stats().connections == 0);
  }
}

}  // namespace

TEST_CASE("Headers that trickle in are answered with 408 when their time is over, and stop nobody else",
          "[http]") {
  with_servers({.header_timeout = 200ms}, [](ServerThread& server, Client& live, Done&) {
    std::vector<Client> slow = connect_many(server.port());
    const auto begin = std::chrono::steady_clock::now();
    trickle(slow, live, get("/", "X: " + std::string(8000, 'x') + "\r\n"));
    CHECK(std::chrono::steady_clock::now() - begin >= 200ms);
    for (Client& client : slow) {
      const Reply reply = client.receive();
      CHECK(reply.status == 408);
      CHECK(reply.field("Connection") == "close");
    }
  });
}

TEST_CASE("Bodies that trickle in are answered with 408 when their time is over, and stop nobody else",
          "[http]") {
  with_servers({.body_timeout = 200ms}, [](ServerThread& server, Client& live, Done&) {
    std::vector<Client> slow = connect_many(server.port());
    for (Client& client : slow) {
      REQUIRE(client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10000\r\n\r\n"));
    }
    const auto begin = std::chrono::steady_clock::now();
    trickle(slow, live, std::string(8000, 'x'));
    CHECK(std::chrono::steady_clock::now() - begin >= 150ms);  // the first of them began before
    for (Client& client : slow) CHECK(client.receive().status == 408);
  });
}

TEST_CASE("Connections without a request are closed without a word when their time is over", "[http]") {
  with_servers({.header_timeout = 200ms}, [](ServerThread& server, Client& live, Done&) {
    std::vector<Client> silent = connect_many(server.port());
    for (Client& client : silent) {
      CHECK(client.is_closed_by_server());
      CHECK(live.ask(get("/")).body == "pong");
    }
  });
}

TEST_CASE(
    "Readers that have stopped hold up their own answers alone, a bounded part of them, until they are cut "
    "off",
    "[http]") {
  with_servers({.write_timeout = 300ms}, [](ServerThread& server, Client& live, Done& done) {
    std::vector<Client> deaf = connect_many(server.port());
    for (Client& client : deaf) REQUIRE(client.send(get("/endless")));
    CHECK(eventually([&] { return done.written > 0; }));
    CHECK(eventually([&] {
      CHECK(live.ask(get("/")).body == "pong");
      return server.server().stats().connections == 1;
    }));
    // What the sockets of the two sides take, some MiB at most, and a piece.
    CHECK(done.written < kPeers * (16U << 20));
    for (Client& client : deaf) {
      const auto received = client.receive_all();
      REQUIRE(received);
      CHECK(received->find("200 OK") != std::string::npos);
      CHECK(received->find("\r\n0\r\n\r\n") == std::string::npos);  // never a whole answer
    }
  });
}

TEST_CASE("A reader that goes slowly, but goes on, gets all of its answer", "[http]") {
  static constexpr std::size_t kBytes = 120 * kPiece;  // far more than the sockets take
  constexpr auto kTimeout = 300ms * fibrio::test::kSlowdown;
  ServerThread server(
      [](http::Server& s) {
        s.route("GET", "/", [](Request&) {
          Response response;
          response.stream = [](http::BodyWriter& out) {
            for (std::size_t i = 0; i < kBytes; i += kPiece) out.write(std::string(kPiece, 'x'));
          };
          response.stream_length = kBytes;
          return response;
        });
      },
      {.write_timeout = kTimeout});
  const auto peer = RawPeer::connect(fibrio::Address::parse("127.0.0.1", server.port()));
  peer.send(get("/", "Connection: close\r\n"));
  const auto begin = std::chrono::steady_clock::now();
  std::string received(kPiece, '\0');
  std::size_t total = 0;
  for (;;) {
    const ssize_t count = ::recv(peer.fd(), received.data(), received.size(), 0);
    if (count <= 0) break;
    total += static_cast<std::size_t>(count);
    if (total < kBytes) std::this_thread::sleep_for(kTimeout / 60);
  }
  CHECK(total > kBytes);  // the header too
  CHECK(total < kBytes + 200);
  CHECK(std::chrono::steady_clock::now() - begin > 3 * kTimeout / 2);
}

namespace {

// Answers "/" with so many bytes, in one of the ways a body is sent, and "/file" with those of a file.
constexpr std::size_t kSlowBytes = 24U << 20;

ServerThread::Setup large_answers(const std::string& file) {
  return [file](http::Server& server) {
    server.route("GET", "/body", [](Request&) { return Response(std::string(kSlowBytes, 'x')); });
    server.route("GET", "/stream", [](Request&) {
      Response response;
      response.stream = [](http::BodyWriter& out) { out.write(std::string(kSlowBytes, 'x')); };
      return response;
    });
    server.route("GET", "/file", [file](Request& request) { return http::file_response(request, file); });
  };
}

}  // namespace

TEST_CASE("write_timeout does not end who reads an answer slowly, but steadily, in whatever way it is sent",
          "[http]") {
  const fibrio::test::TempFolder directory;
  const std::string file = directory.path() + "/large";
  std::ofstream(file) << std::string(kSlowBytes, 'x');
  constexpr auto kTimeout = 240ms * std::min(fibrio::test::kSlowdown, 3);
  for (const char* path : {"/body", "/stream", "/file"}) {
    CAPTURE(path);
    ServerThread server(large_answers(file), {.write_timeout = kTimeout});
    const auto peer = RawPeer::connect(fibrio::Address::parse("127.0.0.1", server.port()));
    peer.send(get(path, "Connection: close\r\n"));
    // Some percent of it in several timeouts, then the rest at once.
    const auto end = std::chrono::steady_clock::now() + 3 * kTimeout;
    std::string received(64U << 10, '\0');
    std::size_t total = 0;
    std::size_t slowly = 0;
    for (;;) {
      const ssize_t count = ::recv(peer.fd(), received.data(), received.size(), 0);
      if (count <= 0) break;
      total += static_cast<std::size_t>(count);
      if (std::chrono::steady_clock::now() > end) continue;
      slowly = total;
      std::this_thread::sleep_for(kTimeout / 12);
    }
    CHECK(slowly < kSlowBytes / 4);
    CHECK(total >= kSlowBytes);
  }
}

TEST_CASE("write_timeout ends who stops in the middle of an answer", "[http]") {
  const fibrio::test::TempFolder directory;
  const std::string file = directory.path() + "/large";
  std::ofstream(file) << std::string(kSlowBytes, 'x');
  for (const char* path : {"/body", "/stream", "/file"}) {
    CAPTURE(path);
    ServerThread server(large_answers(file), {.write_timeout = 100ms});
    const auto peer = RawPeer::connect(fibrio::Address::parse("127.0.0.1", server.port()));
    peer.send(get(path));
    std::string received(64U << 10, '\0');
    for (int i = 0; i < 8; ++i) {
      REQUIRE(::recv(peer.fd(), received.data(), received.size(), MSG_WAITALL) > 0);
      std::this_thread::sleep_for(30ms);
    }
    CHECK(eventually([&] { return server.server().stats().connections == 0; }));
    CHECK(server.server().stats().requests == 1);
  }
}

TEST_CASE("A pipeline whose answers are not read is not worked off either, and is once they are", "[http]") {
  with_servers({}, [](ServerThread& server, Client& live, Done& done) {
    constexpr int kRequests = 4000;  // 32 MiB of answers
    Client client(server.port());
    std::thread sender([&] {
      for (int i = 0; i < kRequests; ++i) client.send(get("/large/" + std::to_string(i)));
    });
    int before = -1;
    // Until nothing moves any more.
    for (int same = 0; same < 20; std::this_thread::sleep_for(5ms)) {
      CHECK(live.ask(get("/")).body == "pong");
      same = before == done.answered && before > 0 ? same + 1 : 0;
      before = done.answered;
    }
    CHECK(done.answered < kRequests);
    for (int i = 0; i < kRequests; ++i) {
      const Reply reply = client.receive();
      REQUIRE(reply.body.size() == std::to_string(i).size() + 8192);
      REQUIRE(reply.body.starts_with(std::to_string(i) + "l"));
    }
    sender.join();
    client.reset();
  });
}

TEST_CASE("A client that half-closes behind its requests gets all answers, and then the end", "[http]") {
  with_servers({}, [](ServerThread& server, Client&, Done&) {
    const std::string body(100'000, 'b');
    for (const bool is_slow : {false, true}) {
      CAPTURE(is_slow);
      Client client(server.port());
      REQUIRE(client.send(get("/") + (is_slow ? get("/wait") : "") + post("/echo", body)));
      client.shutdown_write();
      CHECK(client.receive().body == "pong");
      if (is_slow) CHECK(client.receive().body == "waited");
      CHECK((client.receive().body == body));
      CHECK(client.is_closed_by_server());
    }
  });
}

TEST_CASE("A client that half-closes within a request gets the end, and no answer to a half", "[http]") {
  with_servers({}, [](ServerThread& server, Client&, Done&) {
    for (const std::string& part :
         {std::string(), std::string("GET / HT"), std::string("GET / HTTP/1.1\r\nHost: t\r\n"),
          std::string("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc"),
          std::string("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab")}) {
      CAPTURE(part);
      Client client(server.port());
      REQUIRE(client.send(part));
      client.shutdown_write();
      CHECK(client.is_closed_by_server());
      Client behind_another(server.port());
      REQUIRE(behind_another.send(get("/") + part));
      behind_another.shutdown_write();
      CHECK(behind_another.receive().body == "pong");
      CHECK(behind_another.is_closed_by_server());
    }
  });
}

TEST_CASE("Resets at every stage of a request leave nothing behind and stop nobody else", "[http]") {
  with_servers({}, [](ServerThread& server, Client& live, Done& done) {
    // What is sent, and whether something of an answer is waited for before the reset.
    struct Stage {
      const char* name;
      std::string sent;
      bool waits;
    };
    const std::string large = "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n";
    for (const Stage& stage :
         {Stage{"before a request", "", false}, Stage{"within a header", "GET / HTTP/1.1\r\nHos", false},
          Stage{"within a body", large + std::string(400'000, 'b'), false},
          Stage{"behind a request", get("/"), false},
          Stage{"in a pipeline", get("/wait") + get("/") + get("/wait") + get("/endless"), false},
          Stage{"within an answer", get("/endless"), true}, Stage{"while idle", get("/"), true},
          Stage{"at 100 Continue",
                "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
                true}}) {
      CAPTURE(stage.name);
      for (std::size_t i = 0; i < kPeers; ++i) {
        Client client(server.port());
        REQUIRE(client.send(stage.sent));
        if (stage.waits) REQUIRE(client.has_input_within(patience()));
        client.reset();
        REQUIRE(live.ask(get("/")).body == "pong");
      }
      CHECK(eventually([&] { return server.server().stats().connections == 1; }));
    }
    // While their handlers run.
    const int begun = done.begun;
    std::vector<Client> clients = connect_many(server.port());
    for (Client& client : clients) REQUIRE(client.send(get("/wait")));
    CHECK(eventually([&] { return done.begun == begun + static_cast<int>(kPeers); }));
    for (Client& client : clients) client.reset();
    CHECK(live.ask(get("/wait")).body == "waited");
  });
}
