// Timeouts: a limit on how long a piece of code may wait, as asyncio.timeout and asyncio.wait_for.
//
//   std::string page = fibrio::timeout(5s, [&] { return fetch(url); });  // TimeoutError after five seconds
//   fibrio::timeout(5s, [&](fibrio::Timeout& limit) {
//     limit.reschedule(fibrio::get_running_loop().time() + first_answer());
//     ...
//   });
//
// When the time is up, the task gets one cancellation request, so the wait that the body is in ends by
// CancelledError; the scope turns that into TimeoutError and takes exactly its own request back. A cancel
// from outside is never turned into a timeout, and code that does not wait is never interrupted.
#pragma once

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

#include "fibrio/clock.hpp"
#include "fibrio/detail/body_call.hpp"
#include "fibrio/detail/composing.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/tasks.hpp"

namespace fibrio {

// "No limit", where a duration or a point in time may stand. asyncio: None.
struct Never {};
inline constexpr Never never{};

// The running scope, for its body and for tasks that the body hands it to. It is gone when the body has
// ended.
// Threads: any.
class Timeout {
 public:
  Timeout(const Timeout&) = delete;
  Timeout& operator=(const Timeout&) = delete;

  // Returns the deadline on the loop's clock, or nothing if there is none.
  [[nodiscard]] std::optional<TimePoint> when() const;
  // Changes the deadline; one in the past fires in the next pass.
  // Throws: RuntimeError, which names the state, once the time is up (asyncio's "expiring").
  void reschedule(TimePoint when);
  void reschedule(Never);
  // True once the time was up, also if the body ended well all the same.
  [[nodiscard]] bool expired() const noexcept;

 protected:
  Timeout() = default;
  ~Timeout() = default;
};

namespace detail {
using TimeoutBody = void (*)(void* context, Timeout& timeout);
// Null: never.
void run_with_timeout(std::optional<TimePoint> when, TimeoutBody body, void* context);
// A time of the running loop; the largest one if the sum is out of range. RuntimeError outside a task.
[[nodiscard]] TimePoint deadline_after(Duration delay);

template <class Body>
auto call_with_timeout(std::optional<TimePoint> when, Body& body) {
  BodyCall<Timeout, Body> call(body);
  run_with_timeout(when, &BodyCall<Timeout, Body>::call, &call);
  return call.take();
}

template <class A>
concept FutureLike = std::is_base_of_v<AnyFuture, std::remove_cvref_t<A>> &&
    requires(const std::remove_cvref_t<A>& future) {
  future.result();
};
}  // namespace detail

// Calls `body`, which takes nothing or a Timeout&, and returns its result, unless it waits for longer than
// `delay` in all. A delay of zero or less is up at the first wait that suspends.
// Waits: as the body does. Cancel: as the body; counted requests from outside always come through.
// Throws: TimeoutError (with the CancelledError nested in it) if the body was left by the CancelledError of
// this scope. If the body catches that and returns, its result stands; another exception stands too.
// RuntimeError outside a task. Of nested scopes that are due at once the outermost throws TimeoutError.
// Threads: tasks only. With several workers the time may be up while the body computes: then its outcome
// stands, and expired() is true. asyncio: `async with timeout(delay)`; a function, because a destructor can
// neither throw nor wait.
template <class Body>
requires detail::BodyOf<Timeout, Body>
auto timeout(AnyDuration delay, Body&& body) {
  return detail::call_with_timeout(detail::deadline_after(delay), body);
}
template <class Body>
requires detail::BodyOf<Timeout, Body>
auto timeout(Never, Body&& body) { return detail::call_with_timeout(std::nullopt, body); }

// The same with a point in time of the loop's clock. asyncio: timeout_at.
template <class Body>
requires detail::BodyOf<Timeout, Body>
auto timeout_at(TimePoint when, Body&& body) { return detail::call_with_timeout(when, body); }
template <class Body>
requires detail::BodyOf<Timeout, Body>
auto timeout_at(Never, Body&& body) { return detail::call_with_timeout(std::nullopt, body); }

// Waits for a future or task, or calls `work` in the calling task, for at most `limit`, and returns its
// value. When the time is up the future is cancelled, and awaited until it really ended: so this may take
// longer. With a limit of zero or less a done future's value is returned, work that has not begun never does,
// and a running task is cancelled.
//   int value = fibrio::wait_for(task, 2s);
// Waits: yes. Cancel: is passed on to the future; CancelledError, also if the result came in the same pass.
// Throws: TimeoutError if the future, or the work, ended by that cancellation; what it ended with otherwise.
// asyncio: wait_for of 3.12 and later. A value that cannot be copied needs `std::move(task)`.
template <class F>
auto wait_for(F&& future_or_work, AnyDuration limit) {
  if constexpr (detail::FutureLike<F>) {
    if (limit <= Duration::zero()) {
      detail::wait_no_time(*future_or_work.state());
      return decltype(timeout(limit, [&] { return await(std::forward<F>(future_or_work)); }))(
          await(std::forward<F>(future_or_work)));
    }
    return timeout(limit, [&] { return await(std::forward<F>(future_or_work)); });
  } else {
    if (limit <= Duration::zero()) detail::refuse_work();
    return timeout(limit, std::forward<F>(future_or_work));
  }
}
// Without a limit: plain await, or a plain call.
template <class F>
auto wait_for(F&& future_or_work, Never) {
  if constexpr (detail::FutureLike<F>) {
    return await(std::forward<F>(future_or_work));
  } else {
    return std::forward<F>(future_or_work)();
  }
}

}  // namespace fibrio
