#include "sched/fork.hpp"

#include <pthread.h>

#include <atomic>
#include <mutex>

#include "base/syscalls.hpp"
#include "sched/scheduler.hpp"
#include "sched/this_worker.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

namespace {
std::atomic<unsigned> forks{0};
std::once_flag watching;
}  // namespace

unsigned fork_count() noexcept { return forks.load(std::memory_order_relaxed); }

void watch_forks() {
  std::call_once(watching, [] {
    // If there is no memory for the handlers, forked children are not recognised; nothing else suffers.
    static_cast<void>(pthread_atfork(&lock_live_loops, &unlock_live_loops, [] {
      forks.fetch_add(1, std::memory_order_relaxed);
      if (const Worker* worker = this_worker(); worker != nullptr && worker->former_cpus != nullptr)
        sys::sched_setaffinity(0, sizeof *worker->former_cpus, worker->former_cpus);  // see thread_pin.hpp
      set_this_worker(nullptr);  // nothing of the parent's loop runs in the child
      forget_live_loops_locked();
      unlock_live_loops();
    }));
  });
}

}  // namespace fibrio::detail
