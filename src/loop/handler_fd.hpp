// What: the fd that a signal handler writes to. It can be closed once `withdraw` has returned, whatever
// handlers are at work on other threads.
// Threads: `publish`, `withdraw`, `forget_handlers`: under the owner's lock. `use`: signal handlers, any
// thread.
// Protocol. A handler counts itself in before it looks at the fd; `withdraw` takes the fd away before it looks
// at the count. All four accesses are seq_cst: either the handler finds no fd, or `withdraw` finds the handler
// and waits until it has counted itself out, whose release gives it all that the handler did.
#pragma once

#include <sched.h>

#include <atomic>

#include "base/atomic.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = std::atomic>
class BasicHandlerFd {
 public:
  void publish(int fd) noexcept { fd_.store(fd, std::memory_order_release); }

  // The handlers at work finish: each makes one call that does not block.
  void withdraw() noexcept {
    fd_.store(-1, std::memory_order_seq_cst);
    while (users_.load(std::memory_order_seq_cst) != 0) {
      spin_pause<Atomic>();
      ::sched_yield();
    }
  }

  // In a forked child: handlers that were at work on the parent's other threads are not here.
  void forget_handlers() noexcept {
    fd_.store(-1, std::memory_order_relaxed);
    users_.store(0, std::memory_order_relaxed);
  }

  // Calls `write(fd)` if there is an fd.
  template <class Write>
  void use(const Write& write) noexcept {
    users_.fetch_add(1, std::memory_order_seq_cst);
    if (const int fd = fd_.load(std::memory_order_seq_cst); fd >= 0) write(fd);
    users_.fetch_sub(1, std::memory_order_release);
  }

 private:
  Atomic<int> fd_{-1};
  Atomic<int> users_{0};
};

using HandlerFd = BasicHandlerFd<>;

}  // namespace fibrio::detail
