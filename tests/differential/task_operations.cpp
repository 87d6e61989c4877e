#include "differential/operations.hpp"
#include "fibrio/testing.hpp"

namespace fibrio::test {

namespace {

Json sleep_for(const Call& call) {
  sleep(call.duration(1));
  return nullptr;
}

Json sleep_to(const Call& call) {
  sleep_until(call.time(1));
  return nullptr;
}

Json busy(const Call& call) {
  advance_time(call.duration(1));
  return nullptr;
}

Json spawn_task(const Call& call) {
  static_cast<void>(call.run.start(call.op[1], call.label));
  return call.label;
}

Json start_eagerly(const Call& call) {
  TaskOptions options;
  options.eager_start = true;
  static_cast<void>(call.run.start(call.op[1], call.label, options));
  return call.label;
}

Json cancel(const Call& call) {
  const auto task = call.run.find_task(call.name());
  return task ? Json(task->cancel()) : Json();
}

Json cancel_with_message(const Call& call) {
  const auto task = call.run.find_task(call.name());
  return task ? Json(task->cancel(call.label)) : Json();
}

Json join(const Call& call) {
  const auto task = call.run.find_task(call.name());
  return task ? await(*task) : Json();
}

Json uncancel(const Call&) { return current_task().uncancel(); }

Json raise(const Call& call) {
  if (call.name() == "E1") throw KeyError();
  throw ValueError();
}

Json try_body(const Call& call) {
  Json result = "ok";
  std::exception_ptr left_by;
  try {
    call.run_inner(1);
  } catch (const ProgramOver&) {
    throw;
  } catch (const CancelledError&) {
    if (call.text(2) == "swallow") {
      result = "swallowed";
    } else {
      left_by = std::current_exception();
    }
  } catch (...) {
    result = Json::array({"caught", error_name(std::current_exception())});
  }
  call.run.run_body(call.op[3], call.label + "f", call.frame);
  if (left_by != nullptr) std::rethrow_exception(left_by);
  return result;
}

// Swallows the CancelledError and tells its message.
Json message_of(const Call& call) {
  try {
    call.run_inner(1);
  } catch (const CancelledError& error) {
    return error.message();
  }
  return nullptr;
}

Json mask(const Call& call) {
  call.run.has_masks = true;
  const CancelMask no_cancel;
  call.run_inner(1);
  return nullptr;
}

Json task_state(const Call& call) {
  const auto task = call.run.find_task(call.name());
  if (!task) return nullptr;
  if (!task->done()) return "pending";
  if (task->cancelled()) return "cancelled";
  const std::exception_ptr error = task->exception();
  return error != nullptr ? error_name(error) : Json("finished");
}

Json count_tasks(const Call&) { return all_tasks().size(); }

}  // namespace

void add_task_operations(Operations& operations) {
  operations.insert({{"sleep", sleep_for},
                     {"sleepu", sleep_to},
                     {"busy", busy},
                     {"spawn", spawn_task},
                     {"eager", start_eagerly},
                     {"cancel", cancel},
                     {"cancelm", cancel_with_message},
                     {"join", join},
                     {"uncancel", uncancel},
                     {"raise", raise},
                     {"try", try_body},
                     {"msg", message_of},
                     {"mask", mask},
                     {"tstate", task_state},
                     {"alive", count_tasks}});
}

}  // namespace fibrio::test
