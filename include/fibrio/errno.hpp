// errno in functions that wait.
//
// After a wait a task may be on another thread. But the C library tells compilers that the address of errno never
// changes: a function that uses errno on both sides of a wait goes on with the old thread's. It reads a stranger's
// error, and it writes over it, perhaps between another task's system call and its look at what went wrong.
// std::stol and the like do that too where they are inlined. So errno is redefined: its address is asked for each
// time. The value is not kept over a wait: read it right after the call that set it.
//
// Nobody has to include this: fibrio's headers that declare something that waits do. And the CMake target and
// pkg-config put a directory into the include path where <errno.h> and <cerrno> are found first, so that it reaches
// inline functions of other headers, whatever the order. Who compiles by hand adds -I<include>/fibrio/detail/libc.
//
// Not reached: functions written in C, and those of libraries that were compiled without it, that use errno on both
// sides of a callback which waits. And what compilers keep the address of as well: pthread_self(),
// std::this_thread::get_id(), thread_local variables, h_errno; see docs/debugging.md.
#pragma once

#include <cerrno>

#include "fibrio/detail/libc/errno.h"
