#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace fibrio::detail {

namespace {
DescribeRunning describe_running = nullptr;
}

void set_describe_running(DescribeRunning describe) noexcept { describe_running = describe; }

void check_failed(const char* file, int line, const char* expression, const char* why) noexcept {
  std::fprintf(stderr, "fibrio: %s:%d: check failed: %s: %s\n", file, line, expression, why);
  if (describe_running != nullptr) describe_running();
  std::fflush(stderr);
  std::abort();
}

}  // namespace fibrio::detail
