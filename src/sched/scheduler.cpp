#include "sched/scheduler.hpp"

#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "base/check.hpp"
#include "base/machine.hpp"
#include "base/machine_time.hpp"
#include "base/syscalls.hpp"
#include "sched/thread_pin.hpp"
#include "sched/tuning.hpp"

namespace fibrio::detail {

namespace {

// The live loops. A mutex and a map: touched when a loop is made or ends, and by what may come too late.
struct LiveLoops {
  std::mutex lock;
  std::map<std::uint64_t, Scheduler*> by_id;
  std::uint64_t next_id = 1;
  std::uint64_t first_own_id = 1;  // lower ones are loops of the processes this one was forked from
};
LiveLoops& live_loops() {
  static LiveLoops& loops = *new LiveLoops;  // outlives every static destructor that drops a future
  return loops;
}

std::size_t name_of_running(char* buffer, std::size_t size) noexcept {
  Worker* worker = this_worker();
  if (worker == nullptr || worker->current == nullptr) return 0;
  return worker->scheduler.hooks.name_task(*worker->current, buffer, size);
}

// For a check that failed.
void describe_running() noexcept {
  char name[128];
  const std::size_t length = name_of_running(name, sizeof name);
  if (length != 0) std::fprintf(stderr, "fibrio: in task '%.*s'\n", static_cast<int>(length), name);
}

}  // namespace

LiveLoop::LiveLoop(Scheduler* scheduler)
    : id_([scheduler] {
        LiveLoops& loops = live_loops();
        std::lock_guard guard(loops.lock);
        loops.by_id.emplace(loops.next_id, scheduler);
        return loops.next_id++;
      }()) {}

void LiveLoop::end() noexcept {
  LiveLoops& loops = live_loops();
  std::lock_guard guard(loops.lock);
  loops.by_id.erase(id_);
}

void lock_live_loops() noexcept { live_loops().lock.lock(); }
void unlock_live_loops() noexcept { live_loops().lock.unlock(); }
void forget_live_loops_locked() noexcept {
  LiveLoops& loops = live_loops();
  loops.by_id.clear();
  loops.first_own_id = loops.next_id;
}
bool is_loop_of_parent(std::uint64_t id) noexcept { return id != 0 && id < live_loops().first_own_id; }

bool with_live_loop(Scheduler* scheduler, std::uint64_t id, void (*use)(Scheduler& scheduler, void* context),
                    void* context) {
  if (scheduler == nullptr) return false;
  {
    LiveLoops& loops = live_loops();
    std::lock_guard guard(loops.lock);
    if (!loops.by_id.contains(id)) return false;
    scheduler->enter_external();
  }
  struct Leave {
    Scheduler* scheduler;
    ~Leave() { scheduler->leave_external(); }
  } const leave{scheduler};
  use(*scheduler, context);
  return true;
}

Scheduler::Scheduler(const Config& config, std::size_t workers, const SchedulerHooks& its_hooks)
    : hooks(its_hooks),
      live_(this),
      id(live_.id()),
      stack_size(config.stack_size),
      stack_class(static_cast<std::uint8_t>(stack_class_of(config.stack_size))),
      pin_workers(config.pin_workers),
      slow_ns(config.slow_callback_duration.count()),
      worker_count_(workers),
      solo_(workers == 1),
      virtual_(config.virtual_time),
      overflow_watch_(stack_pool),
      idle_(workers) {
  tsan_have_threads();
  set_name_of_running(&name_of_running);
  set_describe_running(&describe_running);
  const std::uint64_t seed = config.seed != 0 ? config.seed : random_seed();
  for (std::size_t i = 0; i < workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(*this, i, seed + i * 0x9e3779b97f4a7c15U));
  }
  make_watch();
  if (virtual_) {
    events_ = std::make_unique<Poller>();
    for (const auto& worker : workers_) {
      const int error = events_->add(worker->reactor.poller().fd(), EPOLLIN, worker->index);
      if (error < 0) throw std::system_error(-error, std::system_category(), "epoll_ctl");
    }
  }
  set_debug(config.debug);
  const char* migrate = std::getenv("FIBRIO_FORCE_MIGRATION");
  forced_migration = !solo_ && migrate != nullptr && *migrate == '1';
}

Scheduler::~Scheduler() { end(); }

void Scheduler::set_debug(bool enabled) noexcept {
  if (debugging_.exchange(enabled, std::memory_order_relaxed) == enabled) return;
  const std::uint32_t round = enabled ? debug_rounds_.fetch_add(1, std::memory_order_relaxed) + 1 : 0;
  for (const auto& worker : workers_) worker->set_debug_round(round);
}

void Scheduler::end() noexcept {
  if (workers_.empty()) return;
  gate.close();
  live_.end();
  {
    std::lock_guard guard(threads_lock_);
    end_threads_locked();
  }
  // Somebody may still be between making the last task ready and leaving.
  while (external_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  drop_callbacks();
  workers_.clear();
}

void Scheduler::drop_callbacks() noexcept {
  const auto drop = [this](Runnable* item) {
    if (item->kind == RunnableKind::kStrand) return static_cast<StrandState*>(item)->drop();
    FIBRIO_CHECK(item->kind == RunnableKind::kCallback, "a task is left in a queue of a loop that ends");
    hooks.run_callback(*item, true);
  };
  for (;;) {
    bool any = false;
    for (const auto& worker : workers_) {
      while (Runnable* item = worker->take_for_drop()) {
        drop(item);
        any = true;
      }
    }
    while (Runnable* item = inject_.pop_front()) {
      drop(item);
      any = true;
    }
    for (const auto& worker : workers_) {
      while (TimerEntry* entry = worker->timers.take_any()) {
        static_cast<void>(entry->claim(*entry, true));
        any = true;
      }
    }
    if (!any) return;  // what a callback's destructor scheduled is gone too
  }
}

// --- running -----------------------------------------------------------------------------------------------

void Scheduler::run(bool closes) {
  works_alone_ = solo_;
  try {
    make_threads();
  } catch (const std::system_error&) {
    if (!closes) throw;
    works_alone_ = true;
  }
  // Without threads nothing was ever put into the other workers' queues.
  if (works_alone_) forced_migration = false;
  idle_.reset(works_alone_ ? 1 : worker_count_);
  deadlock_ = false;
  ++runs_;
  note_outside();
  running_.store(true, std::memory_order_release);
  if (!works_alone_) begin_round();
  run_worker(0);
  std::exception_ptr failure;
  {
    // Nothing of the loop runs when this returns.
    std::unique_lock guard(round_lock_);
    round_changed_.wait(guard, [this] { return working_ == 0; });
    failure = std::exchange(failure_, nullptr);
  }
  stopping_.store(false, std::memory_order_seq_cst);
  running_.store(false, std::memory_order_release);
  if (failure != nullptr) std::rethrow_exception(failure);
}

void Scheduler::run_worker(std::size_t index) noexcept {
  try {
    workers_[index]->run();
  } catch (...) {  // a thread that cannot be set up (its signal stack): the run ends with that
    {
      std::lock_guard guard(round_lock_);
      failure_ = std::current_exception();
    }
    stop();
  }
}

void Scheduler::stop() noexcept {
  enter_external();  // run() may return, and the loop go, as soon as the flag is set
  stopping_.store(true, std::memory_order_seq_cst);
  for (const auto& worker : workers_) {
    worker->want_attention();
    worker->unpark();
  }
  leave_external();
}

void Worker::run() {
  const AltStack alt_stack(alt_stack_memory_);
  reactor.set_timer_slack(sys::prctl(PR_GET_TIMERSLACK));
  std::optional<ThreadPin> pin;
  if (scheduler.pin_workers) former_cpus = pin.emplace(index).former_cpus();
  main_.adopt_thread();
  exceptions = exceptions_of_this_thread();
  entry = &Worker::enter_fiber;
  is_alone = solo;
  fp_environment = detail::fp_environment();
  set_sticky_fp_flags();
  set_this_worker(this);
  if (solo) {
    run_solo();
  } else {
    run_shared();
  }
  set_this_worker(nullptr);
  restore_fp_status(fp_environment);
  former_cpus = nullptr;
}

Runnable* Worker::take_for_drop() noexcept {
  if (stashed_ != nullptr) return take_stashed();
  if (Runnable* item = mailbox_.pop_front()) return item;
  return solo ? local_.pop_front() : take_own();
}

// --- work --------------------------------------------------------------------------------------------------

void Scheduler::schedule_anywhere(Runnable& item) noexcept {
  Worker* worker = this_worker();
  if (worker != nullptr && &worker->scheduler == this) {
    worker->schedule(item);
    return;
  }
  // Once it is queued it may run, end the run, and the loop may go before we are back.
  enter_external();
  StrandState* const strand = item.strand;  // read before the release, which covers it
  tsan_release(&item);
  if (strand == nullptr || solo_) {
    push_outside(item);
  } else if (strand->push(item)) {
    push_strand_outside(*strand);
  }
  leave_external();
}

void Scheduler::push_outside(Runnable& item) noexcept {
  if (virtual_) note_outside();
  inject_.push(&item);
  if (solo_) workers_[0]->want_attention();
  wake_one_for_work(nullptr);
}

void Scheduler::push_strand_outside(StrandState& strand) noexcept {
  strand.add_ref();  // the runner's
  strand.ready_since_ns.store(now_ns(), std::memory_order_relaxed);
  tsan_release(&strand);
  push_outside(strand);
}

void Scheduler::wake_one_for_work(Worker* caller) noexcept {
  const int sleeper = idle_.wake_for_work();
  if (sleeper == IdleSet<>::kNobody) return;
  workers_[static_cast<std::size_t>(sleeper)]->unpark();
  if (caller != nullptr) caller->counters.unparks.add();
}

bool Scheduler::has_work_anywhere() const noexcept {
  if (!inject_.is_empty_seq_cst()) return true;
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->has_work_seq_cst(); });
}

bool Scheduler::has_mail_anywhere() const noexcept {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return !worker->mailbox_.is_empty_seq_cst(); });
}

void Scheduler::arm_timer(TimerEntry& entry, std::int64_t deadline_ns, StrandState* on) noexcept {
  Worker* const here = this_worker();
  if (here == nullptr || &here->scheduler != this) [[unlikely]]
    return arm_timer_outside(entry, deadline_ns, on);
  Timers& timers = here->timers_of(on);
  if (!timers.arm(entry, deadline_ns)) return;
  if (&timers == &here->timers) {
    here->unpark();
  } else {
    here->wake_strand(*on);
  }
}

void Scheduler::arm_timer_outside(TimerEntry& entry, std::int64_t deadline_ns, StrandState* on) noexcept {
  enter_external();  // as in schedule_anywhere
  Worker& worker = *workers_[0];
  Timers& timers = worker.timers_of(on);
  if (timers.arm(entry, deadline_ns)) {
    if (&timers == &worker.timers) {
      worker.unpark();
    } else if (on->wake()) {
      push_strand_outside(*on);
    }
  }
  leave_external();
}

// --- time --------------------------------------------------------------------------------------------------

std::int64_t Scheduler::now_ns() const noexcept {
  return virtual_ ? virtual_now_.load(std::memory_order_acquire) : monotonic_ns();
}

void Scheduler::advance_virtual_time(std::int64_t to_ns) noexcept {
  std::int64_t now = virtual_now_.load(std::memory_order_relaxed);
  // release: who sees the time sees what was done before it came.
  while (now < to_ns && !virtual_now_.compare_exchange_weak(now, to_ns, std::memory_order_acq_rel)) {
  }
  if (Worker* worker = this_worker()) worker->read_clock();
}

void Scheduler::change_activity(int delta) noexcept {
  activity_.fetch_add(delta, std::memory_order_seq_cst);
  // The last one is gone: time may move on.
  if (delta < 0 && virtual_) workers_[0]->unpark();
}

void Scheduler::change_outside(int delta) noexcept {
  outside_.fetch_add(delta, std::memory_order_seq_cst);
  if (delta > 0) outside_began_.store(true, std::memory_order_relaxed);
  if (delta < 0 && virtual_) workers_[0]->unpark();  // as in change_activity
}

bool Scheduler::has_events(std::int64_t timeout_ns) noexcept {
  epoll_event event{};
  const std::int64_t before = timeout_ns == 0 ? 0 : monotonic_ns();
  while (events_->wait(std::span(&event, 1), timeout_ns) != 0) {
    if (!works_alone_ || event.data.u64 == 0) return true;
    // Of a worker without a thread: it was woken, and nobody else takes that.
    RunnableChain nothing;
    workers_[event.data.u64]->take_events(0, nothing);
  }
  // A signal ended the wait: as good as an event.
  return timeout_ns > 0 && monotonic_ns() - before < timeout_ns;
}

bool Scheduler::is_quiet(std::int64_t& next_ns, std::size_t& fds) noexcept {
  const auto nothing_is_ready = [&] {
    // First: what was under way outside has put its result into a queue before it took itself off.
    if (activity_.load(std::memory_order_seq_cst) != 0 || has_work_anywhere() || has_mail_anywhere()) {
      return false;
    }
    next_ns = Timers::kNever;
    fds = 0;
    for (const auto& worker : workers_) {
      next_ns = std::min(next_ns, worker->timers.next_deadline());
      fds += worker->reactor.size();
    }
    // One worker has just looked, and without fds and waits for the outside nothing can have come since.
    if (solo_ && fds == 0 && outside_.load(std::memory_order_seq_cst) == 0) return true;
    // A worker takes events only when it counts as awake (sleep_shared): what has come is seen here or there.
    return !has_events(0);
  };
  return solo_ ? nothing_is_ready() : idle_.all_asleep_during(nothing_is_ready);
}

bool Scheduler::jump_virtual_time(std::int64_t& timeout_ns) noexcept {
  std::unique_lock guard(jump_lock_, std::defer_lock);
  if (!solo_) guard.lock();
  if (jump_holds_.load(std::memory_order_seq_cst) != 0)
    return false;  // somebody is about to wake from the last jump
  std::int64_t next = Timers::kNever;
  std::size_t fds = 0;
  // With several workers: somebody is awake or will be; who parks last asks again.
  if (!is_quiet(next, fds)) return solo_ && !inject_.is_empty_seq_cst();
  const bool waits_outside = outside_.load(std::memory_order_seq_cst) != 0;
  if (fds != 0 || waits_outside) {
    const std::int64_t now = monotonic_ns();
    const bool began = outside_began_.exchange(false, std::memory_order_relaxed) && !waited_in_vain_;
    const bool came = outside_came_.exchange(false, std::memory_order_relaxed);
    if (came || began) quiet_since_ns_ = now;
    if (came) waited_in_vain_ = false;
    if (next != Timers::kNever) {
      stuck_since_ns_ = 0;
    } else if (came || stuck_since_ns_ == 0) {
      stuck_since_ns_ = now;
    }
    std::int64_t left_ns = 0;
    if (next == Timers::kNever) {
      left_ns = stuck_since_ns_ + kOutsideNs - now;
    } else if (waits_outside) {
      left_ns = quiet_since_ns_ + kOutsideNs - now;
    }
    if (left_ns > 0) {
      timeout_ns = left_ns;
      return false;
    }
    waited_in_vain_ = waited_in_vain_ || waits_outside;
    // What was sent may be on its way.
    if (has_events(kLoopbackNs) || !is_quiet(next, fds)) {
      timeout_ns = 0;
      return false;
    }
  }
  if (next == Timers::kNever) {
    if (!is_stopping()) {
      deadlock_ = true;
      stop();
    }
    return true;
  }
  advance_virtual_time(next);
  if (solo_) return true;
  bool woke = false;
  for (const auto& worker : workers_) {
    if (worker->timers.next_deadline() > next) continue;
    woke = true;
    jump_holds_.fetch_add(1, std::memory_order_seq_cst);
    worker->held_for_jump_.store(true, std::memory_order_seq_cst);
    worker->unpark();
  }
  return !woke;  // who was unparked will see its own signal; if that timer was cancelled meanwhile: look
                 // again
}

}  // namespace fibrio::detail
