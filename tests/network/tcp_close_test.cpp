#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "base/syscalls.hpp"
#include "support/net.hpp"
#include "support/scoped_syscalls.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

// More than all the buffers on the way hold: who writes it waits. (A full buffer is no help: a busy kernel makes room
// in it later.)
std::string_view more_than_fits() {
  static const std::string text(64 << 20, 'm');
  return text;
}

}  // namespace

TEST_CASE("TcpStream close wakes its reader and its writer with ECANCELED", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    auto reader = create_task([&] { (void)read_once(pair.client); });
    auto writer = create_task([&] { pair.client.write_all(more_than_fits()); });
    wait_until_waits(reader, WaitReason::kReadable);
    wait_until_waits(writer, WaitReason::kWritable);
    pair.client.close();
    pair.client.close();
    std::string text;
    expect_equal(error_of([&] { await(reader); }, &text), ECANCELED, "errno of the reader");
    expect(text.find("recv") == 0, "the call in: " + text);
    expect_equal(error_of([&] { await(writer); }, &text), ECANCELED, "errno of the writer");
    expect(text.find("send") == 0, "the call in: " + text);
    expect(!pair.client.is_open(), "closed");
    expect_equal(error_of([&] { (void)read_once(pair.client); }), ECANCELED, "errno of a later read");
    expect_equal(error_of([&] { (void)pair.client.local_address(); }), ECANCELED,
                 "errno of a later question");
    expect_equal(get_running_loop().stats().fds, 0, "registered fds");
  });
}

TEST_CASE("TcpListener close wakes all its acceptors with ECANCELED and frees the port", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    std::vector<Task<>> acceptors;
    for (int i = 0; i < 5; ++i) acceptors.push_back(create_task([&] { (void)listener.accept(); }));
    wait_until_all_wait(acceptors, WaitReason::kReadable);
    const Address address = listener.local_address();
    listener.close();
    for (auto& acceptor : acceptors) {
      std::string text;
      expect_equal(error_of([&] { await(acceptor); }, &text), ECANCELED, "errno");
      expect(text.find("accept") == 0, "the call in: " + text);
    }
    TcpListener next = TcpListener::bind(address);
    StreamPair pair = connect_pair(next);
  });
}

TEST_CASE("TcpStream close while a task is about to wait never leaves it waiting", "[tcp]") {
  on_loops([] {
    // The reader registers the socket in the same moment in which another worker closes it.
    for (int i = 0; i < 3000 / kSlowdown; ++i) {
      int fds[2];
      expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "a socketpair");
      TcpStream stream = TcpStream::adopt(fds[0]);
      RawPeer peer(fds[1]);
      std::atomic<bool> begun = false;
      auto reader = create_task([&] {
        begun = true;
        (void)read_once(stream);
      });
      for (int k = 0; k < 1000 && !begun; ++k) yield();
      for (int k = 0; k < i % 200; ++k) std::atomic_signal_fence(std::memory_order_seq_cst);
      stream.close();
      expect_equal(error_of([&] { await(reader); }), ECANCELED, "errno");
    }
  });
}

TEST_CASE("TcpStream destroyed while tasks wait in it ends their waits", "[tcp]") {
  on_loops([] {
    for (int i = 0; i < 50; ++i) {
      TcpListener listener = TcpListener::bind(loopback());
      StreamPair pair = connect_pair(listener);
      auto client = std::make_unique<TcpStream>(std::move(pair.client));
      auto reader = create_task([&stream = *client] { (void)read_once(stream); });
      auto writer = create_task([&stream = *client] { stream.write_all(more_than_fits()); });
      auto acceptor = create_task([&listener] { (void)listener.accept(); });
      wait_until_waits(reader, WaitReason::kReadable);
      wait_until_waits(writer, WaitReason::kWritable);
      wait_until_waits(acceptor, WaitReason::kReadable);
      client.reset();
      listener = TcpListener();
      for (auto* task : {&reader, &writer, &acceptor})
        expect_equal(error_of([&] { await(*task); }), ECANCELED, "errno");
    }
  });
}

TEST_CASE("TcpStream moved while a task waits in it goes on", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    auto reader = create_task([&] { return read_once(pair.client); });
    wait_until_waits(reader, WaitReason::kReadable);
    TcpStream moved = std::move(pair.client);
    pair.server.write_all("here");
    expect(await(reader) == "here", "the text");
    expect(moved.is_open() && !pair.client.is_open(), "moved");
    moved = TcpStream();
    expect(read_once(pair.server).empty(), "assignment closes the old one");
  });
}

namespace {
std::atomic<int> closes[4096];
int counting_close(int fd) {
  if (fd >= 0 && fd < 4096) closes[fd].fetch_add(1);
  return sys::real_syscalls.close(fd);
}
}  // namespace

TEST_CASE("TcpStream closes its fd exactly once, whoever closes", "[tcp]") {
  ScopedSyscalls table;
  sys::syscalls.close = counting_close;
  on_loops([] {
    for (int i = 0; i < 300 / kSlowdown + 10; ++i) {
      StreamPair pair = connect_pair();
      const int fd = pair.client.native_handle();
      const int peer_fd = pair.server.native_handle();
      closes[fd] = 0;
      closes[peer_fd] = 0;
      const std::vector<std::byte> data(10U << 20);
      auto reader = create_task([&] { (void)read_once(pair.client); });
      auto writer = create_task([&] { pair.client.write_all(std::span<const std::byte>(data)); });
      if (i % 2 == 0) {
        wait_until_waits(reader, WaitReason::kReadable);
        wait_until_waits(writer, WaitReason::kWritable);
      }
      auto closer = create_task([&] { pair.client.close(); });
      auto aborter = create_task([&] { pair.client.abort(); });
      await(closer);
      await(aborter);
      reader.wait();
      writer.wait();
      expect(reader.exception() != nullptr && writer.exception() != nullptr, "both ended with an error");
      expect_equal(closes[fd].load(), 1, "closes of the fd");
      pair.server.close();
      expect_equal(closes[peer_fd].load(), 1, "closes of the peer's fd");
    }
  });
}

TEST_CASE("TcpStream closes its fd exactly once while late operations fail", "[tcp]") {
  ScopedSyscalls table;
  sys::syscalls.close = counting_close;
  on_loops([] {
    for (int i = 0; i < 2000 / kSlowdown; ++i) {
      int fds[2];
      expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "a socketpair");
      const RawPeer peer(fds[1]);
      TcpStream stream = TcpStream::adopt(fds[0]);
      closes[fds[0]] = 0;
      std::atomic<int> ready = 0;
      std::vector<Task<>> late;
      for (int k = 0; k < 3; ++k) {
        late.push_back(create_task([&] {
          ++ready;
          // The last one to fail may meet the one that closes.
          for (int j = 0; j < 20; ++j) static_cast<void>(error_of([&] { (void)stream.local_address(); }));
        }));
      }
      for (int k = 0; k < 100 && ready < 2; ++k) yield();
      stream.close();
      for (auto& task : late) await(task);
      expect_equal(closes[fds[0]].load(), 1, "closes of the fd");
    }
  });
}

TEST_CASE("TcpStream on an fd that was used before gets no event of the former", "[tcp]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    const int rounds = 10'000 / kSlowdown;
    std::set<int> numbers;
    for (int i = 0; i < rounds; ++i) {
      StreamPair pair = connect_pair(listener);
      numbers.insert(pair.server.native_handle());
      auto reader = create_task([&] { return read_once(pair.server); });
      if (i % 4 == 0) yield();
      const std::string text = std::to_string(i);
      pair.client.write_all(text);
      expect(await(reader) == text, "the text of this connection");
      // Leaves an event behind for a number that is used again at once: data, the end, or a reset.
      switch (i % 4) {
        case 0:
          pair.client.write_all("never read");
          break;
        case 1:
          pair.client.shutdown_write();
          break;
        case 2:
          pair.client.abort();
          break;
        default:
          break;
      }
      pair.server.abort();
      pair.client.abort();
    }
    expect(numbers.size() < 50, "fd numbers were used again");
  });
}

TEST_CASE("TcpStream abort resets the connection", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    auto reader = create_task([&] { (void)read_once(pair.server); });
    wait_until_waits(reader, WaitReason::kReadable);
    pair.client.abort();
    pair.client.abort();
    expect_equal(error_of([&] { await(reader); }), ECONNRESET, "errno of the peer");
  });
}

TEST_CASE("TcpStream may be closed by a callback and by another thread", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    auto reader = create_task([&] { (void)read_once(pair.client); });
    wait_until_waits(reader, WaitReason::kReadable);
    Handle handle = get_running_loop().call_soon([&] { pair.client.close(); });
    expect_equal(error_of([&] { await(reader); }), ECANCELED, "errno after a callback closed it");
    pair = connect_pair();
    auto other = create_task([&] { (void)read_once(pair.server); });
    wait_until_waits(other, WaitReason::kReadable);
    std::thread thread([&] { pair.server.close(); });
    const int error = error_of([&] { await(other); });
    thread.join();
    expect_equal(error, ECANCELED, "errno after a thread closed it");
  });
}
