#include "net/resolver.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

#include "fibrio/errors.hpp"
#include "support/catch.hpp"
#include "support/names.hpp"

using fibrio::Address;
using fibrio::ThreadPool;
using fibrio::detail::LookUp;
using fibrio::detail::make_resolver_pool;
using fibrio::detail::NameLookups;
using fibrio::detail::resolve;

namespace {

std::vector<std::string> texts(const std::vector<Address>& addresses) {
  std::vector<std::string> result;
  for (const Address& address : addresses) result.push_back(address.to_string());
  return result;
}

std::error_code code_of(const std::function<void()>& action, std::string* text = nullptr) {
  try {
    action();
  } catch (const std::system_error& error) {
    if (text != nullptr) *text = error.what();
    return error.code();
  }
  return {};
}

std::error_code resolver_error(int code) { return {code, fibrio::resolver_category()}; }

// A look-up that answers from a list, in the system's form.
std::atomic<int> answers_alive{0};
addrinfo last_hints{};
void free_answer(addrinfo* answer) {
  while (answer != nullptr) {
    addrinfo* next = answer->ai_next;
    delete reinterpret_cast<sockaddr_storage*>(answer->ai_addr);
    delete answer;
    --answers_alive;
    answer = next;
  }
}
void prepend(addrinfo** list, const Address& address) {
  auto* storage = new sockaddr_storage{};
  std::memcpy(storage, address.data(), address.size());
  auto* entry = new addrinfo{};
  entry->ai_family = address.family();
  entry->ai_addr = reinterpret_cast<sockaddr*>(storage);
  entry->ai_addrlen = address.size();
  entry->ai_next = *list;
  *list = entry;
  ++answers_alive;
}
int repeating_answer(const char*, const char*, const addrinfo* hints, addrinfo** result) {
  last_hints = *hints;
  *result = nullptr;
  for (const char* ip : {"10.0.0.1", "::2", "10.0.0.3", "10.0.0.1", "::2"})
    prepend(result, Address::parse(ip, 80));
  return 0;
}
int empty_answer(const char*, const char*, const addrinfo*, addrinfo** result) {
  *result = nullptr;
  return 0;
}
int again(const char*, const char*, const addrinfo*, addrinfo**) { return EAI_AGAIN; }
int system_failure(const char*, const char*, const addrinfo*, addrinfo**) {
  errno = EMFILE;
  return EAI_SYSTEM;
}
int must_not_be_called(const char*, const char*, const addrinfo*, addrinfo**) { std::abort(); }

}  // namespace

// asyncio: test_base_events BaseEventTests.test_ipaddr_info
TEST_CASE("Resolver answers literals without a thread", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  const LookUp none{&must_not_be_called, &free_answer};
  CHECK(texts(resolve(names, "127.0.0.1", "80", AF_UNSPEC, 0, none)) ==
        std::vector<std::string>{"127.0.0.1:80"});
  CHECK(texts(resolve(names, "::1", "65535", AF_INET6, 0, none)) == std::vector<std::string>{"[::1]:65535"});
  CHECK(texts(resolve(names, "fe80::1%7777777", "1", AF_UNSPEC, 0, none)) ==
        std::vector<std::string>{"[fe80::1%7777777]:1"});
  CHECK(texts(resolve(names, "1.2.3.4", "", AF_INET, 0, none)) == std::vector<std::string>{"1.2.3.4:0"});
  CHECK(texts(fibrio::getaddrinfo("1.2.3.4", 99)) == std::vector<std::string>{"1.2.3.4:99"});
  CHECK(pool->threads() == 0);
}

TEST_CASE("Resolver refuses a literal of the wrong family", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  CHECK(code_of([&] { (void)resolve(names, "127.0.0.1", "80", AF_INET6); }) ==
        resolver_error(EAI_ADDRFAMILY));
  CHECK(code_of([&] { (void)resolve(names, "::1", "80", AF_INET); }) == resolver_error(EAI_ADDRFAMILY));
  CHECK(code_of([&] { (void)resolve(names, "::1", "80", AF_UNIX); }) == resolver_error(EAI_FAMILY));
}

// asyncio: test_base_events BaseEventTests.test_port_parameter_types
TEST_CASE("Resolver refuses ports out of range and services that are none", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  for (const char* bad : {"65536", "99999999999999999999", "-1", "+80", " 80", "*", ":80"}) {
    INFO(bad);
    CHECK(code_of([&] { (void)resolve(names, "127.0.0.1", bad, AF_UNSPEC); }) == resolver_error(EAI_SERVICE));
    CHECK(code_of([&] { (void)resolve(names, "localhost", bad, AF_UNSPEC); }) == resolver_error(EAI_SERVICE));
  }
  CHECK(code_of([&] { (void)resolve(names, "127.0.0.1", "no-such-service", AF_UNSPEC); }) ==
        resolver_error(EAI_SERVICE));
}

TEST_CASE("Resolver refuses texts with a zero inside", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  CHECK(code_of([&] { (void)resolve(names, std::string("localhost\0.example", 18), "80", AF_UNSPEC); }) ==
        resolver_error(EAI_NONAME));
  CHECK(code_of([&] { (void)resolve(names, "localhost", std::string("80\0", 3), AF_UNSPEC); }) ==
        resolver_error(EAI_SERVICE));
}

TEST_CASE("Resolver looks localhost up on its own threads", "[resolver]") {
  fibrio::test::need_localhost();
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  CHECK(pool->max_threads() == NameLookups::kMaxNames + NameLookups::kLocalThreads);
  const std::vector<Address> any = resolve(names, "localhost", "8080", AF_UNSPEC);
  REQUIRE(!any.empty());
  for (const Address& address : any) CHECK(address.port() == 8080);
  CHECK(texts(resolve(names, "localhost", "8080", AF_INET)) == std::vector<std::string>{"127.0.0.1:8080"});
  CHECK(pool->threads() >= 1);
}

TEST_CASE("Resolver takes an empty host for this machine", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  CHECK(texts(resolve(names, "", "80", AF_INET)) == std::vector<std::string>{"127.0.0.1:80"});
  CHECK(texts(resolve(names, "", "80", AF_INET, AI_PASSIVE)) == std::vector<std::string>{"0.0.0.0:80"});
  CHECK(code_of([&] { (void)resolve(names, "", "", AF_UNSPEC); }) == resolver_error(EAI_NONAME));
}

TEST_CASE("Resolver keeps the system's order and drops what comes twice", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  const LookUp repeating{&repeating_answer, &free_answer};
  CHECK(texts(resolve(names, "example.test", "80", AF_UNSPEC, 0, repeating)) ==
        std::vector<std::string>{"[::2]:80", "10.0.0.1:80", "10.0.0.3:80"});
  CHECK(last_hints.ai_socktype == SOCK_STREAM);
  CHECK(last_hints.ai_flags == AI_ADDRCONFIG);
  CHECK(answers_alive == 0);
  (void)resolve(names, "example.test", "80", AF_INET, AI_CANONNAME, repeating);
  CHECK(last_hints.ai_family == AF_INET);
  CHECK(last_hints.ai_flags == AI_CANONNAME);
}

TEST_CASE("Resolver errors name host and service and carry the code", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  std::string text;
  CHECK(code_of(
            [&] {
              (void)resolve(names, "host.test", "http", AF_UNSPEC, 0, {&again, &free_answer});
            },
            &text) == resolver_error(EAI_AGAIN));
  CHECK(text ==
        "getaddrinfo of host \"host.test\", service \"http\": " + std::string(::gai_strerror(EAI_AGAIN)));
  CHECK(code_of([&] { (void)resolve(names, std::string("host\0evil", 9), "http", AF_UNSPEC); }, &text) ==
        resolver_error(EAI_NONAME));
  CHECK(text.find("getaddrinfo of host \"host\\0evil\", service \"http\": ") == 0);
  CHECK(resolver_error(EAI_AGAIN) == std::errc::resource_unavailable_try_again);
  CHECK(code_of([&] {
          (void)resolve(names, "host.test", "1", AF_UNSPEC, 0, {&empty_answer, &free_answer});
        }) == resolver_error(EAI_NODATA));
  CHECK(code_of([&] {
          (void)resolve(names, "host.test", "1", AF_UNSPEC, 0, {&system_failure, &free_answer});
        }) == std::error_code(EMFILE, std::system_category()));
  CHECK(std::string(fibrio::resolver_category().name()) == "resolver");
}

TEST_CASE("Resolver reports a pool that was shut down", "[resolver]") {
  const auto pool = make_resolver_pool();
  NameLookups names(*pool);
  pool->shutdown();
  CHECK_THROWS_AS(resolve(names, "localhost", "80", AF_UNSPEC), fibrio::RuntimeError);
  CHECK_NOTHROW(resolve(names, "127.0.0.1", "80", AF_UNSPEC));
}
