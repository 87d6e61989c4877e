#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fibrio/clock.hpp>
#include <string>

namespace service {

using namespace std::chrono_literals;

struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;     // 0: the system chooses
  std::size_t workers = 0;    // 0: as fibrio::Config::load() says
  std::size_t consumers = 4;  // of jobs
  std::size_t queue = 100;    // jobs that may wait; one more is refused

  fibrio::Duration session_ttl = 30min;  // since its last use
  fibrio::Duration lookup_time = 50ms;   // of the made-up database
  fibrio::Duration drain_delay = 0s;     // not ready, but serving, until load balancers have noticed
  fibrio::Duration grace = 10s;          // then, for what is in flight
};

// Ends the program if they cannot be read, or for --help.
Options parse_options(int argc, char** argv);

}  // namespace service
