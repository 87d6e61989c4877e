// Awaitables: C++20 coroutines and fibers wait for each other.
//
//   int length = fibrio::await(client.async_read(buffer));   // a task waits for anything that co_await takes
//   int answer = co_await fibrio::create_task(twice, 21);     // a coroutine waits for a task or future
#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "fibrio/detail/future_state.hpp"
#include "fibrio/futures.hpp"

namespace fibrio {

namespace detail {

template <class A>
concept HasMemberCoAwait = requires(A&& awaitable) {
  std::forward<A>(awaitable).operator co_await();
};
template <class A>
concept HasFreeCoAwait = requires(A&& awaitable) {
  operator co_await(std::forward<A>(awaitable));
};

template <class A>
decltype(auto) get_awaiter(A&& awaitable) {
  if constexpr (HasMemberCoAwait<A>) {
    return std::forward<A>(awaitable).operator co_await();
  } else if constexpr (HasFreeCoAwait<A>) {
    return operator co_await(std::forward<A>(awaitable));
  } else {
    return std::forward<A>(awaitable);
  }
}

template <class R>
inline constexpr bool kIsSuspendResult = std::is_void_v<R> || std::is_same_v<R, bool>;
template <class P>
inline constexpr bool kIsSuspendResult<std::coroutine_handle<P>> = true;

template <class A>
concept Awaiter = requires(A& awaiter, std::coroutine_handle<> handle) {
  awaiter.await_ready() ? 0 : 0;
  requires kIsSuspendResult<decltype(awaiter.await_suspend(handle))>;
  awaiter.await_resume();
};

// A task or a thread that waits for somebody to resume a coroutine handle. The handle's frame is this object:
// a compiler's own begins with the same two pointers (Itanium C++ ABI and MSVC; GCC, Clang, MSVC), and resume()
// and destroy() call them. So there is no coroutine to allocate, and nothing of it is touched after the call
// that ended the wait.
class AwaitFrame {
 public:
  // RuntimeError inside a callback, which cannot wait.
  AwaitFrame();
  AwaitFrame(const AwaitFrame&) = delete;
  AwaitFrame& operator=(const AwaitFrame&) = delete;

  [[nodiscard]] std::coroutine_handle<> handle() noexcept {
    return std::coroutine_handle<>::from_address(this);
  }
  // Waits until it is resumed. RuntimeError if it was destroyed instead.
  void wait();

  // A sleeper of src/task/awaitable.cpp.
  struct Sleeper {
    void (*wake)(Sleeper& self) noexcept;
  };

 private:
  static void on_resume(AwaitFrame* self) noexcept;
  static void on_destroy(AwaitFrame* self) noexcept;
  void end(std::uintptr_t how) noexcept;

  void (*resume_)(AwaitFrame*) noexcept;   // must be first
  void (*destroy_)(AwaitFrame*) noexcept;  // must be second
  std::atomic<std::uintptr_t> word_{0};    // see src/task/awaitable.cpp
};

class CoroutineWaiter;
// Resumes the coroutine when the future is done; `waiter` is set as long as that has not happened.
void suspend_coroutine(const AnyFuture& future, std::coroutine_handle<> coroutine, CoroutineWaiter*& waiter);
void abandon_coroutine(const AnyFuture& future, CoroutineWaiter& waiter) noexcept;

// A coroutine that waits for a future; in its frame.
template <class T, bool kMovesOut>
class FutureAwaiter {
 public:
  explicit FutureAwaiter(Future<T> future) noexcept : future_(std::move(future)) {}
  FutureAwaiter(const FutureAwaiter&) = delete;
  FutureAwaiter& operator=(const FutureAwaiter&) = delete;
  ~FutureAwaiter() {
    if (waiter_ != nullptr) abandon_coroutine(future_, *waiter_);
  }
  [[nodiscard]] bool await_ready() const noexcept { return future_.done(); }
  void await_suspend(std::coroutine_handle<> coroutine) { suspend_coroutine(future_, coroutine, waiter_); }
  decltype(auto) await_resume() {
    if constexpr (kMovesOut) {
      return fibrio::await(std::move(future_));
    } else {
      return fibrio::await(std::as_const(future_));
    }
  }

 private:
  Future<T> future_;
  CoroutineWaiter* waiter_ = nullptr;
};

// What await() makes of the type of await_resume(): no reference into an awaiter that is gone.
template <class R>
using AwaitResult = std::conditional_t<std::is_rvalue_reference_v<R>, std::remove_cvref_t<R>, R>;

}  // namespace detail

// What a task can await and a coroutine can co_await: an awaiter (await_ready, await_suspend, await_resume),
// or something with an operator co_await, member or free, that gives one. Awaiters that insist on the promise
// type of the coroutine are none: a task has no promise. Futures and tasks are awaitables.
template <class A>
concept Awaitable = requires(A&& awaitable) {
  detail::get_awaiter(std::forward<A>(awaitable));
}
&&detail::Awaiter<std::remove_reference_t<decltype(detail::get_awaiter(std::declval<A>()))>>;

// Waits for a C++20 awaitable and returns what its await_resume() returns. await_suspend() is called on the
// task and gets a handle whose resume() makes the task ready: once, from any thread, also before
// await_suspend() has returned. A coroutine that await_suspend() returns is resumed on the task's stack.
// Waits: unless await_ready(), or await_suspend() returns false, or the handle was resumed meanwhile. A plain
// thread blocks.
// Cancel: does not end this wait, since an awaiter cannot be taken back; the request stays for the next one. An
// awaiter that never resumes its handle keeps the task for ever, and close() of the loop with it.
// Throws: what the awaiter's functions throw; RuntimeError inside a callback unless await_ready(), and if the
// awaiter destroys the handle instead of resuming it.
// Threads: resume() and destroy(): any. To call either twice is undefined, as with every coroutine. Virtual time
// does not stand still for a thread that is going to resume it.
// asyncio: `await` of an object with __await__.
template <Awaitable A>
requires(!std::derived_from<std::remove_cvref_t<A>, AnyFuture>) auto await(A&& awaitable)
    -> detail::AwaitResult<decltype(detail::get_awaiter(std::forward<A>(awaitable)).await_resume())> {
  auto&& awaiter = detail::get_awaiter(std::forward<A>(awaitable));
  if (!awaiter.await_ready()) {
    detail::AwaitFrame frame;
    using Result = decltype(awaiter.await_suspend(frame.handle()));
    if constexpr (std::is_void_v<Result>) {
      awaiter.await_suspend(frame.handle());
      frame.wait();
    } else if constexpr (std::is_same_v<Result, bool>) {
      if (awaiter.await_suspend(frame.handle())) frame.wait();
    } else {
      awaiter.await_suspend(frame.handle()).resume();
      frame.wait();
    }
  }
  return awaiter.await_resume();
}

// co_await of a future or task in a coroutine: its value, or what it ended with. An rvalue's value is moved
// out as by await.
// Waits: if it is pending: the coroutine is suspended, and resumed as add_done_callback would call: on the loop
// of the caller, or of the future if the caller runs on none, on any worker. There it is a callback: it may
// co_await, but not wait as tasks do. An exception that leaves resume() goes to the exception handler. When the
// loop is closed before, the coroutine stays suspended. It stays on its strand, and goes on in a copy of its
// context.
// Cancel: a coroutine is no task: cancel the future. A coroutine that is destroyed while it waits is forgotten;
// with several workers destroy it on the strand it waits on, or it may be resumed at that moment.
// Throws: what the future holds; RuntimeError if it is pending and neither caller nor future has a loop.
template <class T>
[[nodiscard]] auto operator co_await(const Future<T>& future) {
  return detail::FutureAwaiter<T, false>(future);
}
template <class T>
[[nodiscard]] auto operator co_await(Future<T>&& future) {
  return detail::FutureAwaiter<T, true>(std::move(future));
}

}  // namespace fibrio
