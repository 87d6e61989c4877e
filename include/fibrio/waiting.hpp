// Waiting for several things at once, as asyncio's gather, wait, as_completed and shield.
//
//   auto [page, count] = fibrio::gather([&] { return fetch(url); }, [&] { return count_rows(); });
//   auto [done, pending] = fibrio::wait(tasks, {.timeout = 2s, .return_when = fibrio::FIRST_COMPLETED});
//   for (fibrio::Task<int> task : fibrio::as_completed(tasks)) use(fibrio::await(task));
//
// Callables become tasks. Something that must not outlive the call belongs into a task_group
// (task_groups.hpp): gather leaves the others running when one fails.
#pragma once

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/detail/composing.hpp"
#include "fibrio/futures.hpp"
#include "fibrio/tasks.hpp"
#include "fibrio/timeouts.hpp"

namespace fibrio {

// How one of several ended, for gather(return_exceptions, ...).
template <class T>
class Outcome {
 public:
  using Value = typename Future<T>::Value;

  // Of a future that is done; its value is moved out if nobody else holds it.
  explicit Outcome(Future<T>&& future) : cancelled_(future.cancelled()), exception_(future.state()->error()) {
    if (exception_ != nullptr) {
      future.state()->absorb_exception();
    } else if constexpr (std::is_void_v<T>) {
      value_.emplace();
    } else {
      value_.emplace(await(std::move(future)));
    }
  }

  [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
  // Returns the value. Throws: what it ended with, if that is none.
  std::add_lvalue_reference_t<const T> value() const& {
    if (exception_ != nullptr) std::rethrow_exception(exception_);
    if constexpr (!std::is_void_v<T>) return *value_;
  }
  T value() && {
    if (exception_ != nullptr) std::rethrow_exception(exception_);
    if constexpr (!std::is_void_v<T>) return std::move(*value_);
  }
  // Returns what it ended with: null if it has a value, a CancelledError if it was cancelled.
  [[nodiscard]] const std::exception_ptr& exception() const noexcept { return exception_; }
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }

 private:
  bool cancelled_;
  std::exception_ptr exception_;
  std::optional<Value> value_;
};

// The tag for a gather that collects failures instead of throwing the first.
struct ReturnExceptions {};
inline constexpr ReturnExceptions return_exceptions{};

namespace detail {

template <class T>
Future<T> as_future(const Future<T>& future) {
  return future;
}
template <class T>
Future<T> as_future(Future<T>&& future) {
  return std::move(future);
}
// Callables: in order, as each gather argument is looked at in order.
template <class A>
auto to_future(A&& awaited) {
  if constexpr (FutureLike<A>) {
    return as_future(std::forward<A>(awaited));
  } else {
    static_assert(Callable<A>, "neither a future nor something that can be called without arguments");
    return as_future(create_task(std::forward<A>(awaited)));
  }
}
template <class F>
struct ResultOf;
template <class T>
struct ResultOf<Future<T>> {
  using Type = T;
};

// What of a future that is done goes into a gather's result.
template <bool kOutcomes, class T>
auto take_part(Future<T>&& future) {
  if constexpr (kOutcomes) {
    return Outcome<T>(std::move(future));
  } else if constexpr (std::is_void_v<T>) {
    return std::monostate();
  } else {
    return await(std::move(future));
  }
}

template <bool kOutcomes, class... A>
auto gather_all(A&&... awaited) {
  // Braces: tasks are created in the order of the arguments.
  std::tuple<decltype(to_future(std::forward<A>(awaited)))...> futures{
      to_future(std::forward<A>(awaited))...};
  return std::apply(
      [](auto&... future) {
        FutureState* const states[] = {future.state()..., nullptr};
        wait_gathered(states, sizeof...(future), kOutcomes);
        return std::tuple<decltype(take_part<kOutcomes>(std::move(future)))...>{
            take_part<kOutcomes>(std::move(future))...};
      },
      futures);
}

template <bool kOutcomes, class A>
auto gather_vector(std::vector<A> awaited) {
  using Awaited = decltype(to_future(std::declval<A>()));
  std::vector<Awaited> futures;
  futures.reserve(awaited.size());
  for (auto&& each : awaited) futures.push_back(to_future(std::move(each)));
  awaited.clear();
  std::vector<FutureState*> states;
  states.reserve(futures.size());
  for (Awaited& future : futures) states.push_back(future.state());
  wait_gathered(states.data(), states.size(), kOutcomes);
  std::vector<decltype(take_part<kOutcomes>(std::declval<Awaited>()))> results;
  results.reserve(futures.size());
  for (Awaited& future : futures) results.push_back(take_part<kOutcomes>(std::move(future)));
  return results;
}

template <class A>
inline constexpr bool kIsVector = false;
template <class A>
inline constexpr bool kIsVector<std::vector<A>> = true;
template <class... A>
concept Gathered = (sizeof...(A) != 1 || !(kIsVector<std::remove_cvref_t<A>> && ...)) &&
                   (... && !std::is_same_v<std::remove_cvref_t<A>, ReturnExceptions>);

}  // namespace detail

// Waits for all of several futures, tasks or callables, each of which becomes a task, and returns their
// values in the order of the arguments; std::monostate stands for void.
//   auto [user, posts] = gather([&] { return load_user(id); }, posts_task);
// Waits: unless all are done. Cancel: all that are not done are cancelled; CancelledError when the first has
// ended by it (with return_exceptions: when all have ended). Throws: the first failure, at once, also the
// CancelledError of one that somebody else cancelled (current_task().cancelling() tells them apart); the
// others go on, and their errors are no longer reported. RuntimeError outside a task. Threads: tasks only.
// A future may stand there twice. A value is moved out if nobody else holds its future; one that cannot be
// copied needs a callable or std::move. asyncio: gather.
template <class... A>
requires detail::Gathered<A...>
auto gather(A&&... awaited) { return detail::gather_all<false>(std::forward<A>(awaited)...); }
// The same of a vector of futures, tasks or callables of one type; nothing to wait for if it is empty.
template <class A>
auto gather(std::vector<A> awaited) {
  return detail::gather_vector<false>(std::move(awaited));
}
// Collects how each one ended: Outcome<T> stands for T. Throws: CancelledError if the caller is cancelled,
// when all have ended.
template <class... A>
requires detail::Gathered<A...>
auto gather(ReturnExceptions, A&&... awaited) {
  return detail::gather_all<true>(std::forward<A>(awaited)...);
}
template <class A>
auto gather(ReturnExceptions, std::vector<A> awaited) {
  return detail::gather_vector<true>(std::move(awaited));
}

// Waits for a future or task, or for a callable as a task of its own, without passing a cancel on to it.
//   try { shield(task); } catch (const CancelledError&) { note("still running"); throw; }
// Waits: unless it is done. Cancel: CancelledError here; the other goes on. If it fails later, that is
// reported to the exception handler, once. Throws: what it ended with. RuntimeError outside a task. Threads:
// tasks only.
// asyncio: shield of 3.14; a callable's task needs no reference kept, the loop owns it.
template <class A>
auto shield(A&& awaited) {
  auto future = detail::to_future(std::forward<A>(awaited));
  detail::wait_shielded(*future.state());
  return await(std::move(future));
}

struct WaitOptions {
  std::optional<AnyDuration> timeout{};  // none: as long as it takes
  ReturnWhen return_when = ALL_COMPLETED;
};

template <class T>
struct WaitResult {
  std::vector<Task<T>> done;
  std::vector<Task<T>> pending;
};

// Waits until the tasks are done, or the first of them is, or has failed, or the time is up; returns which
// are done and which are not, each in the order given, what stands there twice once. It cancels nothing,
// throws no result and marks no exception as seen.
//   auto [done, pending] = wait(tasks, {.timeout = 1s});
//   for (auto& task : pending) task.cancel();
// Waits: always, also if all are done. Cancel: CancelledError; the tasks go on. Throws: std::invalid_argument
// if there are none; RuntimeError outside a task. Threads: tasks only; with several workers a pending task
// may be done by the time you look. FIRST_EXCEPTION: a cancelled task is no failure. asyncio: wait.
template <class T>
WaitResult<T> wait(std::vector<Task<T>> tasks, WaitOptions options = {}) {
  if (tasks.empty()) throw std::invalid_argument("wait: there is nothing to wait for");
  std::vector<detail::FutureState*> states;
  states.reserve(tasks.size());
  for (const Task<T>& task : tasks) states.push_back(task.state());
  const std::size_t count = detail::merge_duplicates(states.data(), states.size());
  detail::wait_some(states.data(), count, options.timeout, options.return_when);
  WaitResult<T> result;
  for (std::size_t i = 0; i < count; ++i) {
    states[i]->add_ref();
    (states[i]->done() ? result.done : result.pending).push_back(Task<T>(states[i]));
  }
  return result;
}

// The tasks given to as_completed, in the order in which they end. Several tasks may take from it at once;
// when it goes, the tasks that are not done go on.
template <class T>
class [[nodiscard]] AsCompleted {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Task<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = const Task<T>*;
    using reference = const Task<T>&;

    const Task<T>& operator*() const noexcept { return *task_; }
    const Task<T>* operator->() const noexcept { return &*task_; }
    Iterator& operator++() {
      task_ = owner_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t) noexcept {
      return !iterator.task_.has_value();
    }

   private:
    friend class AsCompleted;
    explicit Iterator(AsCompleted& owner) : owner_(&owner), task_(owner.next()) {}
    AsCompleted* owner_;
    std::optional<Task<T>> task_;
  };

  // Waits for the first one that was not given yet; each step waits for the next.
  [[nodiscard]] Iterator begin() { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // Returns the next task that is done, nothing if all were given.
  // Waits: if none is done that was not given. Cancel: CancelledError; no task is lost by it.
  // Throws: TimeoutError for each one that is not done in time.
  [[nodiscard]] std::optional<Task<T>> next() {
    if (completions_ == nullptr) return std::nullopt;
    detail::FutureState* state = detail::take_completion(*completions_);
    if (state == nullptr) return std::nullopt;
    return Task<T>(state);
  }

 private:
  template <class U>
  friend AsCompleted<U> as_completed(std::vector<Task<U>> tasks, std::optional<AnyDuration> timeout);
  explicit AsCompleted(detail::Completions* completions) noexcept : completions_(completions) {}
  std::unique_ptr<detail::Completions, detail::EndCompletions> completions_;
};

// Returns a range of the tasks in the order in which they end, each once.
//   for (const Task<int>& task : as_completed(tasks, 2s)) use(await(task));
// Waits: no; begin() and each step of the range do. Throws: RuntimeError outside a task; the range throws
// TimeoutError when `timeout` has passed since this call and all that was done by then was given. Nothing is
// cancelled by that, nor by leaving the loop. Threads: tasks only. asyncio: as_completed, whose asynchronous
// iteration gives the tasks themselves too; a step that is cancelled there loses one.
template <class T>
AsCompleted<T> as_completed(std::vector<Task<T>> tasks, std::optional<AnyDuration> timeout = std::nullopt) {
  std::vector<detail::FutureState*> states;
  states.reserve(tasks.size());
  for (const Task<T>& task : tasks) states.push_back(task.state());
  const std::size_t count = detail::merge_duplicates(states.data(), states.size());
  return AsCompleted<T>(detail::start_completions(states.data(), count, timeout));
}

}  // namespace fibrio
