#include "task/report.hpp"

#include <cstdio>
#include <new>
#include <sstream>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "sched/scheduler.hpp"
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

void report_await_cycle(FutureState& cancelled) noexcept {
  Scheduler& scheduler = *cancelled.scheduler();
  if (!scheduler.is_debugging()) return;
  const bool is_task = cancelled.kind() == FutureState::Kind::kTask;
  cancelled.add_ref();
  AnyFuture handle(&cancelled);
  try {
    const std::string what = is_task ? "task '" + printable(task_name(cancelled)) + "'" : "a gather";
    report_exception(
        scheduler,
        "await cycle: " + what +
            " was cancelled, and waits for tasks that wait for each other; its wait is ended here",
        nullptr, is_task ? std::move(handle) : AnyFuture());
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
  if (context.exception != nullptr) text += ": " + text_of(context.exception);
  text += '\n';
  append_frames(text, "  at:\n", context.stack);
  append_frames(text, "  created at:\n", context.source_traceback);
  std::fputs(text.c_str(), stderr);
}

}  // namespace fibrio::detail
