#include "tls/ticket_keys.hpp"

#include "support/catch.hpp"

using namespace fibrio::tls;
using namespace std::chrono_literals;

TEST_CASE("Keys of tickets are replaced after an hour, and open tickets for another one", "[tls]") {
  TicketKeys keys;
  const auto start = TicketKeys::Clock::now();
  const auto first = keys.current(start);
  REQUIRE(first.has_value());
  CHECK(keys.current(start + 59min)->name == first->name);
  CHECK(keys.find(first->name.data(), start + 59min)->cipher == first->cipher);
  const auto second = keys.current(start + 61min);
  CHECK(second->name != first->name);
  CHECK(second->cipher != first->cipher);
  CHECK(second->mac != first->mac);
  CHECK(keys.find(first->name.data(), start + 100min)->mac == first->mac);
  CHECK(keys.find(second->name.data(), start + 100min)->mac == second->mac);
  CHECK_FALSE(keys.find(first->name.data(), start + 122min).has_value());
  CHECK(keys.find(second->name.data(), start + 122min).has_value());
}

TEST_CASE("Keys of tickets that nobody used for long open nothing any more", "[tls]") {
  TicketKeys keys;
  const auto start = TicketKeys::Clock::now();
  const auto first = keys.current(start);
  CHECK_FALSE(keys.find(first->name.data(), start + 2h).has_value());
  const std::array<unsigned char, 16> unknown{};
  CHECK_FALSE(keys.find(unknown.data(), start + 2h).has_value());
}
