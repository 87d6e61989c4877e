// What a loop tells about itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fibrio {

// Counters of one worker; all but the first three only grow.
struct WorkerStats {
  std::size_t queue_length = 0;  // ready to run here
  std::size_t timers = 0;        // armed here
  std::size_t fds = 0;           // sockets registered here, at their first wait
  std::uint64_t tasks_run = 0;   // steps: a task that waited n times counts n + 1
  std::uint64_t callbacks_run = 0;
  std::uint64_t stolen = 0;       // tasks it took from others
  std::uint64_t stolen_from = 0;  // tasks others took from it
  std::uint64_t claims = 0;       // times it ran a busy neighbour's reactor and timers
  std::uint64_t polls = 0;
  std::uint64_t parks = 0;
  std::uint64_t unparks = 0;  // times it woke another worker
};

// A snapshot, consistent enough to read: counters of running workers move while it is taken.
struct LoopStats {
  std::vector<WorkerStats> workers;
  std::size_t tasks_alive = 0;
  std::uint64_t tasks_spawned = 0;
  std::uint64_t tasks_finished = 0;  // also those that ended as cancelled
  std::uint64_t tasks_cancelled = 0;
  std::size_t timers = 0;
  std::size_t fds = 0;  // sockets of fibrio that had to wait so far, and other fds somebody waits for now
  std::size_t blocking_threads = 0;  // of the default executor
  std::size_t stacks_in_use = 0;
  std::size_t stacks_cached = 0;
  std::string stack_guard;  // "madvise" or "mprotect"
};

}  // namespace fibrio
