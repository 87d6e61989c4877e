// What: what operations of a program work on, and the table of them. An operation is a function from Call to its
//   result; what it throws is the operation's error.
// Threads: see interpreter.hpp.
#pragma once

#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "differential/json.hpp"
#include "fibrio/fibrio.hpp"

namespace fibrio::test {

// Python's, which C++ has no counterpart of.
struct KeyError : std::runtime_error {
  KeyError() : runtime_error("KeyError") {}
};
struct ValueError : std::runtime_error {
  ValueError() : runtime_error("ValueError") {}
};
// Ends what is left of a program whose trace is complete.
struct ProgramOver {};

// The name of its class in Python; a group with those of its members.
[[nodiscard]] Json error_name(const std::exception_ptr& error);

// Objects of one kind, each made when first named.
template <class T>
class Named {
 public:
  template <class... A>
  T& get(const std::string& name, A&&... arguments) {
    std::unique_ptr<T>& object = objects_[name];
    if (object == nullptr) object = std::make_unique<T>(std::forward<A>(arguments)...);
    return *object;
  }
  template <class F>
  void for_each(F&& call) {
    for (auto& [name, object] : objects_) call(*object);
  }

 private:
  std::map<std::string, std::unique_ptr<T>> objects_;
};

using AnyQueue = std::variant<Queue<Json>, PriorityQueue<Json>, LifoQueue<Json>>;

// What a running task is inside of.
struct Frame {
  std::vector<Timeout*> timeouts;
  std::vector<TaskGroup*> groups;
};

// One running program.
struct Run {
  explicit Run(EventLoop& its_loop) : loop(its_loop) {}

  EventLoop& loop;
  Json trace = Json::array();
  bool has_masks = false;
  bool over = false;  // its trace is complete: nothing is emitted, and every operation throws ProgramOver

  std::map<std::string, Task<Json>> tasks;
  std::map<std::string, Future<Json>> futures;
  std::map<std::string, TimerHandle> timers;
  std::map<std::string, std::function<std::size_t()>> registrations;  // removes a done-callback
  std::map<std::string, bool> flags;
  std::map<std::string, std::pair<ContextVar<std::string>*, ContextToken>> tokens;
  Named<Lock> locks;
  Named<Event> events;
  Named<Condition> conditions;
  Named<Semaphore> semaphores;
  Named<BoundedSemaphore> bounded_semaphores;
  Named<Barrier> barriers;
  std::map<std::string, std::unique_ptr<AnyQueue>> queues;

  [[nodiscard]] std::int64_t now() const;
  void emit(Json event);
  // Runs the operations of a body in the calling task.
  void run_body(const Json& body, const std::string& name, Frame& frame);
  // Starts a body as a task; `create` creates it from a callable.
  template <class Create>
  Task<Json> start_by(Create&& create, const Json& body, const std::string& name,
                      std::vector<TaskGroup*> groups = {}) {
    Task<Json> task = create([this, body, name, groups = std::move(groups)]() mutable {
      Frame frame{{}, std::move(groups)};
      run_body(body, name, frame);
      return Json(name);
    });
    tasks[name] = task;
    return task;
  }
  Task<Json> start(const Json& body, const std::string& name, const TaskOptions& options = {}) {
    return start_by([&](auto callable) { return create_task(options, std::move(callable)); }, body, name);
  }
  std::vector<Task<Json>> start_all(const Json& bodies, const std::string& label);
  [[nodiscard]] std::optional<Task<Json>> find_task(const std::string& name) const;
  [[nodiscard]] Future<Json>& future(const std::string& name);
  // A task or a future, by what a program calls it: "t:m.1" or "f:x". A task that there is not yet: nothing.
  [[nodiscard]] std::optional<Future<Json>> find_target(const std::string& target);
  [[nodiscard]] AnyQueue& queue(const std::string& name);
};

// One operation that is carried out.
struct Call {
  Run& run;
  Frame& frame;
  const Json& op;  // [name, argument...]
  const std::string& label;

  [[nodiscard]] std::string name() const { return text(1); }
  [[nodiscard]] std::string text(std::size_t i) const { return op.at(i).get<std::string>(); }
  [[nodiscard]] Duration duration(std::size_t i) const {
    return std::chrono::seconds(op.at(i).get<std::int64_t>());
  }
  [[nodiscard]] TimePoint time(std::size_t i) const { return TimePoint(duration(i)); }
  [[nodiscard]] bool is_null(std::size_t i) const { return op.at(i).is_null(); }
  void run_inner(std::size_t i) const { run.run_body(op.at(i), label, frame); }
};

// Calls `action(run, name, label)` in a callback, soon or, by the operation's first argument, later, and leaves an event
// with its result.
template <class F>
Json call_back(const Call& call, F action) {
  auto callback = [&run = call.run, label = call.label, name = call.text(2), action] {
    Json result = action(run, name, label);
    run.emit({run.now(), "cb", label, std::move(result)});
  };
  if (call.is_null(1)) {
    call.run.loop.call_soon(std::move(callback));
  } else {
    call.run.loop.call_later(call.duration(1), std::move(callback));
  }
  return nullptr;
}

using Operation = Json (*)(const Call& call);
using Operations = std::map<std::string, Operation, std::less<>>;

void add_task_operations(Operations& operations);
void add_scope_operations(Operations& operations);
void add_waiting_operations(Operations& operations);
void add_sync_operations(Operations& operations);
void add_queue_operations(Operations& operations);
void add_future_operations(Operations& operations);
void add_context_operations(Operations& operations);

}  // namespace fibrio::test
