// What: turns the fault of a fiber that outgrew its stack into a report that names the task and the remedy.
// Threads: OverflowWatch any; AltStack its own thread only, from construction to destruction.
// Protocol: 1. The first OverflowWatch installs a handler for SIGSEGV and SIGBUS in the process, the last one
//      puts back what was there (if nobody put himself on top meanwhile).
//   2. The handler asks the watched pools, through an array of atomic pointers, whether the address lies in a
//      guard and the thread's stack pointer near it. Yes: report, put the previous handler back, return; the
//      instruction faults again and the core shows the real place. No: the previous handler runs.
//   3. A fiber without stack cannot run a handler: each worker has an AltStack.
//   4. A pool leaves only when no handler looks at it: handlers count themselves in.
//   Under AddressSanitizer nothing is installed: it reports overflows itself.
// Rejected: throwing from the handler (the frame that faulted may hold anything); growing the stack (a guard
// cannot be moved without copying frames, and pointers into them exist).
#pragma once

#include <signal.h>

#include <cstddef>

#include "fiber/stack_pool.hpp"

namespace fibrio::detail {

// Watches a pool's guards as long as it lives. Throws std::system_error if the handler cannot be installed.
class OverflowWatch {
 public:
  explicit OverflowWatch(const StackPool& pool);
  OverflowWatch(const OverflowWatch&) = delete;
  OverflowWatch& operator=(const OverflowWatch&) = delete;
  ~OverflowWatch();

 private:
  const StackPool* pool_;
  std::size_t slot_;
};

// Memory for a stack of signal handlers, apart from its use: to get it may fail, and a thread of the loop has
// nobody to tell. Throws std::system_error.
class AltStackMemory {
 public:
  AltStackMemory();
  AltStackMemory(const AltStackMemory&) = delete;
  AltStackMemory& operator=(const AltStackMemory&) = delete;
  ~AltStackMemory();

 private:
  friend class AltStack;
  void* base_ = nullptr;  // the mapping: a guard page and the stack; null: none is wanted
  std::size_t guard_bytes_ = 0;
  std::size_t usable_bytes_ = 0;
};

// The stack on which the thread's signal handlers run. Puts the thread's former one back at the end.
class AltStack {
 public:
  explicit AltStack(const AltStackMemory& memory) noexcept;
  AltStack(const AltStack&) = delete;
  AltStack& operator=(const AltStack&) = delete;
  ~AltStack();

 private:
  bool is_set_ = false;
  stack_t former_{};
};

// Writes the name of the task that runs on this thread to `buffer` (no terminating zero), returns its length;
// 0 if none runs. Called from the signal handler: no lock, no allocation.
using NameOfRunning = std::size_t (*)(char* buffer, std::size_t size) noexcept;
void set_name_of_running(NameOfRunning name) noexcept;

}  // namespace fibrio::detail
