// What: the run queue of a loop with one worker: an unbounded FIFO of plain pointers.
// Threads: the owner only. Other threads go through the inject queue.
// Invariant: strictly first in, first out: with one worker the order of a program is asyncio's.
// Rejected: the ring with atomics here too: two locked instructions per task for nobody to race with.
#pragma once

#include "base/sanitizers.hpp"
#include "queue/runnable.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

class LocalQueue {
 public:
  LocalQueue() noexcept = default;
  LocalQueue(const LocalQueue&) = delete;
  LocalQueue& operator=(const LocalQueue&) = delete;

  void push_back(Runnable* item) noexcept { items_.push_back(item); }
  void push_front(Runnable* item) noexcept { items_.push_front(item); }
  // Null if empty.
  Runnable* pop_front() noexcept { return items_.pop_front(); }
  [[nodiscard]] Runnable* front() const noexcept { return items_.first; }
  // Appends all of `other`, which is then empty.
  void splice_back(LocalQueue& other) noexcept { items_.splice_back(other.items_); }
  void splice_back(RunnableChain other) noexcept { items_.splice_back(other); }
  // Everything, for shutdown.
  [[nodiscard]] RunnableChain take_all() noexcept {
    RunnableChain all = items_;
    items_ = RunnableChain{};
    return all;
  }

  [[nodiscard]] std::size_t size() const noexcept { return items_.count; }
  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }

 private:
  RunnableChain items_;
};

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
