#include "routes.hpp"

#include <charconv>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/cookies.hpp>
#include <nlohmann/json.hpp>
#include <string>

namespace service {

namespace {

using fibrio::http::Handler;
using fibrio::http::HttpError;
using fibrio::http::Request;
using fibrio::http::Response;
using nlohmann::json;

constexpr fibrio::Duration kLookupTimeout = std::chrono::seconds(5);
constexpr auto kRelaxed = std::memory_order_relaxed;

Response answer(const json& body, unsigned status = 200) {
  return Response(body.dump() + '\n', "application/json", status);
}

// The text that `name` has in a body of JSON. Throws: the answer 400.
std::string text_in_body(Request& request, const char* name) {
  const json body = json::parse(request.read_all(), nullptr, false);
  if (!body.is_object() || !body.contains(name) || !body[name].is_string())
    throw HttpError(400, "what is needed is {\"" + std::string(name) + "\": \"...\"}");
  return body[name].get<std::string>();
}

// Around every handler: counts, and says by JSON what went wrong.
Response observe(Service& service, Request& request, const Handler& next) {
  struct InFlight {
    std::atomic<int>& count;
    explicit InFlight(std::atomic<int>& all) : count(all) { count.fetch_add(1, kRelaxed); }
    ~InFlight() { count.fetch_sub(1, kRelaxed); }
  } const here(service.in_flight);
  Response response;
  try {
    response = next(request);
  } catch (const HttpError& error) {
    response = answer({{"error", error.what()}}, error.status());
  } catch (const fibrio::TimeoutError&) {
    response = answer({{"error", "the database takes too long"}}, 504);
  } catch (const std::exception&) {
    service.answers[5].fetch_add(1, kRelaxed);
    throw;  // the server answers 500, and reports it
  }
  service.answers[response.status / 100].fetch_add(1, kRelaxed);
  return response;
}

Response log_in(Service& service, Request& request) {
  const std::string user = text_in_body(request, "user");  // here a real one asks for a password too
  const auto id = service.sessions.create(user);
  if (!id) throw HttpError(503, "too many sessions");
  Response response = answer({{"user", user}});
  fibrio::http::set_cookie(
      response, {.name = "sid", .value = *id, .http_only = true, .same_site = fibrio::http::SameSite::kLax});
  return response;
}

// Two look-ups at once, each in a task of its own. None outlives the request, however it ends.
Response report(Service& service, Request& request) {
  const std::string user = service.sessions.user_of(request);
  json orders, messages;
  fibrio::timeout(kLookupTimeout, [&] {
    fibrio::task_group([&](fibrio::TaskGroup& lookups) {
      lookups.create_task([&] { orders = service.database.orders_of(user); });
      lookups.create_task([&] { messages = service.database.messages_to(user); });
    });
  });
  return answer({{"user", user}, {"orders", orders}, {"messages", messages}});
}

Response submit_job(Service& service, Request& request) {
  const std::string user = service.sessions.user_of(request);
  const auto id = service.jobs.submit(user, text_in_body(request, "text"));
  if (!id) {
    Response response = answer({{"error", "too many jobs wait"}}, 503);
    response.fields.add("Retry-After", "1");
    return response;
  }
  Response response = answer({{"id", *id}}, 202);
  response.fields.add("Location", "/jobs/" + std::to_string(*id));
  return response;
}

Response show_job(Service& service, Request& request) {
  const std::string user = service.sessions.user_of(request);
  const std::string& text = request.parameter("id");
  Jobs::Id id = 0;
  const char* const end = text.data() + text.size();
  const bool is_number = std::from_chars(text.data(), end, id).ptr == end;
  const json job = is_number ? service.jobs.describe(id, user) : json();
  if (job.is_null()) throw HttpError(404, "you have no such job");
  return answer(job);
}

// For load balancers: whether to send requests here. Whether the process is alive is /healthz's affair.
Response is_ready(Service& service, Request&) {
  if (service.is_draining.load(kRelaxed)) throw HttpError(503, "draining");
  if (service.catalog.latest() == nullptr) throw HttpError(503, "the cache is cold");
  return answer({{"ready", true}});
}

Response show_catalog(Service& service, Request&) {
  const auto catalog = service.catalog.latest();
  if (catalog == nullptr) throw HttpError(503, "the cache is cold");
  return answer(*catalog);
}

Response show_stats(Service& service, const fibrio::http::ServerStats& server) {
  const fibrio::LoopStats loop = fibrio::get_running_loop().stats();
  const auto count = [&](std::size_t digit) { return service.answers[digit].load(kRelaxed); };
  return answer(
      {{"http",
        {{"connections", server.connections},
         {"accepted", server.accepted},
         {"requests", server.requests},
         {"in_flight", service.in_flight.load(kRelaxed)},
         {"2xx", count(2)},
         {"4xx", count(4)},
         {"5xx", count(5)}}},
       {"sessions", service.sessions.stats()},
       {"catalog", service.catalog.stats()},
       {"jobs", service.jobs.stats()},
       {"loop", {{"workers", loop.workers.size()}, {"tasks", loop.tasks_alive}, {"fds", loop.fds}}}});
}

}  // namespace

void add_routes(fibrio::http::Server& server, Service& service) {
  const auto add = [&](const char* method, const char* path, Response (*handler)(Service&, Request&)) {
    server.route(method, path, [&service, handler](Request& request) { return handler(service, request); });
  };
  server.use([&service](Request& request, const Handler& next) { return observe(service, request, next); });
  add("POST", "/login", log_in);
  add("GET", "/report", report);
  add("GET", "/catalog", show_catalog);
  add("POST", "/jobs", submit_job);
  add("GET", "/jobs/{id}", show_job);
  add("GET", "/healthz", [](Service&, Request&) { return answer({{"alive", true}}); });
  add("GET", "/readyz", is_ready);
  server.route("GET", "/stats", [&](Request&) { return show_stats(service, server.stats()); });
}

}  // namespace service
