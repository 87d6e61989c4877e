#include "task/registry.hpp"

#include <mutex>

#include "task/task_control.hpp"

namespace fibrio::detail {

std::vector<AnyTask> TaskRegistry::snapshot() const {
  std::vector<AnyTask> tasks;
  for (std::size_t i = 0; i < count_; ++i) {
    Shard& shard = shards_[i];
    for (;;) {
      // No allocation under the lock: make room first, and try again if more came meanwhile.
      std::size_t alive = 0;
      {
        std::lock_guard guard(shard.lock);
        alive = static_cast<std::size_t>(shard.spawned - shard.finished);
      }
      tasks.reserve(tasks.size() + alive);
      std::lock_guard guard(shard.lock);
      if (shard.spawned - shard.finished > alive) continue;
      for (TaskControl* task = shard.tasks.front(); task != nullptr; task = shard.tasks.next(task)) {
        // A listed task is alive: it is taken off before the loop's reference goes.
        task->add_ref();
        tasks.emplace_back(AnyTask(static_cast<FutureState*>(task)));
      }
      break;
    }
  }
  return tasks;
}

TaskRegistry::Counts TaskRegistry::counts() const noexcept {
  Counts sum;
  for (std::size_t i = 0; i < count_; ++i) {
    const Shard& shard = shards_[i];
    std::lock_guard guard(shard.lock);
    sum.spawned += shard.spawned;
    sum.finished += shard.finished;
    sum.cancelled += shard.cancelled;
  }
  sum.alive = static_cast<std::size_t>(sum.spawned - sum.finished);
  return sum;
}

}  // namespace fibrio::detail
