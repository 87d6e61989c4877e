// cancel-at-k over HTTP and WebSockets: the peer sees a prefix of a legal conversation, and nothing twice.
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ends/cancel_at_k.hpp"
#include "fibrio/http/server.hpp"
#include "fibrio/http/session.hpp"
#include "fibrio/http/testing.hpp"
#include "fibrio/http/websocket.hpp"
#include "fibrio/testing.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

constexpr StreamPairOptions kNarrow{.latency = 1ms, .capacity = 48, .max_read = 40, .max_write = 32};

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string read_rest(ByteStream& stream) {
  std::string all;
  std::array<char, 64> buffer;
  try {
    while (const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(buffer)))) {
      all.append(buffer.data(), count);
    }
  } catch (const std::system_error&) {
    // A reset is a way to end, for who reads what came before.
  }
  return all;
}

// --- the server's side ---------------------------------------------------------------------------------------

std::string body_of(char letter) { return std::string(100, letter); }

std::unique_ptr<http::Server> make_server() {
  auto server = std::make_unique<http::Server>();
  server->route("POST", "/echo", [](http::Request& request) { return http::Response(request.read_all()); });
  server->route("GET", "/stream", [](http::Request&) {
    http::Response response;
    response.stream = [](http::BodyWriter& out) {
      for (int i = 0; i < 4; ++i) {
        out.write(std::string(25, 'b'));
        out.flush();
        sleep(1ms);
      }
    };
    return response;
  });
  server->route("GET", "/slow", [](http::Request&) {
    sleep(1ms);
    return http::Response(body_of('c'));
  });
  return server;
}

// Takes one answer off the text, dechunked. False if it is not all there.
bool take_answer(std::string_view& text, unsigned& status, std::string& body) {
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return false;
  const std::string_view head = text.substr(0, end);
  std::string_view rest = text.substr(end + 4);
  if (!head.starts_with("HTTP/1.1 ")) {
    TASK_CHECK(false);  // an answer begins where none may
    return false;
  }
  status = static_cast<unsigned>(std::stoul(std::string(head.substr(9, 3))));
  body.clear();
  if (const std::size_t at = head.find("Content-Length: "); at != std::string_view::npos) {
    const std::size_t length = std::stoul(std::string(head.substr(at + 16)));
    if (rest.size() < length) return false;
    body = rest.substr(0, length);
    rest.remove_prefix(length);
  } else if (head.find("chunked") != std::string_view::npos) {
    for (std::size_t size = 1; size != 0;) {
      const std::size_t line = rest.find("\r\n");
      if (line == std::string_view::npos) return false;
      size = std::stoul(std::string(rest.substr(0, line)), nullptr, 16);
      if (rest.size() < line + 2 + size + 2) return false;
      body += rest.substr(line + 2, size);
      rest.remove_prefix(line + 2 + size + 2);
    }
  }
  text = rest;
  return true;
}

void use_serve_connection(Attempt& attempt) {
  const auto server = make_server();
  StreamPair pair = make_stream_pair(kNarrow);
  Task<> writer = create_task([&] {
    try {
      pair.first->write_all(
          bytes("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + body_of('a') +
                "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
                "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
                "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n\r\n64\r\n" +
                body_of('d') + "\r\n0\r\n\r\n"));
    } catch (const std::system_error&) {
      // The server has gone.
    }
  });
  Task<std::string> reader = create_task([&] { return read_rest(*pair.first); });
  const Ended ended = attempt.run([&] { http::serve_connection(*server, *pair.second); });
  pair.second->close();
  const std::string seen = await(reader);
  await(writer);
  TASK_CHECK(server->stats().connections == 0);
  std::string_view text = seen;
  unsigned status = 0;
  std::string body;
  char next = 'a';
  while (take_answer(text, status, body)) {
    if (status == 100) continue;
    if (status == 503) {
      TASK_CHECK(ended != Ended::kWell && text.empty());  // the last word
      break;
    }
    TASK_CHECK(status == 200 && body == body_of(next));
    ++next;
  }
  TASK_CHECK(next <= 'e' && (ended != Ended::kWell || (next == 'e' && text.empty())));
}

// --- the client's side ---------------------------------------------------------------------------------------

// Serves on loopback while `use` runs.
template <class Use>
void with_server(Use use) {
  const auto server = make_server();
  server->listen(Address::parse("127.0.0.1", 0));
  const std::string url = "http://127.0.0.1:" + std::to_string(server->addresses().front().port());
  Task<> serving = create_task([&] { server->serve(); });
  {
    http::Session session;
    use(session, url);
    // Whatever happened, the session is of use, and no byte of it stands in a later answer.
    TASK_CHECK(session.get(url + "/slow").read_all() == body_of('c'));
    TASK_CHECK(session.post(url + "/echo", body_of('x')).read_all() == body_of('x'));
  }
  server->shutdown(1s);
  await(serving);
}

void use_session(Attempt& attempt) {
  with_server([&](http::Session& session, const std::string& url) {
    attempt.run([&] {
      TASK_CHECK(session.post(url + "/echo", body_of('a')).read_all() == body_of('a'));
      TASK_CHECK(session.get(url + "/stream").read_all() == body_of('b'));
      TASK_CHECK(session.get(url + "/slow").read_all() == body_of('c'));
    });
  });
}

void use_session_stream(Attempt& attempt) {
  with_server([&](http::Session& session, const std::string& url) {
    attempt.run([&] {
      http::RequestOptions options;
      options.stream = [](http::BodyWriter& out) {
        for (int i = 0; i < 4; ++i) {
          out.write(std::string(25, 'd'));
          out.flush();
          sleep(1ms);
        }
      };
      http::ClientResponse response = session.request("POST", url + "/echo", std::move(options));
      TASK_CHECK(response.read_all() == body_of('d'));
    });
  });
}

// --- WebSockets ----------------------------------------------------------------------------------------------

// Echoes at the other end; what came has to be a prefix of what was meant.
void use_websocket(Attempt& attempt, http::WebSocket::Role role) {
  const auto other = role == http::WebSocket::Role::kClient ? http::WebSocket::Role::kServer
                                                            : http::WebSocket::Role::kClient;
  const std::vector<std::string> messages{body_of('a'), body_of('b'), body_of('c')};
  StreamPair pair = make_stream_pair(kNarrow);
  Task<std::vector<std::string>> peer = create_task([&] {
    std::vector<std::string> got;
    http::WebSocket socket(*pair.second, other);
    try {
      while (auto message = socket.receive()) {
        got.push_back(message->data);
        socket.send(*message);
      }
    } catch (const http::WebSocketError&) {
    } catch (const std::system_error&) {
    }
    return got;
  });
  std::vector<std::string> echoes;
  Ended ended = Ended::kWell;
  {
    http::WebSocket socket(*pair.first, role);
    ended = attempt.run([&] {
      for (const std::string& message : messages) {
        socket.send(message);
        if (auto echo = socket.receive()) echoes.push_back(echo->data);
      }
      socket.close();
    });
    // It is of use, or says that it is not.
    try {
      timeout(1s, [&] { socket.send(body_of('z')); });
    } catch (const TimeoutError&) {  // nobody reads what the peer answers
    } catch (const http::WebSocketError&) {
    } catch (const std::system_error&) {
    }
  }
  pair.first->close();
  std::vector<std::string> got = await(peer);
  if (!got.empty() && got.back() == body_of('z')) got.pop_back();
  TASK_CHECK(got.size() <= messages.size() && std::equal(got.begin(), got.end(), messages.begin()));
  TASK_CHECK(std::equal(echoes.begin(), echoes.end(), messages.begin()));
  TASK_CHECK(ended != Ended::kWell || (got == messages && echoes == messages));
}
void use_websocket_client(Attempt& attempt) { use_websocket(attempt, http::WebSocket::Role::kClient); }
void use_websocket_server(Attempt& attempt) { use_websocket(attempt, http::WebSocket::Role::kServer); }

}  // namespace

TEST_CASE("cancel-at-k: a server's connection says nothing illegal at any wait", "[ends]") {
  static constexpr CancelScript kScripts[] = {{"http::serve_connection", use_serve_connection}};
  sweep("cancel_at_k_http_server", kScripts);
}

TEST_CASE("cancel-at-k: a session is of use after every wait, and mixes no answers", "[ends]") {
  static constexpr CancelScript kScripts[] = {
      {"http::Session", use_session, false},
      {"http::Session with a stream", use_session_stream, false},
  };
  sweep("cancel_at_k_http_client", kScripts);
}

TEST_CASE("cancel-at-k: a WebSocket sends whole messages in order at every wait", "[ends]") {
  static constexpr CancelScript kScripts[] = {
      {"http::WebSocket, client", use_websocket_client},
      {"http::WebSocket, server", use_websocket_server},
  };
  sweep("cancel_at_k_websocket", kScripts);
}
