// Faults under StreamReader, StreamWriter, connect and Server: each comes out where asyncio's does, loses no
// byte that can be saved, and leaks nothing.
#include <algorithm>
#include <filesystem>

#include "support/faults.hpp"
#include "support/streams.hpp"
#include "support/temp_folder.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using test::Fault;
using test::kAlways;
using test::ScopedSyscalls;

namespace {

constexpr std::size_t kFew = 7;
std::atomic<int> interrupts = 0;

// The system takes and gives a few bytes at a time, and every third call is interrupted.
bool is_interrupted() { return ++interrupts % 3 == 0; }
ssize_t send_few(int fd, const void* data, std::size_t bytes, int flags) {
  if (is_interrupted()) return -EINTR;
  return sys::real_syscalls.send(fd, data, std::min(bytes, kFew), flags);
}
ssize_t recv_few(int fd, void* data, std::size_t bytes, int flags) {
  if (is_interrupted()) return -EINTR;
  return sys::real_syscalls.recv(fd, data, std::min(bytes, kFew), flags);
}

std::string numbered_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_partial
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_ready_partial
// asyncio: test_selector_events SelectorSocketTransportTests.test_writelines_send_partial
// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready_tryagain_interrupted
TEST_CASE("Streams keep every byte where the system takes and gives a few, and is interrupted", "[streams]") {
  const ScopedSyscalls scoped;
  sys::syscalls.send = send_few;
  sys::syscalls.recv = recv_few;
  const std::string text = numbered_lines(1000);
  on_loops([&] {
    auto both = connect_streams();
    auto& client = both.client;
    auto& server = both.server;
    auto writing = create_task([&] {
      client.second.write(text);
      client.second.drain();
      client.second.writelines({"the ", "end"});
      client.second.write_eof();
    });
    std::string received;
    for (const std::string& line : server.first.lines()) received += line;
    expect(received == text + "the end", "every byte, in order");
    await(writing);
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_tryagain
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_buffer
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_ready
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_ready_tryagain
TEST_CASE("StreamWriter::write buffers what the system does not take, and sends it in order", "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::send> send;
  on_loops([&] {
    auto both = connect_streams();
    auto& client = both.client;
    auto& server = both.server;
    // Another worker's flusher may be faster than we look.
    const bool is_alone = get_running_loop().workers() == 1;
    send.arm(-EAGAIN, {.times = 1});
    client.second.write("first ");
    if (is_alone) expect_equal(client.second.write_buffer_size(), 6, "bytes buffered");
    client.second.write("second");
    if (is_alone) expect_equal(client.second.write_buffer_size(), 12, "bytes buffered behind them");
    expect_text(server.first.readexactly(12), "first second", "the data");
    wait_until([&] { return client.second.write_buffer_size() == 0; }, "an empty buffer");
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_no_data
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_sendmsg_no_data
TEST_CASE("StreamWriter::write of nothing makes no call", "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::send> send;
  on_loops([&] {
    auto [client, server] = connect_streams();
    send.arm(-ECONNRESET, {.times = kAlways});
    client.second.write("");
    client.second.writelines({});
    client.second.drain();
    expect_equal(send.hits(), 0, "calls");
    send.disarm();
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_exception
// asyncio: test_selector_events SelectorSocketTransportTests.test_writelines_after_connection_lost
// asyncio: test_selector_events SelectorTransportTests.test_fatal_error
TEST_CASE("StreamWriter: an error of the direct send closes; the next drain and read throw it", "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::send> send;
  on_loops([&] {
    for (const int error : {ECONNRESET, EPIPE, ENETDOWN}) {
      auto both = connect_streams();
      auto& client = both.client;
      auto& server = both.server;
      server.second.write("unread");
      send.arm(-error);
      client.second.write("data");
      expect(client.second.is_closing(), "closed");
      client.second.writelines({"more", "data"});
      expect_equal(client.second.write_buffer_size(), 0, "bytes buffered");
      expect_equal(error_of([&] { client.second.drain(); }), error, "drain's errno");
      expect_equal(error_of([&] { client.first.read(1); }), error, "read's errno, before data that came");
      expect_equal(error_of([&] { client.second.wait_closed(); }), error, "wait_closed's errno");
    }
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_ready_exception
TEST_CASE("StreamWriter: an error of the background send ends all who wait", "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::send> send;
  const std::string data(8U << 20, 'd');
  on_loops([&] {
    auto both = connect_streams();
    auto& client = both.client;
    auto& server = both.server;
    client.second.write(data);
    auto draining = create_task([&] { client.second.drain(); });
    auto reading = create_task([&] { return client.first.read(); });
    wait_until_waits(draining);
    wait_until_waits(reading);
    send.arm(-ETIMEDOUT);
    static_cast<void>(server.first.readexactly(3U << 20));
    expect_equal(error_of([&] { await(draining); }), ETIMEDOUT, "drain's errno");
    expect_equal(error_of([&] { static_cast<void>(await(reading)); }), ETIMEDOUT, "read's errno");
    expect_equal(error_of([&] { client.second.wait_closed(); }), ETIMEDOUT, "wait_closed's errno");
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready_conn_reset
// asyncio: test_selector_events SelectorSocketTransportTests.test_read_ready_err
TEST_CASE("StreamReader: an error of a read closes; what was buffered is not given out any more",
          "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::recv> recv;
  on_loops([&] {
    for (const int error : {ECONNRESET, EIO}) {
      auto both = connect_streams();
      auto& client = both.client;
      auto& server = both.server;
      server.second.write("begun");
      expect_text(client.first.readexactly(2), "be", "the first bytes");
      recv.arm(-error);
      server.second.write(" and more");
      expect_equal(error_of([&] { client.first.readline(); }), error, "readline's errno");
      recv.disarm();
      expect_equal(error_of([&] { client.first.read(1); }), error, "the next read's errno");
      expect_equal(error_of([&] { client.second.drain(); }), error, "drain's errno");
      expect(client.second.is_closing(), "closed");
      expect_equal(error_of([&] { server.first.read(); }), ECONNRESET,
                   "the peer's errno: data was left unread");
    }
  });
}

// asyncio: test_selector_events SelectorSocketTransportTests.test_write_eof
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_eof_buffer
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_eof_after_close
TEST_CASE("StreamWriter::write_eof: after the buffer, once; nothing after close; its error", "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::shutdown> shutdown;
  Fault<&sys::Syscalls::send> send;
  on_loops([&] {
    auto [client, server] = connect_streams();
    send.arm(-EAGAIN, {.times = 1});
    client.second.write("buffered");
    client.second.write_eof();
    expect_text(server.first.read(), "buffered", "data, then the end");
    server.second.write("answer");
    expect_text(client.first.readexactly(6), "answer", "the other direction lives");

    auto both_other = connect_streams();
    auto& other = both_other.client;
    shutdown.arm(-ENOTCONN);
    expect_equal(error_of([&] { other.second.write_eof(); }), ENOTCONN, "errno");
    shutdown.arm(-ENOTCONN);
    other.second.close();
    other.second.write_eof();
    expect_equal(shutdown.hits(), 0, "calls after close");
    shutdown.disarm();

    auto both_late = connect_streams();
    auto& late = both_late.client;
    send.arm(-EAGAIN, {.times = 1});
    late.second.write("buffered");
    shutdown.arm(-ENOTCONN);
    int error = error_of([&] { late.second.write_eof(); });  // 0, unless the flusher was faster
    if (error == 0) error = error_of([&] { late.second.wait_closed(); });
    expect_equal(error, ENOTCONN, "errno in the background");
  });
}

// asyncio: test_selector_events SelectorTransportTests.test_close
// asyncio: test_selector_events SelectorTransportTests.test_close_write_buffer
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_ready_closing
// asyncio: test_selector_events SelectorSocketTransportTests.test_write_buffer_after_close
// asyncio: test_selector_events SelectorSocketTransportTests.test_transport_close_remove_writer
TEST_CASE("StreamWriter::close sends what is buffered first, and closes once", "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::send> send;
  on_loops([&] {
    auto [client, server] = connect_streams();
    send.arm(-EAGAIN, {.times = 1});
    client.second.write("buffered");
    client.second.close();
    client.second.close();
    expect(client.second.is_closing(), "closing");
    expect_text(server.first.read(), "buffered", "data, then the end");
    client.second.wait_closed();
  });
}

TEST_CASE("open_connection: out of fds or memory, each address's error is clear, and none leaks",
          "[streams]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::socket> socket;
  Fault<&sys::Syscalls::epoll_ctl> epoll_ctl(
      [](int, int operation, int, epoll_event*) { return operation == EPOLL_CTL_ADD; });
  on_loops([&] {
    TcpListener listener = TcpListener::bind(loopback());
    const std::uint16_t port = listener.local_address().port();
    const std::size_t fds = open_fds();
    std::string text;
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
      socket.arm(-error);
      expect_equal(error_of([&] { (void)open_connection("127.0.0.1", port); }, &text), error, "errno");
      expect(text.starts_with("socket"), text);
    }
    socket.disarm();
    expect_equal(open_fds(), fds, "fds");
    auto [reader, writer] = open_connection("127.0.0.1", port);
    Streams accepted = make_streams(make_byte_stream(listener.accept()));
    epoll_ctl.arm(-ENOSPC);
    expect_equal(error_of([&] { accepted.first.read(1); }, &text), ENOSPC, "errno");
    epoll_ctl.disarm();
    expect(text.find("max_user_watches") != std::string::npos, text);
    expect_text(reader.read(), "", "closed by that");
  });
}

TEST_CASE("start_server: each call on the way to listening that fails is named, and nothing is left",
          "[server]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::socket> socket;
  Fault<&sys::Syscalls::setsockopt> setsockopt;
  Fault<&sys::Syscalls::bind> bind;
  Fault<&sys::Syscalls::listen> listen;
  Fault<&sys::Syscalls::getsockname> getsockname;
  const test::TempFolder folder;
  const auto nothing = [](StreamReader&, StreamWriter&) {};
  on_loops([&] {
    const std::size_t fds = open_fds();
    const auto expect_error = [&](auto& fault, int error, const std::string& call, int first = 1) {
      fault.arm(-error, {.first = first});
      std::string text;
      const auto start = [&] {
        (void)start_server(nothing, std::vector<std::string>{"127.0.0.1", "127.0.0.2"}, 0);
      };
      expect_equal(error_of(start, &text), error, call);
      expect(text.starts_with(call), text);
      fault.disarm();
      expect_equal(open_fds(), fds, "fds after " + call);
    };
    expect_error(socket, EMFILE, "socket", 2);
    expect_error(setsockopt, EPERM, "setsockopt(SO_REUSEADDR)");
    expect_error(bind, EACCES, "bind to 127.0.0.2:0", 2);
    expect_error(getsockname, ENOBUFS, "getsockname");
    expect_error(listen, EADDRINUSE, "listen on 127.0.0.2:", 2);
    listen.arm(-EADDRINUSE);
    expect_equal(error_of([&] { (void)start_unix_server(nothing, folder / "s"); }), EADDRINUSE, "errno");
    expect(!std::filesystem::exists(folder / "s"), "no socket file is left");
  });
}

TEST_CASE("A Unix server whose file cannot be looked at or removed still starts and closes", "[server]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::lstat> lstat;
  Fault<&sys::Syscalls::unlink> unlink;
  const test::TempFolder folder;
  const auto nothing = [](StreamReader&, StreamWriter&) {};
  on_loops([&] {
    lstat.arm(-EACCES, {.times = kAlways});
    { const Server server = start_unix_server(nothing, folder / "s"); }
    lstat.disarm();
    expect(std::filesystem::exists(folder / "s"), "left, as nobody knows whose it is");
    unlink.arm(-EACCES);
    expect_equal(error_of([&] { (void)start_unix_server(nothing, folder / "s"); }), EADDRINUSE, "errno");
    unlink.disarm();
    { const Server server = start_unix_server(nothing, folder / "s"); }
    expect(!std::filesystem::exists(folder / "s"), "removed");
  });
}

TEST_CASE("Server: a connection that is gone before its address is asked for is left out", "[server]") {
  const ScopedSyscalls scoped;
  Fault<&sys::Syscalls::getpeername> getpeername;
  on_loops([&] {
    Server server = start_server([](StreamReader&, StreamWriter& writer) { writer.write("hello"); },
                                 "127.0.0.1", 0, {.max_connections_per_peer = 1});
    const std::uint16_t port = server.sockets().at(0).port();
    getpeername.arm(-ENOTCONN);
    auto gone = open_connection("127.0.0.1", port);
    expect_text(gone.first.read(), "", "closed at once");
    auto next = open_connection("127.0.0.1", port);
    expect_text(next.first.read(), "hello", "the next one is served");
  });
}
