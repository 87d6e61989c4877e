// Requests to an http::Server without a network: for tests of handlers, and of whole conversations in memory.
//
//   fibrio::http::Server server;
//   server.route("GET", "/greet/{name}", greet);
//   auto request = fibrio::http::make_request("GET", "/greet/Ada");
//   CHECK(fibrio::http::call(server, request).body == "Hello, Ada\n");
//
//   auto [client, peer] = fibrio::make_stream_pair();
//   auto serving = fibrio::create_task([&] { fibrio::http::serve_connection(server, *peer); });
//
// The server needs neither listen() nor serve(). Target fibrio::http in CMake.
#pragma once

#include <string>

#include "fibrio/byte_stream.hpp"
#include "fibrio/http/fields.hpp"
#include "fibrio/http/message.hpp"
#include "fibrio/http/server.hpp"

namespace fibrio::http {

// Makes the request that a handler would get for this. Adds Host ("localhost"), and Content-Length for a body,
// if `fields` have none. Its peer and local addresses are empty.
// Throws: std::invalid_argument unless `method` is a token and `target` begins with "/" or is "*".
[[nodiscard]] Request make_request(std::string method, std::string target, Fields fields = {},
                                   std::string body = {});

// Has the server's middleware and handler answer a request, in the calling task, and returns what a client
// would get: an HttpError as its status, another exception, which the exception handler gets, as 500, a body over
// max_body_bytes as 413, and what a stream writes as `body`. HEAD leaves the body out; `upgrade` is not called.
// Waits: as the handler does. Cancel: as the handler; CancelledError. Threads: tasks only, any number at once,
// after the last route() and use().
[[nodiscard]] Response call(Server& server, Request& request);

// Serves a connection to its end over any stream, which stays its owner's: what serve() does in a task for each
// that it accepts, without make_stream and without counting it as one of max_connections. The time limits hold on
// the loop's clock, exactly, also in virtual time.
// Waits: yes. Cancel: a request in flight is answered with 503; CancelledError. Threads: as call.
void serve_connection(Server& server, ByteStream& stream);

}  // namespace fibrio::http
