#include "fibrio/testing.hpp"

#include <algorithm>
#include <stdexcept>

#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio {

void advance_time(AnyDuration duration) {
  detail::Worker* worker = detail::this_worker();
  if (worker == nullptr) throw RuntimeError("advance_time: no event loop runs on this thread");
  detail::Scheduler& scheduler = worker->scheduler;
  if (!scheduler.has_virtual_time())
    throw RuntimeError("advance_time needs a loop with Config::virtual_time");
  if (duration < Duration::zero()) throw std::invalid_argument("advance_time: the clock never goes back");
  // Timers that are for ever away stay so.
  const std::int64_t to_ns = std::min(detail::saturated_sum(Duration(scheduler.now_ns()), duration).count(),
                                      detail::Timers::kNever - 1);
  scheduler.advance_virtual_time(to_ns);
}

}  // namespace fibrio
