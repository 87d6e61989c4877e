// Question: what does fibrio add to a 64-byte echo over TCP, and what do requests that compute cost the
// others? (performance questions W8 and W15; the yardstick is raw/epoll_echo.cpp, the load raw/echo_load.cpp
// and raw/echo_open_load.cpp, and compare/network.py runs them side by side with the peers.) One task per
// connection sends back whatever it gets; the first 4 bytes of a message (little endian) are a number of
// nanoseconds to compute for before the answer.
//
//   server_echo [--port P] [--workers N]     prints "listening on 127.0.0.1:P"
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <system_error>

#include "fibrio/fibrio.hpp"
#include "listening.hpp"

namespace {

constexpr std::size_t kMessage = 64;

void burn(const std::byte* message) {
  std::uint32_t nanoseconds = 0;
  std::memcpy(&nanoseconds, message, sizeof nanoseconds);
  if (nanoseconds == 0) return;
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(nanoseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

void echo(fibrio::TcpStream stream) {
  std::array<std::byte, 1024> message;
  try {
    while (const std::size_t count = stream.read_some(message)) {
      if (count >= kMessage) burn(message.data());
      stream.write_all(std::span(message).first(count));
    }
  } catch (const std::system_error&) {  // the client is gone
  }
}

}  // namespace

int main(int argc, char** argv) { bench::serve_forever("server_echo", argc, argv, echo); }
