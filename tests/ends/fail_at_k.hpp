// What: fail-at-k: a scripted use runs in a forked child in which the k-th allocation, thread or system call fails. It
//   may end by a clear error; it may not die, hang, lose an fd or a task, or go on with wrong data. Afterwards the same
//   use has to succeed in the same process.
// Threads: the test's. In the child as the script says.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>

#include "ends/tally.hpp"

namespace fibrio::test {

// A script's own finding: wrong data, something left. Never what a fault may lead to.
struct Wrong : std::logic_error {
  using std::logic_error::logic_error;
};
inline void require(bool holds, const char* what) {
  if (!holds) throw Wrong(what);
}

struct FailScript {
  const char* name;
  // Makes its own loop, and has let go of everything when it returns or throws.
  void (*run)(std::size_t workers);
};

// The uses of fail_at_k_scripts.cpp.
[[nodiscard]] std::span<const FailScript> fail_scripts();

enum class Survival { kNotReached, kSurvived, kFailed };

// Runs the script in a child with the fault armed. A child that fails is reported by FAIL_CHECK with `what`.
// `arm` and `disarm` are called there; `came` says whether the fault has come.
Survival survive(const FailScript& script, std::size_t workers, const std::string& what,
                 const std::function<void()>& arm, const std::function<void()>& disarm,
                 const std::function<bool()>& came);

}  // namespace fibrio::test
