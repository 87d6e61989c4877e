// What: how exceptions and tasks are put into words, for stderr and for texts of errors.
// Threads: any.
#pragma once

#include <exception>
#include <string>

#include "fibrio/futures.hpp"

namespace fibrio::detail {

// A task's name as it may stand in a report: without control characters, and not longer than a line.
[[nodiscard]] std::string printable(const std::string& name);

// What an exception says of itself.
[[nodiscard]] std::string text_of(const std::exception_ptr& exception);

// The default exception handler's line on stderr; for what is found out when there is no loop any more.
void print_report(const std::string& message, const std::exception_ptr& exception, const AnyFuture& future);

}  // namespace fibrio::detail
