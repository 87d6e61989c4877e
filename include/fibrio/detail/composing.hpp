// What: what the templates of waiting.hpp and timeouts.hpp need of src/structured: types gone, handles are
// states. Threads: tasks only, unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "fibrio/clock.hpp"
#include "fibrio/detail/future_state.hpp"

namespace fibrio {

// When wait() returns. asyncio's constants.
enum class ReturnWhen : std::uint8_t { ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION };
using enum ReturnWhen;

namespace detail {

// Waits as gather: returns when all are done, or throws the first failure, or CancelledError.
void wait_gathered(FutureState* const* states, std::size_t count, bool return_exceptions);
// Removes what is there twice; returns how many are left, in order.
[[nodiscard]] std::size_t merge_duplicates(FutureState** states, std::size_t count);
// Waits as wait().
void wait_some(FutureState* const* states, std::size_t count, std::optional<Duration> limit, ReturnWhen when);
// Waits until `inner` is done; a cancel ends this wait, not the future.
void wait_shielded(FutureState& inner);
// Nothing if the future is done; else cancels it, waits for its end, and throws TimeoutError if it ended as
// cancelled.
void wait_no_time(FutureState& future);
// The same for work that has not begun: it never does.
[[noreturn]] void refuse_work();

// The futures that as_completed watches, and the queue of those that are done.
class Completions;
[[nodiscard]] Completions* start_completions(FutureState* const* states, std::size_t count,
                                             std::optional<Duration> limit);
// Waits for the next one and returns it with a reference; null if all were given. TimeoutError.
[[nodiscard]] FutureState* take_completion(Completions& completions);
struct EndCompletions {
  void operator()(Completions* completions) const noexcept;
};

}  // namespace detail
}  // namespace fibrio
