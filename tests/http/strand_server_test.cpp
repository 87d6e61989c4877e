// http::Server on a strand.
#include "fibrio/http/server.hpp"

#include <string>

#include "support/streams.hpp"

using namespace fibrio::net_test;
namespace http = fibrio::http;

// strand.hpp: what is started on a strand belongs to it.
TEST_CASE("http::Server serves on the strand that serve is called on", "[http][strand]") {
  on_loops([] {
    fibrio::Strand strand("app");
    std::string seen;
    strand.run([&] {
      http::Server server;
      server.route("GET", "/", [&](http::Request&) {
        seen = fibrio::Strand::current() == nullptr ? "none" : fibrio::Strand::current()->name();
        return http::Response("done");
      });
      server.listen(loopback());
      auto serving = fibrio::create_task([&] { server.serve(); });
      fibrio::TcpStream client = fibrio::TcpStream::connect(server.addresses().at(0));
      client.write_all("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      expect(read_text(client, 65536).ends_with("done"), "the answer");
      server.shutdown(std::chrono::hours(1));
      await(serving);
    });
    expect_text(seen, "app", "the handler's strand");
  });
}
