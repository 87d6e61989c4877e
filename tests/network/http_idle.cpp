// Idle connections of examples/http_server: what each takes of its memory, and that others are served beside them.
// bench/scale/idle_connections measures the same with 10,000, over TLS, too.
#include <sys/resource.h>

#include <fstream>
#include <string>
#include <vector>

#include "network/http_client.hpp"
#include "support/catch.hpp"

using namespace http_test;

namespace {

constexpr std::size_t kIdle = 2000 / fibrio::test::kSlowdown;
constexpr std::size_t kLive = 16;
// A page of stack for each, another one or two of buffers, and a kilobyte; 13.3 KB were measured.
constexpr long kMostBytesEach = 20'000;

long resident_bytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  long kilobytes = 0;
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> kilobytes;
  }
  return kilobytes * 1024;
}

bool have_fds(rlim_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < wanted) return false;
  limit.rlim_cur = std::max(limit.rlim_cur, wanted);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

}  // namespace

TEST_CASE("Thousands of idle connections take little memory, and others are answered beside them", "[http]") {
  if (!have_server()) return;
  if (!have_fds(kIdle + kLive + 100)) fibrio::test::skip("the hard limit of open files is too low");
  ServerProcess server({"--idle-timeout", "600"});
  std::vector<Client> live;
  for (std::size_t i = 0; i < kLive; ++i) live.emplace_back(server.port());
  std::size_t answered = 0;
  const auto ask_all = [&](std::vector<Client>& clients) {
    for (Client& client : clients) answered += client.ask(get("/")).status == 200 ? 1 : 0;
  };
  for (int i = 0; i < 20; ++i) ask_all(live);
  const long before = resident_bytes(server.pid());
  std::vector<Client> idle;
  for (std::size_t i = 0; i < kIdle; ++i) {
    idle.emplace_back(server.port());
    answered += idle.back().ask(get("/")).status == 200 ? 1 : 0;
    answered += live[i % kLive].ask(get("/")).status == 200 ? 1 : 0;
  }
  CHECK(answered == 20 * kLive + 2 * kIdle);
  const long each = (resident_bytes(server.pid()) - before) / static_cast<long>(kIdle);
  INFO(each << " bytes for each idle connection");
  CHECK((fibrio::test::kSlowdown > 1 || each < kMostBytesEach));  // sanitizers have a memory of their own
  const std::string stats = live[0].ask(get("/stats")).body;
  CHECK(stats.find("\"connections\": " + std::to_string(kIdle + kLive)) != std::string::npos);
  answered = 0;
  ask_all(idle);
  CHECK(answered == kIdle);
}
