// What: checks of the library's own invariants. A failed one ends the process with file, line and text.
// Threads: any. A failed check never returns and never throws: an invariant that broke cannot be repaired.
#pragma once

namespace fibrio::detail {

// Prints "fibrio: FILE:LINE: check failed: EXPR: WHY" (and the running task's name, when the scheduler
// registered a describer) to stderr and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, const char* why) noexcept;

// Writes the name of what runs on this thread to stderr; set once by the scheduler, may be null.
using DescribeRunning = void (*)() noexcept;
void set_describe_running(DescribeRunning describe) noexcept;

}  // namespace fibrio::detail

// Always on: for what would corrupt memory or lose a wake-up.
#define FIBRIO_CHECK(condition, why)                 \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::fibrio::detail::check_failed(__FILE__, __LINE__, #condition, why))

// Only where NDEBUG is not defined: for what costs on a hot path.
#ifdef NDEBUG
#define FIBRIO_DCHECK(condition, why) static_cast<void>(0)
#else
#define FIBRIO_DCHECK(condition, why) FIBRIO_CHECK(condition, why)
#endif
