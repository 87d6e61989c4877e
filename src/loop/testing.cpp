#include "fibrio/testing.hpp"

#include <stdexcept>

#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio {

void advance_time(Duration duration) {
  detail::Worker* worker = detail::this_worker();
  if (worker == nullptr) throw RuntimeError("advance_time: no event loop runs on this thread");
  detail::Scheduler& scheduler = worker->scheduler;
  if (!scheduler.has_virtual_time())
    throw RuntimeError("advance_time needs a loop with Config::virtual_time");
  if (duration < Duration::zero()) throw std::invalid_argument("advance_time: the clock never goes back");
  std::int64_t to_ns = 0;
  if (__builtin_add_overflow(scheduler.now_ns(), duration.count(), &to_ns))
    to_ns = detail::Timers::kNever - 1;
  scheduler.advance_virtual_time(to_ns);
}

}  // namespace fibrio
