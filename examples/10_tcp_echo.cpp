// Teaches: sockets as plain calls: a server with one task per client, and two clients. Reading 0 bytes is the
// end of the stream. asyncio: "start_server and open_connection", without the callbacks. One worker: the
// clients run one after the other, the server's tasks beside them.
#include <array>
#include <functional>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

#include <fibrio/fibrio.hpp>

void echo(fibrio::TcpStream client) {
  std::array<std::byte, 256> buffer;
  while (const std::size_t count = client.read_some(buffer)) client.write_all(std::span(buffer).first(count));
}

void serve(fibrio::TcpListener& listener) {
  for (;;) fibrio::create_task(echo, listener.accept());
}

std::string ask(const fibrio::Address& server, std::string_view question) {
  auto stream = fibrio::TcpStream::connect(server);
  stream.write_all(question);
  stream.shutdown_write();  // the server reads the end of the stream and closes
  std::string answer;
  std::array<std::byte, 256> buffer;
  while (const std::size_t count = stream.read_some(buffer)) {
    answer.append(reinterpret_cast<const char*>(buffer.data()), count);
  }
  return answer;
}

int main() {
  fibrio::run(
      [] {
        auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));  // any free port
        fibrio::Task<> server = fibrio::create_task(serve, std::ref(listener));
        std::cout << ask(listener.local_address(), "hello") << '\n';
        std::cout << ask(listener.local_address(), "and goodbye") << '\n';

        server.cancel();  // ends the wait in accept
        server.wait();
        std::cout << "the server ended as cancelled: " << std::boolalpha << server.cancelled() << '\n';
      },
      fibrio::Config{.workers = 1});
}
