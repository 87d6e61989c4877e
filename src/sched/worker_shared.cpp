// What: the loop of a worker that has neighbours: own work, injected work, stealing, claiming, sleeping.
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "sched/scheduler.hpp"
#include "sched/tuning.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

void Worker::run_shared() {
  ticks_ = kTicksPerPoll;
  while (!scheduler.is_stopping()) {
    Runnable* item = next_shared();
    if (item == nullptr) item = search();
    if (item == nullptr) {
      sleep_shared();
      continue;
    }
    begin_running();
    run_item(*item);
  }
  if (searching_) static_cast<void>(scheduler.idle_.stop_searching());
  searching_ = false;
  run_last_pass();
  running_.store(false, std::memory_order_seq_cst);
}

// What is ready when the loop stops still runs, as with one worker; what that makes ready stays for the next
// run.
void Worker::run_last_pass() noexcept {
  look_around();
  RunnableChain pass;
  if (stashed_ != nullptr) pass.push_back(take_stashed());
  while (Runnable* item = ring_.pop_front()) pass.push_back(item);
  if (Runnable* item = lifo_.take()) pass.push_back(item);
  const auto take_all = [&pass](InjectQueue<>& queue) {
    RunnableChain taken = queue.pop(SIZE_MAX);
    pass.splice_back(taken);
  };
  take_all(mailbox_);
  if (index == 0) take_all(scheduler.inject_);
  attention_.store(true,
                   std::memory_order_relaxed);  // a task that suspends switches to nothing but this loop
  while (Runnable* item = pass.pop_front()) run_item(*item);
}

void Worker::begin_running() noexcept {
  if (searching_) {
    searching_ = false;
    // The last searcher passes the search on, if there is more than it takes (rule 3 of IdleSet).
    if (scheduler.idle_.stop_searching() && scheduler.has_work_anywhere()) scheduler.wake_one_for_work(this);
  }
  if (running_.load(std::memory_order_relaxed)) return;
  last_look_ns_.store(now_ns, std::memory_order_relaxed);
  running_.store(true, std::memory_order_seq_cst);  // before the look at the watch: see sched/watch.cpp
  scheduler.start_watch();
}

Runnable* Worker::take_own() noexcept {
  if (lifo_streak_ < kLifoRuns) {
    if (Runnable* item = lifo_.take()) {
      ++lifo_streak_;
      return item;
    }
  }
  lifo_streak_ = 0;
  if (newest_from_ != kNoJoin) {
    if (ring_.end() > newest_from_) {
      if (Runnable* item = ring_.pop_back()) return item;
    }
    newest_from_ = kNoJoin;
  }
  if (Runnable* item = ring_.pop_front()) return item;
  return lifo_.take();
}

Runnable* Worker::next_shared() noexcept {
  if (stashed_ != nullptr) return take_stashed();
  if (ticks_ >= kTicksPerPoll || attention_.load(std::memory_order_relaxed)) {
    look_around();
    if (newest_from_ != kNoJoin) {
      if (Runnable* item = take_overtaken()) return item;
    } else if (Runnable* item = take_injected()) {
      // Now and then the inject queue goes first, or a busy worker would never look into it.
      // What came out of the inject queue with it, or out of the poll before it, now waits behind it:
      // unannounced, as this worker does not search.
      if (!ring_.empty()) scheduler.wake_one_for_work(this);
      return item;
    }
  }
  return take_own();
}

// While the newest goes first, one of those that wait longest has its turn now and then. Each may begin another branch
// of the tree, so not at every look.
Runnable* Worker::take_overtaken() noexcept {
  if (Runnable* item = mailbox_.pop_front()) return item;
  if (now_ns - overtaken_turn_ns_ < kOvertakenTurnNs) return nullptr;
  overtaken_turn_ns_ = now_ns;
  if (Runnable* item = scheduler.inject_.pop_front()) return item;
  return ring_.pop_front();
}

// From one look to the next: the mean, if it is more than it was; else a little less than it was, so that a few long
// steps among many are not forgotten.
void Worker::measure_steps() noexcept {
  const std::uint64_t steps = counters.tasks_run.get() + counters.callbacks_run.get();
  const std::uint64_t done = steps - measured_steps_;
  const std::int64_t took_ns = now_ns - measured_ns_;
  measured_steps_ = steps;
  measured_ns_ = now_ns;
  if (done == 0) return;
  const bool was_worth = is_worth_waking(ring_.size());
  step_ns_ = std::max(took_ns / static_cast<std::int64_t>(done), step_ns_ - step_ns_ / 8);
  if (!was_worth && !ring_.empty() && is_worth_waking(ring_.size())) scheduler.wake_one_for_work(this);
}

void Worker::look_around() noexcept {
  attention_.store(false, std::memory_order_relaxed);
  poll_now(0);
  read_clock();
  last_look_ns_.store(now_ns, std::memory_order_relaxed);
  measure_steps();
  fire_timers(timers);
  if (watch_expired_) on_watch(false);
  if (!scheduler.has_virtual_time()) maintain();
}

bool Worker::fire_timers(Timers& of) noexcept {
  if (!of.advance(now_ns)) return false;
  // Callbacks of the user's run in there: no longer a searcher, who would keep everybody else from being
  // woken, and one who may stall.
  begin_running();
  fire_due(of);
  return true;
}

Runnable* Worker::take_injected() noexcept {
  if (Runnable* item = mailbox_.pop_front()) return item;
  InjectQueue<>& inject = scheduler.inject_;
  const std::size_t waiting = inject.size();
  if (waiting == 0) return nullptr;
  // A fair share, but not all at once.
  const std::size_t share = std::min<std::size_t>(waiting / scheduler.size() + 1, kInjectShare);
  RunnableChain taken = inject.pop(share);
  Runnable* first = taken.pop_front();
  if (!taken.empty()) ring_.push_chain(taken, inject);
  return first;
}

Runnable* Worker::steal() noexcept {
  counters.searches.add();
  const auto count = static_cast<std::uint32_t>(scheduler.size());
  for (int pass = 1; pass <= kStealPasses; ++pass) {
    const std::uint32_t start = random_below(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      Worker& victim = scheduler.worker((start + i) % count);
      if (&victim == this) continue;
      Runnable* item = nullptr;
      if (victim.ring_.steal_into(ring_, item) == StealResult::got) {
        const std::size_t taken =
            1 + ring_.size();  // it was empty; thieves of ours may have been here already
        counters.stolen.add(taken);
        victim.stolen_from.fetch_add(taken, std::memory_order_relaxed);
        return item;
      }
      if (pass == kStealPasses && (item = victim.lifo_.steal()) != nullptr) {
        counters.stolen.add();
        victim.stolen_from.fetch_add(1, std::memory_order_relaxed);
        return item;
      }
    }
  }
  counters.failed_searches.add();
  return nullptr;
}

Runnable* Worker::search() noexcept {
  look_around();
  if (Runnable* item = take_own()) return item;
  if (Runnable* item = mailbox_.pop_front()) return item;
  if (!searching_ && !scheduler.idle_.start_searching()) return nullptr;
  searching_ = true;
  if (Runnable* item = take_injected()) return item;
  if (Runnable* item = steal()) return item;
  if (claim_stalled_neighbours()) return take_own();
  return nullptr;
}

// Connections come in bursts, and all tasks of a burst may wait first on the worker that accepts, while the
// others get none. So who has many more fds than another one, picked at random, leaves the next to that.
Reactor& Worker::reactor_for_new_fd() noexcept {
  // Guesses: a few connections gain more from staying than from company; more of a difference than a sixteenth, and
  // the one worker that accepts them all keeps a third more than the others on a large machine (simulated).
  constexpr std::size_t kMore = 4;
  if (scheduler.works_alone()) return reactor;
  Reactor& other = scheduler.worker(random_below(static_cast<std::uint32_t>(scheduler.size()))).reactor;
  return reactor.size() > other.size() + other.size() / 16 + kMore ? other : reactor;
}

bool Worker::is_stalled(std::int64_t at_ns, std::int64_t after_ns) const noexcept {
  return running_.load(std::memory_order_relaxed) &&
         at_ns - last_look_ns_.load(std::memory_order_relaxed) >= after_ns;
}

bool Worker::claim(Worker& neighbour) noexcept {
  RunnableChain ready;
  // The kernel gives each edge to one of us. The neighbour's own wake-up is not ours to take.
  if (neighbour.reactor.poll(0, ready)) neighbour.reactor.poller().wake();
  const bool events = !ready.empty();
  make_ready(ready);
  const bool due = fire_timers(neighbour.timers);
  if (events || due) counters.claims.add();
  return events || due;
}

bool Worker::claim_stalled_neighbours() noexcept {
  bool found = false;
  for (std::size_t i = 0; i < scheduler.size(); ++i) {
    Worker& neighbour = scheduler.worker(i);
    if (&neighbour != this && neighbour.is_stalled(now_ns, kStalledAfterNs)) found |= claim(neighbour);
  }
  return found;
}

void Worker::relieve(Worker& neighbour) noexcept {
  Runnable* item = nullptr;
  const std::size_t before = ring_.size();
  if (neighbour.ring_.steal_into(ring_, item) != StealResult::got) item = neighbour.lifo_.steal();
  if (item == nullptr) return;
  const std::size_t taken =
      1 + std::max(ring_.size(), before) - before;  // thieves of ours may have been here already
  counters.stolen.add(taken);
  neighbour.stolen_from.fetch_add(taken, std::memory_order_relaxed);
  push_ring(*item);
}

void Worker::sleep_shared() {
  if (watch_expired_) return on_watch(true);  // from the claim of a neighbour's reactor
  if (expects_completion_ && spin_for_completion()) return;
  const std::int64_t until_ns = timers.park();
  std::int64_t timeout_ns = scheduler.has_virtual_time() ? -1 : sleep_time(until_ns);
  running_.store(false, std::memory_order_seq_cst);
  const bool others_look = scheduler.idle_.park(index, searching_);
  searching_ = false;
  // seq_cst: rule 2 of IdleSet, and unpark.
  if (!mailbox_.is_empty_seq_cst() || (!others_look && scheduler.has_work_anywhere()) ||
      scheduler.is_stopping() || signalled_.load(std::memory_order_seq_cst)) {
    timeout_ns = 0;
  } else if (scheduler.has_virtual_time() && scheduler.jump_virtual_time(timeout_ns)) {
    timeout_ns = 0;
  }
  if (timeout_ns != 0) {
    counters.parks.add();
    scheduler.hasten_watch();
  }
  // With virtual time events stay where a jump sees them until this worker counts as awake.
  RunnableChain ready;
  if (front_ == nullptr) {
    take_events(timeout_ns, ready);
  } else {
    epoll_event event{};
    static_cast<void>(front_->wait(std::span(&event, 1), timeout_ns));
  }
  searching_ = !scheduler.idle_.wake_self(index);
  if (front_ != nullptr) take_events(0, ready);
  signalled_.store(false, std::memory_order_seq_cst);
  // After that store, and both seq_cst: a jump sets held_for_jump_ and then unparks. If its unpark found the
  // old signal still set, and so wakes nobody, the hold is seen here; else the signal ends the next sleep,
  // and that sees it.
  if (held_for_jump_.exchange(false, std::memory_order_seq_cst)) scheduler.end_jump();
  timers.unpark();
  // Not before wake_self: this worker would be the sleeper that is woken for the second event.
  make_ready(ready);
  read_clock();
  measured_ns_ = now_ns;
  last_look_ns_.store(now_ns, std::memory_order_relaxed);
  fire_timers(timers);
  if (watch_expired_) on_watch(true);
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
