// What the server can be asked for.
#pragma once

#include <fibrio/http/server.hpp>

#include "give_up.hpp"

namespace http_server {

void add_routes(fibrio::http::Server& server, GiveUp& give_up);

// GET /stats, in stats.cpp.
fibrio::http::Response report_stats(const fibrio::http::Server& server);

}  // namespace http_server
