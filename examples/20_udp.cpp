// Teaches: datagrams: a time server that answers each query to where it came from, and a client that asks
// again when no answer comes in time. asyncio: create_datagram_endpoint, without a protocol class. One
// worker: the client and the server take turns.
#include <array>
#include <chrono>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

#include <fibrio/fibrio.hpp>

using namespace std::chrono_literals;

std::string_view text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// Drops the first query, as networks do.
void serve(fibrio::UdpSocket server) {
  std::array<std::byte, 512> buffer;
  for (int queries = 1;; ++queries) {
    const fibrio::Datagram query = server.recv_from(buffer);
    if (queries > 1) {
      server.send_to("you said " + std::string(text_of(std::span(buffer).first(query.size))), query.from);
    }
  }
}

std::string ask(const fibrio::Address& address, std::string_view question) {
  auto socket = fibrio::UdpSocket::connect(address);
  std::array<std::byte, 512> buffer;
  for (int attempt = 1;; ++attempt) {
    socket.send(question);
    try {
      const std::size_t size = fibrio::wait_for([&] { return socket.recv(buffer); }, 100ms);
      return std::string(text_of(std::span(buffer).first(size))) + " (attempt " + std::to_string(attempt) +
             ")";
    } catch (const fibrio::TimeoutError&) {
      std::cout << "no answer, asking again\n";
    }
  }
}

int main() {
  fibrio::run(
      [] {
        auto server = fibrio::UdpSocket::bind(fibrio::Address::parse("127.0.0.1", 0));  // any free port
        const fibrio::Address address = server.local_address();
        fibrio::create_task(serve, std::move(server));
        std::cout << ask(address, "hello") << '\n';
        std::cout << ask(address, "goodbye") << '\n';
      },
      fibrio::Config{.workers = 1});
}
