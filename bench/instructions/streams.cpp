// Paths: a stream over a socket pair, both ends in one loop. (Not over TCP: when loopback delivers is the kernel's
// choice, and with it which reads have to wait.)
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdlib>

#include "fibrio/fibrio.hpp"
#include "meter.hpp"

namespace fibrio::instructions {

void count_streams() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) std::abort();
  TcpStream near = TcpStream::adopt(fds[0]);
  TcpStream far = TcpStream::adopt(fds[1]);
  std::array<std::byte, 64> message{};
  std::array<std::byte, 256> buffer;

  count("stream_write_read_ready", 5'000, [&](int n) {
    for (int i = 0; i < n; ++i) {
      near.write_all(message);
      far.read_some(buffer);
    }
  });
  auto echo = create_task([&far] {
    std::array<std::byte, 256> received;
    while (const std::size_t size = far.read_some(received)) {
      far.write_all(std::span(received).first(size));
    }
  });
  count("stream_echo_round_trip", 3'000, [&](int n) {
    for (int i = 0; i < n; ++i) {
      near.write_all(message);
      near.read_some(buffer);
    }
  });
  near.close();
  await(echo);
}

}  // namespace fibrio::instructions
