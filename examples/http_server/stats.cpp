#include <fibrio/fibrio.hpp>
#include <nlohmann/json.hpp>

#include "routes.hpp"

namespace http_server {

fibrio::http::Response report_stats(const fibrio::http::Server& server) {
  const fibrio::LoopStats stats = fibrio::get_running_loop().stats();
  nlohmann::ordered_json json;
  json["connections"] = server.stats().connections;
  json["tasks_alive"] = stats.tasks_alive;
  json["tasks_spawned"] = stats.tasks_spawned;
  json["tasks_finished"] = stats.tasks_finished;
  json["tasks_cancelled"] = stats.tasks_cancelled;
  json["timers"] = stats.timers;
  json["fds"] = stats.fds;
  json["blocking_threads"] = stats.blocking_threads;
  json["stacks_in_use"] = stats.stacks_in_use;
  json["stacks_cached"] = stats.stacks_cached;
  json["stack_guard"] = stats.stack_guard;
  for (const fibrio::WorkerStats& worker : stats.workers) {
    json["workers"].push_back({{"queue_length", worker.queue_length},
                               {"timers", worker.timers},
                               {"fds", worker.fds},
                               {"tasks_run", worker.tasks_run},
                               {"callbacks_run", worker.callbacks_run},
                               {"stolen", worker.stolen},
                               {"stolen_from", worker.stolen_from},
                               {"claims", worker.claims},
                               {"polls", worker.polls},
                               {"parks", worker.parks},
                               {"unparks", worker.unparks}});
  }
  return fibrio::http::Response(json.dump(2) + '\n', "application/json");
}

}  // namespace http_server
