// What: what the rooms up to net/ need of the loop room above them, as functions that those define
//   (src/loop, unless said otherwise).
// Threads: any.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "fibrio/futures.hpp"
#include "fibrio/stack_frame.hpp"

namespace fibrio {
struct ExceptionContext;
}

namespace fibrio::detail {

class Scheduler;
class CreationSite;

// Tells the loop's exception handler. Never throws: a failing handler falls back to the default one.
// `site`: where it was made, if not the future says it.
void report_exception(Scheduler& scheduler, std::string message, std::exception_ptr exception,
                      AnyFuture future, const CreationSite* site = nullptr) noexcept;

// The same with all that is known.
void report(Scheduler& scheduler, const ExceptionContext& context) noexcept;

// A stack without the library's insides at both ends; the public function that the user called is shown, of
// what waits, or not, of what runs or was made. (Defined in src/introspect.)
enum class LibraryCall : std::uint8_t { kShow, kHide };
[[nodiscard]] std::vector<StackFrame> user_frames(const std::vector<StackFrame>& stack, LibraryCall call);

// A KeyboardInterrupt left a task or a callback: the run of the loop ends, and throws it.
void exit_loop(Scheduler& scheduler, std::exception_ptr exception) noexcept;

}  // namespace fibrio::detail
