// What: the stacks of one event loop: a million guarded ones without a million mappings.
// Threads: any, except construction and destruction. describe() also from a signal handler.
// Protocol:
//   1. Stacks are cut from slabs (stack_slab.hpp): about 64 MiB of address space each, one size class each.
//   2. A slot gets its guard when it is handed out for the first time: by MADV_GUARD_INSTALL (no mapping of
//      its own; Linux 6.13), or by mprotect where the kernel lacks it or refuses (mlockall).
//   3. A stack that comes back is "warm": its pages stay. Warm ones go out first, last in first out; then
//      cold ones (no pages), then fresh ones (never used), then a new slab is made.
//   4. trim() looks at each slab once per period of `cold_after`. The least number of warm stacks that lay
//      there during a whole period is the number nobody missed: so many, from the far end of the LIFO, lose
//      their pages. A slab of which no stack was out during a whole period is unmapped, except one per class.
//   5. Locks, one per size class, are never held over a system call: stacks and slabs are taken out of the
//      lists, worked on, and put back.
// Rejected: a time stamp per stack (the clock on the hot path; a walk over a million descriptions to find the
// old ones); MADV_FREE (memory stays in RSS until there is pressure); one mapping per stack (0.9 against
// 0.3 us, 65,530 mappings in all); one free list over all slabs (slabs never become free as a whole).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/atomic.hpp"
#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "fiber/slab_table.hpp"
#include "fiber/stack.hpp"
#include "fiber/stack_error.hpp"

namespace fibrio::detail {

class StackCache;

enum class GuardKind : unsigned char { kMadvise, kMprotect };

struct StackPoolOptions {
  std::size_t slab_bytes = 64 * 1024 * 1024;  // one stack at least, whatever this says
};

struct StackStats {
  std::size_t in_use;  // taken by fibers
  std::size_t cached;  // in the workers' caches
  std::size_t warm;    // free in the pool, pages still there
  std::size_t cold;    // free in the pool, no pages
  std::size_t slabs;
  std::size_t reserved_bytes;  // address space, not memory
  std::size_t failed;          // how often there was no stack
  GuardKind guard;             // what the next new stack gets
};

class StackPool {
 public:
  explicit StackPool(const StackPoolOptions& options = {}) noexcept;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  // Every stack must be back, every cache gone.
  ~StackPool();

  // Gives a stack with at least `bytes` usable. Throws StackLimitError.
  [[nodiscard]] Stack* acquire(std::size_t bytes);
  // The same; null and the reason in `failure`.
  [[nodiscard]] Stack* try_acquire(std::size_t bytes, StackFailure& failure) noexcept;
  void release(Stack* stack) noexcept;

  // Gives memory of stacks that nobody needed for `cold_after_ns` back to the kernel; returns how many. Age
  // is measured in whole periods, from the first call that sees a stack: it is gone after one to two periods.
  // To have memory back 2 s after a burst, call it each 0.5 s with 0.5 s.
  // Stops after about `max_stacks`, at 0.4 us (whole slabs) to 1.6 us each; a worker that may be needed
  // passes about 1000. If so many were trimmed there may be more to do right away. One thread at a time:
  // others get 0. `now_ns` must not go back.
  std::size_t trim(std::int64_t now_ns, std::int64_t cold_after_ns,
                   std::size_t max_stacks = SIZE_MAX) noexcept;
  // Whether a later trim() would find something: an idle worker must not sleep for ever then. Relaxed.
  [[nodiscard]] bool has_untrimmed() const noexcept {
    return untrimmed_.load(std::memory_order_relaxed) != 0;
  }

  // Finds the stack or the guard that `address` lies in. Async-signal-safe.
  [[nodiscard]] bool describe(const void* address, StackInfo& info) const noexcept;

  [[nodiscard]] StackStats stats() const noexcept;

 private:
  friend class StackCache;

  // The slabs of one size class. A slab is in the list that says what it has to give, or in none if nothing.
  struct alignas(kCacheLine) SizeClass {
    SpinLock lock;
    IntrusiveList<StackSlab> warm;    // some warm stack
    IntrusiveList<StackSlab> cold;    // no warm stack, but some stack is out
    IntrusiveList<StackSlab> unused;  // no warm stack, and none is out
    std::size_t warm_slabs = 0;       // lengths of the two lists that trim() walks
    std::size_t unused_slabs = 0;
    std::size_t idle_slabs = 0;  // no stack is out, warm ones or not; without those that cannot be unmapped
    std::size_t warm_stacks = 0;
    std::size_t cold_stacks = 0;
    std::size_t taken_stacks = 0;
    std::size_t slabs = 0;
    std::size_t reserved_bytes = 0;
    std::int64_t untrimmed = 0;  // this class's part of untrimmed_
  };

  // What the caches use: up to `wanted` stacks of a class, at least one or a failure.
  std::size_t take(int size_class, Stack** out, std::size_t wanted, StackFailure& failure) noexcept;
  void give(int size_class, Stack* const* stacks, std::size_t count) noexcept;

  std::size_t take_locked(SizeClass& from, Stack** out, std::size_t wanted) noexcept;
  Stack* take_from_locked(SizeClass& from, StackSlab& slab) noexcept;
  void put_cold_locked(SizeClass& to, Stack* stack) noexcept;
  void relist_locked(SizeClass& of, StackSlab& slab) noexcept;
  void count_untrimmed_locked(SizeClass& of) noexcept;
  [[nodiscard]] bool add_slab(int size_class, StackFailure& failure) noexcept;
  [[nodiscard]] bool ensure_guard(Stack& stack, StackFailure& failure) noexcept;

  struct TrimPass;
  void trim_class(SizeClass& of, TrimPass& pass) noexcept;
  void trim_slab_locked(SizeClass& of, StackSlab& slab, TrimPass& pass) noexcept;
  void finish_trim(SizeClass& of, TrimPass& pass) noexcept;

  const std::size_t slab_bytes_;
  std::atomic<GuardKind> guard_;            // goes from madvise to mprotect at most once; relaxed
  std::atomic<std::int64_t> untrimmed_{0};  // warm stacks and slabs that may go; changed under a class's lock
  std::atomic<std::size_t> failed_{0};
  SpinLock trim_lock_;  // only ever tried: held over system calls
  SlabTable slabs_;
  mutable std::array<SizeClass, kStackClasses> classes_;
  mutable SpinLock caches_lock_;
  mutable IntrusiveList<StackCache> caches_;  // for stats
};

}  // namespace fibrio::detail
