#include "fiber/walk.hpp"

#include <unwind.h>

#include <cstdint>

#include "base/sanitizers.hpp"

namespace fibrio::detail {
namespace {

struct Walk {
  Return* returns;
  std::size_t capacity;
  std::size_t skip;  // frames of the walk itself
  std::size_t count = 0;
};

_Unwind_Reason_Code note_frame(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  const auto address = _Unwind_GetIP(context);
  if (address == 0) return _URC_END_OF_STACK;
  if (walk.skip > 0) {
    --walk.skip;
    return _URC_NO_REASON;
  }
  if (walk.count == walk.capacity) return _URC_END_OF_STACK;
  const auto* const function = reinterpret_cast<const void*>(_Unwind_GetRegionStart(context));
  // What has no unwind information, as where a fiber begins, is given the function of the frame before it.
  if (walk.count != 0 && walk.returns[walk.count - 1].function == function &&
      _Unwind_FindEnclosingFunction(reinterpret_cast<void*>(address - 1)) != function) {
    return _URC_END_OF_STACK;
  }
  walk.returns[walk.count++] = {reinterpret_cast<const void*>(address), function};
  return _URC_NO_REASON;
}

}  // namespace

__attribute__((noinline)) std::size_t walk_here(Return* returns, std::size_t capacity) noexcept {
  Walk walk{returns, capacity, 1};
  static_cast<void>(_Unwind_Backtrace(&note_frame, &walk));
  return walk.count;
}

const void* begin_of(const void* function) noexcept {
  return _Unwind_FindEnclosingFunction(const_cast<char*>(static_cast<const char*>(function) + 1));
}

#if defined(__x86_64__)

// _Unwind_Backtrace(note, argument), as if called by who saved `context`. Boost.Context's layout of it, from
// its address up: MXCSR and x87 control word, r12, r13, r14, r15, rbx, rbp, return address. rbx keeps the
// address of the context, for the unwinder, over the call.
extern "C" void fibrio_backtrace_saved(_Unwind_Trace_Fn note, void* argument, const void* context) noexcept;
asm(R"(
  .pushsection .text
  .p2align 4
  .hidden fibrio_backtrace_saved
  .globl fibrio_backtrace_saved
  .type fibrio_backtrace_saved, @function
fibrio_backtrace_saved:
  .cfi_startproc
  pushq %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rbx, -16
  movq %rdx, %rbx
  .cfi_remember_state
  .cfi_def_cfa %rbx, 0x40
  .cfi_offset %rip, -0x08
  .cfi_offset %rbp, -0x10
  .cfi_offset %rbx, -0x18
  .cfi_offset %r15, -0x20
  .cfi_offset %r14, -0x28
  .cfi_offset %r13, -0x30
  .cfi_offset %r12, -0x38
  call _Unwind_Backtrace@PLT
  .cfi_restore_state
  popq %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbx
  ret
  .cfi_endproc
  .size fibrio_backtrace_saved, . - fibrio_backtrace_saved
  .popsection
)");

namespace {
constexpr std::size_t kReturnAt = 7;  // in words: see above
}

// Not instrumented, like the unwinder: what is read are no objects of the program.
FIBRIO_NO_TSAN std::size_t walk_saved(const Fiber& fiber, Return* returns, std::size_t capacity) noexcept {
  const auto* context = static_cast<const std::uintptr_t*>(fiber.saved_context());
  if (context == nullptr) return 0;
  // Only a context that a switch saved looks so; one that was prepared, or of another layout, does not.
  const auto* return_address = reinterpret_cast<const char*>(context[kReturnAt]);
  static const void* const kSwitch = begin_of(reinterpret_cast<const void*>(&switch_fiber));
  if (_Unwind_FindEnclosingFunction(const_cast<char*>(return_address)) != kSwitch) return 0;
  Walk walk{returns, capacity, 2};  // the function above, and switch_fiber
  fibrio_backtrace_saved(&note_frame, &walk, context);
  return walk.count;
}

#else

std::size_t walk_saved(const Fiber&, Return*, std::size_t) noexcept { return 0; }

#endif

}  // namespace fibrio::detail
