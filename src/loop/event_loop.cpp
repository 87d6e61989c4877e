#include "fibrio/event_loop.hpp"

#include <atomic>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/machine.hpp"
#include "fibrio/errors.hpp"
#include "loop/loop_impl.hpp"
#include "sched/worker.hpp"
#include "task/capture.hpp"
#include "task/loop_services.hpp"
#include "task/report.hpp"

namespace fibrio {

using detail::CallbackState;
using detail::LoopHold;
using detail::LoopImpl;

namespace {
void require_callback(const std::function<void()>& callback, const char* what) {
  if (callback == nullptr) throw std::invalid_argument(std::string(what) + ": the callback is empty");
}
}  // namespace

// --- handles -----------------------------------------------------------------------------------------------

bool Handle::cancel() { return state_ != nullptr && state_->cancel(); }
bool Handle::cancelled() const { return state_ != nullptr && state_->cancelled(); }
TimePoint TimerHandle::when() const { return TimePoint(Duration(state_->deadline_ns())); }

// --- life cycle --------------------------------------------------------------------------------------------

EventLoop::EventLoop(Config config) {
  config.validate();
  if (config.workers == 0) config.workers = detail::usable_cpus();
  impl_ = new LoopImpl(*this, config);
}

EventLoop::~EventLoop() {
  try {
    close();
  } catch (...) {
    // A loop that runs is left as it is, and `impl_` with it: its workers go on. So does the process, to its end,
    // if a task calls exit() and the loop is a static object; that is no error.
    if (!impl_->runs_here())
      call_exception_handler({"closing the event loop failed", std::current_exception(), AnyFuture()});
    return;
  }
  if (!impl_->is_of_parent()) delete impl_;  // else: see sched/fork.hpp
}

void EventLoop::require_runnable() { impl_->require_runnable(); }

void EventLoop::run_until_done(const AnyFuture& future, bool owned) {
  impl_->require_runnable();
  // As asyncio: the loop stops one pass after the future is done, and what is ready then still runs.
  // Here, and not on the future's loop, which may be another one, or none.
  // The callback may be queued when the run ends by an exception; it must not stop the next one.
  auto is_over = std::make_shared<std::atomic<bool>>(false);
  const CallbackId id = future.state()->add_done_callback(
      [this, is_over](const AnyFuture&) {
        if (!is_over->load(std::memory_order_relaxed)) impl_->scheduler.stop();
      },
      impl_->scheduler);
  try {
    impl_->run();
  } catch (...) {
    is_over->store(true, std::memory_order_relaxed);
    future.remove_done_callback(id);
    // Our own task's exception is the one that is thrown.
    if (owned && future.done() && !future.cancelled()) static_cast<void>(future.exception());
    throw;
  }
  if (future.done()) return;
  future.remove_done_callback(id);
  const std::string waits = impl_->scheduler.ended_in_deadlock() ? impl_->waits_in_words() : std::string();
  if (owned && impl_->scheduler.ended_in_deadlock()) future.cancel("the loop ended in a deadlock");
  if (impl_->scheduler.ended_in_deadlock()) {
    throw DeadlockError(
        "nothing is ready and no timer is armed: what run_until_complete waits for can never come" + waits);
  }
  throw RuntimeError("the event loop was stopped before the future was done");
}

void EventLoop::run_forever() {
  impl_->require_runnable();
  impl_->run();
  if (impl_->scheduler.ended_in_deadlock()) {
    throw DeadlockError("nothing is ready and no timer is armed: the loop can never do anything again" +
                        impl_->waits_in_words());
  }
}

void EventLoop::stop() {
  const LoopHold hold(*impl_);
  if (hold.is_inside()) impl_->stop();
}
void EventLoop::close() { impl_->close(); }
bool EventLoop::is_running() const { return impl_->scheduler.is_running(); }
bool EventLoop::is_closed() const { return impl_->scheduler.is_closed(); }

// --- callbacks ---------------------------------------------------------------------------------------------

Handle EventLoop::schedule(detail::UniqueFunction<void()> callback) {
  auto state = std::make_shared<CallbackState>(impl_->scheduler, std::move(callback));
  const LoopHold hold(*impl_, "call_soon");
  Handle handle;
  detail::LoopAccess::state(handle) = state;
  state->schedule();
  return handle;
}

TimerHandle EventLoop::schedule_at(TimePoint when, detail::UniqueFunction<void()> callback) {
  auto state = std::make_shared<CallbackState>(impl_->scheduler, std::move(callback));
  const LoopHold hold(*impl_, "call_at");
  TimerHandle handle;
  detail::LoopAccess::state(handle) = state;
  state->schedule_at(when.time_since_epoch().count());
  return handle;
}

TimePoint EventLoop::time() const { return TimePoint(Duration(impl_->scheduler.now_ns())); }

TimePoint EventLoop::deadline_after(Duration delay) const {
  detail::Worker* worker = detail::this_worker();
  // Remembered by the worker, so that a timer for "now" is due in the next pass.
  const std::int64_t now = worker != nullptr && &worker->scheduler == &impl_->scheduler
                               ? worker->read_clock()
                               : impl_->scheduler.now_ns();
  std::int64_t deadline = 0;
  if (__builtin_add_overflow(now, delay.count(), &deadline)) {
    deadline = delay.count() < 0 ? detail::Timers::kAwake + 1 : detail::Timers::kNever;
  }
  return TimePoint(Duration(deadline));
}

// --- executors ---------------------------------------------------------------------------------------------

void EventLoop::set_default_executor(std::shared_ptr<ThreadPool> pool) {
  if (pool == nullptr) throw std::invalid_argument("set_default_executor: the pool is null");
  const LoopHold hold(*impl_, "set_default_executor");
  std::lock_guard guard(impl_->lock);
  std::swap(impl_->executor, pool);  // the old one goes after both
}

std::shared_ptr<ThreadPool> EventLoop::default_executor() { return impl_->default_executor(); }

void EventLoop::shutdown_default_executor(AnyDuration timeout) {
  if (const detail::Worker* worker = detail::this_worker(); worker != nullptr && worker->current == nullptr) {
    throw RuntimeError("shutdown_default_executor waits, and a callback must not wait: call it in a task");
  }
  std::shared_ptr<ThreadPool> pool;
  {
    std::lock_guard guard(impl_->lock);
    impl_->executor_is_shut_down = true;
    pool = impl_->executor;
  }
  if (pool == nullptr) return;
  const std::size_t left = pool->shutdown(true, timeout);
  if (left == 0) return;
  call_exception_handler({"the default executor did not finish in time: " + std::to_string(left) +
                              " blocking call(s) still run and are left alone",
                          nullptr, AnyFuture()});
}

// --- fds, signals ------------------------------------------------------------------------------------------

void EventLoop::add_reader(int fd, std::function<void()> callback) {
  require_callback(callback, "add_reader");
  std::shared_ptr<void> replaced;  // dropped after the hold: it is the user's code
  const LoopHold hold(*impl_, "add_reader");
  replaced = impl_->fd_watch.set_callback(fd, detail::Direction::read, std::move(callback));
}
void EventLoop::add_writer(int fd, std::function<void()> callback) {
  require_callback(callback, "add_writer");
  std::shared_ptr<void> replaced;
  const LoopHold hold(*impl_, "add_writer");
  replaced = impl_->fd_watch.set_callback(fd, detail::Direction::write, std::move(callback));
}
// Not in a forked child: it would disarm the parent's.
bool EventLoop::remove_reader(int fd) {
  std::shared_ptr<void> removed;
  const LoopHold hold(*impl_);
  if (hold.is_inside()) removed = impl_->fd_watch.remove_callback(fd, detail::Direction::read);
  return removed != nullptr;
}
bool EventLoop::remove_writer(int fd) {
  std::shared_ptr<void> removed;
  const LoopHold hold(*impl_);
  if (hold.is_inside()) removed = impl_->fd_watch.remove_callback(fd, detail::Direction::write);
  return removed != nullptr;
}

void EventLoop::add_signal_handler(int signal, std::function<void()> callback) {
  require_callback(callback, "add_signal_handler");
  std::shared_ptr<void> replaced;
  const LoopHold hold(*impl_, "add_signal_handler");
  replaced = detail::install_signal_handler(*impl_, signal, std::move(callback));
}
bool EventLoop::remove_signal_handler(int signal) { return detail::uninstall_signal_handler(*impl_, signal); }

// --- reports -----------------------------------------------------------------------------------------------

void EventLoop::set_exception_handler(ExceptionHandler handler) {
  std::lock_guard guard(impl_->lock);
  std::swap(impl_->exception_handler, handler);
}

EventLoop::ExceptionHandler EventLoop::get_exception_handler() const {
  std::lock_guard guard(impl_->lock);
  return impl_->exception_handler;
}

void EventLoop::call_exception_handler(const ExceptionContext& context) { impl_->report(context); }

void EventLoop::default_exception_handler(const ExceptionContext& context) { detail::print_report(context); }

// --- observers ---------------------------------------------------------------------------------------------

bool EventLoop::get_debug() const { return impl_->scheduler.is_debugging(); }
void EventLoop::set_debug(bool enabled) {
  const LoopHold hold(*impl_, "set_debug");
  std::lock_guard guard(impl_->lock);
  impl_->scheduler.set_debug(enabled);
}
std::size_t EventLoop::workers() const { return impl_->scheduler.size(); }
const Config& EventLoop::config() const { return impl_->config; }

EventLoop& get_running_loop() {
  detail::Worker* worker = detail::this_worker();
  if (worker == nullptr) throw RuntimeError("get_running_loop: no event loop runs on this thread");
  return *worker->scheduler.event_loop;
}

namespace detail {

LoopIdentity loop_identity(EventLoop& loop) noexcept {
  Scheduler& scheduler = LoopAccess::impl(loop).scheduler;
  return {&scheduler, scheduler.id};
}

void exit_loop(Scheduler& scheduler, std::exception_ptr exception) noexcept {
  LoopAccess::impl(*scheduler.event_loop).exit(std::move(exception));
}

void report_exception(Scheduler& scheduler, std::string message, std::exception_ptr exception,
                      AnyFuture future, const CreationSite* site) noexcept {
  ExceptionContext context{std::move(message), std::move(exception), std::move(future)};
  try {
    if (site == nullptr && context.future.valid()) site = context.future.state()->created_at();
    context.source_traceback = CreationSite::frames_of(site);
  } catch (const std::bad_alloc&) {
    // The rest of the report is worth having.
  }
  report(scheduler, context);
}

void report(Scheduler& scheduler, const ExceptionContext& context) noexcept {
  LoopAccess::impl(*scheduler.event_loop).report(context);
}

}  // namespace detail
}  // namespace fibrio
