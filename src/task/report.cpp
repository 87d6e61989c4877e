#include "task/report.hpp"

#include <cstdio>
#include <memory>
#include <new>
#include <sstream>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "sched/scheduler.hpp"
#include "task/callback.hpp"
#include "task/capture.hpp"
#include "task/loop_services.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

std::string printable(const std::string& name) {
  constexpr std::size_t kAtMost = 128;
  std::string text = name.substr(0, kAtMost);
  for (char& letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < ' ' || byte == 127) letter = '?';
  }
  if (name.size() > kAtMost) text += "...";
  return text;
}

namespace {

// What an exception says may hold what a peer sent: it begins no line of its own, nor does it move a cursor.
std::string on_one_line(const std::string& text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string line;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if ((byte >= ' ' && byte != 127) || byte == '\t') {
      line += letter;
    } else if (byte == '\n') {
      line += "\\n";
    } else {
      line.append("\\x").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    }
  }
  return line;
}

void append_frames(std::string& text, const char* title, const std::vector<StackFrame>& stack) {
  if (stack.empty()) return;
  std::ostringstream out;
  for (const StackFrame& frame : stack) out << "    " << frame << '\n';
  text += title + out.str();
}

}  // namespace

std::string text_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  } catch (const CancelledError& error) {
    return error.what();
  } catch (const KeyboardInterrupt& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

namespace {

class LateReport final : public QueuedCallback {
 public:
  LateReport(Scheduler& scheduler, ExceptionContext context)
      : scheduler_(scheduler), context_(std::move(context)) {}

  // Also when the loop ends: the news is no less true.
  void run(bool) noexcept override {
    const std::unique_ptr<LateReport> self(this);
    try {
      // Not earlier: names are read from files.
      context_.stack = user_frames(context_.stack, LibraryCall::kShow);
      if (context_.future.valid())
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

void report_later(Scheduler& scheduler, ExceptionContext context) {
  scheduler.schedule_anywhere(*std::make_unique<LateReport>(scheduler, std::move(context)).release());
}

void report_await_cycle(FutureState& cancelled) noexcept {
  Scheduler& scheduler = *cancelled.scheduler();
  if (!scheduler.is_debugging()) return;
  try {
    const bool is_task = cancelled.kind() == FutureState::Kind::kTask;
    ExceptionContext context{"await cycle: "};
    context.message += is_task ? "task '" + printable(task_name(cancelled)) + "'" : "a gather";
    context.message += " was cancelled, and waits for tasks that wait for each other; its wait is ended here";
    if (is_task) {
      cancelled.add_ref();
      context.future = AnyFuture(&cancelled);
    }
    report_later(scheduler, std::move(context));
  } catch (const std::bad_alloc&) {
    // No memory for the report.
  }
}

void print_report(const ExceptionContext& context) {
  std::string text = "fibrio: " + context.message;
  if (context.future.valid() && context.future.state()->kind() == FutureState::Kind::kTask) {
    const std::string name = "task '" + printable(task_name(*context.future.state())) + "'";
    if (text.find(name) == std::string::npos) text += " (" + name + ")";
  }
  if (context.exception != nullptr) text += ": " + on_one_line(text_of(context.exception));
  text += '\n';
  append_frames(text, "  at:\n", context.stack);
  append_frames(text, "  created at:\n", context.source_traceback);
  std::fputs(text.c_str(), stderr);
}

}  // namespace fibrio::detail
