// What: a server's connection without a network: the test speaks through one end of a pair in memory, on virtual
//   time, and sees every byte that a client would see.
// Threads: made on the test's own thread; `talk` runs in a task.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/server.hpp"
#include "fibrio/testing.hpp"
#include "http/connection.hpp"
#include "http/server_state.hpp"

namespace http_test {

struct Routes {
  fibrio::http::detail::ServerState state;

  explicit Routes(fibrio::http::ServerOptions options = {}) : state(std::move(options)) {}
  void add(std::string_view method, std::string_view path, fibrio::http::Handler handler,
           bool is_quick = false) {
    state.router.add(method, path, std::move(handler), is_quick);
  }
};

// Everything that comes until the end; `pause` after each piece of at most `piece` bytes.
struct Seen {
  std::string bytes;
  bool is_cut = false;  // by a reset, not by an end
};
inline Seen read_to_end(fibrio::ByteStream& stream, fibrio::Duration pause = {}, std::size_t piece = 4096) {
  Seen seen;
  std::string buffer(piece, '\0');
  try {
    while (const std::size_t count = stream.read_some(std::as_writable_bytes(std::span(buffer)))) {
      seen.bytes.append(buffer, 0, count);
      if (pause > fibrio::Duration::zero()) fibrio::sleep(pause);
    }
  } catch (const std::system_error&) {
    seen.is_cut = true;
  }
  return seen;
}
inline void say(fibrio::ByteStream& stream, std::string_view text) {
  stream.write_all(std::as_bytes(std::span(text)));
}

// Serves one connection while `client` speaks with it. `serve_too`: beside it, with the connection's task.
inline void talk(Routes& routes, fibrio::StreamPairOptions options,
                 const std::function<void(fibrio::ByteStream& client, fibrio::Task<>& server)>& client,
                 std::size_t workers = 1) {
  fibrio::Config config;
  config.virtual_time = true;
  config.workers = workers;
  routes.state.finish_routes();
  fibrio::run(
      [&] {
        fibrio::StreamPair pair = fibrio::make_stream_pair(options);
        fibrio::Task<> server = fibrio::create_task([&] {
          const std::unique_ptr<fibrio::ByteStream> stream = std::move(pair.second);  // closed behind it
          fibrio::http::serve_connection(*stream, routes.state);
        });
        client(*pair.first, server);
        pair.first->close();
        server.wait();
      },
      config);
}

}  // namespace http_test
