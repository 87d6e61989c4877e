// What: the two waits between fibers and C++20 coroutines: a task (or a thread) that waits for a coroutine
// handle to be resumed, and a coroutine that waits for a future.
//
// Threads: AwaitFrame: wait: who made it; the handle: any. CoroutineWaiter: told: whoever completes the future;
// run: the loop.
//
// Protocol of the frame. Its word is kNobody, a sleeper, kResumed or kDestroyed.
//  1. wait moves it from kNobody to its sleeper, once the context is saved; if it is resumed by then, the
//     task is made ready on the spot.
//  2. resume and destroy exchange the word, and wake the sleeper that they find. Whichever comes second finds
//     no sleeper: the task is made ready once. After the wake the frame may be gone.
//
// Protocol of the coroutine's waiter. It is in the list of the future, then in a run queue. Who takes the
// handle out of it decides: run resumes, the awaiter's destructor forgets. The awaiter deletes it while it is
// still listed; from then on it deletes itself.
//
// Rejected: a real coroutine behind the handle (an allocation per wait; and its frame must outlive the call
// that made the task ready). A done-callback for the coroutine (it holds the future while it runs, so the value
// could not be moved out).
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "base/check.hpp"
#include "fibrio/awaitables.hpp"
#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/context.hpp"
#include "task/done_callback.hpp"
#include "task/loop_services.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

namespace {

constexpr std::uintptr_t kNobody = 0;
constexpr std::uintptr_t kResumed = 1;
constexpr std::uintptr_t kDestroyed = 2;

struct TaskSleeper : AwaitFrame::Sleeper {
  TaskSleeper(TaskCore& its_task, std::atomic<std::uintptr_t>& its_word) noexcept
      : Sleeper{&woken}, task(its_task), word(its_word) {}
  TaskCore& task;
  std::atomic<std::uintptr_t>& word;

  static void woken(Sleeper& self) noexcept {
    TaskCore& task = static_cast<TaskSleeper&>(self).task;
    const bool won = task.word.resolve();
    FIBRIO_CHECK(won, "a masked wait was ended by somebody else");
    make_ready_anywhere(task);
  }

  static void commit(void* argument, Worker& worker) noexcept {
    auto& self = *static_cast<TaskSleeper*>(argument);
    TaskCore& task = self.task;
    static_cast<void>(task.word.arm(WaitPhase::masked));
    std::uintptr_t nobody = kNobody;
    // release: partner of the acquire in end, which wakes the sleeper. acquire: of its release, for what the
    // resumer wrote.
    if (self.word.compare_exchange_strong(nobody, reinterpret_cast<std::uintptr_t>(&self),
                                          std::memory_order_acq_rel, std::memory_order_acquire)) {
      return;
    }
    if (task.word.resolve()) worker.make_ready(task);
  }
};

struct ThreadSleeper : AwaitFrame::Sleeper {
  ThreadSleeper() noexcept : Sleeper{&woken} {}
  std::mutex lock;
  std::condition_variable changed;
  bool is_over = false;

  static void woken(Sleeper& self) noexcept {
    auto& sleeper = static_cast<ThreadSleeper&>(self);
    const std::lock_guard guard(sleeper.lock);
    sleeper.is_over = true;
    sleeper.changed.notify_one();  // under the lock: the sleeper is gone right after it
  }
};

}  // namespace

// --- a task waits for a handle -----------------------------------------------------------------------------

AwaitFrame::AwaitFrame() : resume_(&on_resume), destroy_(&on_destroy) {
  static_assert(std::is_standard_layout_v<AwaitFrame>, "the first two members are where a frame has them");
  if (this_worker() != nullptr) static_cast<void>(require_task("awaiting what is not ready"));
}

void AwaitFrame::on_resume(AwaitFrame* self) noexcept { self->end(kResumed); }
void AwaitFrame::on_destroy(AwaitFrame* self) noexcept { self->end(kDestroyed); }

void AwaitFrame::end(std::uintptr_t how) noexcept {
  // Partners: the compare-and-swaps of the sleepers, and the load in wait.
  const std::uintptr_t found = word_.exchange(how, std::memory_order_acq_rel);
  if (found <= kDestroyed) return;
  auto& sleeper = *reinterpret_cast<Sleeper*>(found);
  sleeper.wake(sleeper);
}

void AwaitFrame::wait() {
  // acquire: partner of the exchange in end.
  if (word_.load(std::memory_order_acquire) == kNobody) {
    if (Worker* worker = this_worker(); worker != nullptr) {
      TaskSleeper sleeper(*worker->current, word_);
      suspend(*worker, WaitReason::kAwaitable, &TaskSleeper::commit, &sleeper);
    } else {
      ThreadSleeper sleeper;
      std::uintptr_t nobody = kNobody;
      if (word_.compare_exchange_strong(nobody, reinterpret_cast<std::uintptr_t>(&sleeper),
                                        std::memory_order_acq_rel, std::memory_order_acquire)) {
        std::unique_lock guard(sleeper.lock);
        sleeper.changed.wait(guard, [&] { return sleeper.is_over; });
      }
    }
  }
  if (word_.load(std::memory_order_acquire) == kDestroyed) {
    throw RuntimeError("the awaitable destroyed the handle that it was given instead of resuming it");
  }
}

// --- a coroutine waits for a future ------------------------------------------------------------------------

class CoroutineWaiter final : public FutureWaiter, public QueuedCallback {
 public:
  CoroutineWaiter(std::coroutine_handle<> coroutine, CoroutineWaiter*& place, LoopIdentity loop)
      : FutureWaiter(&told),
        coroutine_(coroutine.address()),
        place_(place),
        context_(copy_current_context()),
        loop_(loop) {
    put_on(strand_on(*loop.scheduler));
  }

  static void told(FutureWaiter& waiter, FutureState&) noexcept {
    auto& self = static_cast<CoroutineWaiter&>(waiter);
    const LoopIdentity loop = self.loop_;
    queue_on_loop(self, loop);
  }

  // Who takes the coroutine has it; null for who comes second. acq_rel: the two may be on different workers.
  [[nodiscard]] void* take() noexcept { return coroutine_.exchange(nullptr, std::memory_order_acq_rel); }

  void run(bool drop) noexcept override {
    void* coroutine = take();
    if (coroutine != nullptr) place_ = nullptr;
    if (coroutine != nullptr && !drop) {
      try {
        std::coroutine_handle<>::from_address(coroutine).resume();
      } catch (const KeyboardInterrupt&) {
        exit_loop(*loop_.scheduler, std::current_exception());
      } catch (...) {
        report_exception(*loop_.scheduler, "an exception in a coroutine that awaited a future",
                         std::current_exception(), AnyFuture());
      }
    }
    delete this;
  }

  [[nodiscard]] ContextSlot* context() noexcept override { return &context_; }

 private:
  std::atomic<void*> coroutine_;
  CoroutineWaiter*& place_;  // in the coroutine's frame: where its awaiter knows this object
  ContextSlot context_;
  const LoopIdentity loop_;
};

void suspend_coroutine(const AnyFuture& future, std::coroutine_handle<> coroutine, CoroutineWaiter*& waiter) {
  FutureState& state = *future.state();
  auto* made =
      new CoroutineWaiter(coroutine, waiter, state.loop_for_callbacks("co_await of a pending future"));
  waiter = made;
  // Once it is listed the coroutine may go on elsewhere, and its frame with all of the above be gone.
  if (!state.add_waiter(*made)) CoroutineWaiter::told(*made, state);
}

void abandon_coroutine(const AnyFuture& future, CoroutineWaiter& waiter) noexcept {
  if (future.state()->remove_waiter(waiter)) {
    delete &waiter;
  } else {
    static_cast<void>(waiter.take());  // queued already: it will find nothing to resume
  }
}

}  // namespace fibrio::detail
