#include <netinet/tcp.h>

#include <linux/net_tstamp.h>

#include "support/net.hpp"
#include "support/scoped_syscalls.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("TcpStream carries 64 MiB both ways at once, a reading and a writing task at each end", "[tcp]") {
  const std::vector<std::byte> up = test_data((64U << 20) / kSlowdown, 1);
  const std::vector<std::byte> down = test_data((64U << 20) / kSlowdown, 2);
  on_loops([&] {
    StreamPair pair = connect_pair();
    auto client_writes = create_task([&] {
      pair.client.write_all(std::span<const std::byte>(up));
      pair.client.shutdown_write();
    });
    auto server_writes = create_task([&] {
      for (std::size_t at = 0; at < down.size();) {
        at += pair.server.write_some(
            std::span(down).subspan(at, std::min<std::size_t>(100'000, down.size() - at)));
      }
      pair.server.shutdown_write();
    });
    auto server_reads = create_task([&] { expect_stream(pair.server, up); });
    auto client_reads = create_task([&] { expect_stream(pair.client, down, 10'007); });
    await(client_writes);
    await(server_writes);
    await(server_reads);
    await(client_reads);
  });
}

namespace {
std::atomic<int> changes{0};
int counting_epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
  if (operation == EPOLL_CTL_MOD) changes.fetch_add(1);
  return fibrio::sys::real_syscalls.epoll_ctl(epoll_fd, operation, fd, event);
}
}  // namespace

TEST_CASE("TcpStream asks epoll for room once, when a write has to wait for the first time", "[tcp]") {
  const std::vector<std::byte> data = test_data((16U << 20) / kSlowdown);
  const fibrio::test::ScopedSyscalls table;
  fibrio::sys::syscalls.epoll_ctl = counting_epoll_ctl;
  on_loops([&] {
    StreamPair pair = connect_pair();  // the client waited for room already: to be connected
    changes = 0;
    const AnyTask asking = current_task();
    for (int i = 0; i < 10; ++i) {  // both wait to read, nobody to write
      auto answer = create_task([&] {
        expect(read_text(pair.client, 4) == "ping", "the request");
        wait_until_waits(asking, WaitReason::kReadable);
        pair.client.write_all("pong");
      });
      wait_until_waits(answer, WaitReason::kReadable);
      pair.server.write_all("ping");
      expect(read_text(pair.server, 4) == "pong", "the answer");
      await(answer);
    }
    expect_equal(changes.load(), 0, "changes while there was room");
    auto writer = create_task([&] {
      for (int i = 0; i < 3; ++i) pair.server.write_all(std::span<const std::byte>(data));
      pair.server.shutdown_write();
    });
    for (int i = 0; i < 3; ++i) {
      wait_until([&] { return writer.done() || inspect(writer).reason == WaitReason::kWritable; }, "no room");
      std::vector<std::byte> got(data.size());
      for (std::size_t at = 0; at < got.size();) at += pair.client.read_some(std::span(got).subspan(at));
      expect(got == data, "the bytes that were sent");
    }
    await(writer);
    expect_equal(changes.load(), 1, "changes when there was none");
  });
}

TEST_CASE("TcpStream gets everything through the smallest buffers", "[tcp]") {
  on_loops([&] {
    // The kernel waits 40 ms for each two kilobytes of the second: its own silly window avoidance.
    const bool tiny_window = get_running_loop().workers() == 2;
    const std::vector<std::byte> data = test_data(tiny_window ? 20'000 : (2U << 20) / kSlowdown);
    StreamPair pair = connect_pair();
    pair.client.set_option(SOL_SOCKET, SO_SNDBUF, 1);
    if (tiny_window) pair.server.set_option(SOL_SOCKET, SO_RCVBUF, 1);
    auto writer = create_task([&] {
      const auto all = std::span<const std::byte>(data);
      pair.client.write_all(all.first(10'001), all.subspan(10'001));
      pair.client.shutdown_write();
    });
    expect_stream(pair.server, data, 777);
    await(writer);
  });
}

TEST_CASE("TcpStream over a socketpair gets everything through the smallest buffers", "[tcp]") {
  const std::vector<std::byte> data = test_data((2U << 20) / kSlowdown);
  on_loops([&] {
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "a socketpair");
    TcpStream a = TcpStream::adopt(fds[0]);
    TcpStream b = TcpStream::adopt(fds[1]);
    a.set_option(SOL_SOCKET, SO_SNDBUF, 1);
    auto writer = create_task([&] {
      a.write_all(std::span<const std::byte>(data));
      a.shutdown_write();
    });
    expect_stream(b, data, 777);
    await(writer);
  });
}

TEST_CASE("TcpStream reports the end of the stream as often as it is asked", "[tcp]") {
  on_loops([] {
    RawPair pair = connect_raw();
    pair.peer.send("last words");
    pair.peer.close();  // data and FIN come together
    expect(read_once(pair.stream) == "last words", "the data");
    for (int i = 0; i < 3; ++i) expect(read_once(pair.stream).empty(), "the end");
  });
}

TEST_CASE("TcpStream sees data and the end that came in one segment, while waiting and after a short read",
          "[tcp]") {
  on_loops([] {
    for (int i = 0; i < 50; ++i) {
      RawPair pair = connect_raw();
      const int cork = 1;
      ::setsockopt(pair.peer.fd(), IPPROTO_TCP, TCP_CORK, &cork, sizeof cork);
      auto reader = create_task([&] {
        std::string all;
        for (;;) {
          const std::string part = read_once(pair.stream);
          if (part.empty()) return all;
          all += part;
        }
      });
      if (i % 2 == 0) wait_until_waits(reader, WaitReason::kReadable);
      pair.peer.send("data");
      pair.peer.close();
      expect(await(reader) == "data", "the data, then the end");
    }
  });
}

TEST_CASE("TcpStream does not miss data that comes between a short read and the next", "[tcp]") {
  on_loops([] {
    RawPair pair = connect_raw();
    auto reader = create_task([&] {
      std::uint64_t sum = 0;
      for (;;) {
        const std::string part = read_once(pair.stream, 64);
        if (part.empty()) return sum;
        sum += part.size();
      }
    });
    std::uint64_t sent = 0;
    for (int i = 0; i < 5000 / kSlowdown; ++i) {
      const std::string text(static_cast<std::size_t>(1 + i % 90), 'x');
      pair.peer.send(text);
      sent += text.size();
      if (i % 3 == 0) yield();
      if (i % 500 == 0) sleep(1ms);
    }
    pair.peer.close();
    expect_equal(await(reader), sent, "bytes received");
  });
}

TEST_CASE("TcpStream reads from a peer that sends byte by byte", "[tcp]") {
  on_loops([] {
    RawPair pair = connect_raw();
    const int on = 1;
    ::setsockopt(pair.peer.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto reader = create_task([&] { return read_text(pair.stream, 1000); });
    std::string sent;
    for (int i = 0; i < 1000; ++i) {
      sent += static_cast<char>('a' + i % 26);
      pair.peer.send({&sent.back(), 1});
      yield();
    }
    expect(await(reader) == sent, "the bytes in order");
  });
}

TEST_CASE("TcpStream does not stall behind an urgent byte of its peer", "[tcp]") {
  on_loops([] {
    for (int i = 0; i < 10; ++i) {
      RawPair pair = connect_raw();
      // A read stops in front of the urgent byte, short although there is more behind it.
      auto reader = create_task([&] { return read_text(pair.stream, 6); });
      if (i % 2 == 0) wait_until_waits(reader, WaitReason::kReadable);
      pair.peer.send("abc");
      pair.peer.send("!", MSG_OOB);
      pair.peer.send("def");
      expect(await(reader) == "abcdef", "what is before and behind the urgent byte");
      auto again = create_task([&] { return read_text(pair.stream, 6); });
      wait_until_waits(again, WaitReason::kReadable);
      pair.peer.send("ghi");
      pair.peer.send("!", MSG_OOB);
      pair.peer.send("jkl");
      expect(await(again) == "ghijkl", "the same while it waits");
    }
  });
}

TEST_CASE("TcpStream does not stall behind file descriptors sent over a socketpair", "[tcp]") {
  on_loops([] {
    int fds[2];
    expect(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "a socketpair");
    TcpStream stream = TcpStream::adopt(fds[0]);
    RawPeer peer(fds[1]);
    auto send_with_fd = [&](std::string text) {
      iovec part{text.data(), text.size()};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      const int fd = peer.fd();
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
      expect(::sendmsg(peer.fd(), &message, 0) == static_cast<ssize_t>(text.size()), "a send with an fd");
    };
    auto reader = create_task([&] { return read_text(stream, 4); });
    wait_until_waits(reader, WaitReason::kReadable);
    // A read stops behind what came with an fd.
    send_with_fd("ab");
    peer.send("cd");
    expect(await(reader) == "abcd", "both parts");
  });
}

TEST_CASE("TcpStream closes its halves one by one", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    pair.client.shutdown_write();
    expect(read_once(pair.server).empty(), "the end at the server");
    pair.server.write_all("answer after the end");
    expect(read_text(pair.client, 20) == "answer after the end", "the other direction goes on");
    expect_equal(error_of([&] { pair.client.write_all("x"); }), EPIPE,
                 "errno of a write after shutdown_write");
    auto reader = create_task([&] { return read_once(pair.client); });
    wait_until_waits(reader, WaitReason::kReadable);
    pair.server.shutdown_write();
    expect(await(reader).empty(), "the end at the client");
    std::string text;
    expect_equal(error_of([&] { pair.server.write_all("x"); }, &text), EPIPE, "errno");
    expect(text.find("send") == 0, "the call in: " + text);
  });
}

TEST_CASE("TcpStream write to a closed peer fails without SIGPIPE", "[tcp]") {
  on_loops([] {
    for (const bool two_buffers : {false, true}) {
      RawPair pair = connect_raw();
      pair.peer.close();
      const std::string text(1000, 'x');
      const auto data = std::as_bytes(std::span(text));
      int error = 0;
      for (int i = 0; i < 1000 && error == 0; ++i) {
        error =
            error_of([&] { two_buffers ? pair.stream.write_all(data, data) : pair.stream.write_all(text); });
        sleep(Duration::zero());
      }
      expect(error == EPIPE || error == ECONNRESET, "EPIPE or ECONNRESET, not " + std::to_string(error));
    }
  });
}

TEST_CASE("TcpStream reset by its peer while it reads throws ECONNRESET", "[tcp]") {
  on_loops([] {
    RawPair pair = connect_raw();
    auto reader = create_task([&] { (void)read_once(pair.stream); });
    wait_until_waits(reader, WaitReason::kReadable);
    pair.peer.reset();
    std::string text;
    expect_equal(error_of([&] { await(reader); }, &text), ECONNRESET, "errno");
    expect(text.find("recv") == 0, "the call in: " + text);
    expect_calm("after the reset");
  });
}

TEST_CASE("TcpStream reset by its peer while it writes throws ECONNRESET or EPIPE", "[tcp]") {
  const std::vector<std::byte> data = test_data(32U << 20);
  on_loops([&] {
    RawPair pair = connect_raw();
    auto writer = create_task([&] { pair.stream.write_all(std::span<const std::byte>(data)); });
    wait_until_waits(writer, WaitReason::kWritable);
    pair.peer.reset();
    const int error = error_of([&] { await(writer); });
    expect(error == ECONNRESET || error == EPIPE, "ECONNRESET or EPIPE, not " + std::to_string(error));
    expect_calm("after the reset");
  });
}

TEST_CASE("TcpStream reset by its peer while idle wakes nobody again and again", "[tcp]") {
  on_loops([] {
    RawPair pair = connect_raw();
    {
      auto reader = create_task([&] { (void)read_once(pair.stream); });  // so that it is registered
      wait_until_waits(reader, WaitReason::kReadable);
      reader.cancel();
      reader.wait();
    }
    sleep(20ms);
    pair.peer.reset();
    expect_calm("after the reset");
    expect_equal(error_of([&] { (void)read_once(pair.stream); }), ECONNRESET, "errno");
    expect(read_once(pair.stream).empty(), "the end");
  });
}

TEST_CASE("TcpStream with a full error queue does not spin while it waits", "[tcp]") {
  on_loops([] {
    StreamPair pair = connect_pair();
    // Each send leaves a time stamp in the error queue: EPOLLERR on a connection that is sound.
    pair.client.set_option(SOL_SOCKET, SO_TIMESTAMPING,
                           SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE);
    auto reader = create_task([&] { return read_text(pair.client, 3); });
    wait_until_waits(reader, WaitReason::kReadable);
    pair.client.write_all("stamped");
    expect(read_text(pair.server, 7) == "stamped", "the text");
    const auto tasks_run = [] {
      std::uint64_t count = 0;
      for (const WorkerStats& worker : get_running_loop().stats().workers) count += worker.tasks_run;
      return count;
    };
    const std::uint64_t before = tasks_run();
    expect_calm("while nothing comes");
    const std::uint64_t during = tasks_run() - before;
    expect(during < 50, "few steps while nothing comes, not " + std::to_string(during));
    pair.server.write_all("end");
    expect(await(reader) == "end", "the text that comes later");
  });
}
