// What: connect_read_pipe and connect_write_pipe: pipes, terminals, what is neither.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <fibrio/pipes.hpp>

#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

using Stream = std::unique_ptr<ByteStream>;

struct Pipe {
  Stream out;  // to read from
  Stream in;   // to write to
};
Pipe make_pipe() {
  int fds[2];
  expect(::pipe(fds) == 0, "a pipe");
  return {connect_read_pipe(fds[0]), connect_write_pipe(fds[1])};
}

struct Terminal {
  RawPeer master;
  RawPeer slave;
};
// Raw: bytes pass as they are.
Terminal make_terminal() {
  RawPeer master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  expect(::grantpt(master.fd()) == 0 && ::unlockpt(master.fd()) == 0, "a terminal");
  RawPeer slave(::open(::ptsname(master.fd()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios settings{};
  ::tcgetattr(slave.fd(), &settings);
  ::cfmakeraw(&settings);
  ::tcsetattr(slave.fd(), TCSANOW, &settings);
  return {std::move(master), std::move(slave)};
}

}  // namespace

// asyncio: test_events EventLoopTestsMixin.test_read_pipe
// asyncio: test_unix_events UnixReadPipeTransportTests.test__read_ready
// asyncio: test_unix_events UnixReadPipeTransportTests.test__read_ready_eof
// asyncio: test_unix_events UnixReadPipeTransportTests.test__read_ready_blocked
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write_eof
TEST_CASE("A pipe is read as it is written, up to its end", "[pipe]") {
  on_loops([] {
    Pipe pipe = make_pipe();
    auto reader = create_task([&] { return read_once(*pipe.out); });
    wait_until_waits(reader, WaitReason::kReadable);
    expect(!reader.done(), "it waits");
    pipe.in->write_all(bytes_in("first"));
    expect(await(reader) == "first", "the text");
    auto at_end = create_task([&] { return read_once(*pipe.out); });
    wait_until_waits(at_end, WaitReason::kReadable);
    expect(pipe.in->can_shutdown_write() && !pipe.out->can_shutdown_write(), "the writing end can be shut");
    pipe.in->shutdown_write();
    expect(await(at_end).empty() && read_once(*pipe.out).empty(), "the end, again and again");
    expect(!pipe.in->is_open(), "closed");
  });
}

// asyncio: test_events EventLoopTestsMixin.test_write_pipe
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write_no_data
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write_partial
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write_again
TEST_CASE("Writes into a pipe wait for room", "[pipe]") {
  const std::vector<std::byte> data = test_data(1'000'000);
  on_loops([&] {
    Pipe pipe = make_pipe();
    expect_equal(pipe.in->write_some({}), 0, "bytes of nothing");
    expect_equal(pipe.in->try_write_some({}), 0, "bytes of nothing");
    auto rest = std::span<const std::byte>(data);
    while (const std::size_t count = pipe.in->try_write_some(rest)) rest = rest.subspan(count);
    expect(!rest.empty(), "a full pipe");
    auto writer = create_task([&] {
      pipe.in->write_all(rest);
      pipe.in->close();
    });
    std::string text;
    for (std::string part; !(part = read_once(*pipe.out, 10'000)).empty();) text += part;
    await(writer);
    expect(text.size() == data.size() && std::memcmp(text.data(), data.data(), data.size()) == 0,
           "all bytes");
  });
}

// asyncio: test_events EventLoopTestsMixin.test_write_pipe_disconnect_on_close
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write_err
TEST_CASE("Writing into a pipe that nobody reads is EPIPE, and no SIGPIPE", "[pipe]") {
  on_loops([] {
    Pipe pipe = make_pipe();
    auto writer = create_task([&] {
      return error_of([&] {
        for (;;) pipe.in->write_all(bytes_in(std::string(100'000, 'x')));
      });
    });
    wait_until_waits(writer, WaitReason::kWritable);
    pipe.out->close();
    expect_equal(await(writer), EPIPE, "errno");
    expect_equal(error_of([&] { pipe.in->try_write_some(bytes_in("x")); }), EPIPE, "errno");
    // One that the program had blocked itself, and that is pending, stays.
    sigset_t pipe_signal;
    sigset_t before;
    sigset_t pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ::pthread_kill(::pthread_self(), SIGPIPE);
    const int error = error_of([&] { pipe.in->try_write_some(bytes_in("x")); });
    ::sigpending(&pending);
    const bool is_pending = sigismember(&pending, SIGPIPE) == 1;
    const timespec now{0, 0};
    ::sigtimedwait(&pipe_signal, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    expect(error == EPIPE && is_pending, "the program's own SIGPIPE");
  });
}

// asyncio: test_unix_events UnixReadPipeTransportTests.test_close
// asyncio: test_unix_events UnixReadPipeTransportTests.test_close_already_closing
// asyncio: test_unix_events UnixWritePipeTransportTests.test_close
// asyncio: test_unix_events UnixWritePipeTransportTests.test_close_closing
// asyncio: test_unix_events UnixWritePipeTransportTests.test_abort
// asyncio: test_unix_events UnixWritePipeTransportTests.test_write_close
TEST_CASE("Closing a pipe ends what waits on it, once and for all", "[pipe]") {
  on_loops([] {
    Pipe pipe = make_pipe();
    auto reader = create_task([&] { return error_of([&] { (void)read_once(*pipe.out); }); });
    wait_until_waits(reader, WaitReason::kReadable);
    pipe.out->close();
    pipe.out->close();
    expect_equal(await(reader), ECANCELED, "errno");
    expect_equal(error_of([&] { (void)read_once(*pipe.out); }), ECANCELED, "errno");
    pipe.in->abort();
    pipe.in->close();
    expect_equal(error_of([&] { pipe.in->write_all(bytes_in("x")); }), ECANCELED, "errno");
    expect(pipe.in->native_handle() == -1, "no fd");
  });
}

TEST_CASE("The other direction of a pipe's end is EBADF", "[pipe]") {
  on_loops([] {
    Pipe pipe = make_pipe();
    expect_equal(error_of([&] { (void)read_once(*pipe.in); }), EBADF, "errno");
    expect_equal(error_of([&] { pipe.out->write_all(bytes_in("x")); }), EBADF, "errno");
    expect_equal(error_of([&] { pipe.out->try_write_some(bytes_in("x")); }), EBADF, "errno");
    expect_equal(error_of([&] { pipe.out->shutdown_write(); }), EBADF, "errno");
  });
}

// asyncio: test_events EventLoopTestsMixin.test_read_pty_output
// asyncio: test_events EventLoopTestsMixin.test_write_pty
// asyncio: test_events EventLoopTestsMixin.test_bidirectional_pty
TEST_CASE("A terminal is read and written as a pipe, and ends with its other end", "[pipe]") {
  on_loops([] {
    Terminal terminal = make_terminal();
    const Stream in = connect_write_pipe(::dup(terminal.master.fd()));
    const Stream out = connect_read_pipe(::dup(terminal.master.fd()));
    const auto peer_reads = [&](std::size_t bytes) {
      std::string text(bytes, '\0');
      text.resize(
          static_cast<std::size_t>(std::max<ssize_t>(::read(terminal.slave.fd(), text.data(), bytes), 0)));
      return text;
    };
    auto reader = create_task([&] { return read_once(*out); });
    wait_until_waits(reader, WaitReason::kReadable);
    expect(::write(terminal.slave.fd(), "output", 6) == 6, "a write");
    expect(await(reader) == "output", "what the terminal says");
    in->write_all(bytes_in("input"));
    expect(peer_reads(100) == "input", "what it hears");
    auto at_end = create_task([&] { return read_once(*out); });
    wait_until_waits(at_end, WaitReason::kReadable);
    terminal.slave.close();
    expect(await(at_end).empty(), "the end");
  });
}

TEST_CASE("Sockets and devices are taken as pipes, regular files are refused", "[pipe]") {
  on_loops([] {
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "a socketpair");
    const Stream in = connect_write_pipe(fds[0]);
    const Stream out = connect_read_pipe(fds[1]);
    in->write_all(bytes_in("x"));
    expect(read_once(*out) == "x", "the byte");
    const Stream null = connect_read_pipe(::open("/dev/null", O_RDONLY));
    expect(read_once(*null).empty(), "the end");
    const RawPeer file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    expect_throws<std::invalid_argument>([&] { (void)connect_read_pipe(file.fd()); }, "a regular file");
    expect_equal(error_of([] { (void)connect_write_pipe(-1); }), EBADF, "errno");
  });
}
