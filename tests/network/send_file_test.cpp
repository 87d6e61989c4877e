// What: TcpStream::send_file, the copying ByteStream::send_file and sock_sendfile, which all mean the same.
#include <netinet/tcp.h>

#include <functional>

#include <fibrio/low_level_sockets.hpp>

#include "support/memory_file.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

using SendFile = std::function<std::uint64_t(TcpStream&, int file, std::uint64_t, std::uint64_t)>;
struct Way {
  const char* name;
  SendFile send;
};

// What has no send_file of its own.
class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(TcpStream& stream) : stream_(stream) {}
  std::size_t read_some(std::span<std::byte> buffer) override { return stream_.read_some(buffer); }
  std::size_t write_some(std::span<const std::byte> data) override { return stream_.write_some(data); }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return stream_.try_write_some(data);
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return false; }
  void shutdown_write() override {}
  void close() noexcept override { stream_.close(); }
  void abort() noexcept override { stream_.abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return stream_.is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return stream_.native_handle(); }

 private:
  TcpStream& stream_;
};

const Way kWays[] = {
    {"native", [](TcpStream& stream, int file, std::uint64_t offset,
                  std::uint64_t count) { return stream.send_file(file, offset, count); }},
    {"copied", [](TcpStream& stream, int file, std::uint64_t offset,
                  std::uint64_t count) { return PlainStream(stream).send_file(file, offset, count); }},
    {"sock_sendfile",
     [](TcpStream& stream, int file, std::uint64_t offset, std::uint64_t count) {
       return sock_sendfile(stream.native_handle(), file, offset, count);
     }},
};

// For every way, on all loops.
template <class Body>
void in_all_ways(Body&& body) {
  for (const Way& way : kWays) {
    INFO(way.name);
    on_loops([&] { body(way.send); });
  }
}

constexpr std::size_t kSize =
    (3U << 20) + 12345;  // more than the send buffer takes, and no multiple of anything

}  // namespace

// asyncio: test_sendfile SockSendfileMixin.test_sock_sendfile_success
// asyncio: test_sendfile SendfileMixin.test_sendfile
// asyncio: test_sendfile SendfileMixin.test_sendfile_force_fallback
// asyncio: test_base_events BaseLoopSockSendfileTests.test_sock_sendfile_fallback
// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_blocking_error
TEST_CASE("send_file sends a whole file, returns its size and leaves its position at the end",
          "[send_file]") {
  const std::vector<std::byte> data = test_data(kSize);
  in_all_ways([&](const SendFile& send) {
    StreamPair pair = connect_pair();
    MemoryFile file(data);
    auto sender = create_task([&] {
      expect_equal(send(pair.client, file.fd(), 0, kToEndOfFile), kSize, "bytes sent");
      expect_equal(file.position(), kSize, "the position");
      pair.client.shutdown_write();
    });
    expect_stream(pair.server, data);
    await(sender);
  });
}

// asyncio: test_sendfile SockSendfileMixin.test_sock_sendfile_with_offset_and_count
// asyncio: test_sendfile SendfileMixin.test_sendfile_partial
// asyncio: test_sendfile SockSendfileMixin.test_sock_sendfile_zero_size
// asyncio: test_sendfile SockSendfileMixin.test_sendfile_offset
// asyncio: test_base_events BaseLoopSockSendfileTests.test_sock_sendfile_fallback_offset_and_count
TEST_CASE("send_file sends a part of a file, and less where the file ends", "[send_file]") {
  const std::vector<std::byte> data = test_data(200'000);
  struct Part {
    std::uint64_t offset;
    std::uint64_t count;
    std::uint64_t sent;
  };
  in_all_ways([&](const SendFile& send) {
    for (const Part& part :
         {Part{1000, 2000, 2000}, Part{0, 1, 1}, Part{199'999, 10, 1}, Part{200'000, 10, 0},
          Part{150'000, kToEndOfFile, 50'000}, Part{300'000, 10, 0}, Part{5, 0, 0}}) {
      StreamPair pair = connect_pair();
      MemoryFile file(data);
      file.seek(77);
      auto sender = create_task([&] {
        expect_equal(send(pair.client, file.fd(), part.offset, part.count), part.sent, "bytes sent");
        pair.client.shutdown_write();
      });
      const std::size_t begin = std::min<std::size_t>(part.offset, data.size());
      expect_stream(pair.server, std::span(data).subspan(begin, part.sent));
      await(sender);
      expect_equal(file.position(), part.sent > 0 ? part.offset + part.sent : 77, "the position");
    }
    StreamPair pair = connect_pair();
    MemoryFile empty({});
    expect_equal(send(pair.client, empty.fd(), 0, kToEndOfFile), 0, "bytes of an empty file");
  });
}

// asyncio: test_sendfile SockSendfileMixin.test_sock_sendfile_mix_with_regular_send
// asyncio: test_sendfile SendfileMixin.test_sendfile_pre_and_post_data
TEST_CASE("send_file keeps the order with writes before and after it", "[send_file]") {
  const std::vector<std::byte> data = test_data(kSize);
  std::vector<std::byte> all = test_data(300'000, 2);
  const std::vector<std::byte> around = all;
  all.insert(all.end(), data.begin(), data.end());
  all.insert(all.end(), around.begin(), around.end());
  in_all_ways([&](const SendFile& send) {
    StreamPair pair = connect_pair();
    MemoryFile file(data);
    auto sender = create_task([&] {
      pair.client.write_all(around);
      expect_equal(send(pair.client, file.fd(), 0, kToEndOfFile), kSize, "bytes sent");
      pair.client.write_all(around);
      pair.client.shutdown_write();
    });
    expect_stream(pair.server, all);
    await(sender);
  });
}

// asyncio: test_sendfile SendfileMixin.test_sendfile_close_peer_after_receiving
// asyncio: test_sendfile SendfileMixin.test_sendfile_close_peer_in_the_middle_of_receiving
// asyncio: test_sendfile SendfileMixin.test_sendfile_fallback_close_peer_in_the_middle_of_receiving
TEST_CASE("send_file to a peer that leaves is an error without SIGPIPE, and the position shows the progress",
          "[send_file]") {
  const std::vector<std::byte> data = test_data(16U << 20);
  in_all_ways([&](const SendFile& send) {
    StreamPair pair = connect_pair();
    MemoryFile file(data);
    auto sender = create_task([&] {
      return error_of([&] {
        for (;;) send(pair.client, file.fd(), 0, kToEndOfFile);
      });
    });
    (void)read_text(pair.server, 100'000);
    pair.server.close();
    const int error = await(sender);
    expect(error == ECONNRESET || error == EPIPE, "a lost connection, not " + std::to_string(error));
    expect_equal(error_of([&] { send(pair.client, file.fd(), 0, 1000); }), EPIPE, "errno ever after");
    expect(file.position() >= 100'000 && file.position() < data.size(), "a position in the middle");
  });
}

// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_cancel1
// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_cancel2
TEST_CASE("send_file that is cancelled goes on later from the file's position", "[send_file]") {
  const std::vector<std::byte> data = test_data(16U << 20);
  in_all_ways([&](const SendFile& send) {
    StreamPair pair = connect_pair();
    MemoryFile file(data);
    auto sender = create_task([&] { send(pair.client, file.fd(), 0, kToEndOfFile); });
    wait_until_waits(sender, WaitReason::kWritable);
    sender.cancel();
    sender.wait();
    expect(sender.cancelled(), "a cancelled send");
    expect(file.position() > 0 && file.position() < data.size(), "a position in the middle");
    auto rest = create_task([&] {
      send(pair.client, file.fd(), file.position(), kToEndOfFile);
      pair.client.shutdown_write();
    });
    expect_stream(pair.server, data);
    await(rest);
  });
}

// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_a_file
// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_regular_file
// asyncio: test_sendfile SendfileMixin.test_sendfile_for_closing_transp
// asyncio: test_base_events BaseLoopSockSendfileTests.test_nonstream_socket
TEST_CASE("send_file names what cannot be sent, or sent to", "[send_file]") {
  in_all_ways([&](const SendFile& send) {
    StreamPair pair = connect_pair();
    MemoryFile file(test_data(1000));
    int fds[2];
    expect(::pipe2(fds, O_CLOEXEC) == 0, "a pipe");
    const RawPeer out(fds[0]);
    const RawPeer in(fds[1]);
    expect_equal(error_of([&] { send(pair.client, out.fd(), 0, 10); }), ESPIPE, "errno of a pipe");
    expect_equal(error_of([&] { send(pair.client, -1, 0, 10); }), EBADF, "errno of no file");
    pair.client.close();
    expect(error_of([&] { send(pair.client, file.fd(), 0, 10); }) != 0, "an error once it is closed");
    expect_equal(file.position(), 0, "the position");
  });
  on_loops([] {
    const RawPeer datagrams(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    expect_throws<std::invalid_argument>([&] { sock_sendfile(datagrams.fd(), 0); }, "no stream socket");
  });
}

TEST_CASE("make_byte_stream of a TcpStream sends files as that does", "[send_file]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    const std::vector<std::byte> data = test_data(5000);
    MemoryFile file(data);
    const std::unique_ptr<ByteStream> stream = make_byte_stream(std::move(pair.client));
    expect_equal(stream->send_file(file.fd(), 0, kToEndOfFile), 5000, "bytes sent");
    stream->shutdown_write();
    expect_stream(pair.server, data);
  });
}

TEST_CASE("TcpStream sets when a silent connection is probed", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    pair.client.set_keep_alive(KeepAlive{.idle = 7s, .interval = 3s, .count = 2});
    expect_equal(pair.client.get_option(SOL_SOCKET, SO_KEEPALIVE), 1, "SO_KEEPALIVE");
    expect_equal(pair.client.get_option(IPPROTO_TCP, TCP_KEEPIDLE), 7, "TCP_KEEPIDLE");
    expect_equal(pair.client.get_option(IPPROTO_TCP, TCP_KEEPINTVL), 3, "TCP_KEEPINTVL");
    expect_equal(pair.client.get_option(IPPROTO_TCP, TCP_KEEPCNT), 2, "TCP_KEEPCNT");
    std::string text;
    expect_equal(error_of([&] { pair.client.set_keep_alive(KeepAlive{.idle = 0s}); }, &text), EINVAL,
                 "errno");
    expect(text.find("TCP_KEEPIDLE") != std::string::npos, "the option in: " + text);
    pair.client.set_keep_alive(false);
    expect_equal(pair.client.get_option(SOL_SOCKET, SO_KEEPALIVE), 0, "SO_KEEPALIVE");
  });
}
