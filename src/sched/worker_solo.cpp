// What: the loop of a single worker: pass by pass, as asyncio.
#include <cstdint>

#include "sched/scheduler.hpp"
#include "sched/tuning.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

void Worker::run_solo() {
  ticks_ = kTicksPerPoll;  // look at the outside first
  for (;;) {
    // acquire: partner of the release in schedule_anywhere: who set it has pushed before.
    if (attention_.load(std::memory_order_acquire)) attention_.store(false, std::memory_order_relaxed);
    if (!scheduler.inject_.empty()) local_.splice_back(scheduler.inject_.pop(SIZE_MAX));
    if (local_.empty() && !timers.has_due() && !scheduler.is_stopping()) {
      sleep_solo();
      if (!scheduler.inject_.empty()) local_.splice_back(scheduler.inject_.pop(SIZE_MAX));
    } else if (ticks_ >= kTicksPerPoll) {
      poll_now(0);
      read_clock();
      maintain();
    }
    has_due_ = timers.advance(now_ns);
    for (pass_left_ = local_.size(); pass_left_ > 0;) {
      --pass_left_;
      run_item(*local_.pop_front());
    }
    if (has_due_) {
      fire_due(timers);
      has_due_ = false;
    }
    if (scheduler.is_stopping()) return;
  }
}

void Worker::sleep_solo() {
  if (scheduler.has_virtual_time()) {
    poll_now(0);
    if (!local_.empty() || scheduler.jump_virtual_time()) {
      read_clock();
      return;
    }
  }
  if (spin_for_completion()) return;
  std::int64_t timeout_ns = sleep_time(timers.park());
  static_cast<void>(scheduler.idle_.park(index, false));  // nobody else searches
  // seq_cst: partners are the pushers' publications (see IdleSet) and unpark.
  if (!scheduler.inject_.is_empty_seq_cst() || scheduler.is_stopping() ||
      signalled_.load(std::memory_order_seq_cst)) {
    timeout_ns = 0;
  }
  if (timeout_ns != 0) counters.parks.add();
  poll_now(timeout_ns);
  // A waker counted this worker as searching; there is nobody else to search at.
  if (!scheduler.idle_.wake_self(index)) static_cast<void>(scheduler.idle_.stop_searching());
  signalled_.store(false, std::memory_order_seq_cst);
  timers.unpark();
  read_clock();
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
