// staggered_race: several ways to the same end, started one after the other, as asyncio's happy eyeballs do it.
//
//   std::vector<std::function<TcpStream()>> ways = ...;
//   auto race = fibrio::staggered_race(ways, 250ms);
//   if (race.index) use(*race.value);
#pragma once

#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "fibrio/clock.hpp"
#include "fibrio/detail/unique_function.hpp"
#include "fibrio/futures.hpp"

namespace fibrio {

// What became of a race.
template <class T>
struct RaceResult {
  std::optional<typename Future<T>::Value> value;  // of the winner; empty if there is none
  std::optional<std::size_t> index;                // of the winner
  // One for each callable that was started: null for the winner, else what it ended with; a CancelledError for
  // a loser. Null also for one that took no notice of its cancellation and returned: its value is dropped.
  std::vector<std::exception_ptr> exceptions;
};

namespace detail {
struct RaceOutcome {
  std::optional<std::size_t> winner;
  std::vector<std::exception_ptr> exceptions;
};
// `attempt(i)` calls number i, and keeps its value.
[[nodiscard]] RaceOutcome run_staggered_race(std::size_t count, std::optional<Duration> delay,
                                             UniqueFunction<void(std::size_t)> attempt);
}  // namespace detail

// Calls the first callable in a task of its own; the next one when that has failed, or after `delay` (nothing:
// only when it has failed); and so on. The first that returns wins, and the others are cancelled.
// Waits: until all that were started have ended. Cancel: is passed on to those that run, each time; then
// CancelledError. Throws: RuntimeError outside a task. What the callables throw is in the result.
// Threads: tasks only. The callables are called where they lie, each at most once; with several workers two
// may run at the same time. asyncio: staggered.staggered_race, which returns a tuple.
template <std::ranges::random_access_range Callables>
requires std::ranges::sized_range<Callables>
auto staggered_race(Callables&& callables, std::optional<AnyDuration> delay = std::nullopt) {
  using T = std::remove_cvref_t<std::invoke_result_t<std::ranges::range_reference_t<Callables>>>;
  using Value = typename Future<T>::Value;
  const std::size_t count = std::ranges::size(callables);
  std::vector<std::optional<Value>> values(count);
  auto attempt = [&](std::size_t index) {
    auto&& callable = std::ranges::begin(callables)[static_cast<std::ptrdiff_t>(index)];
    if constexpr (std::is_void_v<T>) {
      callable();
      values[index].emplace();
    } else {
      values[index].emplace(callable());
    }
  };
  detail::RaceOutcome outcome = detail::run_staggered_race(count, delay, attempt);
  RaceResult<T> result{{}, outcome.winner, std::move(outcome.exceptions)};
  if (outcome.winner) result.value = std::move(values[*outcome.winner]);
  return result;
}

}  // namespace fibrio
