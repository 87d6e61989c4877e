// What: keeps a loop's virtual time from jumping while something outside of the loop is under way that will
// make it go on: an offloaded call, the threads that a shutdown waits for. With real time it does nothing.
//
// Threads: made where the loop is known to live (by its own tasks, or by the user's promise); moved and
// released anywhere, also after the loop has ended.
#pragma once

#include <cstdint>
#include <utility>

#include "sched/scheduler.hpp"

namespace fibrio::detail {

class ClockHold {
 public:
  ClockHold() noexcept = default;
  explicit ClockHold(Scheduler* loop) noexcept {
    if (loop == nullptr || !loop->has_virtual_time()) return;
    loop_ = loop;
    loop_id_ = loop->id;
    loop->change_activity(+1);
  }
  ClockHold(ClockHold&& other) noexcept
      : loop_(std::exchange(other.loop_, nullptr)), loop_id_(other.loop_id_) {}
  ClockHold& operator=(ClockHold&&) = delete;
  ~ClockHold() {
    if (loop_ == nullptr) return;
    with_live_loop(
        loop_, loop_id_, [](Scheduler& loop, void*) { loop.change_activity(-1); }, nullptr);
  }

 private:
  Scheduler* loop_ = nullptr;  // null: nothing is held
  std::uint64_t loop_id_ = 0;
};

}  // namespace fibrio::detail
