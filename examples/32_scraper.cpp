// Crawls a site breadth-first, with limits: so deep, so many pages, so many at a time. The site is here too.
#include <chrono>
#include <cstdio>
#include <fibrio/fibrio.hpp>
#include <fibrio/http/server.hpp>
#include <fibrio/http/session.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace std::chrono_literals;
namespace http = fibrio::http;

namespace {

constexpr int kDepth = 3;
constexpr std::size_t kMaxPages = 12;
constexpr std::size_t kAtOnce = 8;

// Page n links to 2n+1 and 2n+2, back to the first one, to one that is missing, and to another site.
http::Response page(http::Request& request) {
  const int n = std::stoi(request.parameter("n"));
  if (n > 1000) throw http::HttpError(404);
  fibrio::sleep(2ms);
  std::string text = "<title>page " + std::to_string(n) + "</title>";
  for (const int link : {2 * n + 1, 2 * n + 2, 0})
    text += "<a href=\"/page/" + std::to_string(link) + "\">x</a>";
  return http::Response(text + "<a href=\"/page/9999\">gone</a><a href=\"http://elsewhere.invalid/\">far</a>",
                        "text/html");
}

struct Page {
  unsigned status = 0;
  std::string title;
  std::vector<std::string> links;
};

// What stands between `before` and `after`, from `at` on; `at` is behind it then, or npos.
std::string cut(const std::string& text, const std::string& before, const std::string& after,
                std::size_t& at) {
  const std::size_t begin = text.find(before, at);
  at = begin == std::string::npos ? begin : text.find(after, begin + before.size());
  return at == std::string::npos ? "" : text.substr(begin + before.size(), at - begin - before.size());
}

Page scrape(http::Session& session, const std::string& url) {
  http::ClientResponse response = session.get(url, {.timeout = 5s});
  const std::string text = response.read_all(1024 * 1024);
  Page found{response.status(), {}, {}};
  std::size_t at = 0;
  found.title = cut(text, "<title>", "</title>", at);
  for (at = 0;;) {
    const std::string link = cut(text, "href=\"", "\"", at);
    if (at == std::string::npos) return found;
    const http::Url next = response.url().resolve(link);
    if (next.origin() == response.url().origin())
      found.links.push_back(next.to_string());  // stays on the site
  }
}

void crawl(const std::string& start) {
  http::Session session({.max_connections = kAtOnce});  // further requests wait for their turn
  std::set<std::string> seen = {start};
  std::vector<std::string> level = {start};
  std::map<unsigned, int> statuses;
  for (int depth = 0; depth <= kDepth && !level.empty(); ++depth) {
    std::vector<fibrio::Task<Page>> tasks;
    for (const std::string& url : level) {
      tasks.push_back(fibrio::create_task([&session, url] { return scrape(session, url); }));
    }
    std::vector<std::string> next;
    for (const Page& found : fibrio::gather(tasks)) {
      ++statuses[found.status];
      for (const std::string& link : found.links) {
        if (seen.size() < kMaxPages && seen.insert(link).second) next.push_back(link);
      }
    }
    std::printf("depth %d: %zu page(s), the first one \"%s\"\n", depth, level.size(),
                fibrio::await(tasks.front()).title.c_str());
    level = std::move(next);
  }
  for (const auto& [status, count] : statuses) std::printf("status %u: %d\n", status, count);
}

}  // namespace

int main() {
  fibrio::run([] {
    http::Server server;
    server.route("GET", "/page/{n}", page);
    server.listen(fibrio::Address::parse("127.0.0.1", 0));
    const auto serving = fibrio::create_task([&server] { server.serve(); });
    crawl("http://" + server.addresses()[0].to_string() + "/page/0");
    server.shutdown(1s);
    fibrio::await(serving);
  });
}
