// What a session does with a request whose connection breaks while its body is still being made.
#include <chrono>
#include <stdexcept>
#include <string>

#include "fibrio/http/session.hpp"
#include "support/net.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

TEST_CASE("A reset ends a request whose stream waits for something else than the connection", "[http]") {
  on_loops([] {
    TcpListener listener = TcpListener::bind(loopback());
    auto serving = create_task([&] {
      TcpStream stream = listener.accept();
      std::string request;
      while (request.find("some") == std::string::npos) request += read_once(stream);
      stream.abort();
    });
    Event unset;
    http::Session session;
    http::RequestOptions options;
    options.stream = [&unset](http::BodyWriter& out) {
      out.write("some");
      out.flush();
      unset.wait();
    };
    const std::string url = "http://127.0.0.1:" + std::to_string(listener.local_address().port()) + "/";
    const int error = error_of([&] { timeout(10s, [&] { (void)session.request("POST", url, options); }); });
    expect(error == ECONNRESET || error == EPIPE, "errno of a reset: " + std::to_string(error));
    await(serving);
  });
}
