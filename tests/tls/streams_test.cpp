#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

namespace {

struct Sides {
  Streams client;
  Streams server;
};
Sides plain_sides() {
  Ends ends = connect_ends();
  return {make_streams(std::move(ends.client)), make_streams(std::move(ends.server))};
}

const tls::Stream& tls_stream(const StreamWriter& writer) {
  return dynamic_cast<const tls::Stream&>(writer.stream());
}

void echo_lines(StreamReader& reader, StreamWriter& writer) {
  for (const std::string& line : reader.lines()) {
    writer.write(line);
    writer.drain();
  }
}

}  // namespace

// asyncio: test_sslproto BaseStartTLS.test_start_tls_client_reg_proto_1
// asyncio: test_sslproto BaseStartTLS.test_start_tls_server_1
// asyncio: test_ssl TestSSL.test_start_tls_client_reg_proto_1
// asyncio: test_ssl TestSSL.test_start_tls_server_1
// asyncio: test_streams StreamTests.test_start_tls
TEST_CASE("start_tls upgrades a connection in the middle, on both sides", "[tls]") {
  on_loops([] {
    auto [client, server] = plain_sides();
    auto serving = create_task([&, &reader = server.first, &writer = server.second] {
      expect(reader.readline() == "STARTTLS\n", "the request");
      writer.write("ready\n");
      tls::start_tls(writer, tls::Context::server(server_options()));
      expect(tls_stream(writer).version() == "TLSv1.3", "TLS");
      echo_lines(reader, writer);
      writer.close();
    });
    auto& [reader, writer] = client;
    writer.write("STARTTLS\n");
    expect(reader.readline() == "ready\n", "the answer");
    tls::start_tls(writer, tls::Context::client(client_options()), "localhost");
    const std::string line(100'000 / kSlowdown, 'x');
    for (int i = 0; i < 3; ++i) {
      writer.write(line.substr(0, 50'000) + "\n");
      expect(reader.readline().size() == std::min<std::size_t>(line.size(), 50'000) + 1, "the line");
    }
    expect(!writer.can_write_eof(), "no half-close");
    writer.close();
    await(serving);
    writer.wait_closed();
  });
}

// asyncio: test_streams StreamTests.test_start_tls_buffered_data
TEST_CASE("What was read ahead of start_tls goes to TLS", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    auto [reader, writer] = make_streams(std::move(ends.server));
    auto connecting = create_task([&] {
      write_text(*ends.client, "STARTTLS\n");  // and the hello right behind it, without waiting for an answer
      return tls::handshake(std::move(ends.client), tls::Context::client(client_options()), "localhost");
    });
    wait_until(
        [&, fd = writer.native_handle()] {
          std::string peeked(4096, '\0');
          return ::recv(fd, peeked.data(), peeked.size(), MSG_PEEK | MSG_DONTWAIT) > 100;
        },
        "the hello is there");
    expect(reader.readline() == "STARTTLS\n", "the request");
    expect(reader.buffered() > 0, "the hello was read with it");
    tls::start_tls(writer, tls::Context::server(server_options()));
    const TlsStream stream = await(std::move(connecting));
    writer.write("hello\n");
    expect(read_text(*stream, 6) == "hello\n", "the first line");
    writer.close();
  });
}

TEST_CASE("start_tls that fails loses the connection, by its error", "[tls]") {
  on_loops([] {
    auto [client, server] = plain_sides();
    server.second.write("this is no TLS, but long enough to look like a record of it\n");
    auto& [reader, writer] = client;
    const std::string text = error_text<tls::Error>([&, &w = writer] {
      tls::start_tls(w, tls::Context::client(client_options()), "localhost");
      return 0;
    });
    expect_contains(text, "TLS handshake with localhost");
    expect(error_text<tls::Error>([&, &r = reader] { return r.readline(); }) == text, "the error of reads");
    server.second.close();
    // Refused before anything happens.
    auto [other, peer] = plain_sides();
    (void)error_text<std::invalid_argument>([&, &w = other.second] {
      tls::start_tls(w, tls::Context::client(client_options()), "localhost", {.handshake_timeout = 0s});
      return 0;
    });
  });
}

// asyncio: test_streams StreamTests.test_open_connection_no_loop_ssl
// asyncio: test_events EventLoopTestsMixin.test_create_ssl_connection
// asyncio: test_events EventLoopTestsMixin.test_create_server_ssl
// asyncio: test_events EventLoopTestsMixin.test_create_server_ssl_verified
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_ssl_server_hostname_default
TEST_CASE("open_connection and start_server speak TLS", "[tls]") {
  on_loops([] {
    auto server = tls::start_server(
        [](StreamReader& reader, StreamWriter& writer) {
          writer.write(tls_stream(writer).server_name() + "\n");
          echo_lines(reader, writer);
        },
        "127.0.0.1", 0, tls::Context::server(server_options()));
    const std::uint16_t port = server.sockets().front().port();
    const tls::Context context = tls::Context::client(client_options());
    for (int i = 0; i < 3; ++i) {
      // The name is that of the host, if nothing else is said; an address is not asked for.
      const tls::ConnectOptions options{.server_hostname = "localhost"};
      auto [reader, writer] =
          tls::open_connection("127.0.0.1", port, context, i > 0 ? options : tls::ConnectOptions{});
      expect(reader.readline() == (i > 0 ? "localhost\n" : "\n"), "the name");
      writer.write("a line\n");
      expect(reader.readline() == "a line\n", "the line");
      expect(tls_stream(writer).peer_subject() == "CN=localhost", "the peer's certificate");
      expect(writer.peer_address().port() == port, "the peer's address");
      writer.close();
      writer.wait_closed();
    }
    server.close();
    server.wait_closed();
  });
}

// asyncio: test_streams StreamTests.test_open_unix_connection_no_loop_ssl
// asyncio: test_events EventLoopTestsMixin.test_create_ssl_unix_connection
// asyncio: test_events EventLoopTestsMixin.test_create_unix_server_ssl
// asyncio: test_events EventLoopTestsMixin.test_create_unix_server_ssl_verified
// asyncio: test_events EventLoopTestsMixin.test_create_unix_server_ssl_verify_failed
TEST_CASE("TLS runs over Unix sockets", "[tls]") {
  const std::string path = std::string(1, '\0') + "fibrio-tls-" + std::to_string(::getpid());
  on_loops([&] {
    auto server = start_unix_server(echo_lines, path,
                                    {.upgrade = tls::upgrade(tls::Context::server(server_options()))});
    auto [reader, writer] = open_unix_connection(path);
    tls::start_tls(writer, tls::Context::client(client_options()), "localhost");
    writer.write("text\n");
    expect(reader.readline() == "text\n", "the text");
    expect(tls_stream(writer).peer_subject() == "CN=localhost", "the peer's certificate");
    writer.close();
    writer.wait_closed();
    auto [unread, refusing] = open_unix_connection(path);
    (void)error_text<tls::VerificationError>([&, &w = refusing] {
      tls::start_tls(w, tls::Context::client(), "localhost");
      return 0;
    });
    server.close();
    server.wait_closed();
  });
}

TEST_CASE("A writer over TLS is closed once its last record is on its way", "[tls]") {
  on_loops([] {
    Ends ends = connect_ends();
    ends.client = std::make_unique<Trickle>(std::move(ends.client), 100, false);
    TlsPair pair = shake(std::move(ends), tls::Context::client(client_options()),
                         tls::Context::server(server_options()));
    const ByteStream& below = *pair.client;
    auto [reader, writer] = make_streams(std::move(pair.client));
    writer.write(std::string(1000, 'x'));
    const bool is_alone = get_running_loop().workers() == 1;  // or the sender may be done by now
    expect(!is_alone || below.has_unsent(), "a rest of the record");
    writer.close();
    expect(!is_alone || below.is_open(), "open until that is sent");
    writer.wait_closed();
    expect(!below.is_open(), "closed");
    expect(read_text(*pair.server, 1000) == std::string(1000, 'x'), "what was written");
    expect(read_once(*pair.server).empty(), "the end");
  });
}

TEST_CASE("In debug mode a server's failed handshakes are reported", "[tls]") {
  std::vector<std::string> reports;
  Config config;
  config.workers = 1;  // where the reports come is where they are read
  EventLoop loop(config);
  loop.set_debug(true);
  loop.set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
    reports.push_back(context.message + ": " + describe(context.exception));
  });
  loop.run_until_complete([&] {
    auto server = tls::start_server([](StreamReader&, StreamWriter&) {}, "127.0.0.1", 0,
                                    tls::Context::server(server_options()));
    RawPeer garbled = RawPeer::connect(server.sockets().front());
    garbled.send("GET / HTTP/1.1\r\n\r\n");
    wait_until([&] { return !reports.empty(); }, "it is told");
    server.close();
    server.wait_closed();
  });
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].find("the upgrade of a connection failed: TLS handshake") == 0);
  CHECK(reports[0].find("http request") != std::string::npos);
}

// asyncio: test_events EventLoopTestsMixin.test_create_server_ssl_verify_failed
// asyncio: test_events EventLoopTestsMixin.test_create_server_ssl_match_failed
TEST_CASE("A server survives clients that refuse it, stall, send garbage or leave, and tells nobody",
          "[tls]") {
  on_loops([] {
    std::atomic<int> served = 0;
    auto server = tls::start_server([&](StreamReader&, StreamWriter&) { ++served; }, "127.0.0.1", 0,
                                    tls::Context::server(server_options()), {}, {.handshake_timeout = 200ms});
    const Address address = server.sockets().front();
    (void)error_text<tls::VerificationError>(
        [&] { return tls::open_connection("127.0.0.1", address.port(), tls::Context::client()); });
    (void)error_text<tls::VerificationError>([&] {
      return tls::open_connection("127.0.0.1", address.port(), tls::Context::client(client_options()),
                                  {.server_hostname = "elsewhere.example"});
    });
    RawPeer stalled = RawPeer::connect(address);
    RawPeer garbled = RawPeer::connect(address);
    garbled.send("garbage that is no TLS, whatever one may say of it");
    RawPeer gone = RawPeer::connect(address);
    gone.reset();
    wait_until([&] { return server.connections() == 0; }, "all of them are gone");
    expect_equal(served.load(), 0, "handlers called");
    auto [reader, writer] =
        tls::open_connection("127.0.0.1", address.port(), tls::Context::client(client_options()));
    expect(reader.readline().empty(), "the end");
    expect_equal(served.load(), 1, "handlers called");
    server.close();
    writer.close();
    server.wait_closed();
  });
}

TEST_CASE("A hundred clients at once each get their lines back", "[tls]") {
  on_loops([] {
    auto server = tls::start_server(echo_lines, "127.0.0.1", 0, tls::Context::server(server_options()));
    const std::uint16_t port = server.sockets().front().port();
    const tls::Context context = tls::Context::client(client_options());
    std::vector<Task<>> clients;
    for (int i = 0; i < 100 / kSlowdown; ++i) {
      clients.push_back(create_task([&, i] {
        auto [reader, writer] = tls::open_connection("127.0.0.1", port, context);
        for (int k = 0; k < 5; ++k) {
          const std::string line = std::to_string(i * 1000 + k) + "\n";
          writer.write(line);
          expect(reader.readline() == line, "the line");
        }
        writer.close();
        writer.wait_closed();
      }));
    }
    for (auto& client : clients) await(client);
    server.close();
    server.wait_closed();
  });
}

TEST_CASE("Options that make no sense for a TLS server are refused", "[tls]") {
  on_loops([] {
    const auto refused = [](const tls::Context& context, const fibrio::ServerOptions& options,
                            const tls::HandshakeOptions& handshake) {
      return error_text<std::invalid_argument>([&] {
        return tls::start_server([](StreamReader&, StreamWriter&) {}, "127.0.0.1", 0, context, options,
                                 handshake);
      });
    };
    const tls::Context context = tls::Context::server(server_options());
    expect_contains(refused(tls::Context::client(client_options()), {}, {}), "context");
    expect_contains(refused(context, {}, {.handshake_timeout = -1s}), "handshake_timeout");
    fibrio::ServerOptions upgrading;
    upgrading.upgrade = [](std::unique_ptr<ByteStream> stream, const std::string&) { return stream; };
    expect_contains(refused(context, upgrading, {}), "upgrade");
  });
}
