// What: the parts of every worker's loop (clock, poll, sleep, upkeep), and the loop of a single worker: pass by pass, as
// asyncio. In one file, so that the compiler puts the parts into the loop.
#include <algorithm>
#include <cstdint>

#include "base/memory.hpp"
#include "sched/scheduler.hpp"
#include "sched/tuning.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

std::int64_t Worker::read_clock() noexcept { return now_ns = scheduler.now_ns(); }

bool Worker::spin_for_completion() noexcept {
  expects_completion_ = false;
  if (scheduler.has_virtual_time()) return false;
  constexpr int kLooks = 32;  // between two polls: about 1 us
  const std::int64_t begin = scheduler.now_ns();
  do {
    for (int look = 0; look < kLooks; ++look) {
      // Several workers: this one still counts as searching, so that nobody else is woken for what comes.
      if (!scheduler.inject_.empty() || !mailbox_.empty() || scheduler.is_stopping()) return true;
      spin_pause<std::atomic>();
    }
    poll_now(0);
    read_clock();
    // Also an expiry of the watch: unseen, it would not be armed again while this worker sleeps.
    if (queue_length() != 0 || watch_expired_ || timers.may_be_due(now_ns)) return true;
  } while (now_ns - begin < kCompletionSpinNs);
  spins_left_out_ = kSpinsLeftOut;
  return false;
}

void Worker::poll_now(std::int64_t timeout_ns) noexcept {
  RunnableChain ready;
  take_events(timeout_ns, ready);
  make_ready(ready);
}

void Worker::take_events(std::int64_t timeout_ns, RunnableChain& ready) noexcept {
  reactor.poll(timeout_ns, ready);
  if (!ready.empty() && scheduler.has_virtual_time()) scheduler.note_outside();
  counters.polls.add();
  ticks_ = 0;
  late_ns_ = 0;
}

void Worker::fire_due(Timers& of) noexcept {
  while (of.fire_one(*this)) {
  }
}

void Worker::unpark() noexcept {
  // seq_cst: partner of the load before the sleep: either that sees it, or the wake-up is an event in epoll.
  if (!signalled_.exchange(true, std::memory_order_seq_cst)) reactor.poller().wake();
}

std::int64_t Worker::sleep_time(std::int64_t until_ns) noexcept {
  read_clock();
  if (!needs_maintenance_ || now_ns >= next_maintenance_ns_) maintain();
  if (needs_maintenance_) {
    const bool goes_on = next_maintenance_ns_ <= now_ns;  // the last look was not the whole
    until_ns =
        std::min(until_ns, goes_on ? now_ns : std::max(next_maintenance_ns_, now_ns + kMaintenanceSleepNs));
  }
  if (until_ns == Timers::kNever) return -1;
  return until_ns <= now_ns ? 0 : until_ns - now_ns;
}

void Worker::maintain() noexcept {
  const std::uint64_t steps = counters.tasks_run.get() - tasks_at_maintenance_;
  if (!needs_maintenance_) {
    if (steps == 0) return;
    needs_maintenance_ = true;
    next_maintenance_ns_ = now_ns + kMaintenancePeriodNs;
  }
  if (now_ns < next_maintenance_ns_) return;
  tasks_at_maintenance_ += steps;
  const TsanSection section(&stacks);
  stacks.give_back_cold(now_ns, kMaintenancePeriodNs);
  const std::size_t trimmed = scheduler.stack_pool.trim(now_ns, kMaintenancePeriodNs, kStacksPerTrim);
  // There may be more: go on after a look at what is ready.
  next_maintenance_ns_ = trimmed >= kStacksPerTrim ? now_ns : now_ns + kMaintenancePeriodNs;
  if (steps > kFewSteps || trimmed != 0) return;
  // Little ran for a whole period.
  frames.clear();
  return_unused_memory();
  needs_maintenance_ = steps != 0 || stacks.has_cached() || scheduler.stack_pool.has_untrimmed();
}

std::uint32_t Worker::random_below(std::uint32_t bound) noexcept {
  random_state_ ^= random_state_ << 13;  // xorshift64: good enough to pick a victim
  random_state_ ^= random_state_ >> 7;
  random_state_ ^= random_state_ << 17;
  return static_cast<std::uint32_t>((random_state_ >> 32) % bound);
}

std::size_t Worker::queue_length() const noexcept {
  return solo ? local_.size() : ring_.size() + (lifo_.empty() ? 0 : 1);
}

// --- one worker --------------------------------------------------------------------------------------------

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
  std::int64_t ask_again_ns = -1;
  if (scheduler.has_virtual_time()) {
    poll_now(0);
    if (!local_.empty() || scheduler.jump_virtual_time(ask_again_ns)) {
      read_clock();
      return;
    }
  }
  if (expects_completion_ && spin_for_completion()) return;
  const std::int64_t until_ns = timers.park();
  std::int64_t timeout_ns = scheduler.has_virtual_time() ? ask_again_ns : sleep_time(until_ns);
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
