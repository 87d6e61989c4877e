// What: a counter with one writer, that anybody may read.
// Threads: add: the writer. get: any.
#pragma once

#include <atomic>
#include <cstdint>

namespace fibrio::detail {

class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace fibrio::detail
