#include "structured/waiting_tasks.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "structured/composition.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

namespace {

// Of a task group: whether its parent waits for the children, or is in the group's body yet.
enum class Parents : std::uint8_t { kAll, kJoining };

bool is_joining(TaskControl& task) noexcept {
  if (!task.word.hold()) return false;
  const bool is_joining = task.reason == WaitReason::kTaskGroup;
  task.word.unlock();
  return is_joining;
}

// Who waits for the future, and for whatever else by its means: tasks and compositions.
std::vector<AnyFuture> listed_in(FutureState& future, Parents parents) {
  struct Search {
    WaiterList list;
    Parents parents;
  };
  for (std::size_t capacity = 4;;) {
    Search search{WaiterList(capacity), parents};
    WaiterList& list = search.list;
    future.for_each_waiter(
        [](FutureWaiter& waiter, void* context) {
          auto& [found, which] = *static_cast<Search*>(context);
          if (TaskControl* task = awaiting_task(waiter)) {
            found.add(*task);
          } else if (FutureWatch* watch = FutureWatch::of(waiter)) {
            FutureState& waiting = watch->waits_for_it();
            const bool is_parent = waiting.kind() == FutureState::Kind::kTask;
            if (is_parent && which == Parents::kJoining && !is_joining(TaskControl::of(waiting))) return;
            found.add(waiting);
          }
        },
        &search);
    if (auto* composition = dynamic_cast<Composition*>(&future)) composition->list_waiting(list);
    if (list.count() <= capacity) return {list.found().rbegin(), list.found().rend()};  // the oldest first
    capacity = 2 * list.count();
  }
}

std::vector<AnyTask> find_waiting(FutureState& future, Parents parents) {
  std::vector<AnyTask> tasks;
  std::vector<AnyFuture> open = listed_in(future, parents);
  std::reverse(open.begin(), open.end());  // taken from the end
  while (!open.empty()) {
    const AnyFuture waiting = std::move(open.back());
    open.pop_back();
    if (waiting.state()->kind() != FutureState::Kind::kTask) {
      std::vector<AnyFuture> more = listed_in(*waiting.state(), parents);
      open.insert(open.end(), std::move_iterator(more.rbegin()), std::move_iterator(more.rend()));
    } else if (std::find(tasks.begin(), tasks.end(), waiting) == tasks.end()) {
      waiting.state()->add_ref();
      tasks.emplace_back(waiting.state());
    }
  }
  return tasks;
}

}  // namespace

std::vector<AnyTask> waiting_for(FutureState& future) { return find_waiting(future, Parents::kAll); }

std::vector<AnyTask> all_waiting_for(FutureState& future) {
  std::vector<AnyTask> found;
  std::unordered_set<const FutureState*> known;
  const auto look_at = [&](FutureState& awaited) {
    for (AnyTask& task : find_waiting(awaited, Parents::kJoining)) {
      if (known.insert(task.state()).second) found.push_back(std::move(task));
    }
  };
  look_at(future);
  for (std::size_t i = 0; i < found.size(); ++i) look_at(*found[i].state());
  return found;
}

}  // namespace fibrio::detail
