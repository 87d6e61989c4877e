#include "base/check.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace fibrio::detail {

namespace {
// Relaxed: a function of the program, there from its start. Each loop stores the same one.
std::atomic<DescribeRunning> describe_running{nullptr};
}  // namespace

void set_describe_running(DescribeRunning describe) noexcept {
  describe_running.store(describe, std::memory_order_relaxed);
}

void check_failed(const char* file, int line, const char* expression, const char* why) noexcept {
  std::fprintf(stderr, "fibrio: %s:%d: check failed: %s: %s\n", file, line, expression, why);
  if (const DescribeRunning describe = describe_running.load(std::memory_order_relaxed)) describe();
  std::fflush(stderr);
  std::abort();
}

}  // namespace fibrio::detail
