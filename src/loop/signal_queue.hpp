// What: what one SignalStream has got and not been asked for yet.
//
// Threads: any. Protocol. `deliver` adds under the lock and sets the event after it; who finds nothing clears
// the event under the lock before he waits: so what is added later always ends his wait. At most one of each
// signal is kept, in room made at the start: `deliver` allocates nothing.
#pragma once

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "fibrio/locks.hpp"
#include "sched/fork.hpp"

namespace fibrio::detail {

class LoopImpl;

class SignalQueue {
 public:
  SignalQueue(LoopImpl& its_loop, std::span<const int> signals)
      : loop(its_loop), numbers(signals.begin(), signals.end()) {
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    pending_.reserve(numbers.size());
  }

  [[nodiscard]] bool wants(int signal) const noexcept {
    return std::binary_search(numbers.begin(), numbers.end(), signal);
  }

  void deliver(int signal) {
    {
      const std::lock_guard guard(lock_);
      if (std::find(pending_.begin(), pending_.end(), signal) == pending_.end()) pending_.push_back(signal);
    }
    arrived_.set();
  }
  // Nothing comes any more; ends the waits.
  void close() {
    {
      const std::lock_guard guard(lock_);
      is_closed_ = true;
    }
    arrived_.set();
  }

  // Nothing: wait, and try again.
  [[nodiscard]] std::optional<int> take() {
    const std::lock_guard guard(lock_);
    if (!pending_.empty()) {
      const int signal = pending_.front();
      pending_.erase(pending_.begin());
      return signal;
    }
    if (!is_closed_) arrived_.clear();
    return std::nullopt;
  }
  [[nodiscard]] bool is_closed() const {
    const std::lock_guard guard(lock_);
    return is_closed_;
  }
  void wait() { arrived_.wait(); }

  LoopImpl& loop;  // alive while the queue is subscribed
  std::vector<int> numbers;
  const unsigned forks = fork_count();
  bool is_subscribed = false;  // guarded by the lock of the table of signals

 private:
  mutable std::mutex lock_;
  std::vector<int> pending_;  // oldest first
  bool is_closed_ = false;
  Event arrived_;
};

}  // namespace fibrio::detail
