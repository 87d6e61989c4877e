// What: one connection of a server, from its first byte to its last.
#pragma once

#include "http/server_state.hpp"

namespace fibrio::http {

// Serves one connection to its end: the body of its task.
// Cancel: a request in flight is answered with 503.
void serve_connection(TcpStream stream, detail::ServerState& state);

// The same over a stream of somebody else's, with the server's time limits, for tests.
void serve_connection(ByteStream& stream, detail::ServerState& state);

// Answers 503 without waiting, and closes.
void refuse_connection(TcpStream stream, const detail::ServerState& state);

}  // namespace fibrio::http
