// What: connecting to one of several addresses; apart from TcpStream::connect for tests with addresses of their
//   own.
// Threads: tasks only.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "fibrio/sockets.hpp"

namespace fibrio::detail {

// To the first of `addresses` that answers, as the options say, the timeout aside. `host` is for errors.
[[nodiscard]] TcpStream connect_to_any(const std::string& host, std::vector<Address> addresses,
                                       const ConnectOptions& options);

// The families take turns, beginning with that of the first address, of which `first_count` come first.
[[nodiscard]] std::vector<Address> take_turns(std::vector<Address> addresses, std::size_t first_count);

}  // namespace fibrio::detail
