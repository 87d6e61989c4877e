// What: what the templates of futures throw.
#include "fibrio/detail/future_state.hpp"
#include "fibrio/errors.hpp"

namespace fibrio::detail {

void throw_already_done(const FutureState& state) {
  if (!state.done()) throw InvalidStateError("somebody else is giving the future its value");
  throw InvalidStateError(state.cancelled() ? "the future was cancelled already"
                                            : "the future is done already");
}

void throw_task_completion() {
  throw RuntimeError("a task's result is what its callable returns; it cannot be set from outside");
}

void throw_replaced() {
  throw RuntimeError(
      "await: the handle was given another future while a task awaited the one it had; await a copy of it");
}

}  // namespace fibrio::detail
