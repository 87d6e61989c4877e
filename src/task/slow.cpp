#include "task/slow.hpp"

#include <cstdio>
#include <string>
#include <utility>

#include "fibrio/event_loop.hpp"
#include "sched/worker.hpp"
#include "task/capture.hpp"
#include "task/loop_services.hpp"
#include "task/report.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {
namespace {

std::string message_of(const std::string& what, std::int64_t took_ns) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.3f", static_cast<double>(took_ns) * 1e-9);
  return "Executing <" + what + "> took " + seconds + " s";
}

}  // namespace

void report_slow_step(TaskCore& core, std::int64_t took_ns) noexcept {
  try {
    TaskControl& task = TaskControl::of(core);
    Worker& worker = *this_worker();
    RawStack stack;
    if (worker.current == &core) {
      capture_own(stack);
    } else {
      capture_suspended(core.fiber, stack);
    }
    ExceptionContext context{message_of("task '" + printable(task.name()) + "'", took_ns)};
    task.add_ref();
    context.future = AnyFuture(&task);
    context.stack = stack.frames();
    report_later(worker.scheduler, std::move(context));
  } catch (...) {
    // No memory for the report.
  }
}

void CallbackTimer::report(Scheduler& scheduler, std::int64_t took_ns, const char* what,
                           const CreationSite* site, const AnyFuture& future) noexcept {
  try {
    ExceptionContext context{message_of(what, took_ns)};
    context.future = future;
    context.source_traceback = CreationSite::frames_of(site);
    detail::report(scheduler, context);
  } catch (...) {
    // No memory for the report.
  }
}

}  // namespace fibrio::detail
