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
#include <cstdio>
#include <cstring>
#include <functional>
#include <span>
#include <system_error>
#include <vector>

#include "../arguments.hpp"
#include "fibrio/fibrio.hpp"

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

void serve(fibrio::TcpListener& listener) {
  for (;;) fibrio::spawn(echo, listener.accept());
}

}  // namespace

int main(int argc, char** argv) {
  std::uint16_t port = 0;
  fibrio::Config config;
  config.workers = 1;
  bench::Arguments arguments(argc, argv, "server_echo [--port P] [--workers N]");
  while (arguments.next()) {
    if (arguments.is("--port")) {
      port = arguments.value<std::uint16_t>(0, UINT16_MAX);
    } else if (arguments.is("--workers")) {
      config.workers = arguments.value<std::size_t>(1, 1024);
    } else {
      arguments.refuse_unknown();
    }
  }
  fibrio::run(
      [&] {
        auto listener =
            fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", port), {.backlog = 4096});
        std::printf("listening on %s\n", listener.local_address().to_string().c_str());
        std::fflush(stdout);
        std::vector<fibrio::Task<>> acceptors;
        for (std::size_t i = 0; i < fibrio::get_running_loop().workers(); ++i) {
          acceptors.push_back(fibrio::spawn(serve, std::ref(listener)));
        }
        for (const auto& acceptor : acceptors) fibrio::await(acceptor);
      },
      config);
}
