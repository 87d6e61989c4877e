#include "differential/operations.hpp"

namespace fibrio::test {

namespace {

// Calls an operation on the queue, whatever its kind, that an operation names.
template <class F>
decltype(auto) on_queue(const Call& call, F&& operation) {
  return std::visit(std::forward<F>(operation), call.run.queue(call.name()));
}

Json put(const Call& call) {
  on_queue(call, [&](auto& queue) { queue.put(call.label); });
  return nullptr;
}
Json get(const Call& call) {
  return on_queue(call, [](auto& queue) { return queue.get(); });
}
Json put_nowait(const Call& call) {
  try {
    on_queue(call, [&](auto& queue) { queue.put_nowait(call.label); });
  } catch (const QueueFull&) {
    return "QueueFull";
  }
  return true;
}
Json get_nowait(const Call& call) {
  try {
    return on_queue(call, [](auto& queue) { return queue.get_nowait(); });
  } catch (const QueueEmpty&) {
    return "QueueEmpty";
  }
}
Json task_done(const Call& call) {
  try {
    on_queue(call, [](auto& queue) { queue.task_done(); });
  } catch (const std::invalid_argument&) {
    return "ValueError";
  }
  return true;
}
Json join_queue(const Call& call) {
  on_queue(call, [](auto& queue) { queue.join(); });
  return nullptr;
}
Json shut_down(const Call& call) {
  on_queue(call, [&](auto& queue) { queue.shutdown(call.op[2].get<bool>()); });
  return nullptr;
}
Json queue_size(const Call& call) {
  return on_queue(call, [](auto& queue) {
    return Json::array({queue.qsize(), queue.empty(), queue.full()});
  });
}

}  // namespace

AnyQueue& Run::queue(const std::string& name) {
  std::unique_ptr<AnyQueue>& named = queues[name];
  if (named != nullptr) return *named;
  if (name == "p" || name == "P") {
    named = std::make_unique<AnyQueue>(std::in_place_type<PriorityQueue<Json>>, name == "p" ? 2 : 0);
  } else if (name == "l" || name == "L") {
    named = std::make_unique<AnyQueue>(std::in_place_type<LifoQueue<Json>>, name == "l" ? 2 : 0);
  } else {
    named = std::make_unique<AnyQueue>(std::in_place_type<Queue<Json>>, name == "a"   ? 1
                                                                        : name == "b" ? 0
                                                                                      : 2);
  }
  return *named;
}

void add_queue_operations(Operations& operations) {
  operations.insert({{"put", put},
                     {"get", get},
                     {"nput", put_nowait},
                     {"nget", get_nowait},
                     {"tdone", task_done},
                     {"qjoin", join_queue},
                     {"qshut", shut_down},
                     {"qsize", queue_size}});
}

}  // namespace fibrio::test
