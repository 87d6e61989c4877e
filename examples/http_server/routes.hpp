// What the server can be asked for.
#pragma once

#include <string_view>

#include "request.hpp"
#include "response.hpp"
#include "server_state.hpp"

namespace http_server {

struct Route {
  std::string_view path;
  bool (*allows)(Method);
  std::string_view allow;  // the same for people: the Allow field of a 405
  bool is_slow;            // may take its time: earlier answers are sent before it starts
  void (*handle)(const Request&, Response&, ServerState&);
};

// Null if there is no such path.
const Route* find_route(std::string_view path);

// GET /stats, in stats.cpp.
void handle_stats(const Request& request, Response& response, ServerState& state);

}  // namespace http_server
