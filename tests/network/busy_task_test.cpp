// Cancels and timeouts arrive in a task that never has to wait, and lose nothing.
#include <sys/socket.h>

#include <functional>

#include "fibrio/datagrams.hpp"
#include "support/streams.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

using Step = std::function<void()>;

// More than any operation may do before it looks at a cancel.
constexpr int kManySteps = 1000;

void expect_interruptible(const std::string& what, const Step& step) {
  auto cancelled = create_task([&] {
    current_task().cancel();
    for (int i = 0; i < kManySteps; ++i) step();
  });
  cancelled.wait();
  expect(cancelled.cancelled(), "a pending cancel arrives: " + what);
  bool is_in_time = false;
  const auto end = std::chrono::steady_clock::now() + 5s;
  try {
    timeout(10ms, [&] {
      while (std::chrono::steady_clock::now() < end) step();
    });
  } catch (const TimeoutError&) {
    is_in_time = true;
  }
  expect(is_in_time, "a timeout arrives: " + what);
}

// A stream that always has room and, after a write, data.
StreamPair ready_pair() {
  int fds[2];
  expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
  return {TcpStream::adopt(fds[0]), TcpStream::adopt(fds[1])};
}

// Does `put` and `take` in turn, with a cancel every few steps; what is taken must be what was put.
void expect_nothing_lost(const std::string& what, const std::function<void(char)>& put,
                         const std::function<char()>& take) {
  int cancels = 0;
  bool is_put = false;
  for (int i = 0; i < kManySteps;) {
    const char wanted = static_cast<char>('a' + i % 23);
    try {
      if (i % 7 == 0) current_task().cancel();
      if (!is_put) put(wanted);
      is_put = true;
      expect(take() == wanted, "nothing is lost and nothing comes twice: " + what);
      is_put = false;
      ++i;
    } catch (const CancelledError&) {
      ++cancels;
    }
  }
  while (current_task().uncancel() > 0) {
  }
  expect(cancels > 10, "cancels arrive: " + what);
}

}  // namespace

TEST_CASE("Synchronisation that never has to wait delivers cancels and timeouts", "[cancel][budget]") {
  on_loops([] {
    Lock lock;
    expect_interruptible("Lock", [&] { const std::lock_guard guard(lock); });
    Semaphore semaphore(1);
    expect_interruptible("Semaphore", [&] {
      semaphore.acquire();
      semaphore.release();
    });
    Event event;
    event.set();
    expect_interruptible("Event", [&] { event.wait(); });
    Queue<int> queue(2);
    expect_interruptible("Queue::get", [&] {
      queue.put_nowait(1);
      static_cast<void>(queue.get());
    });
    expect_interruptible("Queue::put", [&] {
      queue.put(1);
      static_cast<void>(queue.get_nowait());
    });
    expect_interruptible("Queue::join", [&] {
      static_cast<void>(queue.try_get());
      PriorityQueue<int>().join();
    });
    Future<> ready = get_running_loop().create_future();
    ready.set_result();
    expect_interruptible("await", [&] { await(ready); });
    expect(!lock.locked() && !semaphore.locked() && queue.empty(), "what was taken was given back");
  });
}

TEST_CASE("Streams that never have to wait deliver cancels and timeouts", "[cancel][budget]") {
  on_loops([] {
    StreamPair pair = ready_pair();
    std::array<std::byte, 8> bytes{};
    expect_interruptible("TcpStream", [&] {
      pair.client.write_all(bytes);
      static_cast<void>(pair.server.read_some(bytes));
    });
    StreamPair other = ready_pair();
    auto streams = make_streams(make_byte_stream(std::move(other.server)));
    expect_interruptible("StreamReader", [&] {
      other.client.write_all(bytes);
      static_cast<void>(streams.first.read(8));
    });
    StreamReader fed;
    expect_interruptible("StreamReader with a full buffer", [&] {
      if (fed.buffered() == 0) fed.feed_data(std::string(65536, '\n'));
      static_cast<void>(fed.readline());
    });
    expect_interruptible("StreamWriter::drain", [&] { streams.second.drain(); });
    UdpSocket first = UdpSocket::bind(loopback());
    UdpSocket second = UdpSocket::bind(loopback());
    expect_interruptible("UdpSocket", [&] { first.send_to(bytes, second.local_address()); });
  });
}

TEST_CASE("A cancel of a busy task loses no byte and no item", "[cancel][budget]") {
  on_loops([] {
    StreamPair pair = ready_pair();
    expect_nothing_lost(
        "TcpStream", [&](char put) { pair.client.write_all(std::string_view(&put, 1)); },
        [&] { return read_once(pair.server, 1)[0]; });
    StreamPair other = ready_pair();
    auto streams = make_streams(make_byte_stream(std::move(other.server)));
    expect_nothing_lost(
        "StreamReader", [&](char put) { other.client.write_all(std::string_view(&put, 1)); },
        [&] { return streams.first.readexactly(1)[0]; });
    Queue<char> queue(1);
    expect_nothing_lost(
        "Queue", [&](char put) { queue.put(put); }, [&] { return queue.get(); });
  });
}

TEST_CASE("A masked task that never has to wait is not interrupted", "[cancel][budget]") {
  on_loops([] {
    Lock lock;
    int steps = 0;
    auto task = create_task([&] {
      const CancelMask mask;
      current_task().cancel();
      for (; steps < kManySteps; ++steps) const std::lock_guard guard(lock);
    });
    task.wait();
    expect_equal(steps, kManySteps, "steps under the mask");
    expect(task.cancelled(), "the cancel comes at the task's end");
  });
}
