// What: cancel-at-k: a scripted use is run again and again; in run k its task's k-th wait is ended from outside: by a
//   cancel that is there before the wait, by one that comes in it, by a timeout, or by both. After each run the
//   script says whether the world is in order, and the loop must be empty.
// Threads: sweep() the test's; the rest as it says. The hook replaces the linker's symbol of detail::suspend
//   (--wrap, tests/CMakeLists.txt), so every wait of the library is a point, and the library is as it is released.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "fibrio/fibrio.hpp"
#include "support/loops.hpp"

namespace fibrio::test {

enum class Fault { kCancelBefore, kCancelDuring, kTimeout, kBoth };

enum class Ended { kWell, kCancelled, kTimedOut, kFailed };

// One run of a script, in the main task of a loop.
class Attempt {
 public:
  Attempt(Fault fault, std::size_t k) : fault_(fault), k_(k) {}

  // Runs `use` in a task of its own, whose k-th wait gets the fault, and returns how it ended. An error that is
  // neither CancelledError nor TimeoutError is a failed check unless `may_fail`.
  Ended run(const std::function<void()>& use, bool may_fail = false);
  [[nodiscard]] bool fault_came() const { return fault_came_; }

 private:
  Fault fault_;
  std::size_t k_;
  bool fault_came_ = false;
};

struct CancelScript {
  const char* name;
  void (*run)(Attempt& attempt);
  bool virtual_time = true;
};

// Runs every script with 1, 2 and 4 workers, every fault, and every k that is reached. A script of which no wait was
// reached fails the test.
void sweep(const char* name, std::span<const CancelScript> scripts);

}  // namespace fibrio::test
