// What: the return addresses on a stack: the caller's own, or that of a fiber that does not run.
//
// Threads: any. For a fiber: who keeps it from being resumed meanwhile, and saw its context saved (acquire).
//
// Protocol of walk_saved: nothing runs on the fiber's stack, and nothing there is written. The unwinder of
// the C++ runtime is called from a function whose unwind table says that its caller's registers lie where
// jump_fcontext saved them; so it goes on in the fiber's frames by itself. It reads the stack only, knows
// frames without a frame pointer, throws nothing, allocates nothing, and is not instrumented by sanitizers.
// The cost is about that of throwing an exception through so many frames.
//
// Rejected: running the unwinder on top of the fiber (ontop_fcontext: writes below its frames, perhaps into
// the guard, and the sanitizers and the exception state would have to be told); following frame pointers
// (-O2 has none); a walker of our own over the unwind tables (300 lines that the runtime has already).
#pragma once

#include <cstddef>

#include "fiber/switch.hpp"

namespace fibrio::detail {

// A return address, and where the function that it returns to begins (null: unknown).
struct Return {
  const void* address;
  const void* function;
};

// Fills `returns` from the innermost frame on; returns how many there are. At most `capacity`.
[[nodiscard]] std::size_t walk_here(Return* returns, std::size_t capacity) noexcept;
// The same of a fiber's stack, without the frame of the switch itself. Nothing for a fiber that never ran,
// and on machines other than x86-64.
[[nodiscard]] std::size_t walk_saved(const Fiber& fiber, Return* returns, std::size_t capacity) noexcept;

// Where unwind tables say that a function begins: what Return::function is compared with.
[[nodiscard]] const void* begin_of(const void* function) noexcept;

}  // namespace fibrio::detail
