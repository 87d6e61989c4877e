// What: a mapping of many stacks of one size class, and the system calls on it and its stacks.
// Threads: make and unmap, any; the fields between, whoever holds the lock of the pool's size class.
// Protocol: the mapping is, from low to high:
//     [ StackSlab, Stack[slots] ] [ guard | stack 0 ] [ guard | stack 1 ] ... [ guard ]
//   The first part is touched as far as stacks were used. The last guard keeps a write beyond the highest
//   stack's top away from the next mapping, which may be another slab's head.
//   Slots become Stacks one after another: those from `first_fresh` on are zero bytes yet.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/intrusive_list.hpp"
#include "fiber/slab_table.hpp"
#include "fiber/stack.hpp"
#include "fiber/stack_pool.hpp"

namespace fibrio::detail {

struct StackSlab : ListHook<> {
  enum class In : std::uint8_t { kNoList, kWarm, kCold, kUnused };
  static constexpr std::int64_t kNoPeriod = INT64_MIN;

  std::size_t bytes;     // of the whole mapping
  std::uint32_t number;  // in the slab table
  std::uint16_t slots;
  std::uint16_t first_fresh = 0;
  std::uint16_t taken = 0;
  std::uint16_t warm_count = 0;
  std::uint16_t cold_count = 0;
  std::uint8_t size_class;
  In in = In::kNoList;
  bool unmappable = true;  // false once munmap failed
  Stack* warm = nullptr;   // last in first
  Stack* cold = nullptr;

  // The trimmer's period: the least of warm_count and the most of taken in it.
  std::int64_t period_start_ns = kNoPeriod;
  std::uint16_t least_warm = 0;
  std::uint16_t most_taken = 0;

  [[nodiscard]] std::byte* base() noexcept { return reinterpret_cast<std::byte*>(this); }
  [[nodiscard]] Stack* stacks() noexcept { return reinterpret_cast<Stack*>(this + 1); }
  // Makes the next fresh slot a Stack.
  Stack* take_fresh() noexcept;
  void begin_period(std::int64_t now_ns) noexcept {
    period_start_ns = now_ns;
    least_warm = warm_count;
    most_taken = taken;
  }
};

// Maps a slab of about `slab_bytes` (smaller ones if that is refused, one stack at least) and enters it into
// the table. Null and the reason in `failure` otherwise; nothing stays half-made.
[[nodiscard]] StackSlab* make_slab(int size_class, std::size_t slab_bytes, SlabTable& table,
                                   StackFailure& failure) noexcept;

// Returns false if the kernel refuses (it can: a hole in the middle of merged mappings makes one more); the
// slab is as it was then.
[[nodiscard]] bool unmap_slab(StackSlab* slab, SlabTable& table) noexcept;

// Which kind of guard this kernel has.
[[nodiscard]] GuardKind probe_guard_kind() noexcept;

// Installs the guard below `stack`. May turn `kind` from madvise to mprotect. Returns 0, or -errno and the
// call's name.
[[nodiscard]] int install_guard(const Stack& stack, std::atomic<GuardKind>& kind, const char*& call) noexcept;

// Gives the pages of stacks back to the kernel; `chain` are stacks of this slab linked by `next`.
void discard_pages(StackSlab& slab, Stack* chain) noexcept;

// Where slots lie: for the slab itself and for a signal handler, which knows base, class and slots only.
[[nodiscard]] std::size_t slab_head_bytes(unsigned slots) noexcept;
[[nodiscard]] bool describe_in_slab(const SlabTable::Entry& slab, std::uintptr_t address,
                                    StackInfo& info) noexcept;

// AddressSanitizer: a stack that nobody uses must not be touched, one that starts anew has no old red zones.
void mark_stack_unused(const Stack& stack) noexcept;
void mark_stack_used(const Stack& stack) noexcept;

}  // namespace fibrio::detail
