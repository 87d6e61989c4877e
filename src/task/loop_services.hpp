// What: what the rooms up to net/ need of the loop room above them, as functions that src/loop defines.
// Threads: any.
#pragma once

#include <exception>
#include <string>

#include "fibrio/futures.hpp"

namespace fibrio::detail {

class Scheduler;

// Tells the loop's exception handler. Never throws: a failing handler falls back to the default one.
void report_exception(Scheduler& scheduler, std::string message, std::exception_ptr exception,
                      AnyFuture future) noexcept;

// A KeyboardInterrupt left a task or a callback: the run of the loop ends, and throws it.
void exit_loop(Scheduler& scheduler, std::exception_ptr exception) noexcept;

// A task's name as it may stand in a report: without control characters, and not longer than a line.
[[nodiscard]] std::string printable(const std::string& name);

// The default exception handler's line on stderr; for what is found out when there is no loop any more.
void print_report(const std::string& message, const std::exception_ptr& exception, const AnyFuture& future);

}  // namespace fibrio::detail
