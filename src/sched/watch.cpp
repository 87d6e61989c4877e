// What: the watch over running workers (design, D10): while any worker runs, somebody looks from time to time
// whether one of them is stalled, and runs its reactor and timers; when all sleep nobody is woken, so idle
// CPU is zero.
//
// Protocol. One timerfd is in every worker's epoll (exclusive, edge-triggered: an expiry wakes one sleeper,
// or is seen by a worker that polls).
//  1. A worker that begins to run items after a sleep says so (running_) and arms it, unless it is armed.
//  2. An expiry is an event in the epoll of every busy worker, and of one that sleeps; it is had by the one worker
//     whose read of the timerfd finds it (a claim of a neighbour's reactor may, too), so it is handled once. A
//     worker that has one handles it before it sleeps: else nothing would be armed any more.
//     Whoever gets the expiry claims what is stalled, takes ready tasks from there even if it has work of its
//     own (or nobody would, as long as everybody else is busy), and arms it again if any worker runs; if none
//     does, it clears the switch and then looks once more. Both sides store (running_, the switch) seq_cst
//     before they load the other's word seq_cst: one of the two sees the other (WatchSwitch).
// The period is short after a stall, since what comes in for a stalled worker waits for the next expiry, and
// grows slowly while there is none: who stalls once a few milliseconds is seen within 0.2 ms. A worker that
// has work of its own lets it be at least 1 ms, or the expiries would cost a busy loop more than they gain
// it; who goes to sleep then makes it short again. So at most one wake-up per period is spent, and none when
// the loop is idle.
//
// Rejected: a bounded sleep of one parked worker (when all sleep nobody may have a bound, and when one of
// them wakes, making a bound for another costs a wake-up each time); a thread of its own (always there, for
// few to need).
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/syscalls.hpp"
#include "sched/scheduler.hpp"
#include "sched/tuning.hpp"

namespace fibrio::detail {

void Scheduler::make_watch() {
  if (solo_ || virtual_) return;
  const int fd = sys::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0) throw std::system_error(-fd, std::system_category(), "timerfd_create");
  watch_fd_.reset(fd);
  const itimerspec never{};
  if (const int error = sys::timerfd_settime(fd, 0, &never, nullptr); error < 0) {
    throw std::system_error(-error, std::system_category(), "timerfd_settime");
  }
  for (const auto& worker : workers_) {
    int error = 0;
    if (worker->reactor.add(fd, error, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, &watch_listener_) == nullptr) {
      throw std::system_error(-error, std::system_category(), "epoll_ctl");
    }
  }
}

void Scheduler::arm_watch(std::int64_t after_ns) noexcept {
  itimerspec time{};
  time.it_value.tv_nsec = after_ns;
  // A filter that came after make_watch may refuse it: then stalls are relieved by workers with nothing to do only.
  static_cast<void>(sys::timerfd_settime(watch_fd_.get(), 0, &time, nullptr));
}

void Scheduler::start_watch() noexcept {
  if (watch_fd_.is_open() && watch_.begin()) arm_watch(watch_period_ns_.load(std::memory_order_relaxed));
}

void Scheduler::on_watch_event(void* context, RunnableChain&) noexcept {
  Worker* const worker = this_worker();
  if (worker == nullptr) return;
  // Every epoll may report it: whose read finds it has it. (Armed anew meanwhile it has not expired.)
  std::uint64_t expiries = 0;
  const int fd = static_cast<Scheduler*>(context)->watch_fd_.get();
  if (sys::read(fd, &expiries, sizeof expiries) != static_cast<ssize_t>(sizeof expiries)) return;
  worker->watch_expired_ = true;  // not from here: the poller is in the middle of its events
}

void Worker::on_watch(bool is_idle) noexcept {
  const std::int64_t stalled_after_ns = is_idle ? kStalledAfterNs : kStalledBesideWorkNs;
  watch_expired_ = false;
  read_clock();
  bool some_stalled = false;
  for (std::size_t i = 0; i < scheduler.size(); ++i) {
    Worker& neighbour = scheduler.worker(i);
    if (&neighbour == this || !neighbour.is_stalled(now_ns, stalled_after_ns)) continue;
    some_stalled = true;
    claim(neighbour);
    relieve(neighbour);
  }
  scheduler.continue_watch(some_stalled, is_idle);
}

void Scheduler::continue_watch(bool some_stalled, bool is_idle) noexcept {
  const std::int64_t before = watch_period_ns_.load(std::memory_order_relaxed);
  const std::int64_t period =
      some_stalled ? kWatchMinNs : std::min(before + before / kWatchGrowth, kWatchMaxNs);
  watch_period_ns_.store(period, std::memory_order_relaxed);
  // The caller too, if it polled between two items: it may be the next to stall.
  const auto somebody_runs = [this] {
    return std::any_of(workers_.begin(), workers_.end(),
                       [](const auto& worker) { return worker->running_.load(std::memory_order_seq_cst); });
  };
  const bool goes_on = watch_.go_on(somebody_runs);
  const std::int64_t next = is_idle ? period : std::max(period, kStalledBesideWorkNs);
  watch_waits_longer_.store(goes_on && next > period, std::memory_order_relaxed);
  if (goes_on) arm_watch(next);
}

void Scheduler::hasten_watch() noexcept {
  if (!watch_waits_longer_.load(std::memory_order_relaxed)) return;
  if (watch_waits_longer_.exchange(false, std::memory_order_relaxed))
    arm_watch(watch_period_ns_.load(std::memory_order_relaxed));
}

}  // namespace fibrio::detail
