// fibrio/asio_stream.hpp: libraries that know only Boost.Asio's synchronous streams, on fibers.
#include "fibrio/asio_stream.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;

TEST_CASE("asio::read_until and asio::write run on an AsioStream", "[asio_stream]") {
  on_loops([] {
    const Ends ends = connect_ends();
    auto writer = create_task([&] {
      AsioStream stream(*ends.client);
      const std::string large(100'000, 'x');
      // Many small buffers and a large one.
      const std::array<asio::const_buffer, 5> pieces = {asio::buffer("one ", 4), asio::buffer("", 0),
                                                        asio::buffer("two\n", 4), asio::buffer(large),
                                                        asio::buffer("\n", 1)};
      expect_equal(asio::write(stream, pieces), 8 + large.size() + 1, "bytes written");
      ends.client->shutdown_write();
    });
    AsioStream stream(*ends.server);
    std::string text;
    expect_equal(asio::read_until(stream, asio::dynamic_buffer(text), '\n'), 8, "bytes up to the newline");
    expect(text.starts_with("one two\n"), "the first line");
    text.erase(0, 8);
    expect_equal(asio::read_until(stream, asio::dynamic_buffer(text), '\n'), 100'001, "a long line");
    boost::system::error_code error;
    text.clear();
    asio::read_until(stream, asio::dynamic_buffer(text), '\n', error);
    expect(error == asio::error::eof, "the end of the stream is asio's eof");
    bool thrown = false;
    try {
      asio::read_until(stream, asio::dynamic_buffer(text), '\n');
    } catch (const boost::system::system_error& failure) {
      thrown = failure.code() == asio::error::eof;
    }
    expect(thrown, "without an error_code it is thrown");
    await(writer);
  });
}

TEST_CASE("An AsioStream tells errors of the system, and a cancellation goes through it", "[asio_stream]") {
  on_loops([] {
    Ends ends = connect_ends();
    AsioStream stream(*ends.server);
    std::byte byte{};
    auto reader = create_task([&] {
      boost::system::error_code error;
      (void)stream.read_some(asio::buffer(&byte, 1), error);
    });
    wait_until_waits(reader, WaitReason::kReadable);
    reader.cancel();
    reader.wait();
    expect(reader.cancelled(), "CancelledError, not an error_code");

    ends.client->abort();
    boost::system::error_code error;
    (void)stream.read_some(asio::buffer(&byte, 1), error);
    expect(error == boost::system::errc::connection_reset, "ECONNRESET");
    expect(stream.last_error() == std::errc::connection_reset, "the original");
    ends.server->close();
    (void)stream.write_some(asio::buffer("x", 1), error);
    expect(error.failed(), "a closed stream fails");
    expect_equal(stream.write_some(asio::buffer("x", 0)), 0, "nothing of nothing");
  });
}

TEST_CASE("Beast's HTTP reads and writes messages over an AsioStream", "[asio_stream]") {
  namespace http = beast::http;
  on_loops([] {
    const Ends ends = connect_ends();
    auto server = create_task([&] {
      AsioStream stream(*ends.server);
      beast::flat_buffer buffer;
      for (int i = 0; i < 3; ++i) {
        http::request<http::string_body> request;
        http::read(stream, buffer, request);
        http::response<http::string_body> response(http::status::ok, 11);
        response.body() = std::string(request.target()) + " " + request.body();
        response.chunked(i == 2);
        if (i != 2) response.prepare_payload();
        http::write(stream, response);
      }
    });
    AsioStream stream(*ends.client);
    beast::flat_buffer buffer;
    for (const std::size_t size : {0u, 10u, 300'000u}) {
      http::request<http::string_body> request(http::verb::post, "/echo", 11);
      request.set(http::field::host, "test");
      request.body() = std::string(size, 'b');
      request.prepare_payload();
      http::write(stream, request);
      http::response<http::string_body> response;
      http::read(stream, buffer, response);
      expect(response.body() == "/echo " + request.body(), "the body that was sent");
    }
    await(server);
  });
}

TEST_CASE("Beast's WebSocket talks over AsioStreams, and closes them", "[asio_stream]") {
  // The timers of a websocket::stream, which nobody uses here, make Asio's system context once per process:
  // three fds, no thread.
  const asio::steady_timer keeps_context(asio::system_executor{});
  on_loop({1, false}, [] {  // its masks come from a thread_local
    const Ends ends = connect_ends();
    auto server = create_task([&] {
      websocket::stream<AsioStream> socket(*ends.server);
      socket.accept();
      beast::flat_buffer buffer;
      for (;;) {
        boost::system::error_code error;
        socket.read(buffer, error);
        if (error == websocket::error::closed) return;
        expect(!error, "a message: " + error.message());
        socket.text(socket.got_text());
        socket.write(buffer.data());
        buffer.consume(buffer.size());
      }
    });
    websocket::stream<AsioStream> socket(*ends.client);
    socket.handshake("test", "/");
    for (const std::size_t size : {0u, 5u, 70'000u}) {
      const std::string message(size, 'm');
      socket.write(asio::buffer(message));
      beast::flat_buffer buffer;
      socket.read(buffer);
      expect(beast::buffers_to_string(buffer.data()) == message, "the message comes back");
    }
    socket.close(websocket::close_code::normal);
    await(server);
    expect(!ends.client->is_open() && !ends.server->is_open(), "both ends are closed");
  });
}
