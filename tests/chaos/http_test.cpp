// Every request is answered rightly or fails with an error of the documented kinds; none is lost, doubled, or mixed
// up with another one; nothing hangs, and nothing is left. chaos_load does the same for as long as one likes.
#include <cstdint>

#include "chaos/storm.hpp"

using namespace fibrio;
using namespace fibrio::net_test;
using chaos::Fault;

TEST_CASE("Requests through a chaos proxy are answered rightly or fail cleanly, none twice", "[chaos]") {
  chaos::ProxyCounts counts;
  std::uint64_t seed = 1;
  on_loops([&] { counts += chaos::storm({.faults = {.seed = seed++}}, 5000 / kSlowdown); });
  for (std::size_t i = 0; i < chaos::kFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    INFO(chaos::name_of(fault));
    CHECK((counts.of(fault) > 0) == (fault != Fault::kCorrupt));
  }
}

TEST_CASE("With virtual time, pauses of many seconds meet the timeouts of server and client", "[chaos]") {
  std::uint64_t seed = 100;
  for (const std::size_t workers : {1, 2, 4}) {
    on_loop({workers, false, true}, [&] {
      chaos::storm({.faults = chaos::long_pauses(seed++), .pauses_are_long = true}, 5000 / kSlowdown);
    });
  }
}
