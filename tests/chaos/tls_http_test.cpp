// The same over TLS: there also the end of a body that only the connection ends is known to be one.
#include <cstdint>

#include "chaos/storm.hpp"
#include "chaos/tls.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using chaos::Fault;

TEST_CASE("Requests over TLS through a chaos proxy are answered rightly or fail cleanly", "[chaos]") {
  std::uint64_t seed = 200;
  on_loops([&] {
    chaos::HttpLoad load{.faults = {.seed = seed++}};
    chaos::speak_tls(load);
    chaos::storm(load, 1000 / kSlowdown);
  });
}

TEST_CASE("A bit that is turned over on the way of TLS is an error, never data", "[chaos]") {
  std::uint64_t seed = 300;
  for (const std::size_t workers : {1, 2, 4}) {
    on_loop({workers, false, true}, [&] {
      chaos::HttpLoad load{.faults = chaos::long_pauses(seed++), .pauses_are_long = true};
      chaos::speak_tls(load);
      expect(chaos::storm(load, 1000 / kSlowdown).of(Fault::kCorrupt) > 0, "bits were turned over");
    });
  }
}
