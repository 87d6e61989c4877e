#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

// A callback that only leaves an event.
auto noting(const Call& call) {
  return [&run = call.run, label = call.label](const auto&...) { run.emit({run.now(), "cb", label}); };
}

Json set_result(const Call& call) {
  if (call.run.future(call.name()).try_set_result(call.label)) return true;
  return "InvalidStateError";
}
Json set_exception(const Call& call) {
  if (call.run.future(call.name()).try_set_exception(std::make_exception_ptr(KeyError()))) return true;
  return "InvalidStateError";
}
Json cancel(const Call& call) { return call.run.future(call.name()).cancel(); }
Json await_future(const Call& call) {
  const Future<Json> future = call.run.future(call.name());
  return await(future);
}
Json future_state(const Call& call) {
  const Future<Json>& future = call.run.future(call.name());
  if (!future.done()) return "pending";
  if (future.cancelled()) return "cancelled";
  return future.exception() != nullptr ? "failed" : "finished";
}

Json add_callback(const Call& call) {
  static_cast<void>(call.run.future(call.name()).add_done_callback(noting(call)));
  return nullptr;
}
// To a task or a future, and so that it can be removed.
Json add_removable(const Call& call) {
  const auto target = call.run.find_target(call.name());
  if (!target) return nullptr;
  const CallbackId id = target->add_done_callback(noting(call));
  call.run.registrations[call.label] = [target = *target, id] { return target.remove_done_callback(id); };
  return true;
}
Json remove_callback(const Call& call) {
  const auto found = call.run.registrations.find(call.name());
  return found != call.run.registrations.end() ? Json(found->second()) : Json();
}

Json soon(const Call& call) {
  call.run.loop.call_soon(noting(call));
  return nullptr;
}
Json later(const Call& call) {
  call.run.timers[call.label] = call.run.loop.call_later(call.duration(1), noting(call));
  return nullptr;
}
Json cancel_later(const Call& call) {
  const auto found = call.run.timers.find(call.name());
  if (found == call.run.timers.end()) return nullptr;
  found->second.cancel();
  return true;
}

Json cancel_from_callback(const Call& call) {
  return call_back(call, [](Run& run, const std::string& name, const std::string&) {
    const auto target = run.find_target(name);
    return target ? Json(target->cancel()) : Json();
  });
}
Json set_from_callback(const Call& call) {
  return call_back(call, [](Run& run, const std::string& name, const std::string& label) {
    return Json(run.future(name).try_set_result(label));
  });
}

}  // namespace

void add_future_operations(Operations& operations) {
  operations.insert({{"fset", set_result},
                     {"fexc", set_exception},
                     {"fcancel", cancel},
                     {"fawait", await_future},
                     {"fstate", future_state},
                     {"fdone", add_callback},
                     {"done", add_removable},
                     {"undone", remove_callback},
                     {"soon", soon},
                     {"later", later},
                     {"unlater", cancel_later},
                     {"cbcancel", cancel_from_callback},
                     {"cbset", set_from_callback}});
}

}  // namespace fibrio::test
