// What a loop tells about itself: counters, its tasks and their stacks, who waits for whom.
//
//   fibrio::dump_tasks(std::cerr);                          // all of them, in words
//   fibrio::print_call_graph(task);                         // one, and whoever waits for it
//   for (const auto& frame : task.get_stack()) std::cerr << frame << '\n';
//
// Looking at a task that waits holds it there meanwhile, for some µs: whoever would wake or cancel it spins.
// Nothing here waits, so all of it may be called from tasks, callbacks and other threads. What puts frames
// into words reads symbol tables and takes apart long names: do that on a stack of at least 64 KiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/stack_frame.hpp"
#include "fibrio/tasks.hpp"
#include "fibrio/wait_reason.hpp"

namespace fibrio {

class EventLoop;

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

enum class TaskState : std::uint8_t {
  kReady,    // it has not started yet, or its wait is over and its turn is to come
  kRunning,  // on some worker, at this moment
  kWaiting,
  kDone,
};

// One task at one moment.
struct TaskInfo {
  std::string name;
  TaskState state = TaskState::kDone;
  int cancelling = 0;
  // The rest only of a task that waits.
  WaitReason reason = WaitReason::kNothing;
  AnyFuture awaited = {};                         // the future or task it awaits; empty if it awaits none
  std::optional<Duration> waiting_time = {};      // in debug mode only
  int cancel_masks = 0;                           // how many CancelMask it holds
  std::vector<StackFrame> stack = {};             // innermost frame first, without the library's own
  std::vector<StackFrame> source_traceback = {};  // where it was created; of any state, in debug mode only
};

// Looks at a task. Waits: no. Threads: any.
[[nodiscard]] TaskInfo inspect(const AnyTask& task);

// A future, with the tasks that wait for it, and those that wait for them.
struct FutureCallGraph {
  // Why the graph does not go on here, though somebody may wait for this future.
  enum class Cut : std::uint8_t {
    kNone,
    kCycle,     // it waits for itself, over the ones below: none of them can ever go on
    kRepeated,  // it stands in this graph before
    kTooDeep,
  };

  AnyFuture future;
  std::vector<StackFrame> call_stack;       // of a task; as TaskInfo::stack
  std::vector<FutureCallGraph> awaited_by;  // tasks
  Cut cut = Cut::kNone;
};

// Captures whoever waits for the future: by await, gather, wait, as_completed, shield, wait_for or as its
// task group. `limit` keeps so many frames of each stack: the outermost ones, or if it is negative the
// innermost; 0: none.
// Waits: no. Threads: any. asyncio: capture_call_graph.
[[nodiscard]] FutureCallGraph capture_call_graph(const AnyFuture& future, std::optional<int> limit = {});
// The same of the running task; nothing inside a callback. Throws: RuntimeError outside a running loop.
[[nodiscard]] std::optional<FutureCallGraph> capture_call_graph(std::optional<int> limit = {});

// Puts a graph into words, as asyncio's functions of these names do. Without a future: of the running task;
// empty inside a callback.
[[nodiscard]] std::string format_call_graph(const FutureCallGraph& graph);
[[nodiscard]] std::string format_call_graph(const AnyFuture& future, std::optional<int> limit = {});
[[nodiscard]] std::string format_call_graph(std::optional<int> limit = {});
// To standard output, or to `out`.
void print_call_graph(const AnyFuture& future, std::optional<int> limit = {});
void print_call_graph(const AnyFuture& future, std::ostream& out, std::optional<int> limit = {});
void print_call_graph(std::optional<int> limit = {});

// Writes all tasks of the loop that are not done: name, state, what it waits for and since when, stack, where
// it was created, who waits for it; and the cycles of tasks that wait for each other. (Times and creation
// sites: in debug mode.) Each task is looked at by itself while the others go on.
// Waits: no. Throws: RuntimeError outside a running loop, if none is given. Threads: any; from outside the
// loop must live on meanwhile.
void dump_tasks(std::ostream& out);
void dump_tasks(std::ostream& out, EventLoop& loop);

}  // namespace fibrio
