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
};

// Clean-up of cancelled tasks may create tasks, whose clean-up may create tasks: enough for every honest
// program.
constexpr int kShutdownRounds = 100;
// A round that lasts longer is reported, and the tasks that are left are cancelled again.
constexpr Duration kShutdownRound = std::chrono::seconds(10);

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

void LoopImpl::require_open(const char* what) const {
  if (is_closed.load(std::memory_order_acquire)) {
    throw RuntimeError(std::string(what) + ": the event loop is closed");
  }
  if (is_of_parent()) throw RuntimeError(std::string(what) + kOfParent);
}

void LoopImpl::require_runnable() const {
  require_open("run");
  if (is_running.load(std::memory_order_acquire)) throw RuntimeError("the event loop is running already");
  if (this_worker() != nullptr) {
    throw RuntimeError(
        "an event loop runs on this thread already: inside it, await or create a task instead of run");
  }
}

void LoopImpl::run() {
  bool expected = false;
  if (!is_running.compare_exchange_strong(expected, true, std::memory_order_acq_rel)) {
    throw RuntimeError("the event loop is running already");
  }
  try {
    scheduler.run();
  } catch (...) {
    is_running.store(false, std::memory_order_release);
    throw;
  }
  is_running.store(false, std::memory_order_release);
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

void LoopImpl::cancel_all_tasks() {
  registry.refuse_elsewhere(true);
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
        if (left->fetch_sub(1) == 1) loop.stop();
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
      loop.stop();
    });
    try {
      run();
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
  if (is_closed.load(std::memory_order_acquire)) return;
  if (is_running.load(std::memory_order_acquire))
    throw RuntimeError("close: the event loop is running; stop it first");
  if (is_of_parent()) {  // nothing here can be run or joined; ~EventLoop leaks it
    is_closed.store(true, std::memory_order_release);
    return;
  }
  // Without tasks there is nothing to run: another loop, made in a task, may go there too.
  if (this_worker() != nullptr && registry.counts().alive != 0) {
    throw RuntimeError(
        "close: an event loop runs on this thread, and this one has tasks left; close it from outside");
  }
  // A Runner has cancelled them before, as asyncio.run does; whoever closes by himself is told of them.
  for (const AnyTask& task : registry.snapshot()) {
    report_exception(scheduler, "Task was destroyed but it is pending", nullptr, task);
  }
  cancel_all_tasks();
  is_closed.store(true, std::memory_order_release);
  scheduler.mark_closed();
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
  if (pool != nullptr) pool->shutdown(false, Duration::zero(), true);
  if (resolver_threads != nullptr) resolver_threads->shutdown(false, Duration::zero(), true);
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

ThreadPool& LoopImpl::resolver_pool() {
  std::lock_guard guard(lock);
  if (is_closed.load(std::memory_order_acquire)) throw RuntimeError("getaddrinfo: the event loop is closed");
  if (resolver == nullptr) resolver = make_resolver_pool();
  return *resolver;
}

bool LoopImpl::has_executor() const {
  std::lock_guard guard(lock);
  return executor != nullptr;
}

FdWatch& fd_watch_of_running_loop() { return LoopAccess::impl(get_running_loop()).fd_watch; }
ThreadPool& resolver_pool_of_running_loop() { return LoopAccess::impl(get_running_loop()).resolver_pool(); }

}  // namespace fibrio::detail
