// fibrio/http/websocket.hpp: against itself, against Boost.Beast on both sides, and against frames by hand.
#include "fibrio/http/websocket.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>

#include "fibrio/asio_stream.hpp"
#include "fibrio/http/server.hpp"
#include "http/site.hpp"
#include "http/websocket_frame.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using http::WebSocket;
using http::WebSocketError;
using http::WebSocketMessage;
using http::WebSocketOptions;
namespace asio = boost::asio;
namespace beast = boost::beast;

namespace {

// A server with /echo, which answers every message, on the running loop.
class Echo : public http_test::Site {
 public:
  explicit Echo(const WebSocketOptions& options = {})
      : Site([options](http::Server& server) {
          server.route("GET", "/echo", [options](http::Request& request) {
            return http::websocket_response(
                request,
                [](WebSocket& socket) {
                  while (auto message = socket.receive()) socket.send(*message);
                },
                options);
          });
        }) {}
  [[nodiscard]] std::string url() const { return "ws://" + address().to_string() + "/echo"; }
};

// A masked frame, as clients send them.
std::string frame(int first_byte, std::string payload, bool is_masked = true) {
  http::FrameHeader header{
      .is_final = true, .opcode = http::Opcode::kText, .mask = {}, .length = payload.size()};
  if (is_masked) {
    header.mask = {'\x01', '\x02', '\x03', '\x04'};
    http::apply_mask(payload, *header.mask, 0);
  }
  std::string bytes = http::make_frame_header(header);
  bytes[0] = static_cast<char>(first_byte);
  return bytes + payload;
}

void send_raw(ByteStream& stream, std::string_view bytes) {
  stream.write_all(std::as_bytes(std::span(bytes)));
}

std::uint16_t error_code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const WebSocketError& error) {
    return error.code();
  }
  return 0;
}

}  // namespace

TEST_CASE("A client and a server exchange messages over a WebSocket and close it", "[http]") {
  on_loops([] {
    Echo echo;
    http::Session session;
    const auto socket = http::connect_websocket(session, echo.url());
    for (const std::size_t size : {0u, 1u, 125u, 126u, 65'535u, 65'536u, 300'000u}) {
      const std::string text(size, 't');
      auto sender = create_task([&] { socket->send(text); });
      const auto answer = socket->receive();
      expect(answer && answer->is_text && answer->data == text, "a text of " + std::to_string(size));
      await(sender);
    }
    const std::vector<std::byte> data = test_data(1000);
    socket->send_binary(data);
    const auto answer = socket->receive();
    expect(answer && !answer->is_text && answer->data.size() == 1000, "binary");
    socket->ping("are you there");
    socket->send("after the ping");
    expect(socket->receive()->data == "after the ping", "a pong is passed over");
    socket->close(3000, "done");
    expect_equal(socket->close_code(), 3000, "the code comes back");
    expect_equal(error_code_of([&] { socket->send("x"); }), 1006, "sending after the close");
    socket->close();
    expect_equal(session.idle_connections(), 0, "the connection was the socket's");
  });
}

TEST_CASE("One task receives while others send", "[http]") {
  on_loops([] {
    Echo echo;
    http::Session session;
    const auto socket = http::connect_websocket(session, echo.url());
    constexpr int kSenders = 4;
    constexpr int kEach = 50;
    std::vector<Task<>> senders;
    for (int s = 0; s < kSenders; ++s) {
      senders.push_back(spawn([&, s] {
        for (int i = 0; i < kEach; ++i) {
          socket->send(std::to_string(s) + std::string(static_cast<std::size_t>(i) * 50, 'x'));
          if (i % 10 == 0) socket->ping("p");
        }
      }));
    }
    std::vector<std::size_t> next(kSenders, 0);
    for (int i = 0; i < kSenders * kEach; ++i) {
      const auto message = socket->receive();
      const auto sender = static_cast<std::size_t>(message->data[0] - '0');
      expect_equal(message->data.size(), 1 + 50 * next[sender]++, "each sender's messages in order");
    }
    for (const Task<>& sender : senders) await(sender);
    expect(error_of([&] {
             auto reader = create_task([&] { (void)socket->receive(); });
             wait_until_waits(reader, WaitReason::kReadable);
             try {
               (void)socket->receive();
               throw ExpectationFailed("two receivers");
             } catch (const RuntimeError&) {
             }
             socket->close();  // the reader sees the end
             await(reader);
           }) == 0,
           "closed beside a receiver");
  });
}

TEST_CASE("Boost.Beast's WebSocket client talks to our server", "[http]") {
  const asio::steady_timer keeps_context(asio::system_executor{});  // three fds, once per process
  on_loop({1, false}, [] {                                          // its masks come from a thread_local
    Echo echo({.protocols = {"superchat", "chat"}});
    const auto stream = make_byte_stream(TcpStream::connect(echo.address()));
    beast::websocket::stream<AsioStream> socket(*stream);
    socket.set_option(beast::websocket::stream_base::decorator([](beast::websocket::request_type& request) {
      request.set("Sec-WebSocket-Protocol", "other, chat");
    }));
    beast::websocket::response_type response;
    socket.handshake(response, "test", "/echo");
    expect(response["Sec-WebSocket-Protocol"] == "chat", "the protocol both know");
    for (const bool fragments : {false, true}) {
      socket.auto_fragment(fragments);
      socket.write_buffer_bytes(1000);
      for (const std::size_t size : {0u, 200u, 50'000u}) {
        const std::string text(size, 'b');
        socket.binary(size == 200);
        socket.write(asio::buffer(text));
        beast::flat_buffer buffer;
        socket.read(buffer);
        expect(beast::buffers_to_string(buffer.data()) == text, "the message comes back");
        expect(socket.got_binary() == (size == 200), "and its kind");
      }
    }
    int pongs = 0;
    socket.control_callback([&pongs](beast::websocket::frame_type type, beast::string_view payload) {
      pongs += type == beast::websocket::frame_type::pong && payload == "ping";
    });
    socket.ping("ping");
    socket.write(asio::buffer("x", 1));
    beast::flat_buffer buffer;
    socket.read(buffer);
    expect_equal(pongs, 1, "pongs");
    socket.close({beast::websocket::close_code::normal, "bye"});
  });
}

TEST_CASE("Our WebSocket client talks to Boost.Beast's server", "[http]") {
  const asio::steady_timer keeps_context(asio::system_executor{});
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    auto server = create_task([&] {
      const auto stream = make_byte_stream(listener.accept());
      beast::websocket::stream<AsioStream> socket(*stream);
      socket.accept();
      socket.auto_fragment(true);
      socket.write_buffer_bytes(512);
      beast::flat_buffer buffer;
      for (;;) {
        boost::system::error_code error;
        socket.read(buffer, error);
        if (error == beast::websocket::error::closed) break;
        expect(!error, "a message: " + error.message());
        socket.ping("between");
        socket.text(socket.got_text());
        socket.write(buffer.data());
        buffer.consume(buffer.size());
      }
      expect(socket.reason().code == 1000 && socket.reason().reason == "bye", "the close");
    });
    http::Session session;
    const auto socket =
        http::connect_websocket(session, "ws://" + listener.local_address().to_string() + "/");
    for (const std::size_t size : {0u, 5u, 40'000u}) {
      const std::string text(size, 'm');
      socket->send(text);
      expect(socket->receive()->data == text, "the message comes back");
    }
    socket->close(1000, "bye");
    await(server);
  });
}

TEST_CASE("Frames that break the protocol end the connection with their code", "[http]") {
  struct Bad {
    const char* what;
    std::string bytes;
    std::uint16_t code;
  };
  const std::vector<Bad> corpus = {
      {"not masked", frame(0x81, "x", false), 1002},
      {"a reserved bit", frame(0xc1, "x"), 1002},
      {"an unknown opcode", frame(0x83, "x"), 1002},
      {"an unknown control opcode", frame(0x8b, "x"), 1002},
      {"a ping in pieces", frame(0x09, "x"), 1002},
      {"a long ping", frame(0x89, std::string(126, 'x')), 1002},
      {"a piece of nothing", frame(0x80, "x"), 1002},
      {"a message inside another", frame(0x01, "x") + frame(0x81, "y"), 1002},
      {"a length in too many bytes", std::string("\x81\xfe\x00\x7d\1\2\3\4", 8) + std::string(125, 'x'),
       1002},
      {"a length in far too many bytes", std::string("\x81\xff\0\0\0\0\0\0\0\x7d\1\2\3\4", 14), 1002},
      {"a length beyond 63 bits", std::string("\x82\xff\x80\0\0\0\0\0\0\0\1\2\3\4", 14), 1002},
      {"too large", frame(0x81, std::string(1001, 'x')), 1009},
      {"too large in pieces", frame(0x01, std::string(600, 'x')) + frame(0x80, std::string(600, 'x')), 1009},
      {"huge", std::string("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4", 14), 1009},
      {"no UTF-8", frame(0x81, "\xff"), 1007},
      {"overlong UTF-8", frame(0x81, "\xc0\xaf"), 1007},
      {"a surrogate", frame(0x81, "\xed\xa0\x80"), 1007},
      {"half a character", frame(0x81, "\xe2\x82"), 1007},
      {"half a code", frame(0x88, "\x03"), 1002},
      {"a code that means nothing", frame(0x88, std::string("\x03\xed", 2)), 1002},  // 1005
      {"a reason that is no UTF-8", frame(0x88, std::string("\x03\xe8\xff", 3)), 1007},
  };
  on_loops([&corpus] {
    for (const Bad& bad : corpus) {
      for (const bool byte_by_byte : {false, true}) {
        Ends ends = connect_ends();
        WebSocket socket(*ends.server, WebSocket::Role::kServer, {.max_message_bytes = 1000});
        std::byte answer[16];
        std::size_t count = 0;
        auto sender = create_task([&] {
          try {
            for (std::size_t i = 0; i < bad.bytes.size(); i += byte_by_byte ? 1 : bad.bytes.size()) {
              ends.client->write_all(
                  std::as_bytes(std::span(bad.bytes)).subspan(i, byte_by_byte ? 1 : bad.bytes.size()));
            }
          } catch (const std::system_error&) {
          }
          count = ends.client->read_some(answer);
          ends.client->close();  // that is what receive() waits for
        });
        expect_equal(error_code_of([&] { (void)socket.receive(); }), bad.code, bad.what);
        expect(!socket.receive(), "nothing comes after that");
        await(sender);
        expect_equal(count, 4U, std::string("a close after ") + bad.what);
        expect(answer[0] == std::byte{0x88} && answer[1] == std::byte{2}, "a close");
        const int code = std::to_integer<int>(answer[2]) * 256 + std::to_integer<int>(answer[3]);
        expect_equal(code, static_cast<int>(bad.code), "its code");
      }
    }
  });
}

TEST_CASE("A peer that leaves, or is silent, does not hold a WebSocket up", "[http]") {
  on_loops([] {
    {  // at every byte
      const std::string bytes = frame(0x01, "ab") + frame(0x89, "p") + frame(0x80, "cd");
      for (std::size_t length = 0; length < bytes.size(); ++length) {
        Ends ends = connect_ends();
        WebSocket socket(*ends.server, WebSocket::Role::kServer);
        ends.client->write_all(std::as_bytes(std::span(bytes)).first(length));
        ends.client->close();
        try {
          (void)socket.receive();
          throw ExpectationFailed("the end is told");
        } catch (const WebSocketError& error) {
          expect_equal(error.code(), 1006, "the code");
        } catch (const std::system_error&) {  // the pong met a closed socket
        }
      }
    }
    Ends ends = connect_ends();
    WebSocket socket(*ends.server, WebSocket::Role::kServer, {.close_timeout = 20ms});
    auto reader = create_task([&] { (void)socket.receive(); });
    send_raw(*ends.client, frame(0x01, "half "));
    wait_until_waits(reader, WaitReason::kReadable);
    reader.cancel();
    reader.wait();
    expect(reader.cancelled(), "receive is cancelled");
    send_raw(*ends.client, frame(0x80, "a message"));
    expect(socket.receive()->data == "half a message", "a cancelled receive loses nothing");
    socket.close();  // nobody answers
    expect(!ends.server->is_open(), "closed all the same");
  });
}

TEST_CASE("The end of a server says goodbye to its WebSockets", "[http]") {
  on_loops([] {
    Echo echo;
    http::Session session;
    const auto socket = http::connect_websocket(session, echo.url());
    socket->send("hello");
    expect(socket->receive()->data == "hello", "it works");
    auto stop = create_task([&] { echo.server().shutdown(10ms); });
    expect(!socket->receive(), "a close");
    expect_equal(socket->close_code(), 1001, "going away");
    await(stop);
  });
}

TEST_CASE("Requests that ask for no WebSocket are refused by name, and bad answers by the client", "[http]") {
  on_loops([] {
    Echo echo;
    http::Session session;
    const std::string url = "http" + echo.url().substr(2);
    const http::Fields good = {{"Connection", "keep-alive, Upgrade"},
                               {"Upgrade", "WebSocket"},
                               {"Sec-WebSocket-Version", "13"},
                               {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}};
    const auto status_without = [&](const char* name, const char* instead) {
      http::Fields fields = good;
      fields.erase(name);
      if (instead != nullptr) fields.add(name, instead);
      return session.get(url, {.fields = fields}).status();
    };
    {
      const auto response = session.get(url, {.fields = good});
      expect_equal(response.status(), 101, "status");
      expect(response.field("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
             "the RFC's own example");
    }
    expect_equal(status_without("Upgrade", nullptr), 426, "no Upgrade");
    expect_equal(status_without("Connection", nullptr), 426, "no Connection");
    expect_equal(status_without("Sec-WebSocket-Version", "8"), 426, "another version");
    expect_equal(status_without("Sec-WebSocket-Key", nullptr), 400, "no key");
    expect_equal(status_without("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"), 400, "a short key");
    expect_equal(status_without("Sec-WebSocket-Key", "dGhl!HNhbXBsZSBub25jZQ=="), 400, "no base64");

    http::Server liar;
    liar.route("GET", "/", [](http::Request&) {
      http::Response response(101);
      response.fields.add("Upgrade", "websocket");
      response.fields.add("Sec-WebSocket-Accept", "nonsense");
      response.upgrade = [](ByteStream&) {};
      return response;
    });
    liar.listen(loopback());
    auto serving = create_task([&] { liar.serve(); });
    for (const std::string target : {"/", "/nowhere"}) {
      try {
        (void)http::connect_websocket(session, "ws://" + liar.addresses()[0].to_string() + target);
        throw ExpectationFailed("a wrong answer is refused");
      } catch (const http::ClientError&) {
      }
    }
    session.close();
    serving.cancel();
    serving.wait();
    wait_until([&] { return liar.stats().connections == 0; }, "no connection");
  });
}
