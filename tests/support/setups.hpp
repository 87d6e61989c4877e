// What: the ways in which a test of behaviour is run (numbers of workers, forced migration), and what tasks
// may use instead of Catch2's assertions, which are not thread-safe. Threads: Expect any; the rest the test's
// own thread.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "fibrio/fibrio.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

namespace fibrio::test {

// Sizes of tests, divided in sanitizer builds.
constexpr int scaled(int size) { return size / kSlowdown > 0 ? size / kSlowdown : 1; }

struct Setup {
  std::size_t workers;
  bool migrate;  // a task goes on with another worker after every wait
  friend std::ostream& operator<<(std::ostream& out, const Setup& setup) {
    return out << setup.workers << " workers" << (setup.migrate ? ", forced migration" : "");
  }
};

inline std::vector<Setup> all_setups() {
  return {{1, false}, {2, false}, {4, false}, {8, false}, {2, true}, {4, true}, {8, true}};
}

// The scheduler reads the variable when a loop is made.
class ForcedMigration {
 public:
  explicit ForcedMigration(bool enabled) {
    if (enabled) ::setenv("FIBRIO_FORCE_MIGRATION", "1", 1);
    if (!enabled) ::unsetenv("FIBRIO_FORCE_MIGRATION");
  }
  ForcedMigration(const ForcedMigration&) = delete;
  ForcedMigration& operator=(const ForcedMigration&) = delete;
  ~ForcedMigration() { ::unsetenv("FIBRIO_FORCE_MIGRATION"); }
};

// Collects what tasks found wrong.
class Expect {
 public:
  void operator()(bool is_true, const char* what) {
    if (is_true) return;
    std::lock_guard guard(lock_);
    if (++failures_ <= 5) text_ += std::string(what) + "; ";
  }
  // Empty if all was well.
  [[nodiscard]] std::string failures() const {
    std::lock_guard guard(lock_);
    return failures_ == 0 ? std::string() : std::to_string(failures_) + " failed: " + text_;
  }

 private:
  mutable std::mutex lock_;
  std::string text_;
  int failures_ = 0;
};

inline Config config_of(const Setup& setup) {
  Config config;
  config.workers = setup.workers;
  return config;
}

// Runs `body` as the main task of a new loop; no fd is left afterwards.
template <class Body>
void run_with(const Setup& setup, Body&& body) {
  const std::size_t fds = open_fds();
  {
    const ForcedMigration migration(setup.migrate);
    fibrio::run(std::forward<Body>(body), config_of(setup));
  }
  CHECK(open_fds() == fds);
}

// Once for every setup.
template <class Body>
void with_all_setups(Body&& body) {
  for (const Setup& setup : all_setups()) {
    INFO(setup);
    body(setup);
  }
}

}  // namespace fibrio::test
