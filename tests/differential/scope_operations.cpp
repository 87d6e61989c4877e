#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

// Names the innermost scope while its body runs, however that ends.
template <class T>
class Inside {
 public:
  Inside(std::vector<T*>& scopes, T& scope) : scopes_(scopes) { scopes_.push_back(&scope); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { scopes_.pop_back(); }

 private:
  std::vector<T*>& scopes_;
};

Json run_in(const Call& call, Timeout& scope) {
  {
    const Inside inside(call.frame.timeouts, scope);
    call.run_inner(2);
  }
  return scope.expired();
}

Json timeout_for(const Call& call) {
  const auto body = [&](Timeout& scope) { return run_in(call, scope); };
  return call.is_null(1) ? timeout(never, body) : timeout(call.duration(1), body);
}

Json timeout_to(const Call& call) {
  const auto body = [&](Timeout& scope) { return run_in(call, scope); };
  return call.is_null(1) ? timeout_at(never, body) : timeout_at(call.time(1), body);
}

Json reschedule(const Call& call) {
  if (call.frame.timeouts.empty()) return nullptr;
  Timeout& scope = *call.frame.timeouts.back();
  try {
    if (call.is_null(1)) {
      scope.reschedule(never);
    } else {
      scope.reschedule(call.run.loop.time() + call.duration(1));
    }
  } catch (const RuntimeError&) {
    return "RuntimeError";
  }
  return true;
}

Task<Json> start_child(const Call& call, TaskGroup& group, const Json& body, const std::string& name,
                       const TaskOptions& options = {}) {
  return call.run.start_by([&](auto callable) { return group.create_task(options, std::move(callable)); },
                           body, name, {&group});
}

Json group(const Call& call) {
  task_group([&](TaskGroup& group) {
    const Json& bodies = call.op[1];
    for (std::size_t j = 0; j < bodies.size(); ++j)
      static_cast<void>(start_child(call, group, bodies[j], call.label + "." + std::to_string(j)));
    const Inside inside(call.frame.groups, group);
    call.run_inner(2);
  });
  return nullptr;
}

Json cancel_group(const Call& call) {
  if (call.frame.groups.empty()) return nullptr;
  call.frame.groups.back()->cancel();
  return true;
}

Json add_to_group(const Call& call, const TaskOptions& options) {
  if (call.frame.groups.empty()) return nullptr;
  try {
    static_cast<void>(start_child(call, *call.frame.groups.back(), call.op[1], call.label, options));
  } catch (const RuntimeError&) {
    return "RuntimeError";
  }
  return call.label;
}
Json spawn_in_group(const Call& call) { return add_to_group(call, {}); }
Json start_eagerly_in_group(const Call& call) {
  TaskOptions options;
  options.eager_start = true;
  return add_to_group(call, options);
}

}  // namespace

void add_scope_operations(Operations& operations) {
  operations.insert({{"timeout", timeout_for},
                     {"timeout_at", timeout_to},
                     {"resched", reschedule},
                     {"group", group},
                     {"gcancel", cancel_group},
                     {"gspawn", spawn_in_group},
                     {"geager", start_eagerly_in_group}});
}

}  // namespace fibrio::test
