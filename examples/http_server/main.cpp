// An HTTP/1.1 server: one task per connection, in plain code that reads and writes as if it blocked.
//
//   main.cpp, options     what was asked for
//   server                listening, accepting, the orderly end
//   connection            one connection: bytes in, requests, answers, bytes out
//   request_parser        Boost.Beast's parser, made strict
//   response              answers as text
//   routes, stats         what can be asked for
//   connection_table      who is connected, and until when (deadlines)
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fibrio/fibrio.hpp>

#include "options.hpp"
#include "server.hpp"

namespace {

// A connection is an fd, and the usual soft limit of 1024 is there for select().
void raise_fd_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  http_server::Options options = http_server::parse_options(argc, argv);
  try {
    if (!options.config.empty()) ::setenv("FIBRIO_CONFIG", options.config.c_str(), 1);
    fibrio::Config config = fibrio::Config::load();
    if (options.workers != 0) config.workers = options.workers;
    raise_fd_limit();

    http_server::Server server(std::move(options));
    fibrio::run([&server] { server.run(); }, config);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "http_server: %s\n", error.what());
    return 1;
  }
}
