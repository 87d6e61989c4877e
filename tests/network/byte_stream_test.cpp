#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("A TcpStream as a ByteStream carries data both ways, and says what it is", "[byte_stream]") {
  const std::vector<std::byte> up = test_data(100'000, 1);
  on_loops([&] {
    StreamPair pair = connect_pair();
    const Address server_address = pair.server.local_address();
    const std::unique_ptr<ByteStream> client = make_byte_stream(std::move(pair.client));
    expect(client->is_open() && client->native_handle() >= 0, "an open stream");
    expect(client->peer_address() == server_address, "its peer's address");
    expect(client->can_shutdown_write(), "a half-close");
    auto writer = create_task([&] {
      const auto all = std::span<const std::byte>(up);
      const std::size_t some = client->write_some(all.first(1'000));
      client->write_all(all.subspan(some, 10'000));
      client->write_all(all.subspan(some + 10'000, 20'000), all.subspan(some + 30'000));
      client->shutdown_write();
    });
    expect_stream(pair.server, up);
    await(writer);
    pair.server.write_all("answer");
    std::byte buffer[64];
    expect_equal(client->read_some(buffer), 6, "bytes read");
    client->close();
    expect(!client->is_open() && client->native_handle() == -1, "a closed stream");
  });
}

TEST_CASE("try_write_some fills the send buffer, then writes nothing, and never waits", "[byte_stream]") {
  const std::vector<std::byte> data = test_data(8U << 20);
  on_loops([&] {
    StreamPair pair = connect_pair();
    expect_equal(pair.client.try_write_some({}), 0, "bytes of nothing");
    auto rest = std::span<const std::byte>(data);
    while (const std::size_t count = pair.client.try_write_some(rest)) rest = rest.subspan(count);
    expect(!rest.empty() && rest.size() < data.size(), "a full send buffer");
    auto writer = create_task([&] {
      pair.client.write_all(rest);
      pair.client.shutdown_write();
    });
    expect_stream(pair.server, data);
    await(writer);
    pair.client.close();
    expect_equal(error_of([&] { (void)pair.client.try_write_some(data); }), ECANCELED, "errno once closed");
  });
}
