// Connecting to one of several addresses.
#include "net/connect.hpp"

#include "support/full_listener.hpp"
#include "support/names.hpp"
#include "support/streams.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

Address local(const std::string& ip, std::uint16_t port) { return Address::parse(ip, port); }

std::string hosts(const std::vector<Address>& addresses) {
  std::string text;
  for (const Address& each : addresses) text += each.host() + " ";
  return text;
}

}  // namespace

// asyncio: test_streams StreamTests.test_open_connection
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_ip_addr
TEST_CASE("open_connection: request and answer", "[connect]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    auto serving = create_task([&] {
      auto [reader, writer] = make_streams(make_byte_stream(listener.accept()));
      writer.write("got " + reader.readline());
    });
    auto [reader, writer] = open_connection("127.0.0.1", listener.local_address().port(), {}, 10);
    expect_equal(reader.limit(), 10, "limit");
    writer.write("hello\n");
    expect_text(reader.read(), "got hello\n", "the answer");
    await(serving);
  });
}

TEST_CASE("Addresses of two families take turns", "[connect]") {
  std::vector<Address> addresses;
  for (const char* ip : {"::1", "::2", "::3", "::4", "1.1.1.1", "2.2.2.2"})
    addresses.push_back(local(ip, 80));
  CHECK(hosts(detail::take_turns(addresses, 0)) == "::1 ::2 ::3 ::4 1.1.1.1 2.2.2.2 ");
  CHECK(hosts(detail::take_turns(addresses, 1)) == "::1 1.1.1.1 ::2 2.2.2.2 ::3 ::4 ");
  CHECK(hosts(detail::take_turns(addresses, 3)) == "::1 ::2 ::3 1.1.1.1 ::4 2.2.2.2 ");
  CHECK(hosts(detail::take_turns({addresses[4], addresses[0], addresses[5]}, 1)) == "1.1.1.1 ::1 2.2.2.2 ");
  CHECK(detail::take_turns({}, 1).empty());
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_multiple
TEST_CASE("connect goes on to the next address at once when one refuses", "[connect]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(local("127.0.0.3", 0));
    const std::uint16_t port = listener.local_address().port();
    for (const Duration delay : {Duration(-1), Duration(1h)}) {
      const std::vector<Address> addresses = {local("127.0.0.1", port), local("127.0.0.2", port),
                                              listener.local_address()};
      const TcpStream stream = detail::connect_to_any("host", addresses, {.happy_eyeballs_delay = delay});
      expect(stream.peer_address() == listener.local_address(), "who answers");
      static_cast<void>(listener.accept());
    }
  });
}

TEST_CASE("Happy eyeballs: an address that does not answer costs the delay, no more", "[connect]") {
  on_loops([] {
    FullListener full;
    TcpListener listener = TcpListener::bind(loopback());
    const std::size_t fds = open_fds();
    const auto start = get_running_loop().time();
    {
      const TcpStream stream = detail::connect_to_any("host", {full.address(), listener.local_address()},
                                                      {.happy_eyeballs_delay = 50ms});
      expect(stream.peer_address() == listener.local_address(), "who answers");
      static_cast<void>(listener.accept());
    }
    expect(get_running_loop().time() - start >= 50ms, "the first one had the delay for itself");
    expect_equal(open_fds(), fds, "fds: the loser's is closed");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_connect_err
// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_multiple_errors
TEST_CASE("connect to addresses that all refuse: one error that names all, or a group", "[connect]") {
  on_loops([] {
    const ClosedPort nobody(Address::parse("0.0.0.0", 0));
    const std::vector<Address> one = {local("127.0.0.1", nobody.port())};
    const std::vector<Address> two = {local("127.0.0.1", nobody.port()), local("127.0.0.2", nobody.port())};
    std::string text;
    expect_equal(error_of([&] { (void)detail::connect_to_any("host", one, {}); }, &text), ECONNREFUSED,
                 "one");
    expect(text.find("host") == std::string::npos, text);
    expect_equal(error_of([&] { (void)detail::connect_to_any("host", two, {}); }, &text), ECONNREFUSED,
                 "two");
    for (const Address& each : two) expect(text.find(each.to_string()) != std::string::npos, text);
    expect(text.find("host") != std::string::npos, text);
    for (const auto& addresses : {one, two}) {
      const auto group = thrown<ExceptionGroup>(
          [&] { (void)detail::connect_to_any("host", addresses, {.all_errors = true}); }, "a group");
      expect_equal(group.exceptions().size(), addresses.size(), "errors");
      expect(group.contains<std::system_error>(), "system errors");
    }
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_timeout
TEST_CASE("connect to several addresses: one timeout for all, and a cancel for all", "[connect]") {
  on_loops([] {
    FullListener first;
    FullListener second;
    const std::size_t fds = open_fds();
    const auto race = [&] {
      (void)detail::connect_to_any("host", {first.address(), second.address()},
                                   {.happy_eyeballs_delay = 1ms});
    };
    thrown<TimeoutError>([&] { timeout(30ms, race); }, "in a timeout");
    auto task = create_task(race);
    sleep(10ms);
    task.cancel();
    task.wait();
    expect(task.cancelled(), "cancelled");
    expect_equal(open_fds(), fds, "fds");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_multiple_errors_local_addr
TEST_CASE("connect from a local address: the first of the family that can be bound", "[connect]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    TcpListener taken = TcpListener::bind(local("127.0.0.5", 0), {.reuse_address = false});
    const std::string host = "127.0.0.1";
    const std::uint16_t port = listener.local_address().port();
    const auto connect_from = [&](std::vector<Address> from) {
      return TcpStream::connect(host, port, {.local_addresses = std::move(from)}).local_address().host();
    };
    expect_text(connect_from({local("::1", 0), taken.local_address(), local("127.0.0.6", 0)}), "127.0.0.6",
                "from");
    std::string text;
    expect_equal(error_of([&] { connect_from({taken.local_address()}); }, &text), EADDRINUSE, "errno");
    expect(text.find("bind to 127.0.0.5") != std::string::npos, text);
    expect_equal(error_of([&] { connect_from({local("::1", 0)}); }), EADDRNOTAVAIL, "errno, wrong family");
  });
}

// asyncio: test_base_events BaseEventLoopWithSelectorTests.test_create_connection_no_getaddrinfo
TEST_CASE("connect: a name that has no address of the family is the resolver's error", "[connect]") {
  on_loop({1, false}, [] {
    try {
      (void)TcpStream::connect("127.0.0.1", 80, {.family = AF_INET6});
      expect(false, "an error");
    } catch (const std::system_error& error) {
      expect(error.code().category() == resolver_category(), error.what());
    }
  });
}

TEST_CASE("connect by name tries the addresses of both families", "[connect]") {
  fibrio::test::need_localhost();
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    auto [reader, writer] = open_connection("localhost", listener.local_address().port());
    expect(writer.peer_address() == listener.local_address(), "the one that listens");
    static_cast<void>(listener.accept());
  });
}
