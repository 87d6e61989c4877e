// What: the loop's list of tasks that are not done: it owns them, numbers them, counts them.
// Threads: any. One shard per worker, each with a lock, so that workers do not meet here; a task goes back to
// the shard it came from. Rejected: one list (a lock all workers fight for); weak references, as asyncio has
// (tasks vanish).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/atomic.hpp"
#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "fibrio/tasks.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

class TaskRegistry {
 public:
  explicit TaskRegistry(std::size_t workers) : count_(workers), shards_(std::make_unique<Shard[]>(workers)) {}

  // Numbers the task and lists it, with a reference of the registry's.
  void insert(TaskControl& task, std::size_t worker) noexcept;
  // Before the task's reference is dropped.
  void remove(TaskControl& task, bool cancelled) noexcept;

  // Handles of all that are not done.
  [[nodiscard]] std::vector<AnyTask> snapshot() const;

  struct Counts {
    std::size_t alive = 0;
    std::uint64_t spawned = 0;
    std::uint64_t finished = 0;
    std::uint64_t cancelled = 0;
  };
  [[nodiscard]] Counts counts() const noexcept;

 private:
  struct alignas(kCacheLine) Shard {
    mutable SpinLock lock;
    IntrusiveList<TaskControl, TaskControl> tasks;
    std::uint64_t spawned = 0;
    std::uint64_t finished = 0;
    std::uint64_t cancelled = 0;
  };
  const std::size_t count_;
  const std::unique_ptr<Shard[]> shards_;
};

inline void TaskRegistry::insert(TaskControl& task, std::size_t worker) noexcept {
  Shard& shard = shards_[worker];
  task.shard = static_cast<std::uint32_t>(worker);
  std::lock_guard guard(shard.lock);
  // Unique over the shards, and 1, 2, 3, … with one worker, as in asyncio.
  task.id = shard.spawned++ * count_ + worker + 1;
  shard.tasks.push_back(&task);
}

inline void TaskRegistry::remove(TaskControl& task, bool cancelled) noexcept {
  Shard& shard = shards_[task.shard];
  std::lock_guard guard(shard.lock);
  IntrusiveList<TaskControl, TaskControl>::remove(&task);
  ++shard.finished;
  shard.cancelled += cancelled ? 1 : 0;
}

}  // namespace fibrio::detail
