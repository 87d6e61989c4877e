// errno in functions that wait.
//
// After a wait a task may be on another thread. But the C library tells compilers that the address of errno never
// changes: a function that uses errno on both sides of a wait goes on with the old thread's. It reads a stranger's
// error, and it writes over it, perhaps between another task's system call and its look at what went wrong.
// std::stoi and the like do that too where they are inlined. So errno is redefined here: its address is asked
// for each time. The value is not kept over a wait: read it right after the call that set it.
//
// Nobody has to include this: fibrio's headers do, and the CMake target and pkg-config do it ahead of everything
// (-include fibrio/errno.hpp), so that inline functions of other headers have it as well.
//
// What stays the old thread's in such a function: pthread_self(), std::this_thread::get_id(), and thread_local
// variables. Let a function that does not wait, and is not inline, ask for them.
#pragma once

#ifdef __cplusplus

#include <cerrno>

namespace fibrio::detail {

// Returns the address of the calling thread's errno.
[[nodiscard]] int* errno_location() noexcept;

}  // namespace fibrio::detail

#undef errno
#define errno (*::fibrio::detail::errno_location())

#endif
