// What can be set on the command line or in the environment.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
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

  std::size_t max_connections = 16'384;
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_body_bytes = 1024 * 1024;

  // A request's header, and then its body, must be there this long after its first byte, however the bytes
  // trickle.
  std::chrono::nanoseconds header_timeout = std::chrono::seconds(10);
  std::chrono::nanoseconds body_timeout = std::chrono::seconds(30);
  // How long a kept-alive connection may stay without a request.
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(60);
  // How long a peer may take to read what we answer.
  std::chrono::nanoseconds write_timeout = std::chrono::seconds(30);
  // How long requests may go on once the server was asked to stop.
  std::chrono::nanoseconds grace = std::chrono::seconds(10);
};

// Ends the process with the usage or an error text if that is what the arguments ask for.
Options parse_options(int argc, char** argv);

}  // namespace http_server
