// Server, start_server, start_unix_server.
#include <algorithm>
#include <filesystem>

#include "support/faults.hpp"
#include "support/streams.hpp"
#include "support/temp_folder.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

void echo_lines(StreamReader& reader, StreamWriter& writer) {
  for (const std::string& line : reader.lines()) {
    writer.write(line);
    writer.drain();
  }
}
void wait_for_end(StreamReader& reader, StreamWriter&) { static_cast<void>(reader.read()); }

Server serve(ConnectionHandler handler, ServerOptions options = {}) {
  return start_server(std::move(handler), lone_loopback().host(), 0, std::move(options));
}
Streams connect(const Server& server) {
  const Address address = server.sockets().at(0);
  return address.family() == AF_UNIX ? open_unix_connection(address.host())
                                     : open_connection(address.host(), address.port());
}
std::string ask(const Server& server, const std::string& line) {
  auto [reader, writer] = connect(server);
  writer.write(line);
  return reader.readline();
}

}  // namespace

// asyncio: test_streams StreamTests.test_start_server
// asyncio: test_events TestServer.test_get_loop
TEST_CASE("start_server serves each connection in a task of its own", "[server]") {
  on_loops([] {
    Server server = serve(echo_lines);
    expect(server.is_serving(), "serving");
    expect(&server.get_loop() == &get_running_loop(), "its loop");
    std::vector<Streams> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(connect(server));
    for (int i = 0; i < 20; ++i) {
      auto& [reader, writer] = clients[static_cast<std::size_t>(i)];
      writer.write("line " + std::to_string(i) + "\n");
      expect_text(reader.readline(), "line " + std::to_string(i) + "\n", "the answer");
    }
    wait_until([&] { return server.connections() == 20; }, "all connections are counted");
    clients.clear();
    server.close();
    server.wait_closed();
    expect_equal(server.connections(), 0, "connections");
  });
}

// asyncio: test_streams StreamTests.test_start_unix_server
// asyncio: test_server SelectorStartServerTests.test_start_unix_server_1
TEST_CASE("start_unix_server: not serving at first, then until serve_forever is cancelled", "[server]") {
  const TempFolder folder;
  on_loops([&] {
    Server server = start_unix_server(echo_lines, folder / "s", {.start_serving = false});
    expect(!server.is_serving(), "not serving");
    expect_equal(error_of([&] { (void)connect(server); }), ECONNREFUSED, "errno before");
    server.start_serving();
    server.start_serving();
    expect(server.is_serving(), "serving");
    expect_text(ask(server, "a\n"), "a\n", "the answer");
    auto forever = create_task([&] { server.serve_forever(); });
    wait_until_waits(forever);
    expect_text(ask(server, "b\n"), "b\n", "the answer");
    forever.cancel();
    forever.wait();
    expect(forever.cancelled(), "cancelled");
    expect(!server.is_serving() && server.sockets().empty(), "closed");
    expect(!std::filesystem::exists(folder / "s"), "its file is gone");
  });
}

// asyncio: test_server BaseStartServer.test_start_server_1
TEST_CASE("Server::serve_forever starts serving; cancelling it closes the server and its connections",
          "[server]") {
  on_loops([] {
    Server server = serve(wait_for_end, {.start_serving = false});
    const Address address = server.sockets().at(0);
    auto forever = create_task([&] { server.serve_forever(); });
    wait_until([&] { return server.is_serving(); }, "serving");
    thrown<RuntimeError>([&] { server.serve_forever(); }, "a second serve_forever");
    auto client = open_connection(address.host(), address.port());
    wait_until([&] { return server.connections() == 1; }, "one connection");
    forever.cancel();
    const auto connect = [&] { (void)open_connection(address.host(), address.port()); };
    wait_until([&] { return error_of(connect) == ECONNREFUSED; }, "closed: the last acceptor has left");
    expect(!server.is_serving(), "closed");
    expect_text(client.first.read(), "", "the end");
    forever.wait();
    expect(forever.cancelled(), "cancelled");
    expect_equal(server.connections(), 0, "connections");
    expect(server.sockets().empty(), "no sockets");
    thrown<RuntimeError>([&] { server.serve_forever(); }, "serve_forever of a closed server");
    thrown<RuntimeError>([&] { server.start_serving(); }, "start_serving of a closed server");
  });
}

TEST_CASE("Server::close ends serve_forever with CancelledError", "[server]") {
  on_loops([] {
    Server server = serve(wait_for_end);
    auto forever = create_task([&] { server.serve_forever(); });
    wait_until_waits(forever);
    server.close();
    server.close();
    forever.wait();
    expect(forever.cancelled(), "as asyncio ends it");
  });
}

// asyncio: test_server TestServer2.test_wait_closed_basic
TEST_CASE("Server::wait_closed waits for close and for all connections", "[server]") {
  on_loops([] {
    Server server = serve(wait_for_end);
    auto client = connect(server);
    wait_until([&] { return server.connections() == 1; }, "one connection");
    auto open = create_task([&] { server.wait_closed(); });
    wait_until_waits(open);
    expect(!open.done(), "open");
    auto cancelled = create_task([&] { server.wait_closed(); });
    wait_until_waits(cancelled);
    cancelled.cancel();
    cancelled.wait();
    server.close();
    let_others_wait();
    expect(!open.done(), "one connection left");
    client.second.close();
    await(open);
    server.wait_closed();
  });
}

// asyncio: test_server TestServer2.test_wait_closed_race
TEST_CASE("Server: close and the end of the last connection at the same time leave nobody waiting",
          "[server]") {
  on_loops([] {
    for (int i = 0; i < 50; ++i) {
      Server server = serve([&](StreamReader& reader, StreamWriter& writer) {
        static_cast<void>(reader.readline());
        writer.close();
      });
      auto [reader, writer] = connect(server);
      wait_until([&] { return server.connections() == 1; }, "one connection");
      writer.write("go\n");
      auto closing = create_task([&] { server.close(); });
      server.wait_closed();
      await(closing);
      expect_text(reader.read(), "", "the end");
    }
  });
}

// asyncio: test_server TestServer2.test_close_clients
TEST_CASE("Server::close_clients ends the connections after what is buffered", "[server]") {
  const std::string data(8U << 20, 'd');
  on_loops([&] {
    Server server = serve([&](StreamReader& reader, StreamWriter& writer) {
      writer.write(data);
      static_cast<void>(reader.read());
    });
    auto [reader, writer] = connect(server);
    expect_equal(reader.readexactly(1000).size(), 1000, "bytes");
    server.close();
    server.close_clients();
    expect_equal(reader.read().size(), data.size() - 1000, "the rest");
    server.wait_closed();
  });
}

// asyncio: test_server TestServer2.test_abort_clients
TEST_CASE("Server::abort_clients drops the connections with what is buffered", "[server]") {
  const std::string data(8U << 20, 'd');
  on_loops([&] {
    Server server = serve([&](StreamReader& reader, StreamWriter& writer) {
      writer.write(data);
      static_cast<void>(reader.read());
    });
    auto both = connect(server);
    auto& reader = both.first;
    expect_equal(reader.readexactly(1000).size(), 1000, "bytes");
    server.close();
    server.abort_clients();
    server.wait_closed();
    expect_equal(error_of([&] { reader.read(); }), ECONNRESET, "errno");
  });
}

// asyncio: test_streams StreamTests.test_unhandled_exception
TEST_CASE("A connection handler's exception is reported once, and the connection closed", "[server]") {
  on_loops([] {
    ReportsHere reports;
    Server server = serve([](StreamReader&, StreamWriter&) { throw std::domain_error("made up"); });
    auto [reader, writer] = connect(server);
    expect_text(reader.read(), "", "the end");
    server.close();
    server.wait_closed();
    const auto texts = reports.take();
    expect_equal(texts.size(), 1, "reports");
    expect_text(texts[0], "unhandled exception in the handler of a connection: made up", "the report");
  });
}

// asyncio: test_streams StreamTests.test_unhandled_cancel
TEST_CASE("A cancelled connection handler is not reported, and the connection closed", "[server]") {
  on_loops([] {
    Server server = serve([](StreamReader&, StreamWriter&) {
      current_task().cancel();
      sleep(1h);
    });
    auto [reader, writer] = connect(server);
    expect_text(reader.read(), "", "the end");
    server.close();
    server.wait_closed();
  });
}

TEST_CASE("A handler may hand reader and writer to another task: the connection lives on", "[server]") {
  on_loops([] {
    std::vector<Task<>> later;
    Event handed_over;
    Server server = serve([&](StreamReader& reader, StreamWriter& writer) {
      later.push_back(
          create_task([r = std::move(reader), w = std::move(writer)]() mutable { echo_lines(r, w); }));
      handed_over.set();
    });
    auto [reader, writer] = connect(server);
    handed_over.wait();
    writer.write("still there\n");
    expect_text(reader.readline(), "still there\n", "the answer");
    server.close();
    expect_equal(server.connections(), 1, "connections");
    writer.close();
    server.wait_closed();
    await(later.at(0));
  });
}

TEST_CASE("Server: max_connections are served at once, further ones when there is room", "[server]") {
  on_loops([] {
    std::atomic<int> running = 0;
    std::atomic<int> most = 0;
    Server server = serve(
        [&](StreamReader& reader, StreamWriter& writer) {
          const int now = ++running;
          int before = most.load();
          while (before < now && !most.compare_exchange_weak(before, now)) {
          }
          writer.write(reader.readline());
          --running;
        },
        {.max_connections = 2});
    std::vector<Streams> clients;
    for (int i = 0; i < 7; ++i) clients.push_back(connect(server));
    wait_until([&] { return server.connections() == 2; }, "two connections");
    let_others_wait();
    expect_equal(server.connections(), 2, "connections");
    for (auto& [reader, writer] : clients) {
      writer.write("x\n");
      expect_text(reader.read(), "x\n", "the answer");
    }
    expect_equal(most.load(), 2, "at once");
    // One waits for a slot while the server is closed: it is dropped.
    clients.clear();
    for (int i = 0; i < 3; ++i) clients.push_back(connect(server));
    wait_until([&] { return server.connections() == 2; }, "two connections again");
    server.close();
    clients.clear();
    server.wait_closed();
  });
}

TEST_CASE("Server: connections over max_connections_per_peer are reset at once", "[server]") {
  on_loops([] {
    Server server = serve(echo_lines, {.max_connections_per_peer = 2});
    const Address address = server.sockets().at(0);
    const auto from = [&](const char* ip) {
      return open_connection(address.host(), address.port(), {.local_addresses = {Address::parse(ip, 0)}});
    };
    std::vector<Streams> clients;
    for (const char* ip : {"127.0.0.2", "127.0.0.2", "127.0.0.3"}) clients.push_back(from(ip));
    wait_until([&] { return server.connections() == 3; }, "three connections");
    // The reset may be faster than the end of connect.
    expect_equal(error_of([&] { from("127.0.0.2").first.read(); }), ECONNRESET, "errno");
    clients[0].second.close();
    wait_until([&] { return server.connections() == 2; }, "one less");
    auto accepted = from("127.0.0.2");
    accepted.second.write("hello\n");
    expect_text(accepted.first.readline(), "hello\n", "the answer");
    for (auto& client : clients) client.second.close();
    accepted.second.close();
    server.close();
    server.wait_closed();
  });
}

TEST_CASE("Server: a strand for each connection", "[server]") {
  on_loops([] {
    for (const bool wanted : {false, true}) {
      Server server =
          serve([](StreamReader&,
                   StreamWriter& writer) { writer.write(Strand::current() != nullptr ? "strand" : "free"); },
                {.strand_per_connection = wanted});
      auto [reader, writer] = connect(server);
      expect_text(reader.read(), wanted ? "strand" : "free", "where it runs");
      writer.close();
      server.close();
      server.wait_closed();
    }
  });
}

TEST_CASE("Server: an upgrade comes before the handler; one that fails closes silently", "[server]") {
  on_loops([] {
    std::atomic<int> upgrades = 0;
    Server server = serve(echo_lines, {.upgrade = [&](std::unique_ptr<ByteStream> stream, std::string ahead) {
                            expect(ahead.empty(), "nothing read ahead");
                            std::byte hello[1];
                            static_cast<void>(stream->read_some(hello));
                            ++upgrades;
                            if (hello[0] != std::byte{'+'}) {
                              throw std::system_error(EPROTO, std::system_category(), "handshake");
                            }
                            return stream;
                          }});
    expect_text(ask(server, "+line\n"), "line\n", "the answer");
    expect_text(ask(server, "-"), "", "a failed handshake");
    expect_equal(upgrades.load(), 2, "upgrades");
    server.close();
    server.wait_closed();
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_server_ipv6
TEST_CASE("start_server on several hosts has a socket for each", "[server]") {
  on_loops([] {
    Server server =
        start_server(echo_lines, std::vector<std::string>{"127.0.0.1", "127.0.0.2", "127.0.0.1"}, 0);
    expect_equal(server.sockets().size(), 2, "sockets: an address twice is one");
    for (const Address& address : server.sockets()) {
      auto [reader, writer] = open_connection(address.host(), address.port());
      writer.write("x\n");
      expect_text(reader.readline(), "x\n", "the answer");
    }
    try {
      Server six = start_server(echo_lines, "::1", 0);
      expect_equal(six.sockets().at(0).family(), AF_INET6, "family");
      expect_text(ask(six, "6\n"), "6\n", "the answer");
    } catch (const std::system_error& error) {  // a machine without IPv6
      expect(error.code().value() == EADDRNOTAVAIL || error.code().value() == EAFNOSUPPORT, error.what());
    }
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_server_empty_host
TEST_CASE("start_server without a host listens on all addresses of the machine", "[server]") {
  on_loops([] {
    Server server = start_server(echo_lines, "", 0, {.family = AF_INET});
    expect_text(server.sockets().at(0).host(), "0.0.0.0", "host");
    auto [reader, writer] = open_connection("127.0.0.7", server.sockets().at(0).port());
    writer.write("x\n");
    expect_text(reader.readline(), "x\n", "the answer");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_server_cant_bind
TEST_CASE("start_server: a taken address is named, and nothing stays bound; other errors", "[server]") {
  on_loops([] {
    Server first = serve(echo_lines);
    const std::uint16_t port = first.sockets().at(0).port();
    std::string text;
    const auto both = std::vector<std::string>{"127.0.0.9", first.sockets().at(0).host()};
    expect_equal(error_of([&] { (void)start_server(echo_lines, both, port); }, &text), EADDRINUSE, "errno");
    expect(text.find(first.sockets().at(0).to_string()) != std::string::npos, text);
    { const Server other = start_server(echo_lines, "127.0.0.9", port); }
    expect_equal(error_of([&] { (void)start_server(echo_lines, "192.0.2.1", 0); }), EADDRNOTAVAIL, "errno");
    const Server skips = start_server(echo_lines, std::vector<std::string>{"192.0.2.1", "127.0.0.1"}, 0);
    expect_equal(skips.sockets().size(), 1, "sockets: one is not here");
    thrown<std::invalid_argument>([&] { (void)start_server(nullptr, "127.0.0.1", 0); }, "no handler");
    thrown<std::invalid_argument>([&] { (void)serve(echo_lines, {.backlog = 0}); }, "backlog");
    thrown<std::invalid_argument>([&] { (void)serve(echo_lines, {.limit = 0}); }, "limit");
    thrown<std::invalid_argument>([&] { (void)start_server(echo_lines, std::vector<std::string>(), 0); },
                                  "no host");
  });
}

TEST_CASE("start_server with a listener that exists; options reach the connections", "[server]") {
  on_loops([] {
    Server server = start_server(echo_lines, TcpListener::bind(loopback()), {.limit = 4});
    expect_text(ask(server, "abc\n"), "abc\n", "the answer");
    const auto option = [](StreamWriter& writer, int level, int name) {
      int value = -1;
      socklen_t length = sizeof value;
      ::getsockopt(writer.native_handle(), level, name, &value, &length);
      return value;
    };
    for (const bool on : {false, true}) {
      std::atomic<int> seen = -1;
      Server other = serve(
          [&](StreamReader& reader, StreamWriter& writer) {
            seen = option(writer, SOL_SOCKET, SO_KEEPALIVE);
            expect_equal(reader.limit(), 7, "limit");
          },
          {.keep_alive = on, .limit = 7});
      auto [reader, writer] = connect(other);
      expect_text(reader.read(), "", "the end");
      expect_equal(seen.load(), on ? 1 : 0, "SO_KEEPALIVE");
    }
    // Two servers on one port.
    Server one = serve(echo_lines, {.reuse_port = true});
    Server two = start_server(echo_lines, one.sockets().at(0).host(), one.sockets().at(0).port(),
                              {.reuse_port = true});
    expect_text(ask(two, "x\n"), "x\n", "the answer");
  });
}

// asyncio: test_server UnixServerCleanupTests.test_unix_server_addr_cleanup
// asyncio: test_server UnixServerCleanupTests.test_unix_server_cleanup_gone
// asyncio: test_server UnixServerCleanupTests.test_unix_server_cleanup_replaced
// asyncio: test_server UnixServerCleanupTests.test_unix_server_cleanup_prevented
TEST_CASE("A Unix server removes its socket file, if it is there and its own, and if it is to", "[server]") {
  const TempFolder folder;
  const std::string path = folder / "s";
  on_loops([&] {
    { const Server server = start_unix_server(echo_lines, path); }
    expect(!std::filesystem::exists(path), "removed");
    {
      const Server server = start_unix_server(echo_lines, path);
      std::filesystem::remove(path);
    }
    {
      Server first = start_unix_server(echo_lines, path);
      const Server second = start_unix_server(echo_lines, path);
      first.close();
      expect(std::filesystem::exists(path), "the other one's");
    }
    { const Server server = start_unix_server(echo_lines, path, {.cleanup_socket = false}); }
    expect(std::filesystem::exists(path), "kept");
  });
}

TEST_CASE("Dropping a Server stops listening, and ends its connections", "[server]") {
  on_loops([] {
    std::optional<Server> server = serve(echo_lines);
    auto [reader, writer] = connect(*server);
    writer.write("a\n");
    expect_text(reader.readline(), "a\n", "the answer");
    const Address address = server->sockets().at(0);
    server.reset();
    expect_text(reader.read(), "", "the end");
    expect_equal(error_of([&] { (void)open_connection(address.host(), address.port()); }), ECONNREFUSED,
                 "closed");
  });
}

// The fd lives until the acceptors have left, which takes them a moment: the port was taken so long.
TEST_CASE("A Server that is closed or dropped has given its port back", "[server]") {
  on_loops([] {
    const auto is_free = [](const Address& address, const std::string& after) {
      expect_equal(error_of([&] { (void)open_connection(address.host(), address.port()); }), ECONNREFUSED,
                   "errno of a client after " + after);
      expect_equal(error_of([&] { (void)start_server(echo_lines, address.host(), address.port()); }), 0,
                   "errno of the next server after " + after);
    };
    const auto wait_for_acceptor = [] {
      const auto waits = [] {
        const auto tasks = all_tasks();
        return std::all_of(tasks.begin(), tasks.end(), [](const AnyTask& task) {
          return task == current_task() || inspect(task).state == TaskState::kWaiting;
        });
      };
      wait_until(waits, "the acceptor waits");
    };
    for (int i = 0; i < 10; ++i) {
      Server server = serve(echo_lines);
      const Address address = server.sockets().at(0);
      wait_for_acceptor();
      server.close();
      is_free(address, "close");
      std::optional<Server> dropped = serve(echo_lines);
      const Address its_address = dropped->sockets().at(0);
      dropped.reset();  // whatever its acceptor does
      is_free(its_address, "the destructor");
      Server other = serve(echo_lines);
      const Address other_address = other.sockets().at(0);
      other.shutdown(0s);
      is_free(other_address, "shutdown");
    }
  });
}

TEST_CASE("A TcpListener that is closed while a task accepts has given its port back", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(lone_loopback());
    const Address address = listener.local_address();
    auto accepting = create_task([&] { return error_of([&] { (void)listener.accept(); }); });
    wait_until_waits(accepting);
    listener.close();
    expect_equal(error_of([&] { (void)TcpStream::connect(address); }), ECONNREFUSED, "errno of a client");
    (void)TcpListener::bind(address);
    expect_equal(await(accepting), ECANCELED, "errno of accept");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_accept_connection_exception
// asyncio: test_selector_events BaseSelectorEventLoopTests.test_accept_connection_skip_connectionabortederror
TEST_CASE("Server: out of fds, it is reported once, and all who connected are served later", "[server]") {
  test::ScopedSyscalls scoped;
  test::Fault<&sys::Syscalls::accept4> accept;
  on_loops([&] {
    ReportsHere reports;
    Server server = serve(echo_lines);
    accept.arm(-EMFILE, {.times = 2});
    expect_text(ask(server, "late\n"), "late\n", "the answer");
    accept.arm(-ECONNABORTED, {.times = 3});
    expect_text(ask(server, "next\n"), "next\n", "the answer");
    accept.disarm();
    expect_equal(reports.take().size(), 1, "reports");
  });
}

TEST_CASE("Server: its accepting task cancelled, as by the end of the program, it is closed", "[server]") {
  on_loops([] {
    Server server = serve(echo_lines);
    for (const AnyTask& task : all_tasks()) {
      if (task != current_task()) task.cancel();
    }
    server.wait_closed();
    expect(!server.is_serving(), "closed");
  });
}
