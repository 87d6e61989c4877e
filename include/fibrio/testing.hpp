// Helpers for tests of programs that use fibrio. They need a loop with Config::virtual_time.
#pragma once

#include "fibrio/clock.hpp"

namespace fibrio {

// Moves the running loop's virtual clock forward without waiting, as a long computation would; timers that
// are due then fire in the next pass. Waits: no. Throws: RuntimeError outside a running loop, or if the loop
// has real time; std::invalid_argument for a negative duration. Threads: the loop's.
void advance_time(Duration duration);

}  // namespace fibrio
