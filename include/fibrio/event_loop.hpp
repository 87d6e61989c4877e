// EventLoop: one logical asyncio loop made of N workers.
//
// The thread that calls run_until_complete or run_forever is worker 0; the loop starts the others and stops
// them with itself. Most programs need only fibrio::run (runner.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/config.hpp"
#include "fibrio/detail/unique_function.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/introspection.hpp"
#include "fibrio/stack_frame.hpp"
#include "fibrio/tasks.hpp"

namespace fibrio {

class EventLoop;
class ThreadPool;

namespace detail {
class LoopImpl;
class CallbackState;
struct LoopAccess;
}  // namespace detail

// What an exception handler is told.
struct ExceptionContext {
  std::string message = {};
  std::exception_ptr exception = {};  // may be null
  AnyFuture future = {};              // the future or task it is about; may be empty
  // Debug mode: where the future, task or callback was made, innermost frame first; may be empty.
  std::vector<StackFrame> source_traceback = {};
  // Of a slow step: where the task gave way in the end; empty if it ended.
  std::vector<StackFrame> stack = {};
};

// A callback given to call_soon. Copies name the same callback; a handle made without one cancels nothing.
class Handle {
 public:
  Handle() noexcept = default;
  // Takes the callback back. True: it will not run. False: it ran, runs, or was cancelled before.
  bool cancel();
  // True once cancel() took it back.
  [[nodiscard]] bool cancelled() const;

 protected:
  friend struct detail::LoopAccess;
  std::shared_ptr<detail::CallbackState> state_;
};

// A callback given to call_later or call_at.
class TimerHandle : public Handle {
 public:
  // Not of a handle made without a callback.
  [[nodiscard]] TimePoint when() const;
};

class EventLoop {
 public:
  using ExceptionHandler = std::function<void(EventLoop&, const ExceptionContext&)>;

  // Throws: ConfigError if a field of `config` is out of range; std::system_error if the machine refuses fds.
  explicit EventLoop(Config config = Config::load());
  // As close(); errors go to the exception handler.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs until the callable, as a task, or the future is done; returns its value (of a future that is an
  // lvalue, as await: a reference to it) or throws what it ended with. A future of another loop will do. Other tasks keep their state for a further run. Threads: any one at a time, which becomes worker 0.
  // Throws: RuntimeError if the loop is closed, runs already, if this thread runs a loop, or if stop() came
  // before the end; DeadlockError with virtual time if it can never end; a KeyboardInterrupt that left any
  // task or callback.
  template <class F>
  decltype(auto) run_until_complete(F&& callable_or_future) {
    if constexpr (std::is_base_of_v<AnyFuture, std::decay_t<F>>) {
      run_until_done(callable_or_future, false);
      return await_done(std::forward<F>(callable_or_future));
    } else {
      require_runnable();
      auto task = create_task(std::forward<F>(callable_or_future));
      run_until_done(task, true);
      return await_done(std::move(task));
    }
  }

  // Runs until stop(). Throws: RuntimeError if the loop is closed, runs already, or if this thread runs a
  // loop; DeadlockError with virtual time if nothing can ever run again. Threads: as run_until_complete.
  void run_forever();
  // Ends run_forever. What is ready now still runs, as in asyncio, and what that schedules stays for the next
  // run. (With one worker "now" is this pass; with several each worker ends its present item and then runs
  // what lies ready with it, once.) Before a run: that run ends after one pass. On a loop that is
  // closed, or closing, it does nothing. Threads: any.
  void stop();
  // Cancels and unwinds what is left, drops callbacks and timers unrun, stops the executor without waiting
  // for running calls, releases threads, stacks and fds. Idempotent. Tasks that ignore their cancellation
  // again and again end the process, with their names on stderr: their stacks could never be released. Other
  // threads that create tasks meanwhile get RuntimeError. Each
  // task that is left is reported to the exception handler before; run and Runner leave none. Waits:
  // blocks the thread until the tasks have ended. Throws: RuntimeError while the loop runs, or on a thread
  // that runs another loop if tasks are left. asyncio differs: there pending tasks are just left; in C++
  // their destructors must run.
  void close();
  [[nodiscard]] bool is_running() const;
  [[nodiscard]] bool is_closed() const;

  // Queues `function(arguments...)` behind everything that is ready; a callback must not wait. One that
  // throws is reported to the exception handler. Threads: any. Throws: RuntimeError if the loop is closed.
  template <class F, class... A>
  Handle call_soon(F&& function, A&&... arguments) {
    return schedule(bind(std::forward<F>(function), std::forward<A>(arguments)...));
  }
  // Queues it once `delay` has passed, never early; zero or less: in the next pass, after everything ready
  // now.
  template <class F, class... A>
  TimerHandle call_later(AnyDuration delay, F&& function, A&&... arguments) {
    return schedule_at(deadline_after(delay), bind(std::forward<F>(function), std::forward<A>(arguments)...));
  }
  // Equal deadlines run in call order.
  template <class F, class... A>
  TimerHandle call_at(TimePoint when, F&& function, A&&... arguments) {
    return schedule_at(when, bind(std::forward<F>(function), std::forward<A>(arguments)...));
  }
  // The loop's monotonic clock.
  [[nodiscard]] TimePoint time() const;

  template <class T = void>
  [[nodiscard]] Future<T> create_future() {
    return detail::make_future<T>(detail::loop_identity(*this));
  }

  // Creates a task of this loop. Threads: any, also before the loop runs; fibrio::create_task says the rest.
  // From another thread, Future::wait or await of the result is asyncio's run_coroutine_threadsafe.
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto create_task(F&& function, A&&... arguments) {
    return detail::create_task_on(detail::loop_identity(*this), nullptr, std::forward<F>(function),
                                  std::forward<A>(arguments)...);
  }
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto create_task(TaskOptions options, F&& function, A&&... arguments) {
    return detail::create_task_on(detail::loop_identity(*this), &options, std::forward<F>(function),
                                  std::forward<A>(arguments)...);
  }

  // Submits the call to a pool at once and returns its future; nullptr = the default executor, made on
  // demand. Cancelling the future takes the call back if no thread runs it yet; a running call goes on,
  // unseen. Throws: RuntimeError if the pool is shut down. Threads: any. (Defined in threads.hpp.)
  template <class F, class... A>
  auto run_in_executor(ThreadPool* pool, F&& function, A&&... arguments);
  // Replaces the default executor; the old one is shut down when nobody holds it any more.
  // Throws: std::invalid_argument if `pool` is null.
  void set_default_executor(std::shared_ptr<ThreadPool> pool);
  // The default executor, made if there is none. Throws: RuntimeError after shutdown_default_executor.
  [[nodiscard]] std::shared_ptr<ThreadPool> default_executor();
  // Waits until the default executor's threads are gone, at most `timeout`; later offloads throw
  // RuntimeError. Calls still running then are reported to the exception handler by number and left alone.
  // Waits: yes; a plain thread blocks. Throws: RuntimeError inside a callback.
  void shutdown_default_executor(AnyDuration timeout);

  // Calls `callback` again and again while `fd` is readable (writable), until removed. Level-triggered; one
  // callback per fd and direction, adding replaces. The fd must not be one of fibrio's streams. Remove it
  // before it is closed. Throws: RuntimeError on a closed loop, std::system_error for an fd that epoll
  // refuses, std::invalid_argument if `callback` is empty.
  void add_reader(int fd, std::function<void()> callback);
  void add_writer(int fd, std::function<void()> callback);
  // Return whether there was one; false on a closed loop.
  bool remove_reader(int fd);
  bool remove_writer(int fd);

  // Calls `callback` on the loop whenever the process gets `signal`. One callback per signal and process;
  // adding replaces. Removed by close(). Throws: std::invalid_argument for a signal that cannot be caught and for an empty `callback`,
  // RuntimeError on a closed loop or if another loop holds the signal.
  void add_signal_handler(int signal, std::function<void()> callback);
  // Restores what was there before; returns whether there was a handler.
  bool remove_signal_handler(int signal);

  // Sets what is called for errors that nobody else can see: a failing callback, a task's exception that was
  // never retrieved. It may be called from any worker. Empty: the default handler, which writes to stderr.
  void set_exception_handler(ExceptionHandler handler);
  [[nodiscard]] ExceptionHandler get_exception_handler() const;
  // Calls the handler; if that throws, the default handler reports both.
  void call_exception_handler(const ExceptionContext& context);
  void default_exception_handler(const ExceptionContext& context);

  [[nodiscard]] bool get_debug() const;
  // Switches debug mode (see Config::debug) on or off for what happens from now on. Threads: any, not while
  // the loop is closed.
  void set_debug(bool enabled);
  [[nodiscard]] std::size_t workers() const;
  [[nodiscard]] const Config& config() const;
  [[nodiscard]] LoopStats stats() const;

 private:
  friend struct detail::LoopAccess;
  friend class Runner;

  template <class F, class... A>
  static detail::UniqueFunction<void()> bind(F&& function, A&&... arguments) {
    return [call = detail::BoundCall<std::decay_t<F>, std::decay_t<A>...>(
                std::in_place, std::forward<F>(function), std::forward<A>(arguments)...)]() mutable {
      static_cast<void>(call.call());
    };
  }
  template <class F>
  static decltype(auto) await_done(F&& future) {
    using Type = std::decay_t<F>;
    if constexpr (requires { future.result(); }) {
      return await(std::forward<F>(future));
    } else {
      static_assert(std::is_same_v<Type, AnyFuture> || std::is_same_v<Type, AnyTask>);
      if (const std::exception_ptr exception = future.exception()) std::rethrow_exception(exception);
    }
  }

  void require_runnable();
  void run_until_done(const AnyFuture& future, bool owned);
  [[nodiscard]] Handle schedule(detail::UniqueFunction<void()> callback);
  [[nodiscard]] TimerHandle schedule_at(TimePoint when, detail::UniqueFunction<void()> callback);
  [[nodiscard]] TimePoint deadline_after(Duration delay) const;

  detail::LoopImpl* impl_ = nullptr;  // owned, but see the destructor
};

// Returns the loop that runs the calling task or callback. Throws: RuntimeError outside of one.
[[nodiscard]] EventLoop& get_running_loop();

}  // namespace fibrio
