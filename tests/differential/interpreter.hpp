// What: runs one program of the differential tests on fibrio and returns its trace. README.md here is the
//   language; operations.hpp says how an operation is written.
// Threads: run_program is called by a plain thread. Everything else happens in the loop's tasks and callbacks, of
//   which only one runs at a time: there is one worker, or all of them are on one strand.
#pragma once

#include <string>

#include "differential/json.hpp"

namespace fibrio::test {

// kStrand: inside one strand of a loop with 4 workers.
enum class Place { kOneWorker, kStrand };

// Runs it to its end, or until nothing can ever run again.
[[nodiscard]] Json run_program(const Json& program, Place place);

}  // namespace fibrio::test
