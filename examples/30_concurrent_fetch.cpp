// Many URLs at once: each is fetched by a task of its own over one session, and the answers, which are JSON,
// become one document. The server is here too, so that the program needs no network.
#include <chrono>
#include <cstdio>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/server.hpp>
#include <fibrio/http/session.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using Json = nlohmann::ordered_json;
namespace http = fibrio::http;

namespace {

constexpr int kUrls = 50;
constexpr auto kLatency = 50ms;  // of one answer

// "/item/7" is {"id": 7, "square": 49}, after a while; there is no item 13.
http::Response item(http::Request& request) {
  const int id = std::stoi(request.parameter("id"));
  fibrio::sleep(kLatency);
  if (id == 13) throw http::HttpError(404, "no such item");
  return http::Response(Json{{"id", id}, {"square", id * id}}.dump(), "application/json");
}

Json fetch(http::Session& session, const std::string& url) {
  http::ClientResponse response = session.get(url, {.timeout = 10s});
  const std::string body = response.read_all();
  if (response.status() != 200) return {{"error", response.status()}};
  return Json::parse(body);
}

void fetch_all(const std::string& base) {
  http::Session session({.max_connections = kUrls});
  const auto start = fibrio::get_running_loop().time();
  std::vector<fibrio::Task<Json>> tasks;
  for (int i = 0; i < kUrls; ++i) {
    tasks.push_back(fibrio::create_task(
        [&session, url = base + "/item/" + std::to_string(i)] { return fetch(session, url); }));
  }
  const std::vector<Json> answers = fibrio::gather(tasks);
  const auto took = fibrio::get_running_loop().time() - start;

  Json all = {{"fetched", answers.size()}, {"sum", 0}, {"errors", Json::array()}};
  for (const Json& answer : answers) {
    if (answer.contains("error")) {
      all["errors"].push_back(answer);
    } else {
      all["sum"] = all["sum"].get<int>() + answer["square"].get<int>();
    }
  }
  std::printf("%s\n", all.dump(2).c_str());
  std::printf("at once, not one after the other: %s\n", took < kUrls * kLatency / 2 ? "yes" : "no");
}

}  // namespace

int main() {
  fibrio::run([] {
    http::Server server;
    server.route("GET", "/item/{id}", item);
    server.listen(fibrio::Address::parse("127.0.0.1", 0));
    const auto serving = fibrio::create_task([&server] { server.serve(); });
    fetch_all("http://" + server.addresses()[0].to_string());
    server.shutdown(1s);
    fibrio::await(serving);
  });
}
