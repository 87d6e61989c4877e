// Teaches: a TLS server and a TLS client, and that nothing but the way to open a connection differs from plain
// TCP. The client verifies: the certificate must be signed by whom it trusts, and be for the name it asked for.
// asyncio: "start_server(ssl=context)" and "open_connection(ssl=context)".
//   openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost
//     -addext subjectAltName=DNS:localhost
//   ./22_tls_echo cert.pem key.pem
//   openssl s_client -quiet -connect 127.0.0.1:<port>     (a line "stop" ends the server)
#include <iostream>
#include <string>

#include <fibrio/fibrio.hpp>
#include <fibrio/tls.hpp>

namespace tls = fibrio::tls;

std::string ask(std::uint16_t port, const tls::Context& context, const std::string& name) {
  auto [reader, writer] = tls::open_connection("127.0.0.1", port, context, {.server_hostname = name});
  writer.write("hello\n");
  std::string answer = reader.readline();
  writer.close();
  writer.wait_closed();
  return answer;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: 22_tls_echo CERTIFICATE.pem KEY.pem\n";
    return 2;
  }
  const auto certificate = tls::Pem::file(argv[1]);
  const auto key = tls::Pem::file(argv[2]);
  fibrio::run([&] {
    fibrio::Event stop;
    auto server = tls::start_server(
        [&](fibrio::StreamReader& reader, fibrio::StreamWriter& writer) {
          for (const std::string& line : reader.lines()) {
            if (line == "stop\n") return stop.set();
            writer.write(line);
            writer.drain();
          }
        },
        "127.0.0.1", 0, tls::Context::server({.certificates = certificate, .key = key}));
    const std::uint16_t port = server.sockets().front().port();

    const tls::Context trusting = tls::Context::client({.authorities = certificate});
    std::cout << "answer: " << ask(port, trusting, "localhost");
    try {
      ask(port, trusting, "another.example");
    } catch (const tls::VerificationError& error) {
      std::cout << error.what() << '\n';
    }
    std::cout << "port " << port << std::endl;

    stop.wait();
    server.close();
    server.wait_closed();
    std::cout << "stopped\n";
  });
}
