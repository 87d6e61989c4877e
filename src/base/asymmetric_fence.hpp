// What: a fence for "store here, look there" on two sides, of which one is on a hot path and the other rare: the
// rare side pays for both.
//
// Threads: any.
//
// Protocol. One side stores a, calls light() and looks at b; the other stores b, calls heavy() and looks at a. Then
// at least one of them sees what the other stored.
//  1. membarrier makes every running thread of the process execute a full barrier; a thread that does not run went
//     through one when it stopped. So what light() keeps in order for the compiler is in order for heavy() too:
//     the store came before that barrier and is seen, or the look comes after it and sees.
//  2. Without membarrier both sides change one word: in its order one of them is second, and has acquired what the
//     first had stored. ThreadSanitizer sees that, and nothing of membarrier, so its builds have it always.
//  3. If membarrier is refused later (a seccomp filter), all go over to rule 2 for good. Who has just passed
//     light() by rule 1 has its store in the CPU's buffer for far less than the millisecond that heavy() waits; so does
//     every other heavy() that finds rule 2 in force before the first one's wait is over.
//
// Rejected: seq_cst on the four operations (a locked instruction for each task made, and for each that ends).
#pragma once

#include <atomic>

namespace fibrio::detail {

class AsymmetricFence {
 public:
  static void light() noexcept {
    if (is_free_.load(std::memory_order_relaxed)) [[likely]] {
      asm volatile("" ::: "memory");  // in order for the compiler
    } else {
      meet();
    }
  }
  static void heavy() noexcept;  // some microseconds

 private:
  // acq_rel: each pairs with all before it in the word's order.
  static void meet() noexcept { word_.fetch_add(1, std::memory_order_acq_rel); }

  static const bool is_registered;
  static void let_stores_arrive() noexcept;

  static std::atomic<bool> is_free_;
  static std::atomic<bool> is_settled_;  // nobody can be on the way out of light() by rule 1 any more
  static std::atomic<unsigned> word_;
};

}  // namespace fibrio::detail
