// What: binds a worker's thread to one CPU for the time of a run. Only that thread is bound: what tasks start gets
// the mask that the thread had before.
//
// Threads: the worker's own.
//
// A thread or process inherits the mask of the thread that makes it. So, while a worker is bound:
//  1. threads: glibc's default attributes hold the former mask (pthread_setattr_default_np), for whoever makes a
//     thread without attributes of its own, as std::thread and the pools do; also outside of the loop;
//  2. children of create_subprocess set it before they exec (net/spawn.cpp), those of fork at once (fork.cpp).
// What is left: posix_spawn, system and popen, called by a task.
//
// Rejected: to bind and to unbind around each task (two system calls for each); a pthread_create of our own in front
// of the C library's (sanitizers and tools have theirs).
#pragma once

#include <sched.h>

#include <cstddef>

namespace fibrio::detail {

class ThreadPin {
 public:
  // Binds to the index-th CPU of the mask, counted round and round. Does nothing if that is refused.
  explicit ThreadPin(std::size_t index) noexcept;
  ~ThreadPin();
  ThreadPin(const ThreadPin&) = delete;
  ThreadPin& operator=(const ThreadPin&) = delete;

  // The mask as it was; null if nothing was bound.
  [[nodiscard]] const cpu_set_t* former_cpus() const noexcept { return is_bound_ ? &former_ : nullptr; }

 private:
  cpu_set_t former_;
  bool is_bound_ = false;
};

}  // namespace fibrio::detail
