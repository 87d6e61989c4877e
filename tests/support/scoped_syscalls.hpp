// What: puts the system-call table back at the end of a test that changed it.
// Threads: as the table: no other thread of the library runs at either end.
#pragma once

#include "base/syscalls.hpp"

namespace fibrio::test {

class ScopedSyscalls {
 public:
  ScopedSyscalls() noexcept : before_(sys::syscalls) { sys::forget_missing_calls(); }
  ScopedSyscalls(const ScopedSyscalls&) = delete;
  ScopedSyscalls& operator=(const ScopedSyscalls&) = delete;
  ~ScopedSyscalls() { restore(); }

  void restore() noexcept {
    sys::syscalls = before_;
    sys::forget_missing_calls();
  }

 private:
  sys::Syscalls before_;
};

}  // namespace fibrio::test
