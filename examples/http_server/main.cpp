// An HTTP/1.1 server on fibrio::http: one task per connection, handlers in plain code that waits as it likes.
//
//   main.cpp, options     what was asked for; listening, and the orderly end when a signal comes
//   routes, stats         what can be asked for
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/server.hpp>

#include "give_up.hpp"
#include "options.hpp"
#include "routes.hpp"

namespace {

using http_server::AcceptMode;
using http_server::GiveUp;
using http_server::Options;

// A connection is an fd, and the usual soft limit of 1024 is there for select().
void raise_fd_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void listen(fibrio::http::Server& server, const Options& options) {
  const bool each = options.accept == AcceptMode::kReusePort;
  const std::size_t count = each ? fibrio::get_running_loop().workers() : 1;
  fibrio::Address address = fibrio::Address::parse(options.host, options.port);
  for (std::size_t i = 0; i < count; ++i) {
    server.listen(address, {.backlog = 4096, .reuse_port = each});
    address = server.addresses()[0];  // port 0 has become a number
  }
}

// The first signal starts the grace period, a second one ends it.
void stop_on_signals(fibrio::http::Server& server, GiveUp& give_up, fibrio::Duration grace) {
  fibrio::EventLoop& loop = fibrio::get_running_loop();
  const auto stop = [&server, &give_up, &loop](fibrio::Duration time) {
    loop.call_later(time, [&give_up] { give_up.set(); });
    (void)loop.create_task([&server, time] { server.shutdown(time); });
  };
  for (const int signal : {SIGTERM, SIGINT}) {
    loop.add_signal_handler(
        signal, [&server, stop, grace] { stop(server.is_stopping() ? fibrio::Duration::zero() : grace); });
  }
}

void run(fibrio::http::Server& server, GiveUp& give_up, const Options& options) {
  http_server::add_routes(server, give_up);
  listen(server, options);
  stop_on_signals(server, give_up, options.grace);
  const std::size_t workers = fibrio::get_running_loop().workers();
  std::printf("fibrio http_server listening on http://%s with %zu worker%s (Ctrl-C stops it)\n",
              server.addresses()[0].to_string().c_str(), workers, workers == 1 ? "" : "s");
  std::fflush(stdout);

  server.serve();

  const fibrio::http::ServerStats stats = server.stats();
  const auto count = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
  std::printf("fibrio http_server stopped: %llu connections, %llu requests, %llu refused, %llu dropped\n",
              count(stats.accepted), count(stats.requests), count(stats.refused), count(stats.dropped));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = http_server::parse_options(argc, argv);
  try {
    if (!options.config.empty()) ::setenv("FIBRIO_CONFIG", options.config.c_str(), 1);
    fibrio::Config config = fibrio::Config::load();
    if (options.workers != 0) config.workers = options.workers;
    raise_fd_limit();
    // They outlive the loop: a thread of its pool may still be in a handler's call when serve() is over.
    GiveUp give_up;
    fibrio::http::Server server(options.server);
    fibrio::run([&] { run(server, give_up, options); }, config);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "http_server: %s\n", error.what());
    return 1;
  }
}
