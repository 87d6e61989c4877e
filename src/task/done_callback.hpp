// What: one add_done_callback: listed in the future until that is done, then queued on its loop, then gone.
// Threads: told: whoever completes the future. run: the loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <utility>

#include "fibrio/errors.hpp"
#include "fibrio/futures.hpp"
#include "sched/scheduler.hpp"
#include "task/callback.hpp"
#include "task/loop_services.hpp"
#include "task/slow.hpp"

namespace fibrio::detail {

// Queues a callback on its loop; if that is gone there is nobody left to call it: it is dropped.
inline void queue_on_loop(QueuedCallback& callback, const LoopIdentity& loop) noexcept {
  Worker* worker = this_worker();
  // By id: another loop may have come to live at the old one's address.
  if (worker != nullptr && worker->scheduler.id == loop.id) {
    worker->schedule(callback);
    return;
  }
  const bool queued = with_live_loop(
      loop.scheduler, loop.id,
      [](Scheduler& scheduler, void* context) {
        auto& runnable = *static_cast<QueuedCallback*>(context);
        if (scheduler.is_closed()) {
          runnable.run(true);
        } else {
          scheduler.schedule_anywhere(runnable);
        }
      },
      &callback);
  if (!queued) callback.run(true);
}

class DoneCallback final : public FutureWaiter, public QueuedCallback {
 public:
  DoneCallback(UniqueFunction<void(AnyFuture)> function, LoopIdentity loop, std::uint64_t id = next_id())
      : FutureWaiter(&told),
        callback_id(id),
        context_(copy_current_context()),
        function_(std::move(function)),
        loop_(loop) {
    put_on(strand_on(*loop.scheduler));
  }

  // Never given by next_id(): see FutureState::report_failure_once.
  static constexpr std::uint64_t kFailureReport = 0;

  // Queues it; if its loop is gone there is nobody left to call it.
  static void told(FutureWaiter& waiter, FutureState& future) noexcept {
    auto& self = static_cast<DoneCallback&>(waiter);
    future.add_ref();
    self.future_ = AnyFuture(&future);
    queue_on_loop(self, self.loop_);
  }

  void run(bool drop) noexcept override {
    if (!drop) {
      const CallbackTimer timer(*loop_.scheduler);
      try {
        function_(future_);
      } catch (const KeyboardInterrupt&) {
        exit_loop(*loop_.scheduler, std::current_exception());
      } catch (...) {
        report_exception(*loop_.scheduler, "an exception in a done-callback", std::current_exception(),
                         future_);
      }
      timer.stop(*loop_.scheduler, "done-callback", nullptr, future_);
    }
    delete this;
  }

  [[nodiscard]] ContextSlot* context() noexcept override { return &context_; }

  const std::uint64_t callback_id;

 private:
  // Over all futures: the id of a callback that is gone must never name another.
  static std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  ContextSlot context_;  // goes after the function, whose destructor may look at it
  UniqueFunction<void(AnyFuture)> function_;
  LoopIdentity loop_;
  AnyFuture future_;
};

}  // namespace fibrio::detail
