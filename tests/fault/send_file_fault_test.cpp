// Faults of sendfile: what means "copy it", what is an error, and what is tried again.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>

#include <fibrio/low_level_sockets.hpp>

#include "support/faults.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

RawPeer make_file(std::span<const std::byte> content) {
  RawPeer file(::memfd_create("fibrio_test", MFD_CLOEXEC));
  expect(::write(file.fd(), content.data(), content.size()) == static_cast<ssize_t>(content.size()),
         "a file");
  return file;
}

constexpr std::size_t kSize = 2'500'000;  // three calls at least

// Sends all of the file twice, by both calls.
void expect_whole(int file, std::span<const std::byte> data) {
  StreamPair pair = connect_pair();
  auto sender = create_task([&] {
    expect_equal(pair.client.send_file(file), kSize, "bytes of send_file");
    pair.client.shutdown_write();
  });
  expect_stream(pair.server, data);
  await(sender);
  StreamPair other = connect_pair();
  auto low_level = create_task([&] {
    expect_equal(sock_sendfile(other.client.native_handle(), file), kSize, "bytes of sock_sendfile");
    other.client.shutdown_write();
  });
  expect_stream(other.server, data);
  await(low_level);
}

// The kernel does this when the peer resets the connection in the middle of the call: SIGPIPE, and how much went.
ssize_t send_some_and_raise(int socket, int file, off_t* offset, std::size_t bytes) {
  const ssize_t sent =
      sys::real_syscalls.sendfile(socket, file, offset, std::min<std::size_t>(bytes, 100'000));
  ::pthread_kill(::pthread_self(), SIGPIPE);
  return sent;
}

}  // namespace

TEST_CASE("A sendfile that is cut off in the middle does not end the process by SIGPIPE", "[fault]") {
  const ScopedSyscalls table;
  sys::syscalls.sendfile = &send_some_and_raise;
  const std::vector<std::byte> data = test_data(kSize);
  on_loops([&] { expect_whole(make_file(data).fd(), data); });
}

// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_not_available
// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_os_error_first_call
TEST_CASE("send_file copies what sendfile refuses, and repeats what was interrupted", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::sendfile> fault;
  const std::vector<std::byte> data = test_data(kSize);
  on_loops([&] {
    const RawPeer file = make_file(data);
    for (const int error : {EINVAL, ENOSYS, EOPNOTSUPP}) {
      fault.arm(-error, {.times = kAlways});
      expect_whole(file.fd(), data);
      expect_equal(fault.hits(), 2, "calls that were refused");
    }
    fault.arm(-EINTR, {.times = 3});
    expect_whole(file.fd(), data);
    fault.disarm();
  });
}

// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_os_error_next_call
// asyncio: test_unix_events SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_exception
TEST_CASE("send_file tells an error of a later call, and the position how far it got", "[fault]") {
  const ScopedSyscalls table;
  Fault<&sys::Syscalls::sendfile> fault;
  Fault<&sys::Syscalls::pread> pread;
  const std::vector<std::byte> data = test_data(kSize);
  on_loops([&] {
    const RawPeer file = make_file(data);
    for (const int error : {EINVAL, EIO}) {
      StreamPair pair = connect_pair();
      auto reader = create_task([&] {
        while (!read_once(pair.server).empty()) {
        }
      });
      std::string text;
      ::lseek(file.fd(), 0, SEEK_SET);
      fault.arm(-error, {.first = 2, .times = kAlways});
      expect_equal(error_of([&] { pair.client.send_file(file.fd()); }, &text), error, "errno");
      fault.disarm();
      expect(text.find("sendfile") == 0, "the call in: " + text);
      const off_t position = ::lseek(file.fd(), 0, SEEK_CUR);
      expect(position > 0 && position < static_cast<off_t>(kSize), "a position in the middle");
      pair.client.close();
      await(reader);
    }
    StreamPair pair = connect_pair();
    fault.arm(-ENOSYS);
    pread.arm(-EIO);
    std::string text;
    expect_equal(error_of([&] { pair.client.send_file(file.fd()); }, &text), EIO, "errno");
    expect(text.find("pread") == 0, "the call in: " + text);
    pair.client.write_all("goes on");
    expect(read_once(pair.server) == "goes on", "the stream is usable");
  });
}
