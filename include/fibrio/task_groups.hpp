// Task groups: tasks that cannot outlive the function that started them, as asyncio.TaskGroup.
//
//   std::vector<Row> rows;
//   int total = 0;
//   fibrio::task_group([&](fibrio::TaskGroup& group) {
//     group.create_task([&] { rows = read_rows(); });
//     group.create_task([&] { total = count(); });
//   });  // both have ended: they may refer to what is declared above
//
// If one of them fails, the others and the body are cancelled, and task_group throws an ExceptionGroup of all
// that failed, once everything has ended.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "fibrio/detail/body_call.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/tasks.hpp"

namespace fibrio {

class TaskGroup;

namespace detail {

// Room for a child's place in its group, behind its task frame; src/structured/group_scope.hpp says for what.
inline constexpr std::size_t kGroupChildBytes = 128;

template <class Value, class F, class... A>
struct GroupPayload : TaskPayload<Value, F, A...> {
  using TaskPayload<Value, F, A...>::TaskPayload;
  alignas(std::max_align_t) std::byte child[kGroupChildBytes];
};

// Throws RuntimeError if the group takes no more children; returns its loop.
[[nodiscard]] LoopIdentity require_open(TaskGroup& group);
// Lists and starts a task whose payload is constructed. False if the group stopped taking children meanwhile.
[[nodiscard]] bool adopt_child(TaskGroup& group, FutureState& task, void* place) noexcept;
[[noreturn]] void throw_shutting_down();

using GroupBody = void (*)(void* context, TaskGroup& group);
// False: the body was left by the CancelledError of TaskGroup::cancel(), and has no result.
[[nodiscard]] bool run_task_group(GroupBody body, void* context);
[[noreturn]] void throw_group_cancelled();

}  // namespace detail

// The running group, for its body and its children. It is gone when task_group has returned.
class TaskGroup {
 public:
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Creates a child, as fibrio::create_task creates a task. Children may create others, also while the body
  // has ended and the group waits. Waits: no. Threads: any, while the group lives.
  // Throws: RuntimeError once a child or the body has failed, or the group was cancelled: the callable is
  // destroyed; the errors of create_task. asyncio: TaskGroup.create_task.
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto create_task(F&& function, A&&... arguments) {
    return create(nullptr, std::forward<F>(function), std::forward<A>(arguments)...);
  }
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto create_task(TaskOptions options, F&& function, A&&... arguments) {
    return create(&options, std::forward<F>(function), std::forward<A>(arguments)...);
  }

  // Ends the group early and quietly: children and body are cancelled, task_group waits for them and returns
  // without CancelledError. Code up to the next wait of each still runs. Idempotent. Waits: no. Threads: any,
  // while the group lives. asyncio: TaskGroup.cancel of 3.15.
  void cancel();

 protected:
  TaskGroup() = default;
  ~TaskGroup() = default;

 private:
  template <class F, class... A>
  auto create(TaskOptions* options, F&& function, A&&... arguments) {
    using Result = detail::TaskValue<F, A...>;
    using Payload = detail::GroupPayload<typename Future<Result>::Value, std::decay_t<F>, std::decay_t<A>...>;
    static_assert(
        alignof(Payload) <= alignof(std::max_align_t),
        "callables, arguments and results with extended alignment are not supported; allocate them apart");
    const detail::LoopIdentity loop = detail::require_open(*this);
    const detail::NewTask made =
        detail::allocate_task(loop, sizeof(Payload), alignof(Payload), Payload::kOps, options);
    Payload* payload = nullptr;
    try {
      payload = ::new (made.payload) Payload(std::forward<F>(function), std::forward<A>(arguments)...);
    } catch (...) {
      detail::discard_task(*made.state);
      throw;
    }
    if (!detail::adopt_child(*this, *made.state, payload->child)) {
      Payload::destroy_callable(payload);
      detail::discard_task(*made.state);
      detail::throw_shutting_down();
    }
    return Task<Result>(made.state);
  }
};

// Calls `body`, which takes nothing or a TaskGroup&, waits until every child has ended, and returns the
// body's result.
// Waits: as the body, and for the children. Cancel: children and body are cancelled; CancelledError when all
// have ended, unless something failed. Throws: ExceptionGroup of what children and body failed with, the
// body's last; a child that ends as cancelled is no failure. If the caller was cancelled as well, its next
// wait throws CancelledError. KeyboardInterrupt is thrown as it is. A body that was interrupted by
// TaskGroup::cancel() and should have returned a value: CancelledError, though nobody cancelled the task.
// RuntimeError outside a task.
// Threads: tasks only. asyncio: `async with TaskGroup()`; a function, because a destructor can neither throw
// nor wait.
template <class Body>
requires detail::BodyOf<TaskGroup, Body>
auto task_group(Body&& body) {
  using Call = detail::BodyCall<TaskGroup, std::remove_reference_t<Body>>;
  Call call(body);
  const bool has_result = detail::run_task_group(&Call::call, &call);
  if constexpr (!std::is_void_v<typename Call::Result>) {
    if (!has_result) detail::throw_group_cancelled();
  } else {
    static_cast<void>(has_result);
  }
  return call.take();
}

}  // namespace fibrio
