// What: the one way to learn on which worker the caller runs; and the only thread-locals of the library.
//
// Threads: any. Invariant: the answer is good until the caller's fiber is suspended; ask again after each
// wait. The accessor is noinline and has a barrier, and returns a value: compilers keep the address of a
// thread-local over a fiber switch, and would read the old thread's (the same goes for errno).
// Both are trivially destructible: what is called by the destructors of other thread-locals, by those of static
// objects and by atexit handlers finds them as they were.
#pragma once

namespace fibrio::detail {

class Worker;

// Null on a thread that runs no loop.
[[nodiscard]] Worker* this_worker() noexcept;
void set_this_worker(Worker* worker) noexcept;

// What a room above keeps for a thread, outside of any task; null at first. `destroy` is called with it when the
// thread ends, after the destructors of its thread-locals; never for the thread that ends the process, which may use
// it to the last moment. Not for code that may be on a fiber.
[[nodiscard]] void* value_of_thread() noexcept;
void set_value_of_thread(void* value, void (*destroy)(void* value)) noexcept;

}  // namespace fibrio::detail
