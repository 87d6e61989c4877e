// Future: a handle to a result that somebody will set, as asyncio.Future.
//
// A future is pending, then done exactly once: with a value, an exception, or cancelled. Handles are cheap to
// copy and may be used from any thread. Completing a future never runs user code inline: waiting tasks and
// callbacks are queued, in the order in which they came.
//
//   fibrio::Future<int> answer = fibrio::get_running_loop().create_future<int>();
//   fibrio::create_task([answer]() mutable { fibrio::sleep(1s); answer.set_result(42); });
//   int value = fibrio::await(answer);
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "fibrio/detail/future_state.hpp"
#include "fibrio/errors.hpp"

namespace fibrio {

// Names one registered done-callback.
using CallbackId = std::uint64_t;

// A handle to a future whose type of result is of no interest. An empty handle (default-constructed or moved
// from) may only be assigned, compared and destroyed; anything else on it is undefined, as with std::future.
class AnyFuture {
 public:
  AnyFuture() noexcept = default;
  AnyFuture(const AnyFuture& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->add_ref();
  }
  AnyFuture(AnyFuture&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  AnyFuture& operator=(AnyFuture other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~AnyFuture() {
    if (state_ != nullptr) state_->release();
  }

  // True if the handle names a future.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
  // True if it has a value or an exception or was cancelled. Once true, true for ever.
  [[nodiscard]] bool done() const noexcept { return state_->done(); }
  [[nodiscard]] bool cancelled() const noexcept { return state_->cancelled(); }

  // Cancels a pending future; asks a running task to stop (Task tells how).
  // Returns false if it was done already. Threads: any. asyncio: Future.cancel.
  bool cancel(const std::string& message = {}) const { return state_->cancel(message); }

  // Returns the exception it ended with, or null if it has a value; that counts as having seen it.
  // Throws: InvalidStateError if pending, CancelledError if cancelled.
  [[nodiscard]] std::exception_ptr exception() const { return state_->exception(); }

  // Queues `callback` for when the future is done, as call_soon would; if it is done, for the next pass. The
  // callback runs on the loop of the caller, or of the future if the caller runs on none; it must not wait.
  // One that throws is reported to the exception handler and does not stop the others.
  // Throws: RuntimeError if neither caller nor future has a loop. asyncio: Future.add_done_callback.
  CallbackId add_done_callback(detail::UniqueFunction<void(AnyFuture)> callback) const {
    return state_->add_done_callback(std::move(callback));
  }
  // Returns how many registrations went away: 0 if it ran, or is queued, already.
  std::size_t remove_done_callback(CallbackId id) const { return state_->remove_done_callback(id); }

  // Throws: RuntimeError if the future was made outside of any loop. The reference is good while the loop
  // lives.
  [[nodiscard]] EventLoop& get_loop() const { return state_->loop(); }

  // Waits until done; never throws its result.
  // Waits: if pending. A plain thread blocks. Cancel: passed on to the future, as with await; CancelledError,
  // unless the future (a task) swallows it. Throws: RuntimeError inside a callback.
  void wait() const { state_->wait(); }

  // Identity: the same future.
  friend bool operator==(const AnyFuture& a, const AnyFuture& b) noexcept { return a.state_ == b.state_; }

  // For the library's own templates.
  explicit AnyFuture(detail::FutureState* adopted) noexcept : state_(adopted) {}
  [[nodiscard]] detail::FutureState* state() const noexcept { return state_; }

 private:
  detail::FutureState* state_ = nullptr;
};

template <class T = void>
class [[nodiscard]] Future : public AnyFuture {
  static_assert(!std::is_reference_v<T>, "a future holds a value; use a pointer or std::reference_wrapper");

 public:
  // What is stored: T, or nothing to speak of for void.
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  Future() noexcept = default;
  using AnyFuture::AnyFuture;

  // Makes it done with a value. Threads: any.
  // Throws: InvalidStateError if done already; RuntimeError on a task, whose result is what its callable
  // returns.
  void set_result(Value value) requires(!std::is_void_v<T>) {
    if (!try_set_result(std::move(value))) detail::throw_already_done(*state());
  }
  void set_result() requires(std::is_void_v<T>) {
    if (!try_set_result()) detail::throw_already_done(*state());
  }
  // Makes it done with an exception; the same errors, and std::invalid_argument for a null pointer.
  void set_exception(std::exception_ptr exception) {
    if (!try_set_exception(std::move(exception))) detail::throw_already_done(*state());
  }

  // For producers that race, with each other or with a cancel: return false, and drop the value, if it is
  // done. Whoever moves its value in first has won: a value whose move throws leaves the future pending, to be set
  // again; one whose move waits makes others too late meanwhile, and a cancel.
  bool try_set_result(Value value) requires(!std::is_void_v<T>) { return complete(std::move(value)); }
  bool try_set_result() requires(std::is_void_v<T>) { return complete(std::monostate{}); }
  bool try_set_exception(std::exception_ptr exception) {
    if (state()->kind() == detail::FutureState::Kind::kTask) detail::throw_task_completion();
    if (exception == nullptr) throw std::invalid_argument("Future::set_exception: the exception is null");
    if (!state()->begin_completion()) return false;
    state()->finish_completion(detail::FutureState::Outcome::kException, std::move(exception));
    return true;
  }

  // Returns the value without waiting. Throws: InvalidStateError if pending; what it ended with otherwise.
  // The reference is good while a handle lives.
  std::add_lvalue_reference_t<const T> result() const {
    state()->require_value();
    if constexpr (!std::is_void_v<T>) return *static_cast<const T*>(state()->value());
  }

 private:
  bool complete(Value&& value) {
    if (state()->kind() == detail::FutureState::Kind::kTask) detail::throw_task_completion();
    if constexpr (std::is_trivially_move_constructible_v<Value>) {
      if (!state()->begin_completion()) return false;
      ::new (state()->value()) Value(std::move(value));
      state()->finish_completion();
    } else {
      const AnyFuture holds = *this;  // the move may wait, and the handle go
      if (!holds.state()->claim_completion()) return false;
      try {
        ::new (holds.state()->value()) Value(std::move(value));
      } catch (...) {
        holds.state()->abandon_claim();
        throw;
      }
      holds.state()->finish_claimed();
    }
    return true;
  }
};

namespace detail {
template <class T>
[[nodiscard]] Future<T> make_future(LoopIdentity loop, FutureState::Kind kind = FutureState::Kind::kPlain) {
  auto* state = new ValueFutureState<typename Future<T>::Value>(loop, kind);
  state->note_creation();
  return Future<T>(state);
}
}  // namespace detail

// Waits for a future or task and returns its value, or throws what it ended with.
// Waits: only if it is pending; then resumes one pass after its completion. A plain thread blocks.
// Cancel: is passed on to the awaited future; CancelledError when that ends as cancelled. Of futures that are done one
// in 32 delivers a cancel that is pending.
// Throws: what the future holds; RuntimeError if it is pending inside a callback, if a task awaits itself, or if the
// handle was given another future meanwhile (the value is its future's: await a copy of a handle that may change).
// asyncio: `await future`.
template <class T>
std::add_lvalue_reference_t<const T> await(const Future<T>& future) {
  detail::FutureState* const awaited = future.state();
  awaited->wait_done();
  if (future.state() != awaited) [[unlikely]]
    detail::throw_replaced();
  return future.result();
}
// The value is moved out if nobody else holds the future (a type that cannot be copied: always).
template <class T>
T await(Future<T>&& future) {
  detail::FutureState* const awaited = future.state();
  awaited->wait_done();
  if (future.state() != awaited) [[unlikely]]
    detail::throw_replaced();
  if constexpr (std::is_void_v<T>) {
    future.result();
  } else {
    const T& value = future.result();
    if constexpr (std::is_copy_constructible_v<T>) {
      if (!future.state()->is_unique()) return value;
    }
    return std::move(const_cast<T&>(value));
  }
}

}  // namespace fibrio

// Of the identity, as ==: handles can be kept in unordered sets and maps.
template <>
struct std::hash<fibrio::AnyFuture> {
  [[nodiscard]] std::size_t operator()(const fibrio::AnyFuture& future) const noexcept {
    return std::hash<const void*>()(future.state());
  }
};
template <class T>
struct std::hash<fibrio::Future<T>> : std::hash<fibrio::AnyFuture> {};
