#include "fiber/switch.hpp"

#include <cxxabi.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdint>
#include <cstdlib>

#include "base/check.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#ifdef FIBRIO_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBRIO_TSAN
#include <sanitizer/tsan_interface.h>
#include <sanitizer/tsan_interface_atomic.h>
#include <signal.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define FIBRIO_VALGRIND 1
#endif

// Instrumented frames must not be left by a jump: the shadow stacks of the sanitizers would not match.
#define FIBRIO_UNINSTRUMENTED __attribute__((noinline, no_sanitize("thread", "address")))

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

namespace context = boost::context::detail;

namespace {
[[maybe_unused]] constexpr unsigned kStickyFpFlags = 0x3f;  // of MXCSR
}

__attribute__((noinline)) ExceptionState* exceptions_of_this_thread() noexcept {
  asm volatile("" ::: "memory");
  return reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
}

void set_sticky_fp_flags() noexcept {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | kStickyFpFlags);
#endif
}

unsigned fp_environment() noexcept {
#if defined(__x86_64__)
  return _mm_getcsr();
#else
  return 0;
#endif
}

void restore_fp_status([[maybe_unused]] unsigned environment) noexcept {
#if defined(__x86_64__)
  _mm_setcsr((_mm_getcsr() & ~kStickyFpFlags) | (environment & kStickyFpFlags));
#endif
}

void reset_fp_control([[maybe_unused]] const SwitchSlot& slot) noexcept {
#if defined(__x86_64__)
  if (((_mm_getcsr() ^ slot.fp_environment) & ~kStickyFpFlags) == 0) [[likely]]
    return;
  // fesetround and feenableexcept change both units.
  const unsigned control = slot.fp_environment | kStickyFpFlags;
  constexpr unsigned kRounding = 0x6000;  // bits 13 and 14 here, 10 and 11 there
  constexpr unsigned kMasks = 0x1f80;     // bits 7 to 12 here, 0 to 5 there
  constexpr unsigned kExtendedPrecision = 0x300;
  const auto x87 = static_cast<unsigned short>(kExtendedPrecision | ((control & kRounding) >> 3) |
                                               ((control & kMasks) >> 7));
  _mm_setcsr(control);
  asm volatile("fnclex\n\tfldcw %0" : : "m"(x87));
#endif
}

// First thing on the side that is switched to.
struct FiberArrival {
  FIBRIO_UNINSTRUMENTED static SwitchSlot& arrive(context::transfer_t transfer,
                                                  [[maybe_unused]] Fiber* self) noexcept {
    SwitchSlot& slot = *static_cast<SwitchSlot*>(transfer.data);
    slot.left->context_ = transfer.fctx;
#ifdef FIBRIO_ASAN
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(self == nullptr ? nullptr : self->fake_stack_, &bottom, &size);
    if (slot.left->bottom_ == nullptr) {  // a thread's own stack: known only once it was left
      slot.left->bottom_ = bottom;
      slot.left->size_ = size;
    }
#endif
    return slot;
  }

  // A new fiber begins here.
  FIBRIO_UNINSTRUMENTED static void begin(context::transfer_t transfer) {
    SwitchSlot& slot = arrive(transfer, nullptr);
    *slot.exceptions = ExceptionState{};
    slot.entry(slot);  // never returns, and is the last thing here: entered by a jump (see jump)
  }
};

void Fiber::prepare(const Stack& stack) noexcept {
  const std::size_t usable = static_cast<std::size_t>(stack.start() - stack.low);
  context_ = context::make_fcontext(stack.start(), usable, &FiberArrival::begin);
  // Frame pointers end here, as a thread's do: what Boost.Context lets the function begin with is a code address
  // (x86-64, which pushes it as the return address), or what the stack's last user left there (aarch64).
#if defined(__x86_64__)
  constexpr std::size_t kFramePointerAt = 6;  // rbp, in words: see walk.cpp
#elif defined(__aarch64__)
  constexpr std::size_t kFramePointerAt = 18;  // x29
#endif
#if defined(__x86_64__) || defined(__aarch64__)
  static_cast<std::uintptr_t*>(context_)[kFramePointerAt] = 0;
#endif
#ifdef FIBRIO_ASAN
  __asan_unpoison_memory_region(stack.low, stack.usable_bytes());
#endif
#ifdef FIBRIO_TSAN
  remains_.tsan_fiber = __tsan_create_fiber(0);
#endif
#ifdef FIBRIO_VALGRIND
  remains_.valgrind_stack = static_cast<unsigned>(VALGRIND_STACK_REGISTER(stack.low, stack.top));
#endif
  inherit(stack);
}

void Fiber::inherit([[maybe_unused]] const Stack& stack) noexcept {
#ifdef FIBRIO_ASAN
  fake_stack_ = nullptr;
  bottom_ = stack.low;
  size_ = static_cast<std::size_t>(stack.start() - stack.low);
#endif
}

void Fiber::adopt_thread() noexcept {
#ifdef FIBRIO_ASAN
  bottom_ = nullptr;  // learnt when it is left for the first time
  size_ = 0;
#endif
#ifdef FIBRIO_TSAN
  remains_.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void Fiber::retire([[maybe_unused]] const FiberRemains& remains) noexcept {
#ifdef FIBRIO_TSAN
  // It ends as the fiber that runs: a signal that came meanwhile would be the dead one's, and never be handled.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  __tsan_destroy_fiber(remains.tsan_fiber);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
#ifdef FIBRIO_VALGRIND
  VALGRIND_STACK_DEREGISTER(remains.valgrind_stack);
#endif
}

namespace {

// ThreadSanitizer puts a signal off until the fiber in which it came does something that it intercepts: forever, if that
// fiber ends first. Any atomic operation of its own is such a thing.
inline void handle_signals_of_fiber() noexcept {
#ifdef FIBRIO_TSAN
  static const volatile __tsan_atomic8 looked_at = 0;
  static_cast<void>(__tsan_atomic8_load(&looked_at, __tsan_memory_order_relaxed));
#endif
}

// context::jump_fcontext, entered by a jump. It leaves by one too, so that after a call the processor's stack of
// predicted return addresses would have one entry too many: every return on the other side, up to the user's
// loop, would be predicted wrongly (a yield took 38 ns instead of 13). What is pushed would fall into a red zone:
// this file is compiled without. (On aarch64 it leaves by a return, as it should.)
__attribute__((always_inline, no_sanitize("thread", "address"))) inline context::transfer_t jump(
    context::fcontext_t to, void* data) noexcept {
#if defined(__x86_64__)
  context::transfer_t arrived;
  asm volatile(
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "jmp *jump_fcontext@GOTPCREL(%%rip)\n"
      "1:"
      : "=a"(arrived.fctx), "=d"(arrived.data), "+D"(to), "+S"(data)
      :
      :
#ifdef __AVX512F__
      "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",
      "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#endif
      "rcx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
      "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)",
      "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  return arrived;
#else
  return context::jump_fcontext(to, data);
#endif
}

}  // namespace

FIBRIO_UNINSTRUMENTED SwitchSlot& switch_fiber(SwitchSlot& slot, Fiber& from, Fiber& to) noexcept {
  const ExceptionState exceptions = *slot.exceptions;
  handle_signals_of_fiber();
  slot.left = &from;
#ifdef FIBRIO_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#ifdef FIBRIO_TSAN
  // no_sync: the order between fibers comes from the queues, not from the switch, or races would be hidden.
  __tsan_switch_to_fiber(to.remains_.tsan_fiber, slot.is_alone ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
  SwitchSlot& here = FiberArrival::arrive(jump(to.context_, &slot), &from);
  *here.exceptions = exceptions;
  return here;
}

FIBRIO_UNINSTRUMENTED void switch_fiber_for_good(SwitchSlot& slot, Fiber& from, Fiber& to) noexcept {
  handle_signals_of_fiber();
  slot.left = &from;
#ifdef FIBRIO_ASAN
  __sanitizer_start_switch_fiber(nullptr, to.bottom_, to.size_);
#endif
#ifdef FIBRIO_TSAN
  __tsan_switch_to_fiber(to.remains_.tsan_fiber, slot.is_alone ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
  static_cast<void>(jump(to.context_, &slot));
  std::abort();  // a fiber that ended was resumed
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
