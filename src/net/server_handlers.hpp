// What: the handlers of a server that run, and who waits for their end.
//
// Threads: any; what waits, tasks only, except wait_masked.
//
// Protocol.
//  1. A handler counts from before its task is made (its Ticket) until what its task runs is destroyed: then nothing
//     refers any more to what it was given by reference.
//  2. A handler that waits for the end of all waits neither for itself nor for others that do the same; whoever else
//     waits does wait for it. A task that waits does not wait for a handler that waits for this task, directly or by
//     others (all_waiting_for); nor does a handler that waits.
//  3. A task looks who waits for it before it suspends, and when one of the last few handlers has left. A cancel ends
//     its suspension too, also in a destructor: a cancelled handler that begins to await the task passes its cancel on,
//     so the task looks again. The request is delivered later (put_back). A handler that has swallowed its cancel is
//     found by a look at a time, and named in a report if it is not found.
//  4. The wait's end is looked for under the lock in the task's commit, and whoever changes the table takes the tasks
//     that are parked off the list under that lock: so no change is missed.
//
// Rejected: a future for each wait (~Server must wait without memory); counting connections, which end before their
// handlers (close_clients) or after them (data that is flushed); noting at the cancel who awaits the caller (a handler
// may begin to a moment later, and both waited for ever).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "fibrio/clock.hpp"
#include "fibrio/tasks.hpp"
#include "structured/parking.hpp"
#include "task/loop_services.hpp"

namespace fibrio::detail {

class ServerHandlers : public std::enable_shared_from_this<ServerHandlers> {
 public:
  // One handler; movable, empty once moved from.
  class Ticket {
   public:
    Ticket() noexcept = default;
    Ticket(Ticket&&) noexcept = default;
    Ticket& operator=(Ticket&& other) noexcept {  // of an empty one
      handlers_ = std::move(other.handlers_);
      id_ = other.id_;
      return *this;
    }
    ~Ticket() {
      if (handlers_ != nullptr) handlers_->leave(id_);
    }
    // The task that it runs in is made, or runs. Cancelled at once if all are to end.
    void bind(const AnyTask& task) const { handlers_->bind(id_, task); }

   private:
    friend class ServerHandlers;
    Ticket(std::shared_ptr<ServerHandlers> handlers, std::uint64_t id) noexcept
        : handlers_(std::move(handlers)), id_(id) {}
    std::shared_ptr<ServerHandlers> handlers_;
    std::uint64_t id_ = 0;
  };

  [[nodiscard]] Ticket enter();
  [[nodiscard]] static std::uint64_t id_of(const Ticket& ticket) noexcept { return ticket.id_; }
  // Nothing if it has ended by now.
  void bind(std::uint64_t id, const AnyTask& task);

  // Cancels all but the caller's own, and those that come to a task later.
  void cancel_all() noexcept;
  // True: none runs, apart from those that wait here. False: the time was up. Cancel: CancelledError.
  [[nodiscard]] bool wait_until(std::optional<TimePoint> end);
  // For a destructor: cannot be cancelled. In a task it suspends, on a plain thread it blocks, while the loop runs;
  // in a callback, and when the loop does not run, it returns at once.
  void wait_masked(const LoopIdentity& loop) noexcept;

 private:
  struct Entry {
    AnyTask task;
    bool was_cancelled = false;
    bool is_waiting = false;              // in wait_until
    const FutureState* awaits = nullptr;  // a task that does, when it looked last
  };
  // The calling task waits, as long as this lives.
  class Wait;
  friend class Wait;

  void leave(std::uint64_t id) noexcept;
  void tell_waiting() noexcept;

  std::mutex lock_;  // guards what follows
  std::map<std::uint64_t, Entry> entries_;
  std::uint64_t last_id_ = 0;
  std::uint64_t changes_ = 0;  // that who waits may have to see
  bool is_cancelling_ = false;
  std::condition_variable changed_;  // for plain threads
  ParkedTasks parked_;
};

}  // namespace fibrio::detail
