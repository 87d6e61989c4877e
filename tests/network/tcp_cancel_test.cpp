#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

// asyncio: test_events EventLoopTestsMixin.test_prompt_cancellation
TEST_CASE("TcpStream read that is cancelled leaves the stream usable and loses nothing", "[tcp][cancel]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    std::string sent;
    std::string received;
    for (int i = 0; i < 500 / kSlowdown + 20; ++i) {
      // Cancelled just before, while and just after data comes.
      auto reader = create_task([&] { received += read_once(pair.server, 16); });
      if (i % 3 == 0) let_others_wait();
      if (i % 3 == 1) yield();
      const std::string text = std::to_string(i) + ",";
      auto writer = create_task([&] { pair.client.write_all(text); });
      if (i % 2 == 0) await(writer);
      reader.cancel();
      await(writer);
      sent += text;
      reader.wait();
      expect(reader.cancelled() || reader.exception() == nullptr, "cancelled or done");
    }
    pair.client.shutdown_write();
    for (;;) {
      const std::string part = read_once(pair.server);
      if (part.empty()) break;
      received += part;
    }
    expect(received == sent, "every byte once, in order");
  });
}

TEST_CASE("TcpStream write that is cancelled leaves the stream usable", "[tcp][cancel]") {
  const std::vector<std::byte> data = test_data(8U << 20);
  on_loops([&] {
    StreamPair pair = connect_pair();
    // write_some: what it did not report was not written.
    std::size_t written = 0;
    for (int i = 0; i < 10; ++i) {
      auto writer = create_task([&] {
        for (;;) written += pair.client.write_some(std::span(data).subspan(written, 300'000));
      });
      wait_until_waits(writer, WaitReason::kWritable);
      writer.cancel();
      writer.wait();
      expect(writer.cancelled(), "cancelled");
    }
    expect(written > 0 && written < data.size(), "the buffers are full");
    auto reader = create_task([&] { expect_stream(pair.server, std::span(data).first(written + 5)); });
    pair.client.write_all(std::span<const std::byte>(data).subspan(written, 5));
    pair.client.shutdown_write();
    await(reader);
  });
}

TEST_CASE("TcpStream write_all that is cancelled ends, and the reader sees a prefix", "[tcp][cancel]") {
  const std::vector<std::byte> data = test_data(32U << 20);
  on_loops([&] {
    StreamPair pair = connect_pair();
    auto writer = create_task([&] { pair.client.write_all(std::span<const std::byte>(data)); });
    wait_until_waits(writer, WaitReason::kWritable);
    writer.cancel();
    writer.wait();
    expect(writer.cancelled(), "cancelled");
    pair.client.close();
    std::vector<std::byte> buffer(1U << 16);
    std::size_t at = 0;
    for (;;) {
      const std::size_t count = pair.server.read_some(buffer);
      if (count == 0) break;
      expect(std::memcmp(buffer.data(), data.data() + at, count) == 0, "a prefix");
      at += count;
    }
    expect(at < data.size(), "not all of it");
  });
}

TEST_CASE("TcpListener accept that is cancelled loses no connection", "[tcp][cancel]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    int accepted = 0;
    const int rounds = 200 / kSlowdown + 20;
    for (int i = 0; i < rounds; ++i) {
      auto acceptor = create_task([&] {
        listener.accept().close();
        ++accepted;
      });
      if (i % 3 == 0) let_others_wait();
      auto client = create_task([&] { TcpStream::connect(listener.local_address()).shutdown_write(); });
      if (i % 2 == 0) await(client);
      acceptor.cancel();
      await(client);
      acceptor.wait();
      expect(acceptor.cancelled() || acceptor.exception() == nullptr, "cancelled or done");
    }
    while (accepted < rounds) {
      listener.accept().close();
      ++accepted;
    }
    auto late = create_task([&] { (void)listener.accept(); });
    wait_until_waits(late, WaitReason::kReadable);
    expect(!late.done(), "there is no more connection than were made");
    late.cancel();
    late.wait();
  });
}

TEST_CASE("TcpListener accept that is cancelled leaves the connection to another acceptor", "[tcp][cancel]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    for (int i = 0; i < 100 / kSlowdown + 10; ++i) {
      TcpStream accepted[2];
      auto first = create_task([&] { accepted[0] = listener.accept(); });
      auto second = create_task([&] { accepted[1] = listener.accept(); });
      wait_until_waits(first, WaitReason::kReadable);
      wait_until_waits(second, WaitReason::kReadable);
      RawPeer peer = RawPeer::connect(listener.local_address());
      first.cancel();
      first.wait();
      // It may have been accepted just before the request came; a task ends as cancelled even then.
      if (!accepted[0].is_open()) await(second);
      second.cancel();
      second.wait();
      expect(accepted[0].is_open() != accepted[1].is_open(), "one connection, one acceptor");
    }
  });
}

TEST_CASE("TcpStream cancelled while it waits for one direction leaves the other alone", "[tcp][cancel]") {
  const std::vector<std::byte> data = test_data(16U << 20);
  on_loops([&] {
    StreamPair pair = connect_pair();
    auto writer = create_task([&] {
      pair.client.write_all(std::span<const std::byte>(data));
      pair.client.shutdown_write();
    });
    wait_until_waits(writer, WaitReason::kWritable);
    for (int i = 0; i < 10; ++i) {
      auto reader = create_task([&] { (void)read_once(pair.client); });
      wait_until_waits(reader, WaitReason::kReadable);
      reader.cancel();
      reader.wait();
      expect(reader.cancelled(), "cancelled");
    }
    expect(!writer.done(), "the writer still waits");
    expect_stream(pair.server, data);
    await(writer);
  });
}
