#include "routes.hpp"

#include <charconv>
#include <chrono>
#include <fibrio/fibrio.hpp>
#include <optional>

namespace http_server {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint64_t kMaxMilliseconds = 60'000;
constexpr std::uint64_t kMaxMicroseconds = 10'000'000;

// The number that `name` has in "a=1&b=2"; nothing unless it is there, decimal, and at most `max`.
std::optional<std::uint64_t> query_number(std::string_view query, std::string_view name, std::uint64_t max) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (!pair.starts_with(name) || pair.substr(name.size(), 1) != "=") continue;
    const std::string_view text = pair.substr(name.size() + 1);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number > max) return std::nullopt;
    return number;
  }
  return std::nullopt;
}

void handle_hello(const Request&, Response& response, ServerState&) { response.borrowed = "Hello, world!\n"; }

void handle_echo(const Request& request, Response& response, ServerState&) {
  response.content_type = "application/octet-stream";
  response.borrowed = request.body;
}

// The task sleeps; its worker does not.
void handle_sleep(const Request& request, Response& response, ServerState&) {
  const auto ms = query_number(request.query(), "ms", kMaxMilliseconds);
  if (!ms) return void(response = make_error(400, "/sleep?ms=N, N from 0 to 60000"));
  fibrio::sleep(milliseconds(*ms));
  response.text = "slept " + std::to_string(*ms) + " ms\n";
}

// A hog: it keeps its worker to itself. The other workers take over what waits there.
void handle_cpu(const Request& request, Response& response, ServerState& state) {
  const auto us = query_number(request.query(), "us", kMaxMicroseconds);
  if (!us) return void(response = make_error(400, "/cpu?us=N, N from 0 to 10000000"));
  const auto end = std::chrono::steady_clock::now() + microseconds(*us);
  while (std::chrono::steady_clock::now() < end) {
    if (state.give_up.is_set()) return void(response = make_error(503, "the server stops"));
  }
  response.text = "computed for " + std::to_string(*us) + " us\n";
}

// A call that blocks its thread runs on the thread pool.
void handle_offload(const Request& request, Response& response, ServerState& state) {
  const auto ms = query_number(request.query(), "ms", kMaxMilliseconds);
  if (!ms) return void(response = make_error(400, "/offload?ms=N, N from 0 to 60000"));
  fibrio::to_thread([&state, time = milliseconds(*ms)] { state.give_up.block_for(time); });
  if (state.give_up.is_set()) return void(response = make_error(503, "the server stops"));
  response.text = "blocked a thread for " + std::to_string(*ms) + " ms\n";
}

bool is_get(Method method) { return method == Method::get || method == Method::head; }
bool is_post(Method method) { return method == Method::post; }

constexpr Route kRoutes[] = {
    {"/", is_get, "GET, HEAD", false, handle_hello},
    {"/echo", is_post, "POST", false, handle_echo},
    {"/sleep", is_get, "GET, HEAD", true, handle_sleep},
    {"/cpu", is_get, "GET, HEAD", true, handle_cpu},
    {"/offload", is_get, "GET, HEAD", true, handle_offload},
    {"/stats", is_get, "GET, HEAD", false, handle_stats},
};

}  // namespace

const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    if (route.path == path) return &route;
  }
  return nullptr;
}

}  // namespace http_server
