// What: one stack of a fiber, and the sizes stacks come in.
// Threads: a stack belongs to whoever took it from a pool or cache, until he gives it back.
// Invariant: the description lives apart from the stack, so that a stack which waits for use costs no touched
// page, and one whose pages were given back to the kernel loses nothing.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace fibrio::detail {

struct StackSlab;

// Below every stack. Wide, because a frame larger than the guard jumps over it where user code is compiled
// without -fstack-clash-protection; it costs address space only.
inline constexpr std::size_t kGuardBytes = 64 * 1024;

inline constexpr std::size_t kMinStackBytes = 16 * 1024;         // a signal frame with AVX-512 takes 3 KiB
inline constexpr std::size_t kMaxStackBytes = 64 * 1024 * 1024;  // guess: eight times a thread's

// Address space only: what is not touched costs nothing. Sanitizers pad every frame.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::size_t kDefaultStackBytes = 1024 * 1024;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr std::size_t kDefaultStackBytes = 1024 * 1024;
#else
inline constexpr std::size_t kDefaultStackBytes = 256 * 1024;
#endif
#else
inline constexpr std::size_t kDefaultStackBytes = 256 * 1024;
#endif

// Size classes are the powers of two from kMinStackBytes to kMaxStackBytes.
inline constexpr int kStackClasses = std::countr_zero(kMaxStackBytes / kMinStackBytes) + 1;

// The class of the smallest stacks with at least `bytes` usable; kStackClasses if there is none.
[[nodiscard]] constexpr int stack_class_of(std::size_t bytes) noexcept {
  if (bytes <= kMinStackBytes) return 0;
  if (bytes > kMaxStackBytes) return kStackClasses;
  return std::countr_zero(std::bit_ceil(bytes) / kMinStackBytes);
}
[[nodiscard]] constexpr std::size_t stack_class_bytes(int size_class) noexcept {
  return kMinStackBytes << size_class;
}

// Stacks start at different distances from their page's end: the hot frames of fibers would otherwise share
// the same few cache sets, as all stacks have the same alignment. Together below 1 KiB, so that a shallow
// parked task still touches one page only.
inline constexpr unsigned kStackColours = 16;
inline constexpr std::size_t kColourBytes = 64;  // one cache line

enum class StackPlace : std::uint8_t { kFresh = 0, kPooled, kCached, kInUse };

struct Stack {
  std::byte* low;  // lowest usable byte; the guard is [low - kGuardBytes, low)
  std::byte* top;  // one past the highest
  StackSlab* slab;
  Stack* next;          // in the slab's free list
  std::uint16_t index;  // slot in the slab
  std::uint8_t size_class;
  std::uint8_t colour;
  StackPlace place;  // who has it; checked at every step, since a stack given back twice corrupts silently
  bool guarded;      // the guard is installed: done when the stack is handed out for the first time

  // Where the first frame begins: 64-byte aligned, grows down.
  [[nodiscard]] std::byte* start() const noexcept { return top - colour * kColourBytes; }
  [[nodiscard]] std::size_t usable_bytes() const noexcept { return static_cast<std::size_t>(top - low); }
};
static_assert(sizeof(Stack) <= 48, "a million stacks: every byte here is a megabyte");

// What an address belongs to (see StackPool::describe).
struct StackInfo {
  const std::byte* guard;  // the guard is [guard, low)
  const std::byte* low;
  const std::byte* top;
  bool in_guard;

  [[nodiscard]] std::size_t usable_bytes() const noexcept { return static_cast<std::size_t>(top - low); }
};

}  // namespace fibrio::detail
