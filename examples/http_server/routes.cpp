#include "routes.hpp"

#include <charconv>
#include <chrono>
#include <fibrio/fibrio.hpp>
#include <optional>

namespace http_server {

namespace {

using fibrio::http::HttpError;
using fibrio::http::Request;
using fibrio::http::Response;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::uint64_t kMaxMilliseconds = 60'000;
constexpr std::uint64_t kMaxMicroseconds = 10'000'000;

// The number that `name` has in the query. Throws the answer 400 unless it is there, decimal, and at most
// `max`.
std::uint64_t number_of(const Request& request, std::string_view name, std::uint64_t max) {
  const std::string text = request.query(name).value_or("");
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > max) {
    throw HttpError(400, std::string(request.path()) + "?" + std::string(name) + "=N, N from 0 to " +
                             std::to_string(max));
  }
  return number;
}

Response hello(Request&) { return Response("Hello, world!\n", "text/plain"); }

Response echo(Request& request) { return Response(request.read_all(), "application/octet-stream"); }

// The task sleeps; its worker does not.
Response sleep(Request& request) {
  const std::uint64_t ms = number_of(request, "ms", kMaxMilliseconds);
  fibrio::sleep(milliseconds(ms));
  return Response("slept " + std::to_string(ms) + " ms\n");
}

// A hog: it keeps its worker to itself. The other workers take over what waits there.
Response compute(Request& request, const GiveUp& give_up) {
  const std::uint64_t us = number_of(request, "us", kMaxMicroseconds);
  const auto end = std::chrono::steady_clock::now() + microseconds(us);
  while (std::chrono::steady_clock::now() < end) {
    if (give_up.is_set()) throw HttpError(503, "the server stops");
  }
  return Response("computed for " + std::to_string(us) + " us\n");
}

// A call that blocks its thread runs on the thread pool.
Response offload(Request& request, GiveUp& give_up) {
  const std::uint64_t ms = number_of(request, "ms", kMaxMilliseconds);
  fibrio::to_thread([&give_up, ms] { give_up.block_for(milliseconds(ms)); });
  if (give_up.is_set()) throw HttpError(503, "the server stops");
  return Response("blocked a thread for " + std::to_string(ms) + " ms\n");
}

}  // namespace

void add_routes(fibrio::http::Server& server, GiveUp& give_up) {
  // Of these a pipeline of requests is answered in one go.
  constexpr fibrio::http::RouteOptions kQuick{.quick = true};
  server.route("GET", "/", hello, kQuick);
  server.route("POST", "/echo", echo, kQuick);
  server.route(
      "GET", "/stats", [&server](Request&) { return report_stats(server); }, kQuick);
  server.route("GET", "/sleep", sleep);
  server.route("GET", "/cpu", [&give_up](Request& request) { return compute(request, give_up); });
  server.route("GET", "/offload", [&give_up](Request& request) { return offload(request, give_up); });
}

}  // namespace http_server
