// What: what a forked child must know: it has the parent's loops in its memory, but not their threads, and
// shares their epoll instances with the parent. Threads: any. Rule: in a child nothing of a loop of the
// parent is run, joined or taken out of epoll (a child's EPOLL_CTL_DEL removes the parent's registration);
// such a loop throws RuntimeError and is leaked when it is destroyed. The child may make loops of its own,
// and should exec or _exit if it was forked inside a task.
#pragma once

namespace fibrio::detail {

// How many forks lie between the process that used the library first and this one. Async-signal-safe.
[[nodiscard]] unsigned fork_count() noexcept;
// Starts counting; once per process.
void watch_forks();

// What a RuntimeError says to who uses a loop of the parent, behind the name of the call.
inline constexpr char kOfParent[] =
    ": the event loop belongs to the parent process; a forked child must make its own";

}  // namespace fibrio::detail
