// What: the one include of every test: Catch2, version 2.13 or 3, and what the test programs add to it.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>
#include <cstdlib>

namespace fibrio::test {

// How much slower this build is than a plain one, roughly: stress tests divide their rounds by it, tests that
// measure time multiply their bounds.
#ifdef FIBRIO_TEST_SLOWDOWN
inline constexpr int kSlowdown = FIBRIO_TEST_SLOWDOWN;
#else
inline constexpr int kSlowdown = 1;
#endif

// Ends the process and has ctest report "skipped" (each TEST_CASE is a process of its own there). For what
// the machine cannot do: a kernel too old, a privilege that is missing.
[[noreturn]] inline void skip(const char* why) {
  std::printf("skipped: %s\n", why);
  std::fflush(stdout);
  std::_Exit(77);
}

}  // namespace fibrio::test
