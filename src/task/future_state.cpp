#include "fibrio/detail/future_state.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "base/check.hpp"
#include "base/delay.hpp"
#include "fibrio/detail/budget.hpp"
#include "fibrio/errors.hpp"
#include "fibrio/event_loop.hpp"
#include "fibrio/futures.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/cancel_walk.hpp"
#include "task/capture.hpp"
#include "task/context.hpp"
#include "task/done_callback.hpp"
#include "task/future_word.hpp"
#include "task/loop_services.hpp"
#include "task/report.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

using Word = FutureWord<ElidingAtomic>;

void FutureState::clean_up() noexcept {
  if (has_creation_site_) CreationSite::forget(*this);
  if (done()) return;
  // Whoever waits for it holds a reference: what is listed are done-callbacks, which nobody will call.
  for (FutureWaiter* waiter = Word::list(word_); waiter != nullptr;) {
    FIBRIO_DCHECK(waiter->on_done == &DoneCallback::told, "a future goes while something waits for it");
    delete static_cast<DoneCallback*>(std::exchange(waiter, waiter->next));
  }
}

namespace {

// Null for none. Without memory for the text a cancel goes on without it.
std::exception_ptr cancelled_error(const std::string& message) noexcept {
  if (message.empty()) return nullptr;
  try {
    return std::make_exception_ptr(CancelledError(message));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace

// --- completing --------------------------------------------------------------------------------------------

bool FutureState::begin_completion() noexcept { return Word::lock(word_); }
bool FutureState::claim_completion() noexcept { return Word::claim(word_); }

void FutureState::finish_completion() noexcept { tell(Word::finish(word_)); }

void FutureState::set_outcome(Outcome outcome, std::exception_ptr exception) noexcept {
  outcome_ = outcome;
  exception_ = std::move(exception);
}

void FutureState::finish_completion(Outcome outcome, std::exception_ptr exception) noexcept {
  set_outcome(outcome, std::move(exception));
  tell(Word::finish(word_));
}

void FutureState::finish_claimed() noexcept {
  FIBRIO_MAY_DELAY(kFutureClaimed);
  Word::lock_claimed(word_);
  finish_completion();
}

// A cancel of a task that awaits this was too late while the claim lasted, and stayed with the task: it is passed on now.
void FutureState::abandon_claim() noexcept {
  TaskControl* asked = nullptr;
  Word::lock_claimed(word_);
  FutureWaiter* const newest = Word::list(word_);
  for (FutureWaiter* waiter = newest; waiter != nullptr && asked == nullptr; waiter = waiter->next) {
    TaskControl* const task = awaiting_task(*waiter);
    if (task != nullptr && task->word.is_requested() && task->word.phase() == WaitPhase::awaiting)
      asked = task;
  }
  if (asked != nullptr) asked->add_ref();
  Word::unlock(word_, newest);
  if (asked == nullptr) return;
  const AnyFuture holds(asked);
  asked->renew_request(holds);
}

void FutureState::tell(FutureWaiter* newest_first) noexcept {
  FIBRIO_MAY_DELAY(kFutureDone);
  for (FutureWaiter* waiter = Word::reversed(newest_first); waiter != nullptr;) {
    FutureWaiter* next = waiter->next;  // it may be gone once it was told
    waiter->on_done(*waiter, *this);
    waiter = next;
  }
}

bool FutureState::cancel(const std::string& message) noexcept {
  if (kind_ == Kind::kTask) return TaskControl::of(*this).cancel_task(message);
  if (kind_ == Kind::kComposed) {
    const CancelStart start = begin_cancel(message);
    if (start != CancelStart::kBegun) return start == CancelStart::kOver;
    add_ref();
    CancelWalk walk;
    if (!walk.enter(AnyFuture(this), AnyFuture(), nullptr)) return end_cancel(false);
    return walk.finish(message);
  }
  std::exception_ptr error = cancelled_error(message);
  if (!begin_completion()) {
    if (done()) exception_retrieved_.store(true, std::memory_order_relaxed);
    return false;
  }
  finish_completion(Outcome::kCancelled, std::move(error));
  return true;
}

FutureState::CancelStart FutureState::begin_cancel(const std::string&) { return CancelStart::kTooLate; }
FutureState* FutureState::part_to_cancel(std::size_t) noexcept { return nullptr; }
bool FutureState::end_cancel(bool) noexcept { return false; }

// --- reading -----------------------------------------------------------------------------------------------

void FutureState::require_value() {
  if (!done()) throw InvalidStateError("the result of a future was asked for before it is done");
  if (outcome_ == Outcome::kValue) return;
  exception_retrieved_.store(true, std::memory_order_relaxed);
  if (exception_ != nullptr) std::rethrow_exception(exception_);
  throw CancelledError();
}

std::exception_ptr FutureState::exception() {
  if (!done()) throw InvalidStateError("the exception of a future was asked for before it is done");
  if (outcome_ == Outcome::kValue) return nullptr;
  if (outcome_ == Outcome::kCancelled) require_value();
  exception_retrieved_.store(true, std::memory_order_relaxed);
  return exception_;
}

std::exception_ptr FutureState::error() const {
  FIBRIO_CHECK(done(), "the error of a future was asked for before it is done");
  if (outcome_ == Outcome::kValue) return nullptr;
  return exception_ != nullptr ? exception_ : std::make_exception_ptr(CancelledError());
}

EventLoop& FutureState::loop() const {
  if (scheduler_ == nullptr) throw RuntimeError("the future was made outside of any event loop");
  return *scheduler_->event_loop;
}

void FutureState::last_reference_gone() noexcept {
  // The others' releases come before: see release().
  if (done() && outcome_ == Outcome::kException && !exception_retrieved_.load(std::memory_order_relaxed)) {
    report_never_retrieved();
  } else {
    destroy();
  }
}

void FutureState::report_never_retrieved() noexcept {
  exception_retrieved_.store(true, std::memory_order_relaxed);
  // The handler gets a handle, and may keep it: the state goes with the last one of these.
  references_.store(1, std::memory_order_relaxed);
  const AnyFuture self(this);
  try {
    struct Report {
      std::string message;
      const AnyFuture& future;
    } report{
        kind_ == Kind::kTask ? "Task exception was never retrieved" : "Future exception was never retrieved",
        self};
    std::optional<BorrowedContext> borrowed;  // asyncio: the handler runs in the task's own context
    if (kind_ == Kind::kTask) borrowed.emplace(TaskControl::of(*this).context);
    const bool told = with_live_loop(
        scheduler_, loop_id_,
        [](Scheduler& scheduler, void* context) {
          auto& [message, future] = *static_cast<Report*>(context);
          report_exception(scheduler, std::move(message), future.state()->exception_, future);
        },
        &report);
    // A handle can outlive its loop, and a future have none.
    if (!told) {
      ExceptionContext context{std::move(report.message), exception_, self};
      context.source_traceback = CreationSite::frames_of(created_at());
      print_report(context);
    }
  } catch (...) {
    // No memory for the report: nothing is left to report with.
  }
}

// --- waiting -----------------------------------------------------------------------------------------------

bool FutureState::add_waiter(FutureWaiter& waiter) noexcept { return Word::add(word_, waiter); }

bool FutureState::remove_waiter(FutureWaiter& waiter) noexcept {
  return Word::remove(word_, [&](FutureWaiter& listed) { return &listed == &waiter; }) != nullptr;
}

void FutureState::for_each_waiter(void (*visit)(FutureWaiter& waiter, void* context),
                                  void* context) noexcept {
  if (!Word::lock_list(word_)) return;
  FutureWaiter* const newest = Word::list(word_);
  for (FutureWaiter* waiter = newest; waiter != nullptr; waiter = waiter->next) visit(*waiter, context);
  Word::unlock_list(word_, newest);
}

void FutureState::note_creation() noexcept {
  if (scheduler_ == nullptr || !scheduler_->is_debugging()) [[likely]]
    return;
  has_creation_site_ = CreationSite::remember(*this);
}

const CreationSite* FutureState::created_at() const noexcept {
  return has_creation_site_ ? CreationSite::of(*this) : nullptr;
}

namespace {

// A task that awaits a future; on the task's own stack.
struct AwaitWaiter : FutureWaiter {
  AwaitWaiter(TaskControl& its_task, FutureState& its_target, WaitPhase its_phase) noexcept
      : FutureWaiter(&told), task(its_task), target(its_target), phase(its_phase) {}

  TaskControl& task;
  FutureState& target;
  WaitPhase phase;

  static void told(FutureWaiter& self, FutureState&) noexcept {
    make_ready_anywhere(static_cast<AwaitWaiter&>(self).resolve());
  }
  // The same as the last thing that a task does, on its worker.
  void told_last(Worker& worker) noexcept {
    TaskControl& waiting = resolve();
    if (waiting.TaskCore::scheduler == &worker.scheduler) {
      worker.run_next(waiting);
    } else {
      make_ready_anywhere(waiting);
    }
  }
  [[nodiscard]] TaskControl& resolve() noexcept {
    TaskControl& waiting = task;  // once it is resolved the waiter may be gone
    const bool won = waiting.word.resolve();
    FIBRIO_CHECK(won, "an await was ended by somebody who did not take its waiter off the list");
    return waiting;
  }
  // Of a task that is awaited: by who ends the wait, and is not its completion.
  void take_reference() noexcept {
    if (target.kind() == FutureState::Kind::kTask) target.add_ref();
  }

  // Runs once the task's context is saved.
  static void commit(void* argument, Worker& worker) noexcept {
    auto& self = *static_cast<AwaitWaiter*>(argument);
    TaskControl& task = self.task;
    FutureState& target = self.target;
    const bool requested = task.word.arm(self.phase) == WaitWord<>::Armed::requested;
    if (!requested) {
      if (target.add_waiter(self)) return;
      // Done in the meantime. Nobody else can end this wait: a cancel is passed on, and fails.
      self.take_reference();
      if (task.word.resolve()) worker.make_ready(task);
      return;
    }
    // A request came before the wait: it goes to the future (C01: unless that is done, then it stays here).
    // Once the waiter is listed the task may run and be gone, and let go of the future.
    AnyFuture holds_task((task.add_ref(), static_cast<FutureState*>(&task)));
    AnyFuture holds_target((target.add_ref(), &target));
    if (target.add_waiter(self)) {
      if (!target.cancel(task.cancel_message_or_none())) task.renew_request(holds_target);
      return;
    }
    task.word.record_request();
    self.take_reference();
    if (task.word.resolve()) worker.make_ready(task);
  }
};

// Also of a gather, whose CancelledError is that of a child.
bool has_cancelled_error(FutureState& target) noexcept {
  if (target.cancelled()) return true;
  if (!target.has_failed()) return false;
  try {
    std::rethrow_exception(target.error());
  } catch (const CancelledError&) {
    return true;
  } catch (...) {
    return false;
  }
}

// If a cancel of the task was passed on to the future: who awaits gets the error from that; a plain wait must throw
// it, or the cancel would be lost.
void wait_in_task(FutureState& target, Worker& worker, bool is_plain_wait) {
  auto& task = TaskControl::of(*worker.current);
  if (static_cast<FutureState*>(&task) == &target) {
    yield();  // asyncio throws it in the next pass; a cancel may come first
    throw RuntimeError("a task cannot await itself");
  }
  // The handle it was called through may go away meanwhile. A task has the loop's reference until it ends, and gives
  // that to us then (tell_and_release).
  if (target.kind() != FutureState::Kind::kTask) target.add_ref();
  AwaitWaiter waiter(task, target, is_masked(worker) ? WaitPhase::masked : WaitPhase::awaiting);
  task.awaited = &target;
  if (target.kind() == FutureState::Kind::kTask) worker.expect_join();
  const std::uint32_t requests = task.word.count();
  const bool was_requested = task.word.is_requested();
  suspend(worker, WaitReason::kFuture, &AwaitWaiter::commit, &waiter);
  const AnyFuture holds_target(&target);
  if (waiter.phase == WaitPhase::masked) return;
  if (task.word.take_cancellation()) {
    // As asyncio: if the future ended by a cancel, that one's CancelledError is thrown, not a later one's.
    if (!has_cancelled_error(target)) task.throw_cancelled();
  } else {
    if (!was_requested && task.word.count() <= requests) return;
    task.word.note_delivery();
  }
  if (is_plain_wait && has_cancelled_error(target)) target.require_value();
}

// A plain thread that blocks.
struct ThreadWaiter : FutureWaiter {
  ThreadWaiter() noexcept : FutureWaiter(&told) {}
  std::mutex lock;
  std::condition_variable changed;
  bool is_done = false;

  static void told(FutureWaiter& self, FutureState&) noexcept {
    auto& waiter = static_cast<ThreadWaiter&>(self);
    std::lock_guard guard(waiter.lock);
    waiter.is_done = true;
    waiter.changed.notify_one();  // under the lock: the waiter is gone right after it
    FIBRIO_MAY_DELAY(kThreadTold);
  }
};

void wait_in_thread(FutureState& target) {
  ThreadWaiter waiter;
  if (!target.add_waiter(waiter)) return;
  std::unique_lock guard(waiter.lock);
  waiter.changed.wait(guard, [&] { return waiter.is_done; });
}

}  // namespace

void FutureState::tell_and_release(FutureWaiter* newest_first, Worker& worker) noexcept {
  for (FutureWaiter* waiter = Word::reversed(newest_first); waiter != nullptr;) {
    FutureWaiter* const next = waiter->next;  // it may be gone once it was told
    const bool is_await = waiter->on_done == &AwaitWaiter::told;
    if (is_await && next == nullptr) {
      static_cast<AwaitWaiter*>(waiter)->told_last(worker);  // with the loop's reference
      return;
    }
    if (is_await) add_ref();
    waiter->on_done(*waiter, *this);
    waiter = next;
  }
  release();
}

TaskControl* awaiting_task(FutureWaiter& waiter) noexcept {
  return waiter.on_done == &AwaitWaiter::told ? &static_cast<AwaitWaiter&>(waiter).task : nullptr;
}

bool TaskControl::break_await(FutureState& awaited_future) noexcept {
  // The commit that lists the waiter may still be on its way on another worker.
  for (SpinWait<std::atomic> wait; word.phase() == WaitPhase::awaiting && !awaited_future.done();) {
    const FutureWaiter* found = Word::remove(awaited_future.word_, [this](FutureWaiter& listed) {
      return listed.on_done == &AwaitWaiter::told && &static_cast<AwaitWaiter&>(listed).task == this;
    });
    if (found != nullptr) {  // taken off: nobody else will end this wait
      if (awaited_future.kind() == Kind::kTask) awaited_future.add_ref();  // for the waiter
      return word.resolve_as_cancelled();
    }
    wait.pause();
  }
  return false;
}

void FutureState::require_own_process() const {
  if (is_loop_of_parent(loop_id_)) throw RuntimeError(std::string("waiting for a future") + kOfParent);
}

void FutureState::wait_done() {
  if (done()) return spend_turn();
  if (this_worker() != nullptr) {
    wait_in_task(*this, require_task("awaiting a pending future"), false);
    return;
  }
  require_own_process();
  wait_in_thread(*this);
}

void FutureState::wait() {
  if (done()) return spend_turn();
  if (this_worker() == nullptr) {
    require_own_process();
    wait_in_thread(*this);
    return;
  }
  wait_in_task(*this, require_task("waiting for a pending future"), true);
}

// --- callbacks ---------------------------------------------------------------------------------------------

LoopIdentity FutureState::loop_for_callbacks(const char* what) const {
  LoopIdentity loop = running_loop();
  if (loop.scheduler == nullptr) loop = {scheduler_, loop_id_};
  if (loop.scheduler == nullptr) {
    throw RuntimeError(std::string(what) +
                       " needs a loop to go on: neither the caller nor the future has one");
  }
  // From outside of it the loop may be closed by now; a callback would never run.
  const auto is_open = [&] {
    bool open = false;
    with_live_loop(
        loop.scheduler, loop.id,
        [](Scheduler& scheduler, void* result) { *static_cast<bool*>(result) = !scheduler.is_closed(); },
        &open);
    return open;
  };
  if (this_worker() == nullptr && !is_open()) {
    throw RuntimeError(std::string(what) + ": the event loop is closed");
  }
  return loop;
}

std::uint64_t FutureState::add_done_callback(UniqueFunction<void(AnyFuture)> callback) {
  return list_done_callback(std::move(callback), loop_for_callbacks("add_done_callback"));
}

std::uint64_t FutureState::add_done_callback(UniqueFunction<void(AnyFuture)> callback, Scheduler& loop) {
  return list_done_callback(std::move(callback), {&loop, loop.id});
}

std::uint64_t FutureState::list_done_callback(UniqueFunction<void(AnyFuture)> callback,
                                              const LoopIdentity& loop) {
  auto made = std::make_unique<DoneCallback>(std::move(callback), loop);
  const std::uint64_t id = made->callback_id;
  list(*made.release());
  return id;
}

void FutureState::list(DoneCallback& callback) noexcept {
  if (!Word::add(word_, callback)) DoneCallback::told(callback, *this);  // done: it is queued right away
}

void FutureState::report_failure_once() {
  auto made = std::make_unique<DoneCallback>(
      [](const AnyFuture& future) {
        FutureState& self = *future.state();
        if (!self.has_failed() || self.failure_reported_.exchange(true, std::memory_order_relaxed)) return;
        self.absorb_exception();
        with_live_loop(
            self.scheduler_, self.loop_id_,
            [](Scheduler& scheduler, void* failed) {
              auto& state = *static_cast<FutureState*>(failed);
              state.add_ref();
              report_exception(scheduler, "an exception in a shielded future", state.exception_,
                               AnyFuture(&state));
            },
            &self);
      },
      running_loop(), DoneCallback::kFailureReport);
  static_cast<void>(remove_done_callback(DoneCallback::kFailureReport));
  list(*made.release());
}

std::size_t FutureState::remove_done_callback(std::uint64_t id) {
  FutureWaiter* found = Word::remove(word_, [&](FutureWaiter& listed) {
    return listed.on_done == &DoneCallback::told && static_cast<DoneCallback&>(listed).callback_id == id;
  });
  if (found == nullptr) return 0;
  delete static_cast<DoneCallback*>(found);  // not under the lock: it holds user objects
  return 1;
}

LoopIdentity running_loop() noexcept {
  Worker* worker = this_worker();
  if (worker == nullptr) return {};
  return {&worker->scheduler, worker->scheduler.id};
}

}  // namespace fibrio::detail
