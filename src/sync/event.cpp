// What: Event: the state of event_state.hpp with waits around it.
#include "base/check.hpp"
#include "fibrio/detail/budget.hpp"
#include "fibrio/locks.hpp"
#include "sync/event_state.hpp"
#include "sync/sync_wait.hpp"

namespace fibrio {

namespace detail {

class EventState : public BasicEventState<> {};

}  // namespace detail

using detail::SyncWait;
using detail::WaitReason;
using detail::Woken;

Event::Event() { state_.make(); }
Event::~Event() {
  FIBRIO_CHECK(state_.get().abandon_waiters(),
               "an Event is destroyed while a task waits for it: let such tasks end first");
  state_.destroy();
}

void Event::set() {
  Woken woken;
  state_.get().set(woken);
  make_ready(woken);
}

void Event::clear() { state_.get().clear(); }

bool Event::is_set() const noexcept { return state_.get().is_set(); }

void Event::wait() {
  detail::EventState& state = state_.get();
  if (state.is_set()) return detail::spend_turn();
  SyncWait wait("Event::wait", WaitReason::kEvent);
  if (state.is_set_or_wait(wait)) return;
  wait.wait();
  wait.leave_unless_woken(state.spin, state.waiters);
  if (wait.take_cancellation()) wait.throw_cancelled();
}

}  // namespace fibrio
