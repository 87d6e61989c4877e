#include "task/cancel_walk.hpp"

#include <utility>

#include "task/task_control.hpp"

namespace fibrio::detail {

bool CancelWalk::finish(const std::string& message) noexcept {
  bool accepted = true;
  while (!frames_.empty()) {
    const std::size_t depth = frames_.size() - 1;
    FutureState* const part = frames_[depth].composed.state()->part_to_cancel(frames_[depth].next);
    if (part != nullptr) {
      ++frames_[depth].next;
      const bool taken = part->kind() == FutureState::Kind::kTask
                             ? TaskControl::of(*part).pass_request(message, nullptr, AnyFuture(), *this)
                             : part->cancel(message);
      frames_[depth].accepted |= taken;
      continue;
    }
    const Frame over = std::move(frames_.back());
    frames_.pop_back();
    accepted = over.composed.state()->end_cancel(over.accepted);
    // Too late for it: the request stays with who awaits it.
    if (!accepted && over.owner.valid()) {
      TaskControl::of(*over.owner.state()).renew_request(over.composed, over.epoch);
    }
  }
  return accepted;
}

}  // namespace fibrio::detail
