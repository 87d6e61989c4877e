// What: the workers of one loop, what they share, and how they start and stop together.
//
// Threads: any, unless said otherwise.
//
// Protocol of a run: the calling thread is worker 0. run() opens a round; the other workers' threads
// (made before the first task can run) take part in it. stop() sets the flag and unparks all; each worker runs
// what is ready with it once more, leaves its loop and arrives; run() returns when all have arrived. Between
// runs nothing of the loop runs. If the threads cannot be had a run throws, and the loop is as before; only the
// run of a loop that closes goes on with worker 0 alone, where all that was ever queued is.
//
// Calls from threads that are not workers of this loop:
//  1. What the user calls goes through the gate (sched/gate.hpp), which the closer closes and waits for.
//  2. What makes a suspended task ready, or found the loop in the table of those that live, counts itself in
//     (enter_external): end() takes the loop out of the table, and waits until they have left. The task cannot
//     end before the call has made it ready, nor the loop before its tasks.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fiber/overflow.hpp"
#include "fiber/stack_pool.hpp"
#include "fibrio/config.hpp"
#include "queue/inject_queue.hpp"
#include "sched/gate.hpp"
#include "sched/idle_set.hpp"
#include "sched/tuning.hpp"
#include "sched/watch_switch.hpp"
#include "sched/worker.hpp"

namespace fibrio {
class EventLoop;
}

namespace fibrio::detail {

class TaskRegistry;

// What the rooms above do when the scheduler gets to it.
struct SchedulerHooks {
  // Runs the body of a task on its fiber and completes it; the core may be gone afterwards.
  void (*run_task)(TaskCore& core) noexcept;
  // Completes a task that got no stack.
  void (*fail_task)(TaskCore& core, const StackFailure& failure) noexcept;
  // Runs a callback; it may be gone afterwards. With `drop`, lets go of it unrun.
  void (*run_callback)(Runnable& callback, bool drop) noexcept;
  // The name of a task, for reports; async-signal-safe. Returns the length.
  std::size_t (*name_task)(const TaskCore& core, char* buffer, std::size_t size) noexcept;
  // Debug mode: a step of the task took so long. It is the current one, or suspended and not published yet.
  void (*report_slow)(TaskCore& core, std::int64_t took_ns) noexcept;
  // A task has spent its turns (see task/budget.hpp). Throws CancelledError.
  void (*look_around_in_turn)(Worker& worker);
};

// A loop's entry in the table of those that live (see with_live_loop); out of it with the object at the latest.
class LiveLoop {
 public:
  explicit LiveLoop(Scheduler* scheduler);
  LiveLoop(const LiveLoop&) = delete;
  LiveLoop& operator=(const LiveLoop&) = delete;
  ~LiveLoop() { end(); }
  void end() noexcept;
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

 private:
  const std::uint64_t id_;
};

// The loop was made by a process that this one was forked from: nothing of it runs here (see sched/fork.hpp).
[[nodiscard]] bool is_loop_of_parent(std::uint64_t id) noexcept;

// A worker's thread.
struct WorkerThread {
  WorkerThread(Scheduler& its_scheduler, std::size_t its_index) noexcept
      : scheduler(its_scheduler), index(its_index) {}
  Scheduler& scheduler;
  const std::size_t index;
  pthread_t handle{};
  std::atomic<int> id{0};  // the system's; 0 until it runs
};

class Scheduler {
 public:
  Scheduler(const Config& config, std::size_t workers, const SchedulerHooks& hooks);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();
  // Ends the threads, drops callbacks and timers that are left, releases stacks and fds. Every task must have
  // ended. Idempotent; afterwards nothing can be scheduled.
  void end() noexcept;

  // Makes the threads of the other workers, unless there are some. Throws std::system_error, naming the limits of
  // threads, if one cannot be had; then there are none. Threads: any.
  void make_threads();
  // Works until stop(); returns with nothing running. The calling thread is worker 0 meanwhile. Throws as
  // make_threads, but not if the loop `closes`: then worker 0 works alone.
  void run(bool closes = false);
  void stop() noexcept;
  [[nodiscard]] bool is_running() const noexcept { return running_.load(std::memory_order_acquire); }
  // Worker 0 is the only one that runs. For workers.
  [[nodiscard]] bool works_alone() const noexcept { return works_alone_; }
  // How many runs began. For workers and between runs.
  [[nodiscard]] std::uint64_t run_number() const noexcept { return runs_; }
  // With virtual time: the last run ended because nothing could ever run again.
  [[nodiscard]] bool ended_in_deadlock() const noexcept { return deadlock_; }

  // Makes something ready from any thread that may touch this loop (see External calls).
  void schedule_anywhere(Runnable& item) noexcept;
  void enter_external() noexcept { external_.fetch_add(1, std::memory_order_acq_rel); }
  void leave_external() noexcept { external_.fetch_sub(1, std::memory_order_acq_rel); }

  // Arms a timer of what is on this strand, or, if null, is free: on the calling worker, or on worker 0 from
  // elsewhere. The caller holds a reference on the strand.
  void arm_timer(TimerEntry& entry, std::int64_t deadline_ns, StrandState* on) noexcept;
  void arm_timer_outside(TimerEntry& entry, std::int64_t deadline_ns, StrandState* on) noexcept;

  [[nodiscard]] std::int64_t now_ns() const noexcept;
  [[nodiscard]] bool has_virtual_time() const noexcept { return virtual_; }
  // Debug mode: creation sites are kept, slow steps and callbacks reported. Any thread.
  void set_debug(bool enabled) noexcept;
  [[nodiscard]] bool is_debugging() const noexcept { return debugging_.load(std::memory_order_relaxed); }

  // Moves the virtual clock; never back.
  void advance_virtual_time(std::int64_t to_ns) noexcept;
  // Work elsewhere that will make something ready: while there is some, virtual time does not jump.
  void change_activity(int delta) noexcept;
  // Waits for what only the outside world can send: they hold virtual time for a while (kOutsideNs).
  void change_outside(int delta) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return worker_count_; }
  // What waits in the shared list: a guess while workers run.
  [[nodiscard]] std::size_t injected() const noexcept { return inject_.size(); }
  [[nodiscard]] std::size_t live_workers() const noexcept { return workers_.size(); }  // 0 after end()
  [[nodiscard]] Worker& worker(std::size_t index) noexcept { return *workers_[index]; }
  [[nodiscard]] const Worker& worker(std::size_t index) const noexcept { return *workers_[index]; }

  const SchedulerHooks hooks;

 private:
  LiveLoop live_;

 public:
  const std::uint64_t id;  // of this loop among all that ever lived in the process
  StackPool stack_pool;
  const std::size_t stack_size;
  const std::uint8_t stack_class;  // of that
  const bool pin_workers;
  const std::int64_t slow_ns;  // what debug mode calls slow
  [[nodiscard]] bool is_of_parent() const noexcept { return is_loop_of_parent(id); }
  [[nodiscard]] bool is_closed() const noexcept { return gate.is_closed(); }

  // For tests (FIBRIO_FORCE_MIGRATION=1): with several workers a task goes on with another worker after every
  // wait.
  bool forced_migration = false;

  TaskRegistry* registry = nullptr;  // set and owned by the room above
  EventLoop* event_loop = nullptr;   // the same
  Gate<> gate;

 private:
  friend class Worker;

  void push_outside(Runnable& item) noexcept;
  void push_strand_outside(StrandState& strand) noexcept;
  void run_thread(std::size_t index) noexcept;
  void begin_round() noexcept;
  void end_threads_locked() noexcept;
  static void* thread_main(void* worker_thread) noexcept;
  void run_worker(std::size_t index) noexcept;
  void wake_one_for_work(Worker* caller) noexcept;
  [[nodiscard]] bool is_stopping() const noexcept { return stopping_.load(std::memory_order_seq_cst); }
  [[nodiscard]] bool has_work_anywhere() const noexcept;
  // Tasks that one sleeping worker was unparked for, and nobody else can take.
  [[nodiscard]] bool has_mail_anywhere() const noexcept;
  // Virtual time, all workers idle: jumps, or stops the run as deadlocked. True if there is something to do
  // now; else `timeout_ns` may be set to when to ask again.
  [[nodiscard]] bool jump_virtual_time(std::int64_t& timeout_ns) noexcept;
  // Under the jump's lock. False if anything is ready, or under way.
  [[nodiscard]] bool is_quiet(std::int64_t& next_ns, std::size_t& fds) noexcept;
  // Whether the reactor of a worker has events that nobody has taken; waits so long at most.
  [[nodiscard]] bool has_events(std::int64_t timeout_ns) noexcept;
  // Virtual time: something came from outside.
  void note_outside() noexcept { outside_came_.store(true, std::memory_order_relaxed); }

  void end_jump() noexcept { jump_holds_.fetch_sub(1, std::memory_order_seq_cst); }
  void drop_callbacks() noexcept;

  // The watch: see sched/watch.cpp.
  void make_watch();
  void arm_watch(std::int64_t after_ns) noexcept;
  void start_watch() noexcept;
  void continue_watch(bool some_stalled, bool is_idle) noexcept;
  // Somebody goes to sleep.
  void hasten_watch() noexcept;
  static void on_watch_event(void* context, RunnableChain& ready) noexcept;
  const FdListener watch_listener_{&Scheduler::on_watch_event, this};

  const std::size_t worker_count_;
  const bool solo_;
  const bool virtual_;
  std::atomic<bool> debugging_{false};          // among what is only read
  std::atomic<std::uint32_t> debug_rounds_{0};  // how often it was switched on
  std::atomic<std::int64_t> virtual_now_{0};
  std::atomic<int> activity_{0};
  std::atomic<int> outside_{0};
  std::atomic<bool> outside_came_{false};   // a hint: late, the clock waits longer
  std::atomic<bool> outside_began_{false};  // the same: a wait for it began
  std::mutex jump_lock_;
  // Guarded by jump_lock_, in real time.
  std::int64_t quiet_since_ns_ = 0;  // nothing came from outside
  std::int64_t stuck_since_ns_ = 0;  // and there is no deadline, either; 0: there is
  bool waited_in_vain_ = false;      // for the outside, since something came from there last
  std::unique_ptr<Poller> events_;   // virtual time: of all reactors, see has_events
  std::atomic<int> jump_holds_{0};   // workers that a jump woke and that are not awake yet
  OverflowWatch overflow_watch_;
  std::vector<std::unique_ptr<Worker>> workers_;
  InjectQueue<> inject_;
  IdleSet<> idle_;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> running_{false};
  bool deadlock_ = false;
  bool works_alone_ = false;                          // worker 0; written before a run
  std::uint64_t runs_ = 0;                            // written before the gate opens
  alignas(kCacheLine) std::atomic<int> external_{0};  // apart from what every worker reads for every item

  alignas(
      kCacheLine) sys::UniqueFd watch_fd_;  // a timerfd that every worker's epoll knows; none with one worker
  WatchSwitch<> watch_;
  std::atomic<std::int64_t> watch_period_ns_{kWatchMinNs};
  // Writers: who got an expiry, who goes to sleep; relaxed: late, it costs a period.
  std::atomic<bool> watch_waits_longer_{false};  // armed by a busy worker for more than the period

  // Taken before round_lock_. Guards the threads: runs, and whoever is about to create a task, make them.
  std::mutex threads_lock_;
  std::vector<std::unique_ptr<WorkerThread>> threads_;

  std::mutex round_lock_;  // guards what follows
  std::condition_variable round_changed_;
  std::uint64_t round_ = 0;  // rounds begun
  std::size_t working_ = 0;  // threads that have not arrived yet
  bool threads_leave_ = false;
  std::exception_ptr failure_;  // of a worker that could not be set up
};

// The loops that live, by id: for what may outlive its loop (a late report, a completion from another
// thread). Calls `use` with the scheduler, entered, if the loop with this id lives; returns whether it did.
bool with_live_loop(Scheduler* scheduler, std::uint64_t id, void (*use)(Scheduler& scheduler, void* context),
                    void* context);
// For fork: the table's lock is held over it, and in the child none of the parent's loops lives.
void lock_live_loops() noexcept;
void unlock_live_loops() noexcept;
void forget_live_loops_locked() noexcept;

}  // namespace fibrio::detail
