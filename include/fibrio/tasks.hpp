// Task: a callable that runs on a fiber of its own, and the future of its result, as asyncio.Task.
//
//   int twice(int x) { fibrio::sleep(100ms); return 2 * x; }
//   fibrio::Task<int> task = fibrio::create_task(twice, 21);
//   assert(fibrio::await(task) == 42);
//
// Any function may wait; a task is suspended then, and its worker runs others. The loop owns running tasks:
// dropping every handle never stops one. An exception that nobody retrieved is reported to the exception
// handler once, when the last handle goes.
#pragma once

#include <cstddef>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/context_vars.hpp"
#include "fibrio/detail/bound_call.hpp"
#include "fibrio/detail/build.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/stack_frame.hpp"

namespace fibrio {

class Strand;

// What can be said about a task at its creation.
struct TaskOptions {
  std::string name = {};       // empty: "Task-N"
  std::size_t stack_size = 0;  // usable bytes, 16 KiB to 64 MiB; 0 = Config::stack_size
  Strand* strand = nullptr;    // null: that of the creator, if it has one
  // The context to run in; what the task sets there stays there. None: a copy of the creator's.
  std::optional<Context> context = {};
  // Begin at once: the task runs inside create_task up to its first wait that suspends, or its end; then the
  // creator goes on. For work that seldom has to wait. Only if the creator runs on the loop, and is on the
  // strand that the task is on, if that is on one; else it is ignored.
  bool eager_start = false;
};

namespace detail {
[[nodiscard]] std::string task_name(const FutureState& state);
void set_task_name(FutureState& state, std::string name);
[[nodiscard]] int task_cancelling(const FutureState& state) noexcept;
int task_uncancel(FutureState& state);
[[nodiscard]] std::vector<StackFrame> task_stack(FutureState& state);
}  // namespace detail

// A handle to a task whose type of result is of no interest.
class AnyTask : public AnyFuture {
 public:
  AnyTask() noexcept = default;
  using AnyFuture::AnyFuture;

  [[nodiscard]] std::string get_name() const { return detail::task_name(*state()); }
  void set_name(std::string name) const { detail::set_task_name(*state(), std::move(name)); }
  // The number of cancel() calls minus that of uncancel() calls.
  [[nodiscard]] int cancelling() const noexcept { return detail::task_cancelling(*state()); }
  // Takes one request back and returns how many are left; at 0 an undelivered one is dropped too.
  // For the task itself and the scopes it runs. asyncio: Task.uncancel of 3.13.
  int uncancel() const { return detail::task_uncancel(*state()); }
  // Returns the stack as the user's callable called on: of the calling task its own, of a task that waits the
  // one it will go on with; innermost frame first, the 100 innermost at most. Empty for a task that is done,
  // that has not started, or runs elsewhere; for one whose wait is over and whose turn is to come, unless the
  // loop has one worker and the caller runs on it; on machines other than x86-64. It is captured cheaply, and
  // put into words when the frames are asked.
  // Waits: no; holds a waiting task meanwhile (see introspection.hpp). Threads: any. asyncio: Task.get_stack.
  [[nodiscard]] std::vector<StackFrame> get_stack() const { return detail::task_stack(*state()); }
};

// cancel() on a task adds one to cancelling() and returns true unless the task is done. If the task waits for
// a future, that is cancelled; if it waits for something else, that wait ends; if it runs, the next wait that
// suspends does. CancelledError is thrown there, unless the task is unwinding or holds a CancelMask.
// A task that was never started ends as cancelled without running.
template <class T = void>
class Task : public Future<T> {
 public:
  Task() noexcept = default;
  using Future<T>::Future;

  [[nodiscard]] std::string get_name() const { return detail::task_name(*this->state()); }
  void set_name(std::string name) const { detail::set_task_name(*this->state(), std::move(name)); }
  [[nodiscard]] int cancelling() const noexcept { return detail::task_cancelling(*this->state()); }
  int uncancel() const { return detail::task_uncancel(*this->state()); }
  [[nodiscard]] std::vector<StackFrame> get_stack() const { return detail::task_stack(*this->state()); }

  operator AnyTask() const noexcept {  // NOLINT: a task is an AnyTask
    if (this->state() != nullptr) this->state()->add_ref();
    return AnyTask(this->state());
  }

  // A task's result is what its callable returns: these throw RuntimeError.
  template <class... V>
  void set_result(V&&...) {
    detail::throw_task_completion();
  }
  void set_exception(const std::exception_ptr&) { detail::throw_task_completion(); }
};

namespace detail {

// What the runtime must know about the callable and the value of one task frame.
struct TaskOps {
  void (*run)(void* payload);                        // calls it and stores the value; exceptions come out
  void (*destroy_callable)(void* payload) noexcept;  // also of a task that never ran; null: nothing to do
  void (*destroy_value)(void* payload) noexcept;     // null: nothing to do
  std::size_t value_offset;
};

// The task frame of one callable, behind the control block in one allocation.
template <class Value, class F, class... A>
struct TaskPayload {
  using Call = BoundCall<F, A...>;

  template <class G, class... B>
  explicit TaskPayload(G&& function,
                       B&&... arguments) noexcept(noexcept(Call(std::in_place, static_cast<G&&>(function),
                                                                static_cast<B&&>(arguments)...)))
      : callable(std::in_place, static_cast<G&&>(function), static_cast<B&&>(arguments)...) {}
  ~TaskPayload() {}

  union {
    Call callable;
  };
  alignas(Value) std::byte value[sizeof(Value)];

  static void run(void* payload) {
    auto& self = *static_cast<TaskPayload*>(payload);
    if constexpr (std::is_void_v<decltype(self.callable.call())>) {
      self.callable.call();
      ::new (static_cast<void*>(self.value)) std::monostate();
    } else {
      ::new (static_cast<void*>(self.value)) Value(self.callable.call());
    }
  }
  static void destroy_callable(void* payload) noexcept {
    static_cast<TaskPayload*>(payload)->callable.~Call();
  }
  static void destroy_value(void* payload) noexcept {
    std::launder(reinterpret_cast<Value*>(static_cast<TaskPayload*>(payload)->value))->~Value();
  }
  static constexpr std::size_t value_offset() {
    // By hand: the standard has no offsetof for this type.
    constexpr std::size_t kOffset = (sizeof(Call) + alignof(Value) - 1) / alignof(Value) * alignof(Value);
    static_assert(sizeof(TaskPayload) == (kOffset + sizeof(Value) + alignof(TaskPayload) - 1) /
                                             alignof(TaskPayload) * alignof(TaskPayload));
    return kOffset;
  }
  static constexpr TaskOps kOps{&run, std::is_trivially_destructible_v<Call> ? nullptr : &destroy_callable,
                                std::is_trivially_destructible_v<Value> ? nullptr : &destroy_value,
                                value_offset()};
};

// Makes the control block of a task with room for its payload (one allocation). RuntimeError if `loop` is
// closed or, if null, no loop runs here. A task that is not `free` is on its creator's strand, unless the options
// name another. The payload is constructed by the caller, who then starts the task,
// or discards it if the construction threw.
struct NewTask {
  FutureState* state;
  void* payload;
};
[[nodiscard]] NewTask allocate_task(LoopIdentity loop, std::size_t payload_bytes, std::size_t payload_align,
                                    const TaskOps& ops, TaskOptions* options, bool free = false);
void start_task(FutureState& state) noexcept;
void discard_task(FutureState& state) noexcept;

template <class F, class... A>
using TaskValue = std::remove_cvref_t<typename CallResult<std::decay_t<F>, std::decay_t<A>...>::type>;

template <bool kFree = false, class F, class... A>
Task<TaskValue<F, A...>> create_task_on(LoopIdentity loop, TaskOptions* options, F&& function,
                                        A&&... arguments) {
  using Result = TaskValue<F, A...>;
  using Payload = TaskPayload<typename Future<Result>::Value, std::decay_t<F>, std::decay_t<A>...>;
  static_assert(
      alignof(Payload) <= alignof(std::max_align_t),
      "callables, arguments and results with extended alignment are not supported; allocate them apart");
  const NewTask made = allocate_task(loop, sizeof(Payload), alignof(Payload), Payload::kOps, options, kFree);
  if constexpr (noexcept(Payload(std::forward<F>(function), std::forward<A>(arguments)...))) {
    ::new (made.payload) Payload(std::forward<F>(function), std::forward<A>(arguments)...);
  } else {
    try {
      ::new (made.payload) Payload(std::forward<F>(function), std::forward<A>(arguments)...);
    } catch (...) {
      discard_task(*made.state);
      throw;
    }
  }
  start_task(*made.state);
  return Task<Result>(made.state);
}

}  // namespace detail

// Creates a task that calls `function` with the arguments (decay-copied, as by std::thread; use std::ref for
// a reference that outlives the task; no types with extended alignment). It starts after what is ready now:
// creation order is starting order. It is on the creator's strand, if that is on one, and runs in a copy of its
// context.
// Waits: no. Throws: RuntimeError outside a running loop; std::bad_alloc. asyncio: create_task.
template <class F, class... A>
requires detail::Callable<F, A...>
auto create_task(F&& function, A&&... arguments) {
  return detail::create_task_on({}, nullptr, std::forward<F>(function), std::forward<A>(arguments)...);
}
// Throws also: std::invalid_argument if stack_size is out of range; RuntimeError if the strand has tasks of
// another loop.
template <class F, class... A>
requires detail::Callable<F, A...>
auto create_task(TaskOptions options, F&& function, A&&... arguments) {
  return detail::create_task_on({}, &options, std::forward<F>(function), std::forward<A>(arguments)...);
}

// As create_task, but the task is free: it is on no strand, and runs in parallel to all others.
// Throws also: std::invalid_argument if the options name a strand.
template <class F, class... A>
requires detail::Callable<F, A...>
auto spawn(F&& function, A&&... arguments) {
  return detail::create_task_on<true>({}, nullptr, std::forward<F>(function), std::forward<A>(arguments)...);
}
template <class F, class... A>
requires detail::Callable<F, A...>
auto spawn(TaskOptions options, F&& function, A&&... arguments) {
  return detail::create_task_on<true>({}, &options, std::forward<F>(function), std::forward<A>(arguments)...);
}

// Returns the running task; an empty handle inside a callback. Throws: RuntimeError outside a running loop.
[[nodiscard]] AnyTask current_task();
// Returns the tasks of the running loop that are not done: a snapshot. Throws: RuntimeError outside a running
// loop.
[[nodiscard]] std::vector<AnyTask> all_tasks();

// Waits for `delay`: never less; a delay of zero or less is one pass of the ready queue, as yield().
// Waits: always. Cancel: CancelledError (so in a destructor hold a CancelMask). Throws: RuntimeError outside a
// task. asyncio: sleep.
void sleep(AnyDuration delay);
// Waits until the loop's clock shows `deadline`; if it does already, one pass. The rest as sleep.
void sleep_until(TimePoint deadline);
// sleep(0): goes behind everything that is ready on this worker; with one worker that is everything.
// A pending cancellation is delivered here too. The rest as sleep.
void yield();

// Masks the delivery of cancellation while it lives: requests are counted, waits are not interrupted. Those
// that came meanwhile are delivered at the first wait that suspends after the mask is gone; if there is none,
// the task ends as cancelled, and its value is lost. For clean-up code that must not be cut short; a destructor,
// or another noexcept function, that waits needs it, or a CancelledError ends the process. Nests. For the task
// that made it only.
// Throws (constructor): RuntimeError outside a task.
class CancelMask {
 public:
  CancelMask();
  ~CancelMask();
  CancelMask(const CancelMask&) = delete;
  CancelMask& operator=(const CancelMask&) = delete;
};

}  // namespace fibrio

template <>
struct std::hash<fibrio::AnyTask> : std::hash<fibrio::AnyFuture> {};
template <class T>
struct std::hash<fibrio::Task<T>> : std::hash<fibrio::AnyFuture> {};
