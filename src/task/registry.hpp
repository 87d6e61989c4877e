// What: the loop's list of tasks that are not done: it owns them, numbers them, counts them.
// Threads: any. One shard per worker, each with a lock, so that workers do not meet here; a task goes back to
// the shard it came from. Rejected: one list (a lock all workers fight for); weak references, as asyncio has
// (tasks vanish).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/atomic.hpp"
#include "base/intrusive_list.hpp"
#include "base/spin_lock.hpp"
#include "fibrio/tasks.hpp"

namespace fibrio::detail {

class TaskControl;

class TaskRegistry {
 public:
  explicit TaskRegistry(std::size_t workers) : shards_(workers) {}

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
  mutable std::vector<Shard> shards_;
};

}  // namespace fibrio::detail
