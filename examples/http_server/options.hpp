// What can be set on the command line or in the environment.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fibrio/http/server.hpp>
#include <string>

namespace http_server {

enum class AcceptMode {
  kShared,     // one listener, an accepting task per worker
  kReusePort,  // a listener with SO_REUSEPORT per worker: the kernel spreads the connections
};

struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: the system chooses
  std::size_t workers = 0;    // 0: fibrio's choice (FIBRIO_WORKERS, the file, the CPUs)
  std::string config;         // TOML for fibrio::Config
  AcceptMode accept = AcceptMode::kShared;

  fibrio::http::ServerOptions server;  // limits and deadlines
  // How long requests may go on once the server was asked to stop.
  std::chrono::nanoseconds grace = std::chrono::seconds(10);
};

// Ends the process with the usage or an error text if that is what the arguments ask for.
Options parse_options(int argc, char** argv);

}  // namespace http_server
