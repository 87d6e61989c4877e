#include "ends/cancel_at_k.hpp"

#include <atomic>
#include <optional>

#include "ends/tally.hpp"
#include "sched/worker.hpp"

namespace fibrio::test {

namespace {

// The task whose waits are counted. Written before and after a run by its own task; read by every suspend.
struct Watched {
  std::atomic<const detail::TaskCore*> core{nullptr};
  std::size_t waits = 0;  // the task's alone, as are the rest
  std::size_t k = 0;
  Fault fault = Fault::kCancelBefore;
  Timeout* limit = nullptr;
  AnyTask task;
  bool came = false;
} watched;

void inject() {
  watched.came = true;
  const auto later = [] {
    AnyTask task = watched.task;
    get_running_loop().call_soon([task]() mutable { task.cancel(); });
  };
  if (watched.fault == Fault::kCancelBefore) watched.task.cancel();
  if (watched.fault == Fault::kCancelDuring) later();
  if (watched.fault == Fault::kTimeout || watched.fault == Fault::kBoth) {
    watched.limit->reschedule(get_running_loop().time());
  }
  if (watched.fault == Fault::kBoth) later();
}

void on_suspend(const detail::Worker& worker) {
  const detail::TaskCore* core = watched.core.load(std::memory_order_acquire);
  if (core == nullptr || worker.current != core) return;
  if (++watched.waits == watched.k) inject();
}

}  // namespace
}  // namespace fibrio::test

namespace fibrio::detail {
// NOLINTBEGIN: the names are the linker's.
Worker& real_suspend(Worker& worker, WaitReason reason, Commit commit, void* argument) noexcept
    asm("__real__ZN6fibrio6detail7suspendERNS0_6WorkerENS_10WaitReasonEPDoFvPvS2_ES4_");
Worker& wrapped_suspend(Worker& worker, WaitReason reason, Commit commit, void* argument) noexcept
    asm("__wrap__ZN6fibrio6detail7suspendERNS0_6WorkerENS_10WaitReasonEPDoFvPvS2_ES4_");
// NOLINTEND
Worker& wrapped_suspend(Worker& worker, WaitReason reason, Commit commit, void* argument) noexcept {
  fibrio::test::on_suspend(worker);
  return real_suspend(worker, reason, commit, argument);
}
}  // namespace fibrio::detail

namespace fibrio::test {

Ended Attempt::run(const std::function<void()>& use, bool may_fail) {
  const auto body = [&] {
    watched.waits = 0;
    watched.k = k_;
    watched.fault = fault_;
    watched.came = false;
    watched.task = current_task();
    const bool is_timed = fault_ == Fault::kTimeout || fault_ == Fault::kBoth;
    const auto counted = [&use] {
      struct Stop {
        ~Stop() { watched.core.store(nullptr, std::memory_order_release); }
      } const stop;
      watched.core.store(detail::this_worker()->current, std::memory_order_release);
      use();
    };
    if (!is_timed) return counted();
    timeout(never, [&](Timeout& limit) {
      watched.limit = &limit;
      counted();
    });
  };
  Task<> task = create_task(body);
  Ended ended = Ended::kWell;
  try {
    await(task);
  } catch (const CancelledError&) {
    ended = Ended::kCancelled;
  } catch (const TimeoutError&) {
    ended = Ended::kTimedOut;
  } catch (...) {
    ended = Ended::kFailed;
    TASK_CHECK(may_fail);
  }
  watched.task = {};
  fault_came_ = watched.came;
  TASK_CHECK(fault_came_ || ended == Ended::kWell || may_fail);
  return ended;
}

void sweep(const char* name, std::span<const CancelScript> scripts) {
  constexpr std::size_t kMaxWaits = 200;
  Tally tally(name);
  for (const CancelScript& script : scripts) {
    INFO(script.name);
    bool was_reached = false;
    for (const std::size_t workers : {1, 2, 4}) {
      for (const Fault fault : {Fault::kCancelBefore, Fault::kCancelDuring, Fault::kTimeout, Fault::kBoth}) {
        bool came = true;
        for (std::size_t k = 1; came && k <= kMaxWaits; ++k) {
          INFO("workers " << workers << ", fault " << static_cast<int>(fault) << ", wait " << k);
          bool survived = false;
          const NothingLeft nothing_left;
          {
            EventLoop loop(test_config(workers, script.virtual_time));
            Attempt attempt(fault, k);
            loop.run_until_complete([&] { script.run(attempt); });
            came = attempt.fault_came();
            const LoopStats stats = loop.stats();
            survived =
                stats.tasks_alive == 0 && stats.stacks_in_use == 0 && stats.timers == 0 && stats.fds == 0;
            CHECK(survived);
          }
          for (const std::string& text : Failures::instance().take()) {
            survived = false;
            FAIL_CHECK(text);
          }
          was_reached |= came;
          tally.run(std::string(script.name) + " wait " + std::to_string(k), came, survived);
        }
      }
    }
    CHECK(was_reached);  // a script without a wait shows nothing
  }
}

}  // namespace fibrio::test
