// Teaches: streams with buffers: a server with a handler per connection, and a client that speaks in lines.
// asyncio: "TCP echo server using streams" and "TCP echo client using streams".
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>

void handle_echo(fibrio::StreamReader& reader, fibrio::StreamWriter& writer) {
  for (const std::string& line : reader.lines()) {
    writer.write(line);  // never waits
    writer.drain();      // waits if the client does not read
  }
}  // the server closes the connection

void say(const fibrio::Address& server, const std::string& message) {
  auto [reader, writer] = fibrio::open_connection(server.host(), server.port());
  std::cout << "send: " << message << '\n';
  writer.write(message + "\n");
  std::cout << "received: " << reader.readline();
  writer.close();
  writer.wait_closed();
}

int main() {
  fibrio::run(
      [] {
        fibrio::Server server = fibrio::start_server(handle_echo, "127.0.0.1", 0);  // any free port
        const fibrio::Address address = server.sockets().front();
        fibrio::Task<> forever = fibrio::create_task([&] { server.serve_forever(); });
        say(address, "hello");
        say(address, "and goodbye");

        forever.cancel();  // stops listening, waits for the connections
        forever.wait();
        std::cout << "serving: " << std::boolalpha << server.is_serving() << '\n';
      },
      fibrio::Config{.workers = 1});
}
