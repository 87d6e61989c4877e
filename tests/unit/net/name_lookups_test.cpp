#include "net/name_lookups.hpp"

#include <netinet/in.h>
#include <strings.h>

#include <atomic>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/resolver.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using fibrio::Address;
using fibrio::ResolverOptions;
using fibrio::detail::LookUp;
using fibrio::detail::NameLookups;
using fibrio::detail::resolve;

namespace {

// Names that begin with "dead" hang until the gate opens; each other one is 10.0.0.1 at once.
std::atomic<bool> gate{false};
std::atomic<int> calls{0};
std::atomic<int> hanging{0};

int look_up(const char* host, const char*, const addrinfo*, addrinfo** result) {
  ++calls;
  if (::strncasecmp(host, "dead", 4) == 0) {
    ++hanging;
    while (!gate) std::this_thread::sleep_for(1ms);
    --hanging;
    return EAI_AGAIN;
  }
  const Address address = Address::parse("10.0.0.1", 80);
  auto* storage = new sockaddr_storage{};
  std::memcpy(storage, address.data(), address.size());
  *result = new addrinfo{};
  (*result)->ai_family = address.family();
  (*result)->ai_addr = reinterpret_cast<sockaddr*>(storage);
  (*result)->ai_addrlen = address.size();
  return 0;
}
void free_answer(addrinfo* answer) {
  delete reinterpret_cast<sockaddr_storage*>(answer->ai_addr);
  delete answer;
}

struct Names {
  Names() {
    gate = false;
    calls = 0;
  }
  ~Names() { gate = true; }
  bool ask(const std::string& host) {
    try {
      return !resolve(names, host, "80", AF_UNSPEC, 0, {&look_up, &free_answer}).empty();
    } catch (const std::system_error&) {
      return false;
    }
  }
  std::future<bool> ask_beside(const std::string& host) {
    return std::async(std::launch::async, [this, host] { return ask(host); });
  }
  const std::unique_ptr<fibrio::ThreadPool> pool = fibrio::detail::make_resolver_pool();
  NameLookups names{*pool};
};

template <class Condition>
void wait_for(Condition condition) {
  while (!condition()) std::this_thread::sleep_for(1ms);
}

}  // namespace

TEST_CASE("Names that hang hold up no other name", "[resolver]") {
  Names names;
  std::vector<std::future<bool>> dead;
  for (int i = 0; i < 20; ++i) dead.push_back(names.ask_beside("dead" + std::to_string(i)));
  wait_for([] { return hanging == 20; });
  CHECK(names.ask("alive"));
  CHECK(names.ask("localhost"));
  gate = true;
  for (auto& each : dead) CHECK_FALSE(each.get());
}

TEST_CASE("Equal questions share one call", "[resolver]") {
  Names names;
  std::vector<std::future<bool>> dead;
  for (int i = 0; i < 8; ++i) dead.push_back(names.ask_beside(i % 2 == 0 ? "dead" : "DEAD"));
  wait_for([] { return hanging == 1; });
  CHECK(names.pool->threads() == 1);
  gate = true;
  for (auto& each : dead) CHECK_FALSE(each.get());
}

TEST_CASE("An answer serves again for a while, and an error does not", "[resolver]") {
  Names names;
  CHECK(names.ask("alive"));
  CHECK(names.ask("Alive"));
  CHECK(calls == 1);
  gate = true;
  CHECK_FALSE(names.ask("dead"));
  CHECK_FALSE(names.ask("dead"));
  CHECK(calls == 3);
  names.names.set_options({.cache_time = fibrio::Duration::zero()});
  CHECK(names.ask("alive"));
  CHECK(names.ask("alive"));
  CHECK(calls == 5);
}

TEST_CASE("A hook answers instead of the system", "[resolver]") {
  Names names;
  names.names.set_options({.look_up = [](const std::string& host, const std::string&, int) {
    return host == "empty" ? std::vector<Address>() : std::vector{Address::parse("10.0.0.2", 1)};
  }});
  CHECK(names.ask("alive"));
  CHECK_FALSE(names.ask("empty"));
  CHECK(calls == 0);
}
