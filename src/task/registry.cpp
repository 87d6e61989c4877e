#include "task/registry.hpp"

#include <algorithm>
#include <mutex>

#include "task/task_control.hpp"

namespace fibrio::detail {

TaskRegistry::TaskRegistry(std::size_t workers)
    : workers_(workers), shards_(std::make_unique<Shard[]>(workers + 1)) {}

FIBRIO_NO_TSAN_BEGIN

void TaskRegistry::take_ids(Shard& shard, std::uint64_t count) noexcept {
  shard.next_id = ids_.fetch_add(count, std::memory_order_relaxed);
  shard.end_of_ids = shard.next_id + count;
}

FIBRIO_NO_TSAN_END

bool TaskRegistry::reserve_elsewhere(TaskControl& task) noexcept {
  std::lock_guard guard(elsewhere_lock_);
  if (refuses_elsewhere_) return false;
  Shard& shard = shards_[workers_];
  task.shard = static_cast<std::uint32_t>(workers_);
  task.slot = shard.slots.take();
  if (task.slot == nullptr) return false;
  take_ids(shard, 1);
  task.id = shard.next_id;
  shard.spawned.add();
  return true;
}

void TaskRegistry::discard(TaskControl& task) noexcept {
  shards_[task.shard].slots.give_back_elsewhere(*task.slot);
  std::lock_guard guard(elsewhere_lock_);
  shards_[workers_].spawned.add(static_cast<std::uint64_t>(-1));  // the sum counts
}

void TaskRegistry::refuse_elsewhere(bool refuse) noexcept {
  std::lock_guard guard(elsewhere_lock_);
  refuses_elsewhere_ = refuse;
}

bool TaskRegistry::refuses_elsewhere() const noexcept {
  std::lock_guard guard(elsewhere_lock_);
  return refuses_elsewhere_;
}

std::vector<AnyTask> TaskRegistry::snapshot() const {
  std::vector<AnyTask> tasks;
  std::lock_guard guard(look_lock_);
  // Those that are numbered later do not count: other threads could create tasks faster than they are found. What
  // counts is bounded, so the second or third look, with more room, is the last.
  const std::uint64_t end_of_ids = ids_.load(std::memory_order_relaxed);
  // Nothing is allocated while workers may wait for the look to end: room first, and again if there are more.
  for (std::size_t found = counts().alive; tasks.empty() && found > 0;) {
    tasks.reserve(found);
    found = 0;
    looks_.look([&] {
      for (std::size_t i = 0; i <= workers_; ++i) {
        shards_[i].slots.for_each([&](TaskControl& task) {
          if (task.id >= end_of_ids || ++found > tasks.capacity()) return;
          task.add_ref();  // it has the loop's reference
          tasks.emplace_back(AnyTask(static_cast<FutureState*>(&task)));
        });
      }
    });
    if (found > tasks.capacity()) tasks.clear();
  }
  std::sort(tasks.begin(), tasks.end(), [](const AnyTask& a, const AnyTask& b) {
    return TaskControl::of(*a.state()).id < TaskControl::of(*b.state()).id;
  });
  return tasks;
}

TaskRegistry::Counts TaskRegistry::counts() const noexcept {
  Counts sum;
  for (std::size_t i = 0; i <= workers_; ++i) {
    sum.finished += shards_[i].finished.get();
    sum.cancelled += shards_[i].cancelled.get();
  }
  for (std::size_t i = 0; i <= workers_; ++i) sum.spawned += shards_[i].spawned.get();
  sum.alive = static_cast<std::size_t>(sum.spawned - std::min(sum.finished, sum.spawned));
  return sum;
}

}  // namespace fibrio::detail
