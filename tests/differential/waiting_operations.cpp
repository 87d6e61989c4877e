#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

template <class F>
Json wait_for_future(const Call& call, const F& future) {
  return call.is_null(1) ? wait_for(future, never) : wait_for(future, call.duration(1));
}

// The tasks or futures that there are, of those an operation names.
std::vector<Future<Json>> find_targets(const Call& call, const Json& names) {
  std::vector<Future<Json>> found;
  for (const Json& name : names) {
    if (auto future = call.run.find_target(name.get<std::string>())) found.push_back(std::move(*future));
  }
  return found;
}

std::vector<Task<Json>> find_tasks(const Call& call, const Json& names) {
  std::vector<Task<Json>> found;
  for (const Json& name : names) {
    if (auto task = call.run.find_task(name.get<std::string>())) found.push_back(std::move(*task));
  }
  return found;
}

template <class F>
Json gather_all(bool with_exceptions, std::vector<F> futures) {
  Json results = Json::array();
  if (with_exceptions) {
    for (const Outcome<Json>& each : gather(return_exceptions, std::move(futures)))
      results.push_back(each.has_value() ? each.value() : error_name(each.exception()));
  } else {
    for (Json& value : gather(std::move(futures))) results.push_back(std::move(value));
  }
  return results;
}

ReturnWhen return_when(const std::string& name) {
  if (name == "FIRST_COMPLETED") return FIRST_COMPLETED;
  if (name == "FIRST_EXCEPTION") return FIRST_EXCEPTION;
  return ALL_COMPLETED;
}

// The places in `tasks` of those that are done, and of those that are not.
Json wait_some(const Call& call, const std::vector<Task<Json>>& tasks) {
  WaitOptions options;
  if (!call.is_null(1)) options.timeout = call.duration(1);
  options.return_when = return_when(call.text(2));
  const WaitResult<Json> result = wait(tasks, options);
  Json places = Json::array({Json::array(), Json::array()});
  for (std::size_t j = 0; j < tasks.size(); ++j) {
    if (std::find(result.done.begin(), result.done.end(), tasks[j]) != result.done.end())
      places[0].push_back(j);
    if (std::find(result.pending.begin(), result.pending.end(), tasks[j]) != result.pending.end())
      places[1].push_back(j);
  }
  return places;
}

Json take_completed(const Call& call, std::vector<Task<Json>> tasks) {
  const std::optional<Duration> limit = call.is_null(1) ? std::nullopt : std::optional(call.duration(1));
  AsCompleted<Json> completions = as_completed(std::move(tasks), limit);
  Json results = Json::array();
  for (;;) {
    std::optional<Task<Json>> task;
    try {
      task = completions.next();
      if (!task) return results;
    } catch (const TimeoutError&) {
      results.push_back("TimeoutError");
      continue;
    }
    try {
      results.push_back(await(*task));
    } catch (const CancelledError&) {
      // asyncio's iterator does not tell whether it was the caller or the awaited task that was cancelled.
      if (current_task().cancelling() > 0) throw;
      results.push_back("CancelledError");
    } catch (...) {
      results.push_back(error_name(std::current_exception()));
    }
  }
}

// On new tasks.
Json wait_for_new(const Call& call) { return wait_for_future(call, call.run.start(call.op[2], call.label)); }
Json shield_new(const Call& call) { return shield(call.run.start(call.op[1], call.label)); }
Json gather_new(const Call& call) {
  return gather_all(call.op[1].get<bool>(), call.run.start_all(call.op[2], call.label));
}
Json wait_new(const Call& call) { return wait_some(call, call.run.start_all(call.op[3], call.label)); }
Json complete_new(const Call& call) {
  return take_completed(call, call.run.start_all(call.op[2], call.label));
}

// On what there is: tasks and futures.
Json wait_for_old(const Call& call) {
  const auto future = call.run.find_target(call.text(2));
  return future ? wait_for_future(call, *future) : Json();
}
Json shield_old(const Call& call) {
  const auto future = call.run.find_target(call.name());
  return future ? shield(*future) : Json();
}
Json gather_old(const Call& call) {
  return gather_all(call.op[1].get<bool>(), find_targets(call, call.op[2]));
}
Json wait_old(const Call& call) {
  const std::vector<Task<Json>> tasks = find_tasks(call, call.op[3]);
  return tasks.empty() ? Json() : wait_some(call, tasks);
}
Json complete_old(const Call& call) { return take_completed(call, find_tasks(call, call.op[2])); }

}  // namespace

void add_waiting_operations(Operations& operations) {
  operations.insert({{"wait_for", wait_for_new},
                     {"shield", shield_new},
                     {"gather", gather_new},
                     {"wait", wait_new},
                     {"ascomp", complete_new},
                     {"wait_forx", wait_for_old},
                     {"shieldx", shield_old},
                     {"gatherx", gather_old},
                     {"waitx", wait_old},
                     {"ascompx", complete_old}});
}

}  // namespace fibrio::test
