// What: how exceptions and tasks are put into words, for stderr and for texts of errors.
// Threads: any.
#pragma once

#include <exception>
#include <string>

#include "fibrio/stack_frame.hpp"

namespace fibrio {
struct ExceptionContext;
}

namespace fibrio::detail {

class FutureState;
class Scheduler;

// A task's name as it may stand in a report: without control characters, and not longer than a line.
[[nodiscard]] std::string printable(const std::string& name);

// What an exception says of itself.
[[nodiscard]] std::string text_of(const std::exception_ptr& exception);

// Queues a report to the loop's exception handler: from where no user code may run. It adds where the future
// was made, and takes the library's frames from the stack.
void report_later(Scheduler& scheduler, ExceptionContext context);

// Debug mode: tells the loop's exception handler that a cancel has found a cycle of tasks that await each
// other (C13), and ends the wait of this task, or gather.
void report_await_cycle(FutureState& cancelled) noexcept;

// The default exception handler's text on stderr; for what is found out when there is no loop any more.
void print_report(const ExceptionContext& context);

}  // namespace fibrio::detail
