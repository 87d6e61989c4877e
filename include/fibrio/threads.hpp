// Offload: blocking calls run on plain threads while the task that asked for them waits.
//
//   std::string text = fibrio::to_thread(read_whole_file, "/etc/hosts");
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "fibrio/clock.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/futures.hpp"

namespace fibrio {

namespace detail {
class ThreadPoolImpl;
struct ThreadPoolAccess;
// Throws RuntimeError, naming `what`, outside a task.
void require_running_task(const char* what);
}  // namespace detail

// A pool of threads that grows with the work up to its limit; idle threads leave.
class ThreadPool {
 public:
  // `max_threads` 1 to 4096, 0 = min(32, CPUs + 4); an idle thread leaves after `keep_alive` (not negative).
  // Threads are started on demand. Throws: std::invalid_argument.
  explicit ThreadPool(std::size_t max_threads = 0, AnyDuration keep_alive = std::chrono::seconds(10),
                      std::string name = "fibrio-pool");
  // shutdown(true), without a limit, unless shutdown was called already: whoever did that has said how long
  // to wait. In a task it waits with cancellation masked; in a callback it blocks the worker; on one of the
  // pool's own threads (a call that held the last reference) it does not wait: what is queued still runs.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs `function(arguments...)` (decay-copied) on a thread of the pool; returns its future at once. The
  // copies are destroyed before the future is done, so that who waits for it finds released what they held.
  // Waits: no; calls above the limit queue up, first come, first served. Cancel: of the future takes the call
  // back, and destroys it at once, if no thread has begun it; the result of a begun one is dropped. Throws:
  // RuntimeError after shutdown; std::system_error, which names the limits, if not even one thread can be
  // started. Threads: any. Signals are not delivered on the pool's threads (faults are): they are blocked there,
  // and a child process that a call makes by itself (posix_spawn) inherits that. asyncio:
  // ThreadPoolExecutor.submit, and loop.run_in_executor.
  template <class F, class... A>
  requires detail::Callable<F, A...>
  auto submit(F&& function, A&&... arguments) {
    return submit_for(detail::running_loop(), std::forward<F>(function), std::forward<A>(arguments)...);
  }

  // Refuses new calls, cancels queued ones if `cancel_queued`, and if `wait` waits until the running ones
  // have ended, at most `timeout` (negative: without limit). Returns how many calls have not ended, begun or
  // queued; they go on, and the pool's memory is kept for them, even when the pool is destroyed. Waits: if
  // `wait` and calls run; from a task, without blocking the worker. From a call of this pool itself: never.
  // Cancel: CancelledError; the pool stays shut down. Throws: RuntimeError inside a callback if `wait` (then
  // nothing has changed). Threads: any, several at once too. Idempotent.
  std::size_t shutdown(bool wait = true, AnyDuration timeout = Duration(-1), bool cancel_queued = false);

  [[nodiscard]] std::size_t max_threads() const noexcept;
  [[nodiscard]] std::size_t threads() const;  // alive now
  [[nodiscard]] std::size_t queued() const;   // waiting for a thread

 private:
  friend class EventLoop;
  friend struct detail::ThreadPoolAccess;

  template <class F, class... A>
  auto submit_for(detail::LoopIdentity loop, F&& function, A&&... arguments) {
    using Result = detail::TaskValue<F, A...>;
    Future<Result> future = detail::make_future<Result>(loop, detail::FutureState::Kind::kOffloaded);
    using Work = detail::BoundCall<std::decay_t<F>, std::decay_t<A>...>;
    auto call = [future, work = std::optional<Work>(std::in_place, std::in_place, std::forward<F>(function),
                                                    std::forward<A>(arguments)...)]() mutable {
      try {
        if constexpr (std::is_void_v<Result>) {
          work->call();
          work.reset();
          future.try_set_result();
        } else {
          Result result(work->call());
          work.reset();
          future.try_set_result(std::move(result));
        }
      } catch (...) {
        work.reset();
        future.try_set_exception(std::current_exception());
      }
    };
    enqueue(future, std::move(call));
    return future;
  }
  void enqueue(const AnyFuture& future, detail::UniqueFunction<void()> call);

  std::shared_ptr<detail::ThreadPoolImpl>
      impl_;  // shared with its threads: they outlive a shutdown that gave up
};

template <class F, class... A>
auto EventLoop::run_in_executor(ThreadPool* pool, F&& function, A&&... arguments) {
  const std::shared_ptr<ThreadPool> standard = pool == nullptr ? default_executor() : nullptr;
  return (pool == nullptr ? standard.get() : pool)
      ->submit_for(detail::loop_identity(*this), std::forward<F>(function), std::forward<A>(arguments)...);
}

// Runs `function(arguments...)` on the default executor and returns what it returns or throws what it throws.
// Waits: always. Cancel: CancelledError at once; the call is taken back if no thread has begun it, else it
// goes on and its result is dropped (so pass by value what it uses). The function sees a copy of the caller's
// context variables. Throws: RuntimeError outside a task. asyncio: to_thread.
template <class F, class... A>
requires detail::Callable<F, A...>
auto to_thread(F&& function, A&&... arguments) {
  detail::require_running_task("to_thread");  // not left to await: the call may be over before that looks
  auto future = get_running_loop().run_in_executor(
      nullptr,
      [context = copy_context()](auto&& call, auto&&... values) -> decltype(auto) {
        return context.run([&]() -> decltype(auto) {
          return detail::invoke(std::forward<decltype(call)>(call),
                                std::forward<decltype(values)>(values)...);
        });
      },
      std::forward<F>(function), std::forward<A>(arguments)...);
  if (future.done()) yield();  // a fast thread: a cancel is delivered here all the same
  return await(std::move(future));
}

}  // namespace fibrio
