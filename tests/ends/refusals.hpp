// What: refuses the k-th allocation, or the k-th thread, from now on. The linker's --wrap (tests/CMakeLists.txt) puts the
//   functions of refusals.cpp in the place of operator new, of the library's own allocation, and of what makes threads.
// Threads: any.
#pragma once

#include <atomic>

namespace fibrio::test {

class Countdown {
 public:
  // 0: none.
  void arm(long k) {
    came_.store(false);
    left_.store(k);
  }
  [[nodiscard]] bool came() const { return came_.load(); }
  // By the call that may be refused.
  [[nodiscard]] bool is_hit() noexcept {
    if (left_.load(std::memory_order_relaxed) <= 0 || left_.fetch_sub(1) != 1) return false;
    came_.store(true);
    return true;
  }

 private:
  std::atomic<long> left_{0};
  std::atomic<bool> came_{false};
};

extern Countdown allocations;
extern Countdown threads;

}  // namespace fibrio::test
