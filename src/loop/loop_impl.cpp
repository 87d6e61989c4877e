#include "loop/loop_impl.hpp"

#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "base/machine.hpp"
#include "fibrio/errors.hpp"
#include "net/loop_access.hpp"
#include "net/resolver.hpp"
#include "offload/thread_pool.hpp"
#include "sched/fork.hpp"
#include "sched/worker.hpp"
#include "task/budget.hpp"
#include "task/loop_services.hpp"
#include "task/report.hpp"
#include "task/slow.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

namespace {

constexpr SchedulerHooks kHooks{
    [](TaskCore& core) noexcept { TaskControl::of(core).run(); },
    [](TaskCore& core, const StackFailure& failure) noexcept { TaskControl::of(core).fail(failure); },
    [](Runnable& callback, bool drop) noexcept { static_cast<QueuedCallback&>(callback).run(drop); },
    [](const TaskCore& core, char* buffer, std::size_t size) noexcept {
      return static_cast<const TaskControl&>(core).copy_name(buffer, size);
    },
    &report_slow_step,
    &look_around_in_turn,
};

// Clean-up of cancelled tasks may create tasks, whose clean-up may create tasks: enough for every honest
// program.
constexpr int kShutdownRounds = 100;
// A round that lasts longer is reported, and the tasks that are left are cancelled again.
constexpr Duration kShutdownRound = std::chrono::seconds(10);

// How long close waits for look-ups that nobody waits for any more, which cannot be interrupted: their threads
// are the loop's own. As long as glibc waits for one answer of a name server.
constexpr Duration kLookUpDrain = std::chrono::seconds(5);
constexpr Duration kNoWait = Duration::zero();

constexpr const char* kRunsAlready = "the event loop is running already";
constexpr const char* kIsClosed = ": the event loop is closed";

std::string names_of(const std::vector<AnyTask>& tasks) {
  constexpr std::size_t kAtMost = 10;
  std::string names;
  for (std::size_t i = 0; i < tasks.size() && i < kAtMost; ++i) {
    names.append(i == 0 ? "'" : ", '").append(printable(tasks[i].get_name())).append("'");
  }
  if (tasks.size() > kAtMost)
    names.append(" and ").append(std::to_string(tasks.size() - kAtMost)).append(" more");
  return names;
}

}  // namespace

void LoopImpl::report_left_tasks() noexcept {
  try {
    const std::vector<AnyTask> tasks = registry.snapshot();
    if (tasks.empty()) return;
    report({"tasks were alive when main had returned, and are cancelled now: " + names_of(tasks) +
                "; await them, or create them in a task_group, if they refer to what belongs to main",
            nullptr, AnyFuture()});
  } catch (const std::bad_alloc&) {  // a hint less
  }
}

std::string LoopImpl::waits_in_words() const {
  constexpr std::size_t kAtMost = 10;
  const std::vector<AnyTask> tasks = registry.snapshot();
  std::string words = tasks.empty() ? "" : "; tasks that wait: ";
  for (std::size_t i = 0; i < tasks.size() && i < kAtMost; ++i) {
    words.append(i == 0 ? "'" : ", '").append(printable(tasks[i].get_name())).append("' for ");
    words.append(to_string(TaskControl::of(*tasks[i].state()).reason));
  }
  if (tasks.size() > kAtMost)
    words.append(" and ").append(std::to_string(tasks.size() - kAtMost)).append(" more");
  return words;
}

LoopImpl::LoopImpl(EventLoop& its_loop, const Config& its_config)
    : loop(its_loop),
      config(its_config),
      registry(its_config.workers),
      scheduler(its_config, its_config.workers, kHooks),
      fd_watch(scheduler) {
  scheduler.registry = &registry;
  scheduler.event_loop = &its_loop;
  watch_forks();
}

LoopImpl::~LoopImpl() = default;

LoopHold::LoopHold(LoopImpl& impl) noexcept {
  if (impl.runs_here()) return;
  is_inside_ = !impl.is_of_parent() && impl.scheduler.gate.enter();
  if (is_inside_) gate_ = &impl.scheduler.gate;
}

void LoopHold::refuse(const LoopImpl& impl, const char* what) {
  impl.require_open(what);
  throw RuntimeError(std::string(what) + kIsClosed);  // it was closed, and is: never reached
}

class LoopImpl::Claim {
 public:
  Claim(LoopImpl& impl, const char* refusal) : impl_(impl) {
    // acquire: partner of the release below: what the last run, or close, left.
    if (impl.is_claimed_.exchange(true, std::memory_order_acquire)) throw RuntimeError(refusal);
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() { impl_.is_claimed_.store(false, std::memory_order_release); }

 private:
  LoopImpl& impl_;
};

bool LoopImpl::runs_here() const noexcept {
  const Worker* const worker = this_worker();
  return worker != nullptr && &worker->scheduler == &scheduler;
}

void LoopImpl::require_open(const char* what) const {
  if (scheduler.is_closed()) throw RuntimeError(std::string(what) + kIsClosed);
  if (is_of_parent()) throw RuntimeError(std::string(what) + kOfParent);
}

void LoopImpl::require_runnable() {
  require_open("run");
  if (is_claimed_.load(std::memory_order_relaxed)) throw RuntimeError(kRunsAlready);
  if (this_worker() != nullptr) {
    throw RuntimeError(
        "an event loop runs on this thread already: inside it, await or create a task instead of run");
  }
  scheduler.make_threads();
}

void LoopImpl::run() {
  const Claim claim(*this, kRunsAlready);
  require_open("run");
  run(claim, false);
}

void LoopImpl::run(const Claim&, bool closes) {
  scheduler.run(closes);
  std::exception_ptr exception;
  {
    std::lock_guard guard(lock);
    exception = std::exchange(exit_exception, nullptr);
  }
  if (exception != nullptr) std::rethrow_exception(exception);
}

void LoopImpl::exit(std::exception_ptr exception) noexcept {
  {
    std::lock_guard guard(lock);
    if (exit_exception == nullptr) exit_exception = std::move(exception);
  }
  scheduler.stop();
}

void LoopImpl::cancel_all_tasks() { cancel_all_tasks(Claim(*this, kRunsAlready)); }

void LoopImpl::stop() noexcept {
  if (!is_ending_tasks_.load(std::memory_order_relaxed)) scheduler.stop();
}

void LoopImpl::cancel_all_tasks(const Claim& claim) {
  registry.refuse_elsewhere(true);
  struct EndingTasks {
    explicit EndingTasks(std::atomic<bool>& its_flag) noexcept : flag(its_flag) {
      flag.store(true, std::memory_order_relaxed);
    }
    ~EndingTasks() { flag.store(false, std::memory_order_relaxed); }
    std::atomic<bool>& flag;
  } const ending(is_ending_tasks_);
  for (int round = 0; round < kShutdownRounds; ++round) {
    std::vector<AnyTask> tasks = registry.snapshot();
    while (tasks.empty()) {
      if (registry.counts().alive == 0) return;
      std::this_thread::yield();  // another thread is in the middle of creating one
      tasks = registry.snapshot();
    }
    // The last one to end stops the loop.
    auto left = std::make_shared<std::atomic<std::size_t>>(tasks.size());
    for (const AnyTask& task : tasks) {
      task.state()->add_done_callback([left, this](const AnyFuture& ended) {
        if (!ended.cancelled()) {
          if (std::exception_ptr exception = ended.exception()) {
            report({"unhandled exception during shutdown", exception, ended});
          }
        }
        if (left->fetch_sub(1) == 1) scheduler.stop();
      });
    }
    for (const AnyTask& task : tasks) {
      if (round == 0) {
        task.cancel();
      } else {
        // A group whose child awaits the group's own task: the request would be handed round for ever.
        TaskControl::of(*task.state()).cancel_here();
      }
    }
    TimerHandle limit = loop.call_later(kShutdownRound, [this] {
      report({"the loop is shutting down and waits for tasks that ignore their cancellation: " +
                  names_of(registry.snapshot()),
              nullptr, AnyFuture()});
      scheduler.stop();
    });
    try {
      run(claim, true);
    } catch (const KeyboardInterrupt&) {  // of a task: reported above; the others still have to end
    }
    limit.cancel();
    if (scheduler.ended_in_deadlock()) break;
  }
  const std::vector<AnyTask> tasks = registry.snapshot();
  if (tasks.empty()) return;
  // Their stacks hold objects that could never be destroyed: going on would leak or corrupt.
  const std::string names = names_of(tasks);
  report({"tasks keep the loop from closing: " + names, nullptr, AnyFuture()});
  std::fprintf(stderr,
               "fibrio: giving up: tasks were cancelled %d times and go on, or create others that do: %s\n",
               kShutdownRounds, names.c_str());
  std::fflush(stderr);
  std::abort();
}

void LoopImpl::close() {
  if (scheduler.is_closed()) return;
  if (is_of_parent()) {  // nothing here can be run or joined; ~EventLoop leaks it
    scheduler.gate.refuse();
    return;
  }
  const Claim claim(*this, "close: the event loop is running; stop it first");
  if (scheduler.is_closed()) return;  // by another thread, just now
  // Without tasks there is nothing to run: another loop, made in a task, may go there too.
  if (this_worker() != nullptr && registry.counts().alive != 0) {
    throw RuntimeError(
        "close: an event loop runs on this thread, and this one has tasks left; close it from outside");
  }
  registry.refuse_elsewhere(true);  // before the look at what is left: others may create tasks for ever
  // A Runner has cancelled them before, as asyncio.run does; whoever closes by himself is told of them.
  for (const AnyTask& task : registry.snapshot()) {
    report_exception(scheduler, "Task was destroyed but it is pending", nullptr, task);
  }
  cancel_all_tasks(claim);
  scheduler.gate.close();
  uninstall_all_signal_handlers(*this);
  fd_watch.close();
  std::shared_ptr<ThreadPool> pool;
  std::unique_ptr<ThreadPool> resolver_threads;
  {
    std::lock_guard guard(lock);
    executor_is_shut_down = true;
    pool = std::move(executor);
    resolver_threads = std::move(resolver);
  }
  // Calls that run go on, unseen; threads that have none are gone when this returns: a fork may follow.
  if (pool != nullptr) ThreadPoolAccess::impl(*pool).end(kNoWait);
  if (resolver_threads != nullptr) ThreadPoolAccess::impl(*resolver_threads).end(kLookUpDrain);
  scheduler.end();
}

void LoopImpl::report(const ExceptionContext& context) noexcept {
  try {
    EventLoop::ExceptionHandler handler;
    {
      std::lock_guard guard(lock);
      handler = exception_handler;
    }
    if (handler == nullptr) {
      loop.default_exception_handler(context);
      return;
    }
    try {
      handler(loop, context);
    } catch (...) {
      loop.default_exception_handler(
          {"the exception handler itself failed", std::current_exception(), AnyFuture()});
      loop.default_exception_handler(context);
    }
  } catch (...) {
    // No memory for the report: nothing is left to report with.
  }
}

std::shared_ptr<ThreadPool> LoopImpl::default_executor() {
  require_open("run_in_executor");
  std::lock_guard guard(lock);
  if (executor_is_shut_down) throw RuntimeError("the default executor is shut down");
  if (executor == nullptr) {
    executor = std::make_shared<ThreadPool>(config.max_blocking_threads, config.blocking_keep_alive,
                                            "fibrio-blocking");
  }
  return executor;
}

NameLookups& LoopImpl::names() {
  require_open("getaddrinfo");
  std::lock_guard guard(lock);
  if (name_lookups == nullptr) {
    if (resolver == nullptr) resolver = make_resolver_pool();
    name_lookups = std::make_unique<NameLookups>(*resolver);
  }
  return *name_lookups;
}

bool LoopImpl::has_executor() const {
  std::lock_guard guard(lock);
  return executor != nullptr;
}

FdWatch& fd_watch_of_running_loop() { return LoopAccess::impl(get_running_loop()).fd_watch; }
NameLookups& names_of_running_loop() { return LoopAccess::impl(get_running_loop()).names(); }

}  // namespace fibrio::detail
