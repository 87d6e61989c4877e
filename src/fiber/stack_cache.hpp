// What: a worker's own hot stacks: last in, first out, no lock, no system call.
// Threads: the owner only; destruction on any thread once the owner stopped. cached() any.
// Protocol: per size class at most kCapacity stacks (and kCapacityBytes). An empty bin takes half of that
//   from the pool, a full one gives its colder half back, so that neither side sees a call per stack.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/intrusive_list.hpp"
#include "fiber/stack_pool.hpp"

namespace fibrio::detail {

class StackCache : public ListHook<> {
 public:
  explicit StackCache(StackPool& pool) noexcept;
  StackCache(const StackCache&) = delete;
  StackCache& operator=(const StackCache&) = delete;
  // Gives everything back.
  ~StackCache();

  // Gives a stack with at least `bytes` usable. Throws StackLimitError.
  [[nodiscard]] Stack* acquire(std::size_t bytes);
  // The same; null and the reason in `failure`.
  [[nodiscard]] Stack* try_acquire(std::size_t bytes, StackFailure& failure) noexcept;
  // The stack may come from another worker's cache (its fiber was stolen).
  void release(Stack* stack) noexcept;

  // Gives to the pool what was not needed during a whole period of `cold_after_ns`; returns how many. A
  // worker calls it before it calls StackPool::trim: the pool does not see what lies in caches.
  std::size_t give_back_cold(std::int64_t now_ns, std::int64_t cold_after_ns) noexcept;
  void give_back_all() noexcept;

  // Whether give_back_cold may find something later.
  [[nodiscard]] bool has_cached() const noexcept { return cached() != 0; }
  [[nodiscard]] std::size_t cached() const noexcept { return cached_.load(std::memory_order_relaxed); }

 private:
  // 32 hot stacks; of large ones fewer, so that a worker hides at most about 8 MiB of touched memory.
  static constexpr std::size_t kCapacity = 32;
  static constexpr std::size_t kCapacityBytes = 8 * 1024 * 1024;
  static constexpr std::size_t capacity_of(int size_class) noexcept {
    return std::clamp<std::size_t>(kCapacityBytes / stack_class_bytes(size_class), 2, kCapacity);
  }

  struct Bin {
    std::array<Stack*, kCapacity> stacks;  // the hottest last
    std::uint32_t count = 0;
    std::uint32_t least = 0;  // of count, in this period
  };

  bool refill(int size_class, StackFailure& failure) noexcept;
  void give_back_coldest(int size_class, std::size_t count) noexcept;
  // The owner is the only writer: a plain add, not a locked one.
  void add_cached(std::ptrdiff_t change) noexcept {
    cached_.store(cached_.load(std::memory_order_relaxed) + static_cast<std::size_t>(change),
                  std::memory_order_relaxed);
  }

  StackPool& pool_;
  std::atomic<std::size_t> cached_{0};  // read by stats
  std::int64_t period_start_ns_ = kNoPeriod;
  static constexpr std::int64_t kNoPeriod = INT64_MIN;
  std::array<Bin, kStackClasses> bins_;
};

}  // namespace fibrio::detail
