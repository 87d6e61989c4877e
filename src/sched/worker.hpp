// What: one worker: an OS thread with a run queue, a reactor, a timer wheel and warm stacks; and the three
// calls between what waits and what runs (design, D2): schedule, suspend, ready.
//
// Threads: its own, except what says otherwise. A fiber that was suspended may continue on another worker:
// nothing here may be used after suspend() but what that returns.
//
// Protocol of a suspend: the task names a commit, picks what runs next, and switches straight to it. Whatever
// is switched to first stores the task's context and then runs the commit (arrive), which publishes the
// waiter, puts the task at the queue's tail, or gives its stack back. So no waker ever sees a half-saved
// fiber.
//
// With one worker ("solo") there is one plain FIFO and the loop goes pass by pass, as asyncio: take what came
// from outside, poll, move due timers, run what was ready at that moment, then the due timers in order. Tasks
// switch to each other without visiting the loop's own context, also over the end of a pass when nothing else
// is to be done there. With more workers there are no passes: ring, LIFO slot, inject queue, stealing,
// claiming, parking.
//
// A strand stands in the queues as one item; while the loop runs it (run_strand), tasks switch to the next one
// of its pass.
//
// An eager task begins on the spot: its creator (a task, or the loop's context with a callback) is put on a stack
// of creators, and is what runs next when the new task stops for the first time (start_eagerly).
//
// Rejected: always switching through the loop's own context (two switches per yield instead of one).
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/counter.hpp"
#include "base/sanitizers.hpp"
#include "fiber/overflow.hpp"
#include "fiber/stack_cache.hpp"
#include "fiber/switch.hpp"
#include "queue/inject_queue.hpp"
#include "queue/lifo_slot.hpp"
#include "queue/local_queue.hpp"
#include "queue/run_queue.hpp"
#include "sched/frame_cache.hpp"
#include "sched/reactor.hpp"
#include "sched/strand.hpp"
#include "sched/task_core.hpp"
#include "sched/this_worker.hpp"
#include "sched/timers.hpp"
#include "sched/tuning.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

class Scheduler;

// What a task may do in one step before it looks around; see task/budget.hpp.
struct StepBudget {
  std::uint8_t operations = kBudget;
  std::uint8_t looks = kLooksPerYield;
  std::uint8_t turns = kBudget;
  std::uint8_t turn_looks = kLooksPerYield;

  // At each switch: one store of a number, which compilers do not make of an assignment.
  void renew() noexcept;
};
inline void StepBudget::renew() noexcept {
  constexpr auto kFresh = std::bit_cast<std::uint32_t>(StepBudget{});
  std::memcpy(this, &kFresh, sizeof kFresh);
}

// What one task of a strand does comes before what the next one does, wherever they run.
inline void tsan_release_strand([[maybe_unused]] TaskCore& core) noexcept {
#ifdef FIBRIO_TSAN
  if (core.strand != nullptr) tsan_release(core.strand);
#endif
}
inline void tsan_acquire_strand([[maybe_unused]] TaskCore& core) noexcept {
#ifdef FIBRIO_TSAN
  if (core.strand != nullptr) tsan_acquire(core.strand);
#endif
}
// The task that runs on a worker. Written by that alone; others read it for a look, never through it.
class RunningTask {
 public:
  RunningTask& operator=(TaskCore* core) noexcept {
    core_.store(core, std::memory_order_relaxed);
    return *this;
  }
  operator TaskCore*() const noexcept { return core_.load(std::memory_order_relaxed); }  // NOLINT
  TaskCore* operator->() const noexcept { return *this; }

 private:
  std::atomic<TaskCore*> core_{nullptr};
};

// What is done once the context of the task that stops is saved.
using Commit = void (*)(void* argument, Worker& worker) noexcept;

class Worker : public SwitchSlot {
 public:
  Worker(Scheduler& scheduler, std::size_t index, std::uint64_t seed);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // --- the owner -------------------------------------------------------------------------------------------

  // Runs until the scheduler stops. On the worker's own thread, outside of any fiber.
  void run();

  // A task that was suspended may run again: behind what is ready (one worker), or next (LIFO slot).
  void make_ready(TaskCore& core) noexcept;
  // The same, as the last thing that the running task does before it ends: with several workers it is what this one
  // runs next, and need not be put where others may take it.
  void run_next(TaskCore& core) noexcept;
  // Something new may run: behind what is ready.
  void schedule(Runnable& item) noexcept;
  // The same for what was taken out of a wait by events, in order.
  void make_ready(RunnableChain chain) noexcept;
  // Something that concerns a strand may be due there.
  void wake_strand(StrandState& strand) noexcept;

  // True: the strand is run here and now.
  [[nodiscard]] bool runs(const StrandState& strand) const noexcept { return solo || strand_ == &strand; }
  // A callback whose time has come: runs it, or queues it on its strand if that is not run here.
  void run_due(Runnable& callback) noexcept;

  // Begins a new task at once; returns when it has stopped for the first time, or ended. From a task or a
  // callback.
  void start_eagerly(TaskCore& core) noexcept;

  // The strand of what runs here; null: none.
  [[nodiscard]] StrandState* current_strand() const noexcept {
    const Runnable* item = current != nullptr ? static_cast<const Runnable*>(current) : callback;
    return item == nullptr ? nullptr : item->strand;
  }
  // Where a timer of what runs here belongs, and where one of `on` does.
  [[nodiscard]] Timers& timers_here() noexcept { return timers_of(current_strand()); }
  [[nodiscard]] Timers& timers_of(StrandState* on) noexcept {
    Timers* found = on == nullptr || solo ? nullptr : on->timers_or_null(now_ns);
    return found == nullptr ? timers : *found;
  }

  // The clock, read anew (and remembered as `now_ns`).
  std::int64_t read_clock() noexcept;
  // For the end of the loop: what is still queued, one by one.
  [[nodiscard]] Runnable* take_for_drop() noexcept;

  // The running task is about to wait for another one. What it made ready, or created, in this step runs first, the
  // newest first: so a tree of tasks is walked depth first, and only a path of it is alive at a time.
  void expect_join() noexcept {
    if (!solo && ring_.end() > step_begin_) newest_from_ = std::min(newest_from_, step_begin_);
  }

  // Where an fd belongs that is waited for here for the first time.
  [[nodiscard]] Reactor& reactor_for_new_fd() noexcept;

  // Counts one operation of a task that may not have to wait; true if it is to look around now: see task/budget.hpp.
  // A turn is an operation that never gives way in asyncio.
  [[nodiscard]] bool spend_budget() noexcept { return --budget_.operations == 0; }
  [[nodiscard]] bool spend_turn() noexcept { return --budget_.turns == 0; }
  // After one of these was true. True: the task gives way.
  [[nodiscard]] bool renew_budget(bool is_turn) noexcept;
  [[nodiscard]] bool renew_turns() noexcept;
  // Timers of what runs here wait for the end of its step.
  [[nodiscard]] bool has_overdue_timers() noexcept;

  // Something outside of the loop will make something ready in a few microseconds: worth not to sleep for.
  void expect_completion() noexcept {
    if (spins_left_out_ == 0) {
      expects_completion_ = true;
    } else {
      --spins_left_out_;
    }
  }

  // --- any thread ------------------------------------------------------------------------------------------

  // The loop should look around before the next pass or item. release: partner of the acquire in run_solo.
  void want_attention() noexcept { attention_.store(true, std::memory_order_release); }
  // For who is about to park (see IdleSet).
  [[nodiscard]] bool has_work_seq_cst() const noexcept { return !ring_.is_empty_seq_cst(); }
  // Makes it return from its sleep, or not go to sleep.
  void unpark() noexcept;
  // Debug mode: measures steps from the next switch on; 0: no longer.
  void set_debug_round(std::uint32_t round) noexcept { debug_round_.store(round, std::memory_order_relaxed); }
  [[nodiscard]] bool is_debugging() const noexcept {
    return debug_round_.load(std::memory_order_relaxed) != 0;
  }

  // The owner, in debug mode: a task's step has come to its end, whatever ran it may be gone soon.
  void end_step() noexcept;

  RunningTask current;           // what runs here; null in callbacks and in the loop itself
  Runnable* callback = nullptr;  // the callback that runs here
  Scheduler& scheduler;
  const std::size_t index;
  const bool solo;
  Reactor reactor;
  Timers timers;
  StackCache stacks;
  const cpu_set_t* former_cpus = nullptr;  // of the thread, while it is bound to one: see thread_pin.hpp
  FrameCache frames;
  std::int64_t now_ns;  // the clock when it was last read

  struct Counters {
    Counter tasks_run, callbacks_run, stolen, claims, polls, parks, unparks, searches, failed_searches;
  } counters;
  alignas(kCacheLine) std::atomic<std::uint64_t> stolen_from{0};  // written by thieves

  [[nodiscard]] std::size_t queue_length() const noexcept;
  // What is ready here, or waits, is suspended for good: its context is saved. False while a task that gets no stack is
  // destroyed, perhaps on the stack of one that is about to be suspended. For the owner.
  [[nodiscard]] bool has_saved_all() const noexcept { return !is_failing_task_; }

 private:
  static constexpr std::uint64_t kNoJoin = UINT64_MAX;

  friend class Scheduler;
  friend Worker& suspend(Worker& worker, WaitReason reason, Commit commit, void* argument) noexcept;
  friend void yield_current(Worker& worker) noexcept;

  // switching
  static void enter_fiber(SwitchSlot& slot) noexcept;
  void arrive() noexcept;
  [[gnu::noinline, gnu::cold]] void arrive_in_debug() noexcept;
  void finish_arrival() noexcept;
  void begin_step() noexcept;
  // What runs next if that is a task and the loop need not look at anything else first; null: the loop
  // decides.
  [[nodiscard]] TaskCore* take_next() noexcept;
  [[nodiscard]] bool begin_quick_pass() noexcept;
  [[nodiscard]] TaskCore* take_next_of_strand() noexcept;
  [[nodiscard]] TaskCore* take_creator() noexcept;
  [[nodiscard]] bool give_stack(TaskCore& core) noexcept;
  void make_ready_shared(TaskCore& core) noexcept;
  void schedule_shared(Runnable& item) noexcept;
  void run_item(Runnable& item) noexcept;
  void run_callback(Runnable& item) noexcept;
  void run_strand(StrandState& strand) noexcept;
  // What has to be queued for an item that is ready: the item, or its strand, or nothing. Several workers only.
  [[nodiscard]] Runnable* post(Runnable& item) noexcept;
  [[nodiscard]] Runnable* announce(StrandState& woken) noexcept;
  static void recycle_stack(void* stack, Worker& worker) noexcept;

  // one worker
  void run_solo();
  void sleep_solo();

  // several workers
  void run_shared();
  void run_last_pass() noexcept;
  [[nodiscard]] Runnable* next_shared() noexcept;
  [[nodiscard]] Runnable* take_own() noexcept;
  [[nodiscard]] Runnable* take_overtaken() noexcept;
  [[nodiscard]] Runnable* take_injected() noexcept;
  [[nodiscard]] Runnable* steal() noexcept;
  [[nodiscard]] Runnable* search() noexcept;
  void look_around() noexcept;
  // Before items or callbacks are run: ends the search, and says to the watch that this worker runs.
  void begin_running() noexcept;
  bool fire_timers(Timers& of) noexcept;
  // It runs something for so long that its neighbours run its reactor and timers. For others.
  [[nodiscard]] bool is_stalled(std::int64_t at_ns, std::int64_t after_ns) const noexcept;
  // Runs the neighbour's reactor and timers; true if there was something.
  bool claim(Worker& neighbour) noexcept;
  bool claim_stalled_neighbours() noexcept;
  // Takes ready tasks from it, behind what is ready here.
  void relieve(Worker& neighbour) noexcept;
  void on_watch(bool is_idle) noexcept;
  void sleep_shared();
  void push_ring(Runnable& item) noexcept;
  [[nodiscard]] bool is_worth_waking(std::size_t waiting) const noexcept;
  void measure_steps() noexcept;
  void push_yielded(TaskCore& core) noexcept;
  // What has run and goes on: behind what is ready, without waking anybody for it alone.
  void push_again(Runnable& item) noexcept;
  void send_to_neighbour(Runnable& item) noexcept;

  // Before a sleep: true if something came that was expected, or anything else.
  [[nodiscard]] bool spin_for_completion() noexcept;
  void poll_now(std::int64_t timeout_ns) noexcept;
  // The same, without making ready what came.
  void take_events(std::int64_t timeout_ns, RunnableChain& ready) noexcept;
  void fire_due(Timers& timers) noexcept;
  void maintain() noexcept;
  [[nodiscard]] std::int64_t sleep_time(std::int64_t until_ns) noexcept;
  [[nodiscard]] std::uint32_t random_below(std::uint32_t bound) noexcept;

  // hot
  alignas(kCacheLine) Commit commit_ = nullptr;
  void* commit_argument_ = nullptr;
  std::size_t pass_left_ = 0;  // solo: items of this pass not yet taken
  std::uint32_t ticks_ = 0;    // items run since the last poll
  StepBudget budget_;
  std::uint32_t lifo_streak_ = 0;
  bool searching_ = false;
  bool watch_expired_ = false;
  bool has_due_ = false;          // solo: timers to fire at the end of this pass
  bool is_failing_task_ = false;  // perhaps on the stack of one that is about to be suspended
  bool pass_is_new_ = false;      // solo: begun by a task that has not stopped yet
  std::atomic<bool> attention_{false};
  // Counts up each time debug mode is switched on: a step that began in another round is not measured.
  std::atomic<std::uint32_t> debug_round_{0};
  std::uint32_t step_round_ = 0;   // in which the present step began
  TaskCore* step_task_ = nullptr;  // whose step that is; null: none
  std::int64_t step_start_ns_ = 0;
  std::int64_t late_ns_ = 0;  // when a look of a task finds that no poll has come for too long; 0: not known
  LocalQueue local_;          // solo
  StrandState* strand_ = nullptr;  // several: what is run here
  Runnable* creators_ = nullptr;   // what began an eager task that has not stopped yet; newest first
  Runnable loop_as_creator_{RunnableKind::kCallback};
  // (std::exchange would be instrumented.)
  [[nodiscard]] Runnable* take_stashed() noexcept {
    Runnable* const item = stashed_;
    stashed_ = nullptr;
    return item;
  }

  // With several workers, what runs next, whatever is in the queues: a callback that take_next came upon, or what
  // waited for the task that ends (run_next).
  Runnable* stashed_ = nullptr;
  AltStackMemory alt_stack_memory_;
  Fiber main_;  // the loop's own context
  Fiber dead_;  // where the context of a fiber that ended is "saved"
  FiberRemains dead_remains_;

  RunQueue<> ring_;
  std::uint64_t step_begin_ = 0;         // the ring's end when the present step began
  std::uint64_t newest_from_ = kNoJoin;  // what is behind that in the ring goes newest first
  std::int64_t overtaken_turn_ns_ = 0;   // when one that is overtaken had its turn last
  std::int64_t step_ns_ =
      kUnknownStepNs;             // what a step here takes: the last look's, or less and less of more
  std::int64_t measured_ns_ = 0;  // when that was last measured
  std::uint64_t measured_steps_ = 0;
  LifoSlot<> lifo_;
  std::unique_ptr<Poller>
      front_;              // virtual time, several workers: tells that the reactor has events, and takes none
  InjectQueue<> mailbox_;  // tasks for this worker only: forced migration

  // Who sleeps and who looks. Written by the owner (and unpark), read by all.
  alignas(kCacheLine) std::atomic<bool> signalled_{false};
  std::atomic<bool> running_{false};           // has run something since its last sleep
  std::atomic<std::int64_t> last_look_ns_{0};  // when it polled last
  std::uint64_t random_state_;
  std::int64_t next_maintenance_ns_ = 0;
  std::uint64_t tasks_at_maintenance_ = 0;
  bool needs_maintenance_ = false;
  bool expects_completion_ = false;
  std::uint32_t spins_left_out_ = 0;
  std::atomic<bool> held_for_jump_{false};  // a jump of virtual time waits for this worker to wake
};

inline void Worker::finish_arrival() noexcept {
  budget_.renew();
  step_begin_ = ring_.end();
  if (commit_ != nullptr) {
    tsan_acquire(&commit_);
    const Commit commit = commit_;
    commit_ = nullptr;
    commit(commit_argument_, *this);
  }
  // The task that stopped was the last of its pass: what its commit made ready belongs to the pass after that.
  if (pass_is_new_) {
    pass_is_new_ = false;
    pass_left_ = local_.size();
  }
}

inline void Worker::arrive() noexcept {
  if (is_debugging()) [[unlikely]]
    return arrive_in_debug();
  finish_arrival();
}

// Stops the calling task: `commit` runs once its context is saved. Returns, when the task was made ready and
// its turn has come, the worker it is on then.
Worker& suspend(Worker& worker, WaitReason reason, Commit commit, void* argument) noexcept;
// The same with the commit "to the queue's tail".
void yield_current(Worker& worker) noexcept;
// The strand of the running task or callback; null: none.
[[nodiscard]] StrandState* current_strand() noexcept;

// Makes a suspended task ready from any thread. The loop cannot go away before the task has run.
void make_ready_anywhere(TaskCore& core) noexcept;

[[noreturn]] void refuse_without_task(const char* what, const Worker* worker);
// The worker that runs the calling task; RuntimeError, saying what was tried, in a callback or a plain
// thread.
[[nodiscard]] inline Worker& require_task(const char* what) {
  Worker* const worker = this_worker();
  if (worker == nullptr || worker->current == nullptr) [[unlikely]]
    refuse_without_task(what, worker);
  return *worker;
}

// Cancellation is not delivered while the calling task unwinds or holds a mask.
[[nodiscard]] inline bool is_masked(const Worker& worker) noexcept {
  return worker.current->cancel_masks != 0 || worker.exceptions->uncaught != 0;
}
[[nodiscard]] inline WaitPhase wait_phase(const Worker& worker) noexcept {
  return is_masked(worker) ? WaitPhase::masked : WaitPhase::waiting;
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
