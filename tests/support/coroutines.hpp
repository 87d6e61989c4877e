// What: coroutines that tests start and forget. Threads: any.
#pragma once

#include <coroutine>
#include <exception>

namespace fibrio::test {

// Starts at once and frees itself at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

}  // namespace fibrio::test
