// What: LoopStats: a snapshot of the counters of all workers.
#include "fibrio/introspection.hpp"
#include "loop/loop_impl.hpp"

namespace fibrio {

LoopStats EventLoop::stats() const {
  detail::Scheduler& scheduler = impl_->scheduler;
  LoopStats stats;
  const detail::LoopHold hold(*impl_);
  const std::size_t workers = hold.is_inside() ? scheduler.live_workers() : 0;
  for (std::size_t i = 0; i < workers; ++i) {
    const detail::Worker& worker = scheduler.worker(i);
    WorkerStats one;
    one.queue_length = worker.queue_length();
    one.timers = worker.timers.size();
    one.fds = worker.reactor.size();
    one.tasks_run = worker.counters.tasks_run.get();
    one.callbacks_run = worker.counters.callbacks_run.get();
    one.stolen = worker.counters.stolen.get();
    one.stolen_from = worker.stolen_from.load(std::memory_order_relaxed);
    one.claims = worker.counters.claims.get();
    one.polls = worker.counters.polls.get();
    one.parks = worker.counters.parks.get();
    one.unparks = worker.counters.unparks.get();
    stats.timers += one.timers;
    stats.fds += one.fds;
    stats.workers.push_back(one);
  }
  stats.fds += impl_->fd_watch.size();
  const detail::TaskRegistry::Counts counts = impl_->registry.counts();
  stats.tasks_alive = counts.alive;
  stats.tasks_spawned = counts.spawned;
  stats.tasks_finished = counts.finished;
  stats.tasks_cancelled = counts.cancelled;
  {
    std::lock_guard guard(impl_->lock);
    if (impl_->executor != nullptr) stats.blocking_threads = impl_->executor->threads();
  }
  const detail::StackStats stacks = scheduler.stack_pool.stats();
  stats.stacks_in_use = stacks.in_use;
  stats.stacks_cached = stacks.cached + stacks.warm + stacks.cold;
  stats.stack_guard = stacks.guard == detail::GuardKind::kMadvise ? "madvise" : "mprotect";
  return stats;
}

}  // namespace fibrio
