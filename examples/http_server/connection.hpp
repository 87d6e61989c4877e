// One connection, from its first byte to its last.
#pragma once

#include <fibrio/fibrio.hpp>

#include "server_state.hpp"

namespace http_server {

// Serves one connection to its end: the body of its task.
// Cancel: a request in flight is answered with 503.
void serve_connection(fibrio::TcpStream stream, ServerState& state);

// Answers 503 without waiting, and closes.
void refuse_connection(fibrio::TcpStream stream, const ServerState& state);

}  // namespace http_server
