#include "task/slow.hpp"

#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "fibrio/event_loop.hpp"
#include "sched/worker.hpp"
#include "task/callback.hpp"
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

class SlowStep final : public QueuedCallback {
 public:
  SlowStep(Scheduler& scheduler, ExceptionContext context)
      : scheduler_(scheduler), context_(std::move(context)) {}

  // Also when the loop ends: the news is no less true.
  void run(bool) noexcept override {
    const std::unique_ptr<SlowStep> self(this);
    try {
      // Not earlier: names are read from files.
      context_.stack = user_frames(context_.stack, LibraryCall::kShow);
      context_.source_traceback = CreationSite::frames_of(context_.future.state()->created_at());
    } catch (const std::bad_alloc&) {
      // The rest of the report is worth having.
    }
    report(scheduler_, context_);
  }

 private:
  Scheduler& scheduler_;
  ExceptionContext context_;
};

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
    worker.schedule(*std::make_unique<SlowStep>(worker.scheduler, std::move(context)).release());
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
