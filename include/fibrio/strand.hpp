// Strand: tasks that never run in parallel. Between two waits the code of each is atomic with respect to the
// others, as on an asyncio loop; while one of them waits the others run. What is only used on one strand needs
// no lock.
//
//   fibrio::Strand strand;
//   std::map<Key, Value> cache;  // touched on the strand only
//   auto task = strand.create_task([&] { cache[key] = load(key); });   // from any task of the loop
//   Value value = strand.run([&] { return cache.at(key); });           // as a call that waits
//
// A task belongs to its strand for life. What it starts belongs to it too: tasks (create_task, groups, gather),
// call_soon and call_later, done-callbacks, add_reader, signal handlers. `spawn` leaves the strand. The workers
// of the loop run a strand pass by pass, and steal it from each other as a whole; within it the order of events
// is asyncio's: first in, first out, timers by deadline, between passes. So a piece of asyncio code may be put on
// a strand as it is. Different strands, and free tasks, run in parallel.
//
// With one worker everything runs as on one strand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "fibrio/clock.hpp"
#include "fibrio/tasks.hpp"

namespace fibrio {

namespace detail {
class StrandState;
}

// What a strand has done so far: a snapshot. Kept where there are several workers; else all is zero.
struct StrandStats {
  std::uint64_t steps = 0;       // pieces of tasks, and callbacks, that were run
  std::uint64_t passes = 0;      // times that a worker took it up
  std::size_t queue_length = 0;  // ready to run when the present pass began
  Duration waited{};             // ready to run, but no worker had taken it up: in all,
  Duration longest_wait{};  // and at most. A strand that waits long, or has a long queue, should be split.
};

// May be destroyed while tasks are on it: the strand lives as long as they. Belongs to the loop of its tasks;
// when that is closed another may use it. Threads: any.
class Strand {
 public:
  // The name is for reports.
  explicit Strand(std::string name = {});
  ~Strand();
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  // As fibrio::create_task, but the task is on this strand. From outside of the loop use EventLoop::create_task
  // with TaskOptions::strand. Throws also: RuntimeError if the strand has tasks of another loop.
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto create_task(F&& function, A&&... arguments) {
    return create_task(TaskOptions(), std::forward<F>(function), std::forward<A>(arguments)...);
  }
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto create_task(TaskOptions options, F&& function, A&&... arguments) {
    options.strand = this;
    return detail::create_task_on({}, &options, std::forward<F>(function), std::forward<A>(arguments)...);
  }

  // Calls `function` on this strand and returns what it returns; on the calling task, if that is on the strand
  // already.
  // Waits: until it has run, unless the caller is on the strand. Cancel: passed on to it. Throws: what it
  // throws; RuntimeError as create_task.
  template <class F>
  auto run(F&& function) -> detail::TaskValue<F> {
    if (current() != nullptr && current()->state() == state_) return std::invoke(std::forward<F>(function));
    return await(create_task(std::forward<F>(function)));
  }

  // The strand of the running task or callback; null if it is free. Good while that runs.
  [[nodiscard]] static Strand* current() noexcept;

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] StrandStats stats() const noexcept;

  // For the library's own use.
  [[nodiscard]] detail::StrandState* state() const noexcept { return state_; }

 private:
  friend class detail::StrandState;
  explicit Strand(detail::StrandState& part_of) noexcept : state_(&part_of), owns_(false) {}

  detail::StrandState* state_;
  bool owns_ = true;
};

}  // namespace fibrio
