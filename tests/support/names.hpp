// What: what tests of name look-ups need of the machine.
#pragma once

#include <netdb.h>

#include "support/catch.hpp"

namespace fibrio::test {

// Skips the test where the system itself cannot look up "localhost": a bare root without /etc/hosts.
inline void need_localhost() {
  addrinfo* found = nullptr;
  if (::getaddrinfo("localhost", nullptr, nullptr, &found) != 0) {
    skip("this machine does not know \"localhost\": it has no /etc/hosts, or not that line");
  }
  ::freeaddrinfo(found);
}

}  // namespace fibrio::test
