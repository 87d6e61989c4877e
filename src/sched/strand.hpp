// What: a strand: tasks and callbacks that never run in parallel, as if they had an asyncio loop of their own
// (design, D9). It has a queue, passes and timers, as a loop with one worker; the workers run it pass by pass.
//
// Threads: push and arm: any. The plain fields: whoever runs the strand.
//
// Protocol.
//  1. The strand as a whole stands in a run queue, at most once (StrandInbox), and is stolen there like a task.
//     Worker::run_strand runs one pass: what was ready when it began, then the timers that were due.
//  2. What becomes ready while the strand runs here goes to `local`, without an atomic; from elsewhere it goes
//     through the inbox. A pass may be cut short so that the worker looks around; it is continued, not begun anew.
//  3. Timers of its tasks and callbacks are in a wheel of its own, so that they fire between its code, never
//     beside it, in asyncio's order. When it rests, the alarm, in the wheel of the worker that ran it last, is
//     set for the earliest of them. Who arms something earlier meanwhile wakes the strand (rule 4 of Timers).
//  4. References: the handle, each task and callback on it, the alarm while it is set, and one while it is not
//     idle (taken by who wakes it, released by the runner when it rests). So a strand whose wheel is not empty
//     lives.
//  With one worker a strand is only a name: everything is in one queue already.
//
// Rejected: the workers' wheels for its timers (they would fire beside its code, and in an order that depends on
// where it ran); a thread for each strand.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "fibrio/strand.hpp"
#include "queue/local_queue.hpp"
#include "queue/runnable.hpp"
#include "sched/strand_inbox.hpp"
#include "sched/timers.hpp"

namespace fibrio::detail {

class Scheduler;

class StrandState final : public Runnable {
 public:
  explicit StrandState(std::string its_name);
  StrandState(const StrandState&) = delete;
  StrandState& operator=(const StrandState&) = delete;

  void add_ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // acq_rel: the last one sees what the others did.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // Its tasks are of one loop at a time. RuntimeError if that is another one, and lives.
  void bind(Scheduler& scheduler);

  // True: the caller queues the strand.
  [[nodiscard]] bool push(Runnable& item) noexcept { return inbox_.push(item); }

  // Its timers, made at the first use; null: no memory.
  [[nodiscard]] Timers* timers_or_null(std::int64_t now_ns) noexcept;
  // True: the strand rests past this deadline, and the caller queues it.
  [[nodiscard]] bool wake() noexcept { return inbox_.wake(); }

  // --- the runner ------------------------------------------------------------------------------------------

  // Begins a pass, or goes on with the one that was cut short.
  void begin(Worker& worker) noexcept;
  // The pass is over, or cut short. True: the strand rests; the runner lets go of its reference and touches
  // nothing else of it. False: it goes back into a run queue.
  [[nodiscard]] bool end(Worker& worker) noexcept;

  // For the end of the loop, if it stands in a run queue: lets go of callbacks and timers, unrun, and of the
  // reference of the runner that never came.
  void drop() noexcept;

  LocalQueue local;
  std::size_t pass_left = 0;   // of `local`: items of this pass not yet taken
  std::uint64_t last_run = 0;  // the number of the loop's run whose last pass it has had
  const std::string name;
  Strand handle;  // what Strand::current() points to

  struct Counters {
    std::atomic<std::uint64_t> steps{0}, passes{0}, waited_ns{0}, longest_wait_ns{0};
    std::atomic<std::size_t> queue_length{0};
  } counters;
  // When it became ready to run; by whoever queued it.
  std::atomic<std::int64_t> ready_since_ns{0};

 private:
  struct Alarm : TimerEntry {
    explicit Alarm(StrandState& its_strand) noexcept : TimerEntry(&claim_due), strand(its_strand) {}
    StrandState& strand;
  };

  ~StrandState();
  static TimerEntry::Action claim_due(TimerEntry& entry, bool drop) noexcept;
  void set_alarm(Worker& worker, std::int64_t wanted_ns) noexcept;

  StrandInbox<std::atomic> inbox_;
  std::atomic<std::uint32_t> references_{1};
  std::atomic<std::uint64_t> loop_id_{0};
  std::atomic<Scheduler*> scheduler_{nullptr};
  bool has_due_ = false;
  std::size_t begun_with_ = 0;  // items of the pass, when this worker took it up
  // Writer: the first to arm something (release). Readers: the runner and who arms (acquire).
  std::atomic<Timers*> timers_{nullptr};
  Alarm alarm_;
  // When the alarm goes off; Timers::kNever: not set. Writers: the runner, the claim.
  std::atomic<std::int64_t> alarm_ns_{Timers::kNever};
};

}  // namespace fibrio::detail
