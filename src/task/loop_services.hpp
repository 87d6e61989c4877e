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

}  // namespace fibrio::detail
