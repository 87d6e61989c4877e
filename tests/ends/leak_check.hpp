// What: turns LeakSanitizer off for a process that ends by exit() in a task: it looks for what is reachable from the stack
// that it ends on, and does not see the first one.
// Threads: any.
#pragma once

namespace fibrio::test {

void check_no_leaks() noexcept;

}  // namespace fibrio::test
