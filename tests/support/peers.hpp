// What: other people's programs that tests talk with.
// Threads: the test's own, before it has made anything that would have to be cleaned up.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/catch.hpp"

namespace fibrio::test {

// Skips the test unless there is such a program; fails it where FIBRIO_NEED_PEERS says that all are there.
inline void need_program(const std::string& name) {
  if (std::system(("command -v " + name + " >/dev/null 2>&1").c_str()) == 0) return;
  const std::string why = "no program " + name + " here";
  if (std::getenv("FIBRIO_NEED_PEERS") == nullptr) skip(why.c_str());
  std::printf("%s, and FIBRIO_NEED_PEERS is set\n", why.c_str());
  std::fflush(stdout);
  std::_Exit(1);
}

}  // namespace fibrio::test
