// cancel-at-k over sockets and child processes, in real time.
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "ends/cancel_at_k.hpp"
#include "fibrio/datagrams.hpp"
#include "fibrio/sockets.hpp"
#include "fibrio/subprocess.hpp"

namespace {

using namespace fibrio;
using namespace fibrio::test;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <class Stream>
std::string read_rest(Stream& stream) {
  std::string all;
  std::array<char, 4096> buffer;
  try {
    while (const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(buffer)))) {
      all.append(buffer.data(), count);
    }
  } catch (const std::system_error&) {
    // A reset: what was on its way when the other end closed.
  }
  return all;
}

void use_tcp(Attempt& attempt) {
  const std::string text(3'000'000, 't');  // more than the sockets take
  TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
  const Address address = listener.local_address();
  Task<std::string> server = create_task([&] {
    TcpStream stream = listener.accept();
    sleep(1ms);
    std::string got = read_rest(stream);
    try {
      stream.write_all(bytes("done"));
    } catch (const std::system_error&) {
    }
    return got;
  });
  const Ended ended = attempt.run([&] {
    TcpStream stream = TcpStream::connect(address);
    stream.write_all(bytes(text));
    stream.shutdown_write();
    TASK_CHECK(read_rest(stream) == "done");
  });
  if (ended != Ended::kWell) {
    static_cast<void>(TcpStream::connect(address));  // if that one never came
  }
  const std::string got = await(server);
  TASK_CHECK(text.starts_with(got) && (ended != Ended::kWell || got == text));
}

void use_accept(Attempt& attempt) {
  TcpListener listener = TcpListener::bind(Address::parse("127.0.0.1", 0));
  const Address address = listener.local_address();
  Task<std::string> client = create_task([&] {
    sleep(1ms);
    TcpStream stream = TcpStream::connect(address);
    return read_rest(stream);
  });
  const auto serve = [&] { listener.accept().write_all(bytes("hello")); };
  if (attempt.run(serve) != Ended::kWell) serve();  // the connection is still to be had
  TASK_CHECK(await(client) == "hello");
}

void use_udp(Attempt& attempt) {
  UdpSocket receiver = UdpSocket::bind(Address::parse("127.0.0.1", 0));
  UdpSocket sender = UdpSocket::connect(receiver.local_address());
  Task<> peer = create_task([&] {
    for (const char* text : {"one", "two"}) sleep(1ms), sender.send(std::string_view(text));
  });
  std::vector<std::string> got;
  std::array<char, 16> buffer;
  const auto receive = [&] {
    while (got.size() < 2) {
      const auto datagram = receiver.recv_from(std::as_writable_bytes(std::span(buffer)));
      got.emplace_back(buffer.data(), datagram.size);
    }
  };
  attempt.run(receive);
  receive();
  TASK_CHECK(got == std::vector<std::string>({"one", "two"}));
  await(peer);
}

void use_process(Attempt& attempt) {
  const std::string text(200'000, 'p');  // more than a pipe takes
  attempt.run([&] {
    Process child = create_subprocess_exec({"cat"}, {.stdin = PIPE, .stdout = PIPE});
    TASK_CHECK(child.communicate(text).first == text);
    TASK_CHECK(child.wait() == 0);
  });
  // No zombie, and no child that goes on.
  TASK_CHECK(eventually_in_task([] {
    siginfo_t info;
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
  }));
}

void use_resolver(Attempt& attempt) {
  attempt.run([&] { TASK_CHECK(!getaddrinfo("localhost", 80).empty()); });
  TASK_CHECK(!getaddrinfo("localhost", 80).empty());
}

}  // namespace

TEST_CASE("cancel-at-k: sockets and child processes leave nothing behind at any wait", "[ends]") {
  static constexpr CancelScript kScripts[] = {
      {"TcpStream", use_tcp, false},   {"TcpListener", use_accept, false},   {"UdpSocket", use_udp, false},
      {"Process", use_process, false}, {"getaddrinfo", use_resolver, false},
  };
  sweep("cancel_at_k_system", kScripts);
}
