// StreamWriter and StreamReader over connections.
#include <algorithm>

#include "support/streams.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

std::string text_data(std::size_t bytes) {
  const std::vector<std::byte> data = test_data(bytes);
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// Writes until something stays in the buffer; returns what was written.
std::string fill_up(StreamWriter& writer, std::size_t bytes = 16U << 20) {
  std::string data = text_data(bytes);
  writer.write(data);
  expect(writer.write_buffer_size() > 0, "more than the system takes");
  return data;
}
bool is_flushing(const AnyTask& task) { return inspect(task).reason == WaitReason::kWritable; }

}  // namespace

// asyncio: test_streams StreamTests.test_async_writer_api
// asyncio: test_transports TransportTests.test_writelines
// asyncio: test_streams StreamTests.test_wait_closed_on_close
// asyncio: test_streams StreamTests.test_eof_feed_when_closing_writer
// asyncio: test_selector_events SelectorSocketTransportTests.test_write
// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready
// asyncio: test_selector_events SelectorSocketTransportTests.test_writelines_send_full
TEST_CASE("StreamWriter: request and answer, then close: is_closing, wait_closed, the reader's end",
          "[streams]") {
  on_loops([] {
    auto both_client = connect_streams();
    auto& client = both_client.client;
    auto& server = both_client.server;
    auto& both = client;
    auto& reader = both.first;
    auto& writer = both.second;
    auto serving = create_task([&] {
      while (!server.first.at_eof()) server.second.write(server.first.readline());
      server.second.close();
      server.second.wait_closed();
    });
    writer.write("hello\n");
    writer.drain();
    expect_text(reader.readline(), "hello\n", "the answer");
    expect(!writer.is_closing(), "open");
    writer.writelines({"a", "b", "\n"});
    writer.writelines(std::vector<std::string>{"c\n", "d"});
    writer.write_eof();
    writer.write_eof();
    expect_text(reader.read(), "ab\nc\nd", "lines");
    thrown<RuntimeError>([&] { writer.write("late"); }, "after write_eof");
    writer.close();
    writer.close();
    expect(writer.is_closing(), "closing");
    writer.wait_closed();
    await(serving);
    expect_text(reader.read(), "", "the end after our own close");
    expect(reader.at_eof(), "at_eof");
  });
}

TEST_CASE("A reader that waits gets the end when its writer is closed by another task", "[streams]") {
  on_loops([] {
    auto [client, server] = connect_streams();
    StreamReader& reader = client.first;
    auto waiting = create_task([&] { return reader.read(); });
    wait_until_waits(waiting, WaitReason::kReadable);
    client.second.close();
    expect_text(await(waiting), "", "the end");
    expect(reader.exception() == nullptr, "no error");
  });
}

TEST_CASE("A reader of a connection: fed data comes before what the connection has; a set error after a wait",
          "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    ends.reader.feed_data("fed ");
    ends.peer.send("sent\n");
    expect_text(ends.reader.readline(), "fed sent\n", "the line");
    auto waiting = create_task([&] { return ends.reader.read(10); });
    wait_until_waits(waiting, WaitReason::kReadable);
    ends.reader.set_exception(std::make_exception_ptr(std::domain_error("made up")));
    ends.peer.send("more");
    thrown<std::domain_error>([&] { await(waiting); }, "the waiting read");
    thrown<std::domain_error>([&] { ends.writer.drain(); }, "drain");

    RawStreams ended = connect_raw_streams();
    ended.reader.feed_eof();
    expect_text(ended.reader.read(), "", "the end that was fed");
  });
}

TEST_CASE("A reader alone closes its stream when it goes; a writer alone sends the rest", "[streams]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    auto [far_reader, far_writer] = make_streams(make_byte_stream(std::move(pair.client)));
    {
      StreamReader reader(make_byte_stream(std::move(pair.server)));
      far_writer.write("hello\n");
      expect_text(reader.readline(), "hello\n", "the line");
    }
    expect_text(far_reader.read(), "", "the end");
    thrown<std::invalid_argument>([&] { StreamWriter(std::unique_ptr<ByteStream>()); }, "no stream");

    StreamPair other = connect_pair();
    StreamReader reader(make_byte_stream(std::move(other.client)));
    std::string data;
    {
      StreamWriter writer(make_byte_stream(std::move(other.server)));
      data = fill_up(writer);
    }
    expect(reader.read() == data, "all of it");
  });
}

// asyncio: test_streams StreamTests.test_wait_closed_on_close_with_unread_data
TEST_CASE("StreamWriter: data that nobody reads does not keep a stream from closing", "[streams]") {
  on_loops([] {
    auto [client, server] = connect_streams();
    server.second.write("line1\nline2\n");
    expect_text(client.first.readline(), "line1\n", "a line");
    client.second.close();
    client.second.wait_closed();
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready_tryagain
// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready_eof_keep_open
TEST_CASE("StreamWriter: write never waits, and what the system does not take is sent in the background",
          "[streams]") {
  on_loops([] {
    auto [client, server] = connect_streams();
    const std::string data = fill_up(client.second);
    client.second.write("tail");
    client.second.write_eof();  // after what is buffered
    expect_text(server.first.readexactly(data.size()) == data ? "equal" : "different", "equal", "the data");
    expect_text(server.first.read(), "tail", "what was written behind it");
    expect_equal(client.second.write_buffer_size(), 0, "bytes left");
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_closing
// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready_eof
TEST_CASE("StreamWriter: close sends the rest in the background, also if the writer is gone", "[streams]") {
  on_loops([] {
    auto [client, server] = connect_streams();
    std::string data;
    {
      StreamWriter writer = std::move(client.second);
      data = fill_up(writer);
      writer.close();
      writer.write("dropped");
    }
    expect(server.first.read() == data, "all data, and the end");
  });
}

// asyncio: test_selector_events SelectorTransportTests.test_abort
TEST_CASE("StreamWriter: abort drops what is buffered, and resets the connection", "[streams]") {
  on_loops([] {
    auto both = connect_streams();
    auto& client = both.client;
    auto& server = both.server;
    static_cast<void>(fill_up(client.second));
    auto draining = create_task([&] { client.second.drain(); });
    wait_until_waits(draining);
    client.second.abort();
    await(draining);  // asyncio: ends well; the next one tells
    client.second.wait_closed();
    expect_equal(client.second.write_buffer_size(), 0, "bytes left");
    expect_equal(error_of([&] { client.second.drain(); }), ECONNRESET, "drain's errno");
    expect_equal(error_of([&] { server.first.read(); }), ECONNRESET, "the peer's errno");
  });
}

// asyncio: test_streams StreamTests.test_multiple_drain
// asyncio: test_selector_events SelectorSocketTransportTests.test_writelines_pauses_protocol
TEST_CASE("StreamWriter::drain waits above the high mark, for several tasks, until the low one",
          "[streams]") {
  on_loops([] {
    auto [client, server] = connect_streams();
    StreamWriter& writer = client.second;
    writer.drain();
    const std::string data = fill_up(writer);
    std::atomic<int> drained = 0;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 4; ++i) {
      tasks.push_back(create_task([&] {
        writer.drain();
        expect(writer.write_buffer_size() <= writer.write_buffer_limits().low, "at the low mark");
        ++drained;
      }));
    }
    wait_until_all_wait(tasks);
    expect_equal(drained.load(), 0, "tasks that did not wait");
    tasks[1].cancel();
    tasks[1].wait();
    expect(server.first.readexactly(data.size()) == data, "the data");
    for (std::size_t i : {0U, 2U, 3U}) await(tasks[i]);
    expect_equal(drained.load(), 3, "tasks that went on");
  });
}

// asyncio: test_transports TransportTests.test_flowcontrol_mixin_set_write_limits
TEST_CASE("StreamWriter: the limits of its buffer", "[streams]") {
  on_loop({1, false}, [] {
    auto [client, server] = connect_streams();
    StreamWriter& writer = client.second;
    const auto expect_limits = [&](std::size_t low, std::size_t high) {
      expect_equal(writer.write_buffer_limits().low, low, "low");
      expect_equal(writer.write_buffer_limits().high, high, "high");
    };
    expect_limits(16 * 1024, 64 * 1024);
    writer.set_write_buffer_limits(1024, 128);
    expect_limits(128, 1024);
    writer.set_write_buffer_limits(4096);
    expect_limits(1024, 4096);
    writer.set_write_buffer_limits({}, 64);
    expect_limits(64, 256);
    thrown<std::invalid_argument>([&] { writer.set_write_buffer_limits(10, 11); }, "low above high");
    writer.set_write_buffer_limits(0);
    static_cast<void>(fill_up(writer));
    auto draining = create_task([&] { writer.drain(); });
    wait_until_waits(draining);
    expect(!draining.done(), "a drain down to nothing waits");
    writer.set_write_buffer_limits(64U << 20, 64U << 20);
    await(draining);
    writer.abort();
  });
}

// asyncio: test_streams StreamTests.test_drain_raises
// asyncio: test_streams StreamTests.test_open_connection_error
TEST_CASE("A reset by the peer comes out of drain, of reads and of wait_closed", "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    ends.writer.write("x");
    ends.peer.reset();
    const int error = error_of([&] {
      for (;;) {
        ends.writer.write("foo\n");
        ends.writer.drain();
      }
    });
    expect(error == ECONNRESET || error == EPIPE, "drain: errno " + std::to_string(error));
    expect(ends.writer.is_closing(), "closed by it");
    expect_equal(error_of([&] { ends.reader.read(); }), error, "read's errno");
    expect_equal(error_of([&] { ends.writer.wait_closed(); }), error, "wait_closed's errno");
    expect(ends.reader.exception() != nullptr, "the reader's error");

    RawStreams other = connect_raw_streams();
    auto waiting = create_task([&] { return other.reader.readline(); });
    wait_until_waits(waiting, WaitReason::kReadable);
    other.peer.reset();
    expect_equal(error_of([&] { await(waiting); }), ECONNRESET, "a waiting read's errno");
    expect_equal(error_of([&] { other.writer.drain(); }), ECONNRESET, "drain's errno then");
    expect_equal(error_of([&] { other.writer.wait_closed(); }), ECONNRESET, "wait_closed's errno then");
  });
}

TEST_CASE("A reset while the rest is sent ends drains and close", "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    static_cast<void>(fill_up(ends.writer));
    auto draining = create_task([&] { ends.writer.drain(); });
    auto closed = create_task([&] { ends.writer.wait_closed(); });
    wait_until_waits(draining);
    wait_until_waits(closed);
    ends.peer.reset();
    const int error = error_of([&] { await(draining); });
    expect(error == ECONNRESET || error == EPIPE, "drain: errno " + std::to_string(error));
    expect_equal(error_of([&] { await(closed); }), error, "wait_closed's errno");
  });
}

// asyncio: test_streams StreamTests.test_async_writer_api_exception_after_close
TEST_CASE("StreamWriter: write and drain after close say that the connection is reset", "[streams]") {
  on_loops([] {
    auto both = connect_streams();
    auto& client = both.client;
    client.second.close();
    client.second.write("data");
    expect_equal(error_of([&] { client.second.drain(); }), ECONNRESET, "errno");
  });
}

TEST_CASE("StreamWriter: the fifth write after the end is reported", "[streams]") {
  on_loop({1, false}, [] {
    auto [client, server] = connect_streams();
    std::vector<std::string> messages;
    const auto handler = get_running_loop().get_exception_handler();
    get_running_loop().set_exception_handler(
        [&](EventLoop&, const ExceptionContext& context) { messages.push_back(context.message); });
    client.second.close();
    for (int i = 0; i < 4; ++i) client.second.write("data");
    expect(messages.empty(), "no report yet");
    for (int i = 0; i < 4; ++i) client.second.write("data");
    expect_equal(messages.size(), 1, "reports");
    get_running_loop().set_exception_handler(handler);
  });
}

// asyncio: test_streams StreamTests.test_unclosed_resource_warnings
TEST_CASE("Dropping an open StreamWriter closes the connection; debug mode reports it", "[streams]") {
  on_loop({1, false}, [] {
    std::vector<std::string> messages;
    const auto handler = get_running_loop().get_exception_handler();
    get_running_loop().set_exception_handler(
        [&](EventLoop&, const ExceptionContext& context) { messages.push_back(context.message); });
    for (const bool debug : {false, true}) {
      get_running_loop().set_debug(debug);
      auto [client, server] = connect_streams();
      { const StreamWriter dropped = std::move(client.second); }
      expect_text(server.first.read(), "", "the end");
      server.second.close();
      get_running_loop().set_debug(false);
    }
    expect_equal(messages.size(), 1, "reports");
    get_running_loop().set_exception_handler(handler);
  });
}

TEST_CASE("StreamWriter: addresses, fd and stream; addresses that were asked for stay", "[streams]") {
  // asyncio: test_transports TransportTests.test_get_extra_info
  on_loops([] {
    auto [client, server] = connect_streams();
    const Address peer = client.second.peer_address();
    expect(peer == server.second.local_address(), "the peer's address");
    expect(client.second.native_handle() >= 0, "an fd");
    expect(client.second.can_write_eof(), "can be half-closed");
    expect(client.second.stream().is_open(), "the stream");
    client.second.close();
    server.second.close();
    expect(client.second.peer_address() == peer, "still known");
    expect(client.second.local_address() == Address(), "asked for too late");
    expect_equal(client.second.native_handle(), -1, "no fd");
  });
}

// asyncio: test_selector_events SelectorTransportTests.test_fatal_error_custom_exception
TEST_CASE("StreamWriter: an error of a stream that is none of the system is reported, too", "[streams]") {
  class Broken final : public ByteStream {
   public:
    std::size_t read_some(std::span<std::byte>) override { return 0; }
    std::size_t write_some(std::span<const std::byte>) override { throw std::domain_error("write_some"); }
    std::size_t try_write_some(std::span<const std::byte> data) override {
      if (data.size() == 1) return 0;
      throw std::domain_error("try_write_some");
    }
    [[nodiscard]] bool can_shutdown_write() const noexcept override { return false; }
    void shutdown_write() override {}
    void close() noexcept override {}
    void abort() noexcept override {}
    [[nodiscard]] bool is_open() const noexcept override { return true; }
    [[nodiscard]] int native_handle() const noexcept override { return -1; }
  };
  on_loop({1, false}, [] {
    std::vector<std::string> reports;
    const auto handler = get_running_loop().get_exception_handler();
    get_running_loop().set_exception_handler(
        [&](EventLoop&, const ExceptionContext& context) { reports.push_back(describe(context.exception)); });
    for (const std::string data : {"direct", "x"}) {
      StreamWriter writer(std::make_unique<Broken>());
      writer.write(data);
      thrown<std::domain_error>([&] { writer.wait_closed(); }, "the error");
    }
    expect_equal(reports.size(), 2, "reports");
    expect_text(reports[0] + " " + reports[1], "try_write_some write_some", "reports");
    get_running_loop().set_exception_handler(handler);
  });
}

TEST_CASE("Several tasks write to one StreamWriter: each write as a whole, each task's in order",
          "[streams]") {
  constexpr std::size_t kTasks = 4;
  constexpr std::size_t kLines = 500;
  on_loops([] {
    auto [client, server] = connect_streams();
    StreamWriter& writer = client.second;
    std::vector<Task<>> tasks;
    for (std::size_t task = 0; task < kTasks; ++task) {
      tasks.push_back(spawn([&, task] {
        for (std::size_t i = 0; i < kLines; ++i) {
          writer.write(std::to_string(task) + " " + std::to_string(i) + std::string(300, '.') + "\n");
          writer.drain();
        }
      }));
    }
    std::size_t next[kTasks] = {};
    for (std::size_t i = 0; i < kTasks * kLines; ++i) {
      const std::string line = server.first.readline();
      const std::size_t task = static_cast<std::size_t>(line[0] - '0');
      expect(task < kTasks, "a whole line");
      expect_text(line, line.substr(0, 2) + std::to_string(next[task]++) + std::string(300, '.') + "\n",
                  "line");
    }
    for (auto& task : tasks) await(task);
  });
}

TEST_CASE("A cancelled flusher loses nothing: the next drain sends the rest", "[streams]") {
  on_loops([] {
    auto both = connect_streams();
    auto& client = both.client;
    auto& server = both.server;
    const std::string data = fill_up(client.second);
    for (int i = 0; i < 3; ++i) {
      let_others_wait();
      for (const AnyTask& task : all_tasks()) {
        if (task != current_task()) task.cancel();
      }
    }
    let_others_wait();
    auto reading = create_task([&] { return server.first.readexactly(data.size()) == data; });
    client.second.set_write_buffer_limits(0);
    client.second.drain();
    expect(await(reading), "all data, in order");
    // Less than the high mark: nobody waits, but a drain sends it all the same.
    client.second.set_write_buffer_limits(1U << 30);
    const std::string more = fill_up(client.second);
    for (const AnyTask& task : all_tasks()) {
      if (task != current_task()) task.cancel();
    }
    let_others_wait();
    client.second.drain();
    expect(server.first.readexactly(more.size()) == more, "all data again");
  });
}

TEST_CASE("A flusher that is cancelled after close ends the connection, and wait_closed says so",
          "[streams]") {
  on_loops([] {
    auto both = connect_streams();
    auto& client = both.client;
    static_cast<void>(fill_up(client.second));
    client.second.close();
    wait_until([] { return std::ranges::any_of(all_tasks(), is_flushing); }, "the flusher waits");
    for (const AnyTask& task : all_tasks()) {
      if (task != current_task()) task.cancel();
    }
    expect_equal(error_of([&] { client.second.wait_closed(); }), ECANCELED, "errno");
  });
}

namespace {
// What a start_tls does, with a cipher that adds 1.
class ShiftedStream final : public ByteStream {
 public:
  ShiftedStream(std::unique_ptr<ByteStream> under, std::string read_ahead)
      : under_(std::move(under)), read_ahead_(std::move(read_ahead)) {}
  std::size_t read_some(std::span<std::byte> buffer) override {
    std::size_t count = std::min(buffer.size(), read_ahead_.size());
    if (count > 0) {
      std::memcpy(buffer.data(), read_ahead_.data(), count);
      read_ahead_.erase(0, count);
    } else {
      count = under_->read_some(buffer);
    }
    for (std::byte& byte : buffer.first(count)) byte = static_cast<std::byte>(static_cast<char>(byte) - 1);
    return count;
  }
  std::size_t write_some(std::span<const std::byte> data) override { return under_->write_some(shift(data)); }
  std::size_t try_write_some(std::span<const std::byte> data) override {
    return under_->try_write_some(shift(data));
  }
  [[nodiscard]] bool can_shutdown_write() const noexcept override { return false; }
  void shutdown_write() override { throw std::system_error(ENOTSUP, std::system_category(), "shutdown"); }
  void close() noexcept override { under_->close(); }
  void abort() noexcept override { under_->abort(); }
  [[nodiscard]] bool is_open() const noexcept override { return under_->is_open(); }
  [[nodiscard]] int native_handle() const noexcept override { return under_->native_handle(); }

 private:
  static std::vector<std::byte> shift(std::span<const std::byte> data) {
    std::vector<std::byte> shifted(data.begin(), data.end());
    for (std::byte& byte : shifted) byte = static_cast<std::byte>(static_cast<char>(byte) + 1);
    return shifted;
  }
  std::unique_ptr<ByteStream> under_;
  std::string read_ahead_;
};

std::unique_ptr<ByteStream> shift(std::unique_ptr<ByteStream> stream, std::string read_ahead) {
  return std::make_unique<ShiftedStream>(std::move(stream), std::move(read_ahead));
}
}  // namespace

TEST_CASE("StreamWriter::replace_stream puts a stream over the old one, with what was read ahead",
          "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    const std::string data = fill_up(ends.writer, 8U << 20);
    ends.peer.send("plain\nbmm!");
    expect_text(ends.reader.readline(), "plain\n", "before");
    auto replacing = create_task([&] { ends.writer.replace_stream(shift); });
    std::string received;
    while (received.size() < data.size()) {
      received += ends.peer.receive_now();
      sleep(Duration(0));
    }
    expect(received == data, "what was written before goes out as it is");
    await(replacing);
    expect_text(ends.reader.readexactly(4), "all ", "what was read ahead");
    ends.peer.send("epof");
    expect_text(ends.reader.readexactly(4), "done", "what comes later");
    ends.writer.write("HAL");
    wait_until([&] { return (received = ends.peer.receive_now()) != ""; }, "an answer");
    expect_text(received, "IBM", "the answer");
    expect(!ends.writer.can_write_eof(), "the new stream's abilities");
    expect_equal(error_of([&] { ends.writer.write_eof(); }), ENOTSUP, "errno");
    ends.writer.write("HAL");
    ends.writer.close();
    ends.writer.wait_closed();
  });
}

namespace cipher {
struct Context {
  bool works = true;
};
void start_tls(StreamWriter& writer, const Context& context, const std::string& host) {
  if (!context.works) throw std::domain_error("no handshake with " + host);
  writer.replace_stream(shift);
}
}  // namespace cipher

TEST_CASE("StreamWriter::start_tls calls that of its context's namespace", "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    const auto error = thrown<std::domain_error>(
        [&] { ends.writer.start_tls(cipher::Context{.works = false}, "host"); }, "its error");
    expect_text(error.what(), "no handshake with host", "its error");
    ends.writer.start_tls(cipher::Context{}, "host");
    ends.peer.send("epof");
    expect_text(ends.reader.readexactly(4), "done", "what comes over the new stream");
  });
}

TEST_CASE("StreamWriter: what is written while the stream is replaced goes over the new one; a close too",
          "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    Event begun;
    Event go_on;
    auto replacing = create_task([&] {
      ends.writer.replace_stream([&](auto stream, auto read_ahead) {
        begun.set();
        go_on.wait();
        return shift(std::move(stream), std::move(read_ahead));
      });
    });
    begun.wait();
    ends.writer.write("HAL");
    thrown<RuntimeError>([&] { ends.writer.write_eof(); }, "write_eof");
    thrown<RuntimeError>([&] { static_cast<void>(ends.writer.stream()); }, "stream");
    expect_equal(ends.writer.native_handle(), -1, "fd");
    ends.writer.close();
    expect(ends.peer.receive_now().empty(), "nothing is sent yet");
    go_on.set();
    await(replacing);
    ends.writer.wait_closed();
    expect_text(ends.peer.receive_now(), "IBM", "what was written");
  });
}

TEST_CASE(
    "StreamWriter::replace_stream: refused while somebody reads; an error of it is the connection's end",
    "[streams]") {
  on_loops([] {
    RawStreams ends = connect_raw_streams();
    auto waiting = create_task([&] { return ends.reader.readline(); });
    wait_until_waits(waiting, WaitReason::kReadable);
    thrown<RuntimeError>([&] { ends.writer.replace_stream(shift); }, "while a task reads");
    ends.peer.send("still there\n");
    expect_text(await(waiting), "still there\n", "the old stream");
    thrown<std::domain_error>(
        [&] {
          ends.writer.replace_stream(
              [](auto, auto) -> std::unique_ptr<ByteStream> { throw std::domain_error("no handshake"); });
        },
        "its own error");
    expect(ends.writer.is_closing(), "closed");
    thrown<std::domain_error>([&] { ends.reader.read(); }, "the reader's error");
    thrown<std::domain_error>([&] { ends.writer.replace_stream(shift); }, "once lost");
    RawStreams closed = connect_raw_streams();
    closed.writer.write_eof();
    thrown<RuntimeError>([&] { closed.writer.replace_stream(shift); }, "after write_eof");
  });
}
