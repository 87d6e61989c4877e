// What: the one way to learn on which worker the caller runs; and the only thread-locals of the library.
//
// Threads: any. Invariant: the answer is good until the caller's fiber is suspended; ask again after each
// wait. The accessor is noinline and has a barrier, and returns a value: compilers keep the address of a
// thread-local over a fiber switch, and would read the old thread's (the same goes for errno).
#pragma once

#include <memory>

namespace fibrio::detail {

class Worker;

// Null on a thread that runs no loop.
[[nodiscard]] Worker* this_worker() noexcept;
void set_this_worker(Worker* worker) noexcept;

// What a room above keeps for a thread, outside of any task; empty at first, destroyed with the thread. Not for
// code that may be on a fiber.
[[nodiscard]] std::shared_ptr<void>& value_of_thread() noexcept;

}  // namespace fibrio::detail
