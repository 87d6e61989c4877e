// What: the counts and lines of a queue, whatever it holds, without what suspends and resumes.
//
// Threads: any; everything is guarded by `spin`, but `size` may be read without it.
//
// Invariant: if getters wait, there are at least as many woken getters that have not run yet as there are
// items (and if putters wait, at least as many woken putters as there is room). A put wakes one getter; a
// woken one takes an item, or leaves by an exception and wakes the next if there still is an item; it waits
// again only if there is none. So no item stays while somebody waits for it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "sync/wait_queue.hpp"

namespace fibrio::detail {

template <template <class> class Atomic = ElidingAtomic>
class BasicQueueState {
 public:
  static constexpr std::uint8_t kTurns = 32;  // as the budget of a task
  using Waiter = BasicWaiter<Atomic>;
  using Woken = BasicWoken<Atomic>;
  using Line = BasicWaitQueue<Atomic>;

  explicit BasicQueueState(std::size_t its_maxsize) noexcept : maxsize(its_maxsize) {}

  [[nodiscard]] std::size_t items() const noexcept { return size.load(std::memory_order_relaxed); }
  [[nodiscard]] bool has_items() const noexcept { return items() != 0; }
  [[nodiscard]] bool has_room() const noexcept { return maxsize == 0 || items() < maxsize; }

  // Needs the lock. True now and then: the task looks around (task/budget.hpp), with the lock free.
  [[nodiscard]] bool spend_turn() noexcept {
    if (--turns != 0) [[likely]]
      return false;
    turns = kTurns;
    return true;
  }

  // Needs the lock, as all here. `leaves`: by an exception; `is_wanted`: what it was woken for is still
  // there.
  void end_wait(Line& line, Waiter& waiter, bool leaves, bool is_wanted, Woken& woken) noexcept {
    line.leave(waiter);
    if (leaves && waiter.woken && is_wanted) wake_next(line, woken);
  }
  // True: somebody waits for it.
  [[nodiscard]] bool item_is_in() noexcept {
    set_items(items() + 1);
    ++unfinished;
    return !getters.empty();
  }
  [[nodiscard]] bool item_is_out() noexcept {
    set_items(items() - 1);
    return !putters.empty();
  }
  void wake_next(Line& line, Woken& woken) noexcept {
    if (Waiter* const waiter = line.wake_next(woken)) on_their_way.add(*waiter);
  }
  void shut_down(Woken& woken) noexcept {
    is_shut_down = true;
    for (Line* line : {&getters, &putters}) {
      while (Waiter* const waiter = line->wake_next(woken)) on_their_way.add(*waiter);
    }
  }
  // For the destructor. False: somebody needs it still. Whoever was woken by shut_down gets QueueShutDown.
  [[nodiscard]] bool abandon_waiters() noexcept {
    return abandon_all<Atomic>(spin, [this] {
      const auto if_told = [this](Waiter& waiter, WaiterStage seen) {
        const WaiterStage last = IfGivenUp()(waiter, seen);
        return last == kNeeded && seen == WaiterStage::woken && is_shut_down ? WaiterStage::finished : last;
      };
      return std::max({on_their_way.end_each(if_told), getters.end_each(IfGivenUp()),
                       putters.end_each(IfGivenUp()), joiners.end_each(IfGivenUp())});
    });
  }
  void set_items(std::size_t items) noexcept { size.store(items, std::memory_order_relaxed); }

  BasicSpinLock<Atomic> spin;
  bool is_shut_down = false;
  std::uint8_t turns = kTurns;  // calls that did not have to wait, until the next one whose task looks around
  // relaxed: written under the lock; readers without it get a number of some moment.
  Atomic<std::size_t> size{0};
  const std::size_t maxsize;
  std::size_t unfinished = 0;
  Line getters, putters, joiners;
  Line on_their_way;  // woken to get or put, and not run yet; a joiner needs nothing more
};

}  // namespace fibrio::detail
