// What: a fiber, and the one context switch of the library (Boost.Context's fcontext layer).
//
// Threads: a fiber runs on one thread at a time; who resumes it must have got it through a queue that orders
// its last save before.
//
// Protocol of a switch from A to B on a thread with slot S:
//  1. A's side takes the exception state (S.exceptions: what the C++ runtime keeps per thread) onto its stack and
//     names itself in S.left.
//  2. The jump carries S. B's side puts its own exception state there (a new fiber an empty one), and stores the
//     context it came from in S.left: from then on A can be resumed.
//  3. B's side then runs what A left to be done "once it is saved" (see sched/worker.hpp).
//  So nobody sees a half-saved fiber, and S is known on arrival without looking at a thread-local.
//
// What travels with a fiber: registers, MXCSR and x87 control word (fcontext); the exceptions being caught
// and the uncaught count. What does not: errno (nobody here reads it after a switch), thread-locals, signal
// mask.
//
// Rejected: boost::context::fiber (it jumps by itself, so sanitizer hooks and exception state would be in two
// hands; in 1.74 it saves no exception state at all); ucontext (two system calls per switch); compiling this
// file with LTO (the address of thread-local data would be kept over the jump).
#pragma once

#include <cstddef>

#include "base/sanitizers.hpp"
#include "fiber/stack.hpp"

namespace fibrio::detail {

// The layout of __cxa_eh_globals in the Itanium C++ ABI, as libstdc++ and libc++abi have it on our targets.
struct ExceptionState {
  void* caught = nullptr;
  unsigned uncaught = 0;
};

// The exception state of the calling thread. The runtime declares its getter const, so the compiler may keep
// the answer over a switch: ask once per thread, at its start.
[[nodiscard]] ExceptionState* exceptions_of_this_thread() noexcept;

// Sets the sticky FP status flags of this thread: a switch between contexts whose flags differ costs 104 ns
// instead of 7. New fibers inherit them. (x86-64 only.)
void set_sticky_fp_flags() noexcept;
// The status flags as they are, to be put back at the end. (x86-64 only.)
[[nodiscard]] unsigned fp_environment() noexcept;
void restore_fp_status(unsigned environment) noexcept;

class Fiber;
struct SwitchSlot;

// Runs on a new fiber; must never return.
using FiberEntry = void (*)(SwitchSlot& slot) noexcept;

// What a thread that runs fibers has; the worker derives from it.
struct SwitchSlot {
  Fiber* left = nullptr;                 // whose context the arriving side stores
  ExceptionState* exceptions = nullptr;  // this thread's
  FiberEntry entry = nullptr;            // where new fibers begin
  unsigned fp_environment = 0;           // this thread's, when it began to run fibers
  // No other thread ever runs these fibers: then a switch gives an order between them (for ThreadSanitizer).
  bool is_alone = false;
};

// A task that begins has the rounding mode and traps of the thread, not those of what ran here, or on this
// stack, before. About 1 ns. (x86-64 only.)
void reset_fp_control(const SwitchSlot& slot) noexcept;

// What the tools must be told of when a stack's last fiber is gone.
struct FiberRemains {
#ifdef FIBRIO_TSAN
  void* tsan_fiber = nullptr;
#endif
  unsigned valgrind_stack = 0;
};

// Leaves a fiber that ended; `from` is any object that outlives the switch. Never returns; not declared so, as it is
// to be entered by a jump, as the last thing of an entry: a call that is never returned from would spoil the
// predictions of all returns of the fiber that goes on.
void switch_fiber_for_good(SwitchSlot& slot, Fiber& from, Fiber& to) noexcept;

class Fiber {
 public:
  Fiber() noexcept = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Prepares a fiber that enters the slot's entry on `stack` when it is switched to.
  void prepare(const Stack& stack) noexcept;
  // Takes over a stack that is running already, from a fiber that ended on it.
  void inherit(const Stack& stack) noexcept;
  // Makes this object stand for the thread's own stack.
  void adopt_thread() noexcept;

  [[nodiscard]] const FiberRemains& remains() const noexcept { return remains_; }
  // After the last switch away from a stack, before it is used again.
  static void retire(const FiberRemains& remains) noexcept;

  // Where its registers are saved while it is not running (for the stack walker, and before any order that
  // ThreadSanitizer knows: on the thread that it has just left).
  [[nodiscard]] FIBRIO_NO_TSAN const void* saved_context() const noexcept { return context_; }

 private:
  friend SwitchSlot& switch_fiber(SwitchSlot&, Fiber&, Fiber&) noexcept;
  friend void switch_fiber_for_good(SwitchSlot&, Fiber&, Fiber&) noexcept;
  friend struct FiberArrival;

  void* context_ = nullptr;
#ifdef FIBRIO_ASAN
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  std::size_t size_ = 0;
#endif
  FiberRemains remains_;
};

// Leaves `from`, which runs on this thread, for `to`; returns when something switches to `from`: the slot of
// the thread it is on then.
[[nodiscard]] SwitchSlot& switch_fiber(SwitchSlot& slot, Fiber& from, Fiber& to) noexcept;

}  // namespace fibrio::detail
