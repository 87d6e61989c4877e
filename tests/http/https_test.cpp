// fibrio::http over fibrio::tls: both plug into each other by one function a side.
#include <cerrno>
#include <chrono>
#include <string>

#include "fibrio/http/server.hpp"
#include "fibrio/http/session.hpp"
#include "fibrio/http/websocket.hpp"
#include "fibrio/tls.hpp"
#include "http/server_thread.hpp"
#include "support/net.hpp"
#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;
using http::Request;
using http::Response;

namespace {

http::ServerOptions secure_server() {
  http::ServerOptions options;
  options.header_timeout = 300ms;
  options.make_stream =
      [context = tls::Context::server(server_options())](TcpStream stream) -> std::unique_ptr<ByteStream> {
    return tls::accept(make_byte_stream(std::move(stream)), context);
  };
  return options;
}

http::SessionOptions secure_session() {
  http::SessionOptions options;
  options.make_secure = [context = tls::Context::client(client_options())](
                            TcpStream stream, const http::Url& url) -> std::unique_ptr<ByteStream> {
    return tls::handshake(make_byte_stream(std::move(stream)), context, url.host());
  };
  return options;
}

void add_routes(http::Server& server) {
  server.route("GET", "/", [](Request&) { return Response("hello"); });
  server.route("POST", "/echo", [](Request& request) { return Response(request.read_all()); });
  server.route("GET", "/chat", [](Request& request) {
    return http::websocket_response(request, [](http::WebSocket& socket) {
      while (auto message = socket.receive()) socket.send(*message);
    });
  });
}

}  // namespace

TEST_CASE("Requests and WebSockets go over TLS on kept connections", "[http]") {
  on_loops([] {
    http::Server server(secure_server());
    add_routes(server);
    server.listen(loopback());
    auto serving = create_task([&] { server.serve(); });
    const std::string authority = server.addresses()[0].to_string();
    {
      http::Session session(secure_session());
      const std::string large(500'000, 'l');
      for (int i = 0; i < 3; ++i) {
        expect(session.get("https://" + authority + "/").read_all() == "hello", "an answer");
        expect(session.post("https://" + authority + "/echo", large).read_all() == large,
               "a long body both ways");
      }
      expect_equal(server.stats().accepted, 1, "connections");
      const auto socket = http::connect_websocket(session, "wss://" + authority + "/chat");
      socket->send(large);
      expect(socket->receive()->data == large, "a message");
      socket->close();
      http::Session stranger(
          {.make_secure = [](TcpStream stream, const http::Url& url) -> std::unique_ptr<ByteStream> {
            return tls::handshake(make_byte_stream(std::move(stream)), tls::Context::client(), url.host());
          }});
      expect(error_of([&] { (void)stranger.get("https://" + authority + "/"); }) != 0,
             "a certificate nobody vouches for");
    }
    server.shutdown(1s);
    await(serving);
  });
}

TEST_CASE("A TLS server answers 408, survives plain text, and ends in order", "[http]") {
  on_loops([] {
    http::Server server(secure_server());
    add_routes(server);
    server.listen(loopback());
    auto serving = create_task([&] { server.serve(); });
    const Address address = server.addresses()[0];
    TcpStream plain = TcpStream::connect(address);
    plain.write_all("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    TcpStream silent = TcpStream::connect(address);  // its handshake never begins
    const auto stream = tls::handshake(make_byte_stream(TcpStream::connect(address)),
                                       tls::Context::client(client_options()), address.host());
    const std::string half = "GET / HTTP/1.1\r\n";
    stream->write_all(std::as_bytes(std::span(half)));
    std::string answer(1000, '\0');
    answer.resize(stream->read_some(bytes_of(answer)));
    expect(answer.starts_with("HTTP/1.1 408 "), "too slow: " + answer);
    std::byte byte{};
    std::size_t count = 0;
    const int error = error_of([&] { count = silent.read_some({&byte, 1}); });
    expect(count == 0 && (error == 0 || error == ECONNRESET), "the handshake has its time");
    wait_until([&] { return server.stats().connections == 0; }, "no connection");
    plain.close();
    server.shutdown(1s);
    await(serving);
  });
}

TEST_CASE("A secure answer that nobody reads on is cut off, and its connection reset", "[http]") {
  on_loops([] {
    http::Server server(secure_server());
    std::atomic<int> ended = 0;
    server.route("GET", "/endless", [&](Request&) {
      Response response;
      response.stream = [&](http::BodyWriter& body) {
        try {
          for (;;) body.write(std::string(10'000, 'e'));
        } catch (...) {
          ++ended;
          throw;
        }
      };
      return response;
    });
    server.listen(loopback());
    auto serving = create_task([&] { server.serve(); });
    const std::string url = "https://" + server.addresses()[0].to_string() + "/endless";
    http::Session session(secure_session());
    {
      auto answer = session.get(url);
      std::byte some[100];
      expect(answer.read_some(some) > 0, "the beginning");
    }
    wait_until([&] { return ended == 1; }, "the dropped one has ended");
    const auto read_for_ever = [](http::ClientResponse answer) {
      std::vector<std::byte> some(65536);
      while (answer.read_some(some) > 0) {
      }
    };
    expect_throws<TimeoutError>([&] { timeout(50ms, [&] { read_for_ever(session.get(url)); }); }, "too long");
    wait_until([&] { return ended == 2; }, "the one that was given up has ended");
    server.shutdown(1s);
    await(serving);
  });
}

TEST_CASE("A secure connection has left the server once its last answer is out, whatever the client does",
          "[http]") {
  on_loops([] {
    http::Server server(secure_server());
    add_routes(server);
    server.listen(loopback());
    auto serving = create_task([&] { server.serve(); });
    const Address address = server.addresses()[0];
    const tls::Context context = tls::Context::client(client_options());
    std::vector<TlsStream> clients;  // who stay
    const std::size_t before = open_fds();
    for (const char* request : {"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
                                "GET / HTTP/1.1\r\nHost: t\r\n nonsense\r\n\r\n and so on"}) {
      clients.push_back(
          tls::handshake(make_byte_stream(TcpStream::connect(address)), context, address.host()));
      write_text(*clients.back(), request);
      std::string answer;
      for (std::string piece = read_once(*clients.back()); !piece.empty();
           piece = read_once(*clients.back())) {
        answer += piece;
      }
      expect(answer.starts_with("HTTP/1.1 "), "an answer");
      wait_until([&] { return open_fds() == before + clients.size() && server.stats().connections == 0; },
                 "only the client's end is left");
    }
    server.shutdown(1s);
    await(serving);
  });
}
