// A reset, a half-close, a close and a timeout in each stage of a stream's life: connecting, each kind of read, drain,
// close. Each ends the wait with its own error, or not at all; what may go on goes on.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/full_listener.hpp"
#include "support/streams.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

constexpr std::string_view kBegun = "abc";
constexpr std::string_view kRest = "defg\r\n";

// A read that needs more than kBegun, and what it returns once kRest has come.
struct Read {
  const char* name;
  std::function<std::string(StreamReader&)> call;
  bool is_line;  // an end is the end of the last line
};
const std::vector<Read>& reads() {
  static const std::vector<Read> all = {
      {"readexactly", [](StreamReader& reader) { return reader.readexactly(9); }, false},
      {"readuntil", [](StreamReader& reader) { return reader.readuntil("\r\n"); }, false},
      {"readline", [](StreamReader& reader) { return reader.readline(); }, true},
  };
  return all;
}

// Starts `read`, which has to wait within what it reads.
Task<std::string> begin(const Read& read, RawStreams& ends) {
  ends.peer.send(kBegun);
  auto reading = create_task([&] { return read.call(ends.reader); });
  wait_until_waits(reading, WaitReason::kReadable);
  return reading;
}

// Writes what fills all the buffers on the way for good, and much more.
std::string fill_up(RawStreams& ends) {
  const int receive_buffer = 64 * 1024;  // of a fixed size, then; the system's own send buffer ends at 4 MiB
  ::setsockopt(ends.peer.fd(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  const std::vector<std::byte> bytes = test_data(8U << 20);
  const std::string data(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  ends.writer.write(data);
  return data;
}
// Reads so many bytes.
std::string take_all(const RawPeer& peer, std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) {
    all += peer.receive_now(bytes - all.size());
    sleep(100us);
  }
  return all;
}

bool is_reset(int error) { return error == ECONNRESET || error == EPIPE; }

void half_close(const RawPeer& peer) { expect(::shutdown(peer.fd(), SHUT_WR) == 0, "a half-close"); }

}  // namespace

TEST_CASE("Connecting: nobody there, no answer, and a reset right behind the handshake", "[streams]") {
  on_loops([] {
    const ClosedPort nobody;
    expect_equal(error_of([&] { (void)open_connection("127.0.0.1", nobody.port()); }), ECONNREFUSED,
                 "nobody's errno");
    const FullListener full;
    expect_throws<TimeoutError>(
        [&] { (void)open_connection("127.0.0.1", full.address().port(), {.timeout = 5ms}); }, "no answer");
    TcpListener listener = TcpListener::bind(loopback());
    auto resetting = create_task([&] { listener.accept().abort(); });
    // The reset may come before the connect has returned, or after.
    const int error = error_of([&] {
      auto [reader, writer] = open_connection("127.0.0.1", listener.local_address().port());
      reader.read();
    });
    expect_equal(error, ECONNRESET, "errno of a reset");
    await(resetting);
  });
}

TEST_CASE("A read that waits within what it reads: reset, half-close and close of the peer", "[streams]") {
  on_loops([] {
    for (const Read& read : reads()) {
      const std::string name = read.name;
      {
        RawStreams ends = connect_raw_streams();
        auto reading = begin(read, ends);
        ends.peer.reset();
        expect_equal(error_of([&] { await(reading); }), ECONNRESET, name + ": errno of a reset");
        expect_equal(error_of([&] { ends.reader.read(); }), ECONNRESET, name + ": the next read's");
        expect_equal(error_of([&] { ends.writer.drain(); }), ECONNRESET, name + ": drain's");
        expect_equal(error_of([&] { ends.writer.wait_closed(); }), ECONNRESET, name + ": wait_closed's");
      }
      for (const bool is_half : {true, false}) {
        RawStreams ends = connect_raw_streams();
        auto reading = begin(read, ends);
        is_half ? half_close(ends.peer) : ends.peer.close();
        if (read.is_line) {
          expect_text(await(reading), std::string(kBegun), name + ": the last line");
        } else {
          expect_text(thrown<IncompleteReadError>([&] { await(reading); }, name).partial(),
                      std::string(kBegun), name + ": what has come");
        }
        expect(ends.reader.at_eof() && ends.reader.read().empty(), name + ": the end");
        if (!is_half) continue;
        ends.writer.write("still");
        ends.writer.drain();
        expect_text(take_all(ends.peer, 5), "still", name + ": the other direction");
      }
    }
  });
}

TEST_CASE("A read that times out within what it reads loses nothing", "[streams]") {
  on_loops([] {
    for (const Read& read : reads()) {
      RawStreams ends = connect_raw_streams();
      ends.peer.send(kBegun);
      expect_throws<TimeoutError>([&] { timeout(3ms, [&] { (void)read.call(ends.reader); }); }, read.name);
      ends.peer.send(kRest);
      expect_text(read.call(ends.reader), std::string(kBegun) + std::string(kRest), read.name);
    }
  });
}

TEST_CASE("drain while the peer does not read: half-close, timeout, close and reset", "[streams]") {
  on_loops([] {
    {
      RawStreams ends = connect_raw_streams();
      const std::string data = fill_up(ends);
      half_close(ends.peer);
      expect_throws<TimeoutError>([&] { timeout(3ms, [&] { ends.writer.drain(); }); }, "drain");
      auto draining = create_task([&] { ends.writer.drain(); });
      expect(take_all(ends.peer, data.size()) == data, "all of it, in order");
      await(draining);
      expect(!ends.writer.is_closing(), "the writer goes on");
    }
    for (const bool is_reset_by_peer : {true, false}) {
      RawStreams ends = connect_raw_streams();
      (void)fill_up(ends);
      auto draining = create_task([&] { ends.writer.drain(); });
      wait_until_waits(draining);
      // Closing over what was not read is a reset, too.
      is_reset_by_peer ? ends.peer.reset() : ends.peer.close();
      const int error = error_of([&] { await(draining); });
      expect(is_reset(error), "drain's errno: " + std::to_string(error));
      expect_equal(error_of([&] { ends.writer.wait_closed(); }), error, "wait_closed's errno");
    }
  });
}

TEST_CASE("close with a rest to send: half-close, timeout, reset and abort", "[streams]") {
  on_loops([] {
    {
      RawStreams ends = connect_raw_streams();
      const std::string data = fill_up(ends);
      ends.writer.close();
      half_close(ends.peer);
      expect_throws<TimeoutError>([&] { timeout(3ms, [&] { ends.writer.wait_closed(); }); }, "wait_closed");
      auto closed = create_task([&] { ends.writer.wait_closed(); });
      expect(take_all(ends.peer, data.size()) == data, "all of it, in order");
      await(closed);
    }
    {
      RawStreams ends = connect_raw_streams();
      (void)fill_up(ends);
      ends.writer.close();
      let_others_wait();
      ends.peer.reset();
      const int error = error_of([&] { ends.writer.wait_closed(); });
      expect(is_reset(error), "wait_closed's errno: " + std::to_string(error));
    }
    {
      RawStreams ends = connect_raw_streams();
      (void)fill_up(ends);
      ends.writer.close();
      let_others_wait();
      ends.writer.abort();
      ends.writer.wait_closed();
    }
  });
}
