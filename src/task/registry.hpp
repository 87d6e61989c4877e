// What: the loop's list of tasks that are not done: it owns them, numbers them, counts them.
// Threads: any. A shard for each worker, which that worker alone takes slots of and counts in, and one for all other
// threads, under a lock; a task's slot goes back to the shard it came from, its end is counted where it ended.
// Protocol: item_slots.hpp. `worker` is the caller's index if it is a worker of this loop, else kElsewhere.
// Rejected: one list (a lock all workers fight for); weak references, as asyncio has (tasks vanish).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/atomic.hpp"
#include "base/counter.hpp"
#include "base/sanitizers.hpp"
#include "base/spin_lock.hpp"
#include "fibrio/tasks.hpp"
#include "task/item_slots.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

class TaskRegistry {
 public:
  static constexpr std::size_t kElsewhere = SIZE_MAX;

  explicit TaskRegistry(std::size_t workers);

  // Numbers the task and finds a place for it; then: insert, or discard. False: there is no memory, or
  // it is refused.
  [[nodiscard]] bool reserve(TaskControl& task, std::size_t worker) noexcept;
  // Lists it, with a reference of the registry's.
  static void insert(TaskControl& task) noexcept { ItemSlots<TaskControl>::put(*task.slot, task); }
  void discard(TaskControl& task) noexcept;
  // On a worker, before the task's reference is dropped.
  void remove(TaskControl& task, std::size_t worker, bool cancelled) noexcept;

  // From now on reserve is false elsewhere, or no longer: what workers do ends, other threads may go on for ever.
  void refuse_elsewhere(bool refuse) noexcept;
  [[nodiscard]] bool refuses_elsewhere() const noexcept;

  // Handles of all that are not done, in the order of their numbers.
  [[nodiscard]] std::vector<AnyTask> snapshot() const;

  struct Counts {
    std::size_t alive = 0;
    std::uint64_t spawned = 0;
    std::uint64_t finished = 0;
    std::uint64_t cancelled = 0;
  };
  // What is reserved counts. While workers run `alive` may be a little too large.
  [[nodiscard]] Counts counts() const noexcept;

 private:
  struct alignas(kCacheLine) Shard {
    std::uint64_t next_id = 0;
    std::uint64_t end_of_ids = 0;
    Counter spawned;
    Counter finished;
    Counter cancelled;
    ItemSlots<TaskControl> slots;
  };

  // Fewer visits to the word that all workers share. With one worker, and tasks made by tasks, the numbers are those
  // of asyncio: 1, 2, 3, …
  static constexpr std::uint64_t kIdsAtOnce = 64;

  void take_ids(Shard& shard, std::uint64_t count) noexcept;
  bool reserve_elsewhere(TaskControl& task) noexcept;

  const std::size_t workers_;
  const std::unique_ptr<Shard[]> shards_;  // the last one: elsewhere
  mutable ItemLooks<> looks_;
  mutable std::mutex look_lock_;
  alignas(kCacheLine) mutable SpinLock elsewhere_lock_;
  bool refuses_elsewhere_ = false;  // under elsewhere_lock_
  ElidingAtomic<std::uint64_t> ids_{1};
};

// As ItemSlots.
FIBRIO_NO_TSAN_BEGIN

inline bool TaskRegistry::reserve(TaskControl& task, std::size_t worker) noexcept {
  if (worker == kElsewhere) [[unlikely]]
    return reserve_elsewhere(task);
  Shard& shard = shards_[worker];
  task.shard = static_cast<std::uint32_t>(worker);
  task.slot = shard.slots.take();
  if (task.slot == nullptr) [[unlikely]]
    return false;
  if (shard.next_id == shard.end_of_ids) [[unlikely]]
    take_ids(shard, kIdsAtOnce);
  task.id = shard.next_id++;
  shard.spawned.add();
  return true;
}

inline void TaskRegistry::remove(TaskControl& task, std::size_t worker, bool cancelled) noexcept {
  Shard& shard = shards_[worker];
  if (task.shard == worker) {
    shard.slots.give_back(*task.slot);
  } else {
    shards_[task.shard].slots.give_back_elsewhere(*task.slot);
  }
  looks_.wait();
  shard.finished.add();
  if (cancelled) shard.cancelled.add();
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
