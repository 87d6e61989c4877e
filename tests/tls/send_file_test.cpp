// What: files over TLS, by the copying ByteStream::send_file.

#include "support/memory_file.hpp"
#include "support/tls.hpp"

using namespace fibrio;
using namespace fibrio::tls_test;

// asyncio: test_sendfile SendfileMixin.test_sendfile_ssl
// asyncio: test_sendfile SendfileMixin.test_sendfile_ssl_pre_and_post_data
// asyncio: test_sendfile SendfileMixin.test_sendfile_ssl_partial
TEST_CASE("A file goes over TLS between what is written before and after it, whole or in part", "[tls]") {
  const std::vector<std::byte> data = test_data(700'001 / kSlowdown, 3);
  on_loops([&] {
    TlsPair pair = tls_pair();
    const MemoryFile file(data);
    auto sender = create_task([&] {
      write_text(*pair.client, "before");
      expect_equal(pair.client->send_file(file.fd()), data.size(), "bytes sent");
      expect_equal(file.position(), data.size(), "the position");
      write_text(*pair.client, "between");
      expect_equal(pair.client->send_file(file.fd(), 1'000, 100), 100, "bytes of the part");
      expect_equal(file.position(), 1'100, "the position behind the part");
      write_text(*pair.client, "after");
    });
    expect(read_text(*pair.server, 6) == "before", "what was written before");
    std::vector<std::byte> got(data.size());
    for (std::size_t at = 0; at < got.size();) {
      const std::size_t count = pair.server->read_some(std::span(got).subspan(at));
      expect(count > 0, "the file before the end");
      at += count;
    }
    expect(got == data, "the file");
    expect(read_text(*pair.server, 7) == "between", "what was written between");
    const std::string part = read_text(*pair.server, 100);
    expect(std::memcmp(part.data(), data.data() + 1'000, 100) == 0, "the part of the file");
    expect(read_text(*pair.server, 5) == "after", "what was written after");
    await(sender);
  });
}

// asyncio: test_sendfile SendfileMixin.test_sendfile_ssl_close_peer_after_receiving
TEST_CASE("A file goes over TLS to a peer that closes once it has it all", "[tls]") {
  const std::vector<std::byte> data = test_data(100'000, 4);
  on_loops([&] {
    TlsPair pair = tls_pair();
    const MemoryFile file(data);
    auto sender = create_task([&] { return pair.client->send_file(file.fd()); });
    std::vector<std::byte> got(data.size());
    for (std::size_t at = 0; at < got.size();) at += pair.server->read_some(std::span(got).subspan(at));
    pair.server->close();
    expect(got == data, "the file");
    expect_equal(await(sender), data.size(), "bytes sent");
    expect(read_once(*pair.client).empty(), "the end");
  });
}
