#include "net/server_handlers.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/timeouts.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

class ServerHandlers::Wait {
 public:
  explicit Wait(ServerHandlers& handlers) : handlers_(handlers), self_(current_task()) {
    {
      const std::lock_guard guard(handlers.lock_);
      for (const auto& [id, entry] : handlers.entries_) {
        if (entry.task == self_ && !entry.is_waiting) id_ = id;
      }
    }
    if (id_ != 0) handlers_.change(id_, [](Entry& entry) { entry.is_waiting = true; });
  }
  ~Wait() {
    if (id_ != 0) handlers_.change(id_, [](Entry& entry) { entry.is_waiting = false; });
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  [[nodiscard]] bool is_over_locked() const noexcept {
    if (handlers_.left_out_ < handlers_.entries_.size()) return false;
    return std::all_of(handlers_.entries_.begin(), handlers_.entries_.end(), [this](const auto& each) {
      const Entry& entry = each.second;
      return (id_ != 0 && entry.is_waiting) || entry.awaits == self_.state();
    });
  }

 private:
  ServerHandlers& handlers_;
  const AnyTask self_;
  std::uint64_t id_ = 0;  // 0: the caller is no handler
};

ServerHandlers::Ticket ServerHandlers::enter() {
  const std::lock_guard guard(lock_);
  entries_.try_emplace(++last_id_);
  return {shared_from_this(), last_id_};
}

void ServerHandlers::bind(std::uint64_t id, const AnyTask& task) {
  {
    const std::lock_guard guard(lock_);
    const auto found = entries_.find(id);
    // The second of the two that call here changes nothing: the handler may have ended its server since, and that
    // does not cancel the one who does it.
    if (found == entries_.end() || found->second.task.valid()) return;
    found->second.task = task;
    if (!is_cancelling_) return;
    found->second.was_cancelled = true;
  }
  task.cancel();
}

void ServerHandlers::leave(std::uint64_t id) noexcept {
  AnyTask task;  // let go of without the lock
  {
    const std::lock_guard guard(lock_);
    const auto found = entries_.find(id);
    task = std::move(found->second.task);
    if (found->second.is_left_out()) --left_out_;
    entries_.erase(found);
  }
  look();
}

template <class Change>
void ServerHandlers::change(std::uint64_t id, Change&& change) noexcept {
  {
    const std::lock_guard guard(lock_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    left_out_ -= found->second.is_left_out() ? 1 : 0;
    change(found->second);
    left_out_ += found->second.is_left_out() ? 1 : 0;
  }
  look();
}

// Whether somebody's wait may be over.
void ServerHandlers::look() noexcept {
  {
    const std::lock_guard guard(lock_);
    if (left_out_ < entries_.size()) return;
  }
  changed_.notify_all();
  idle_.set();
}

void ServerHandlers::cancel_all() noexcept {
  const Worker* const worker = this_worker();
  const TaskCore* const self = worker == nullptr ? nullptr : static_cast<TaskCore*>(worker->current);
  const AnyTask caller = self == nullptr ? AnyTask() : current_task();
  for (std::uint64_t id = 0;;) {
    AnyTask task;
    {
      const std::lock_guard guard(lock_);
      is_cancelling_ = true;
      const auto found = std::find_if(entries_.upper_bound(id), entries_.end(), [&caller](const auto& each) {
        const Entry& entry = each.second;
        return !entry.was_cancelled && entry.task.valid() && !(caller.valid() && entry.task == caller);
      });
      if (found == entries_.end()) return;
      found->second.was_cancelled = true;
      id = found->first;
      task = found->second.task;
    }
    const std::uint32_t requests = self == nullptr ? 0 : self->word.count();
    task.cancel();
    // It awaits the caller, who would wait for it for ever.
    if (self != nullptr && self->word.count() != requests)
      change(id, [&caller](Entry& entry) { entry.awaits = caller.state(); });
  }
}

bool ServerHandlers::wait_until(std::optional<TimePoint> end) {
  const Wait self(*this);
  const auto wait = [this, &self] {
    for (;;) {
      {
        const std::lock_guard guard(lock_);
        if (self.is_over_locked()) return;
        idle_.clear();
      }
      idle_.wait();
    }
  };
  if (!end) {
    wait();
    return true;
  }
  try {
    timeout_at(*end, wait);
  } catch (const TimeoutError&) {
    return false;
  }
  return true;
}

void ServerHandlers::wait_masked(const LoopIdentity& loop) noexcept {
  const auto loop_runs = [&loop] {
    bool runs = false;
    with_live_loop(
        loop.scheduler, loop.id,
        [](Scheduler& scheduler, void* result) { *static_cast<bool*>(result) = scheduler.is_running(); },
        &runs);
    return runs;
  };
  const Worker* const worker = this_worker();
  if (worker != nullptr && worker->current == nullptr) return;
  if (worker != nullptr) {
    if (!loop_runs()) return;
    const CancelMask mask;
    static_cast<void>(wait_until(std::nullopt));
    return;
  }
  constexpr auto kLook = std::chrono::milliseconds(20);  // whether the loop still runs
  std::unique_lock guard(lock_);
  while (!entries_.empty()) {
    guard.unlock();
    const bool runs = loop_runs();
    guard.lock();
    if (!runs) return;
    changed_.wait_for(guard, kLook);
  }
}

}  // namespace fibrio::detail
