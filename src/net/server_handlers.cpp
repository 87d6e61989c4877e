#include "net/server_handlers.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fibrio/event_loop.hpp"
#include "sched/scheduler.hpp"
#include "sched/timers.hpp"
#include "sched/worker.hpp"
#include "structured/waiting_tasks.hpp"
#include "task/report.hpp"

namespace fibrio::detail {

namespace {

// A handler that comes to wait for the task that waits for it, and passes no cancel on, is looked for after this time,
// twice this time, and so on. After ten seconds those that are left are named, if they were all cancelled.
constexpr Duration kFirstLook = std::chrono::milliseconds(10);
constexpr int kLooks = 14;
constexpr int kReportAt = 10;
// How many handlers are left when each that leaves makes who waits look.
constexpr std::size_t kFew = 8;

}  // namespace

class ServerHandlers::Wait {
 public:
  // `is_masked`: no cancel ends it.
  Wait(ServerHandlers& handlers, bool is_masked)
      : handlers_(handlers), self_(current_task()), is_masked_(is_masked) {
    const std::lock_guard guard(handlers.lock_);
    for (auto& [id, entry] : handlers.entries_) {
      if (entry.task != self_ || entry.is_waiting) continue;
      id_ = id;
      entry.is_waiting = true;
    }
  }
  ~Wait() {
    {
      const std::lock_guard guard(handlers_.lock_);
      for (auto& [id, entry] : handlers_.entries_) {
        if (id == id_) entry.is_waiting = false;
        if (entry.awaits == self_.state()) entry.awaits = nullptr;
      }
    }
    if (took_cancel_) core().word.record_request();
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  // False: the time was up. Throws CancelledError, unless masked.
  [[nodiscard]] bool run(std::optional<TimePoint> end) {
    if (id_ != 0) handlers_.tell_waiting();  // others do not wait for this one now
    Duration pause = kFirstLook;
    for (int looks = 0;;) {
      if (is_over()) return true;
      const TimePoint now(Duration(this_worker()->read_clock()));
      if (end && now >= *end) return false;
      TimePoint wake = looks < kLooks && pause < TimePoint::max() - now ? now + pause : TimePoint::max();
      const bool is_look = !end || wake < *end;
      if (!is_look) wake = *end;
      if (park_until(wake) != Woken::kTime || !is_look) continue;
      pause *= 2;
      if (++looks == kReportAt && !end) report_rest();
    }
  }

 private:
  enum class Woken : std::uint8_t { kTold, kCancelled, kTime };

  struct Parking : ParkedTask, TimerEntry {
    Parking(Wait& its_wait, TaskControl& its_task, Timers& its_timers, TimePoint at,
            WaitPhase its_phase) noexcept
        : ParkedTask(its_task),
          TimerEntry(&claim_due),
          wait(its_wait),
          timers(its_timers),
          wake(at),
          phase(its_phase) {
      home = &its_timers;
    }
    Wait& wait;
    Timers& timers;
    const TimePoint wake;
    const WaitPhase phase;
    bool was_time = false;  // written before the task is made ready

    static Action claim_due(TimerEntry& entry, bool) noexcept {
      auto& self = static_cast<Parking&>(entry);
      TaskCore& core = self.task;
      if (!core.word.resolve()) return {};
      self.was_time = true;
      return {
          [](void* context, Worker& worker) noexcept { worker.make_ready(*static_cast<TaskCore*>(context)); },
          &core};
    }
    static void commit(void* argument, Worker& worker) noexcept {
      auto& self = *static_cast<Parking*>(argument);
      TaskCore& core = self.task;
      {
        ServerHandlers& handlers = self.wait.handlers_;
        const std::lock_guard holds_timers(self.timers.lock());
        const std::lock_guard guard(handlers.lock_);
        if (!self.wait.has_news_locked() && core.word.arm(self.phase) != WaitWord<>::Armed::cancelled) {
          handlers.parked_.push_back(&self);
          if (self.wake != TimePoint::max())
            static_cast<void>(self.timers.arm_locked(self, self.wake.time_since_epoch().count()));
          return;
        }
      }
      worker.make_ready(core);
    }
  };

  [[nodiscard]] TaskControl& core() const noexcept { return TaskControl::of(*self_.state()); }

  Woken park_until(TimePoint wake) {
    Worker& worker = *this_worker();
    Parking parking(*this, core(), worker.timers_here(), wake,
                    is_masked_ ? WaitPhase::waiting : wait_phase(worker));
    suspend(worker, WaitReason::kEvent, &Parking::commit, &parking);
    parking.home->cancel(parking);
    {
      const std::lock_guard guard(handlers_.lock_);
      if (parking.is_linked()) ParkedTasks::remove(&parking);
    }
    if (parking.phase == WaitPhase::waiting && core().word.take_cancellation()) {
      if (!is_masked_) core().throw_cancelled();
      took_cancel_ = true;
      return Woken::kCancelled;
    }
    return parking.was_time ? Woken::kTime : Woken::kTold;
  }

  // The table has changed since is_over() looked.
  [[nodiscard]] bool has_news_locked() const noexcept { return handlers_.changes_ != seen_; }

  [[nodiscard]] bool is_over() noexcept {
    {
      const std::lock_guard guard(handlers_.lock_);
      seen_ = handlers_.changes_;
      if (is_over_locked()) return true;
    }
    try {
      std::unordered_set<const FutureState*> waiting;
      for (const AnyTask& task : all_waiting_for(*self_.state())) waiting.insert(task.state());
      const std::lock_guard guard(handlers_.lock_);
      for (auto& [id, entry] : handlers_.entries_) {
        const bool awaits = entry.task.valid() && waiting.count(entry.task.state()) != 0;
        if (awaits || entry.awaits == self_.state()) entry.awaits = awaits ? self_.state() : nullptr;
      }
      return is_over_locked();
    } catch (const std::bad_alloc&) {
      return false;  // it is looked for once more
    }
  }
  [[nodiscard]] bool is_over_locked() const noexcept {
    return std::all_of(handlers_.entries_.begin(), handlers_.entries_.end(), [this](const auto& each) {
      const Entry& entry = each.second;
      return id_ != 0 ? entry.is_waiting || entry.awaits != nullptr : entry.awaits == self_.state();
    });
  }

  void report_rest() noexcept {
    try {
      ExceptionContext context{
          "the end of a Server waits for handlers that go on though they are cancelled:"};
      std::vector<AnyTask> left;
      {
        const std::lock_guard guard(handlers_.lock_);
        if (!handlers_.is_cancelling_) return;
        for (const auto& [id, entry] : handlers_.entries_) {
          if (entry.task.valid() && entry.task != self_) left.push_back(entry.task);
        }
      }
      for (std::size_t i = 0; i < left.size() && i < kFew; ++i)
        context.message += " '" + left[i].get_name() + "'";
      if (left.size() > kFew) context.message += " and others";
      context.future = self_;
      report_later(*core().FutureState::scheduler(), std::move(context));
    } catch (const std::bad_alloc&) {
      // No memory for the report.
    }
  }

  ServerHandlers& handlers_;
  const AnyTask self_;
  const bool is_masked_;
  std::uint64_t id_ = 0;    // 0: the caller is no handler
  std::uint64_t seen_ = 0;  // of changes_
  bool took_cancel_ = false;
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
  bool is_news = false;
  {
    const std::lock_guard guard(lock_);
    const auto found = entries_.find(id);
    task = std::move(found->second.task);
    entries_.erase(found);
    is_news = entries_.size() <= kFew || std::all_of(entries_.begin(), entries_.end(), [](const auto& each) {
                return each.second.is_waiting || each.second.awaits != nullptr;
              });
  }
  if (is_news) tell_waiting();
}

// Wakes the waiting tasks, so that each checks again whether its wait is over.
void ServerHandlers::tell_waiting() noexcept {
  for (;;) {
    TaskCore* core = nullptr;
    {
      const std::lock_guard guard(lock_);
      ++changes_;
      core = take_parked(parked_);
    }
    if (core == nullptr) break;
    make_ready_anywhere(*core);
  }
  changed_.notify_all();
}

void ServerHandlers::cancel_all() noexcept {
  const Worker* const worker = this_worker();
  const AnyTask caller = worker == nullptr || worker->current == nullptr ? AnyTask() : current_task();
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
    task.cancel();
  }
}

bool ServerHandlers::wait_until(std::optional<TimePoint> end) { return Wait(*this, false).run(end); }

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
    static_cast<void>(Wait(*this, true).run(std::nullopt));
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
