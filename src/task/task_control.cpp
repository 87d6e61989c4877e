#include "task/task_control.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fiber/stack_pool.hpp"
#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/callback.hpp"
#include "task/cancel_walk.hpp"
#include "task/future_word.hpp"
#include "task/loop_services.hpp"
#include "task/registry.hpp"
#include "task/report.hpp"

namespace fibrio::detail {

TaskControl::TaskControl(Scheduler& its_scheduler, std::uint64_t loop_id, const TaskOps& ops, void* payload,
                         std::size_t bytes) noexcept
    : FutureState(Kind::kTask, &its_scheduler, loop_id, 2),
      TaskCore(&its_scheduler),
      ops_(ops),
      payload_(payload),
      bytes_(bytes) {
  set_value_place(static_cast<std::byte*>(payload) + ops.value_offset);
}

TaskControl::~TaskControl() {
  if (strand != nullptr) strand->release();  // it never started
  delete name_;
  delete cancel_message_;
}

void TaskControl::destroy() noexcept {
  if (ops_.destroy_value != nullptr && has_value()) destroy_value();
  free();
}

void TaskControl::free() noexcept {
  const std::size_t bytes = bytes_;
  this->~TaskControl();
  deallocate(this, bytes);
}

// --- running -----------------------------------------------------------------------------------------------

void TaskControl::run() noexcept {
  bool returned = false;
  bool cancelled = false;
  std::exception_ptr exception;
  if (word.take_cancellation()) {  // before it started: the body never runs
    cancelled = true;
  } else {
    try {
      ops_.run(payload_);
      returned = true;
    } catch (const CancelledError& error) {
      cancelled = true;
      if (!error.message().empty()) exception = std::current_exception();
    } catch (const KeyboardInterrupt&) {
      exception = std::current_exception();
      exit_loop(*FutureState::scheduler(), exception);
    } catch (...) {
      exception = std::current_exception();
    }
  }
  if (ops_.destroy_callable != nullptr || context.is_used()) {
    // Destructors of captured objects may wait, but nothing may be thrown through them.
    ++cancel_masks;
    destroy_callable();
    // The report of an exception that nobody retrieves is made in the task's context.
    if (exception == nullptr) context.clear();
    --cancel_masks;
  }
  if (returned && word.take_cancellation()) {  // a request came before the end: the value is lost (C04)
    cancelled = true;
    returned = false;
    destroy_value();
  }
  // From here to complete() nothing of the user's runs: a cancel that comes too late waits for it.
  const bool value_is_lost = !word.finish() && returned;
  cancelled = cancelled || value_is_lost;
  if (cancelled && exception == nullptr) {
    // Somebody may be cancelling, too late, and changing the message at this moment.
    if (std::string message = cancel_message(); !message.empty()) {
      exception = std::make_exception_ptr(CancelledError(std::move(message)));
    }
  }
  Outcome outcome = Outcome::kValue;
  if (cancelled) {
    outcome = Outcome::kCancelled;
  } else if (exception != nullptr) {
    outcome = Outcome::kException;
  }
  // After complete() the task may be gone.
  if (FutureState::scheduler()->is_debugging()) [[unlikely]]
    this_worker()->end_step();
  complete(outcome, exception, value_is_lost);
}

namespace {

// All tasks that fail for the same reason in a row share one exception: memory is short just then, and libstdc++
// ends the process when there is none for an exception.
std::exception_ptr stack_limit_error(const StackFailure& failure) {
  struct Last {
    std::mutex lock;
    StackFailure failure;
    std::exception_ptr error;
  };
  static Last& last = *new Last;  // outlives every loop of a static object
  std::lock_guard guard(last.lock);
  if (last.error == nullptr || last.failure.call != failure.call || last.failure.error != failure.error ||
      last.failure.bytes != failure.bytes) {
    last.error = std::make_exception_ptr(StackLimitError(failure));
    last.failure = failure;
  }
  return last.error;
}

}  // namespace

void TaskControl::fail(const StackFailure& failure) noexcept {
  destroy_callable();
  context.clear();
  static_cast<void>(word.finish());
  std::exception_ptr error = stack_limit_error(failure);
  complete(Outcome::kException, error, false);
}

void TaskControl::complete(Outcome outcome, std::exception_ptr& exception, bool value_is_lost) noexcept {
  Scheduler& home = *FutureState::scheduler();
  const bool began = FutureWord<ElidingAtomic>::lock(word_);
  FIBRIO_CHECK(began, "a task was completed by somebody else");
  Worker* const worker = this_worker();
  FIBRIO_CHECK(worker != nullptr, "a task ended in a forked child: such a child must call exec or _exit");
  home.registry->remove(*this, worker->index, outcome == Outcome::kCancelled);
  StrandState* const its_strand = std::exchange(strand, nullptr);
  if (outcome != Outcome::kValue) set_outcome(outcome, std::move(exception));
  FutureWaiter* const waiters = FutureWord<ElidingAtomic>::finish(word_);
  if (value_is_lost) destroy_value();
  // With the loop's reference.
  if (waiters == nullptr) {
    release();
  } else {
    tell_and_release(waiters, *worker);
  }
  if (its_strand != nullptr) its_strand->release();
}

// --- cancelling --------------------------------------------------------------------------------------------

namespace {

constexpr int kLooksBeforeYield = 64;  // as in SpinLock

bool has_room_for_one(std::vector<AnyFuture>& path) noexcept {
  if (path.size() < path.capacity()) return true;
  try {
    path.reserve(path.empty() ? 4 : path.size() * 2);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

}  // namespace

bool TaskControl::cancel_task(const std::string& message, std::uint32_t* epoch) noexcept {
  CancelWalk walk;
  if (!pass_request(message, epoch, AnyFuture(), walk)) return false;
  static_cast<void>(walk.finish(message));
  return true;
}

void TaskControl::renew_request(const AnyFuture& ended, std::uint32_t* epoch) noexcept {
  const std::string message = cancel_message_or_none();
  CancelWalk walk;
  static_cast<void>(pass_request(message, epoch, ended, walk));
  static_cast<void>(walk.finish(message));
}

bool TaskControl::pass_request(const std::string& message, std::uint32_t* epoch, AnyFuture ended,
                               CancelWalk& walk) noexcept {
  TaskControl* task = this;
  std::vector<AnyFuture> path;  // the tasks below this one that the request has reached; each awaits the next
  bool is_counted = ended.valid();  // by `task`; then `ended` is what was too late to pass it on to
  // A cycle of tasks that await each other (C13) is found as Brent does: a marker that jumps ahead at powers
  // of two.
  TaskControl* marker = this;
  AnyFuture holds_marker;
  AnyFuture holds_first;  // what this task awaits
  std::size_t lap = 0;
  std::size_t lap_length = 1;
  for (;;) {
    if (!is_counted) task->set_cancel_message(message);
    std::uint32_t* const its_epoch = task == this ? epoch : nullptr;
    switch (is_counted ? task->word.renew_request(its_epoch) : task->word.request_cancel(its_epoch)) {
      case WaitWord<>::Cancel::finished:
        if (task != this) {
          // It ended while the request was on its way: that stays with who awaited it (C11).
          ended = std::move(path.back());
          path.pop_back();
          task = path.empty() ? this : &TaskControl::of(*path.back().state());
          is_counted = true;
          continue;
        }
        if (is_counted) return true;  // it came before the end, and had its effect elsewhere, or none
        // false means done: who is told so may ask for the result.
        for (int looks = 0; !done();) {
          spin_pause<ElidingAtomic>();
          if (++looks % kLooksBeforeYield == 0) ::sched_yield();
        }
        exception_retrieved_.store(true, std::memory_order_relaxed);  // as with a plain future
        return false;
      case WaitWord<>::Cancel::recorded:
        return true;
      case WaitWord<>::Cancel::resolved:
        make_ready_anywhere(*task);
        return true;
      case WaitWord<>::Cancel::forward:
        break;
    }
    auto* target = static_cast<FutureState*>(task->awaited);
    if (is_counted && target == ended.state()) {  // delivered when the task resumes from there (C01)
      task->word.record_and_unlock();
      return true;
    }
    target->add_ref();
    task->word.unlock();
    AnyFuture holds_target(target);
    if (task == this) holds_first = holds_target;
    if (target->kind() == Kind::kComposed) {
      const CancelStart start = target->begin_cancel(message);
      if (start != CancelStart::kTooLate) {
        if (start == CancelStart::kOver) return true;
        task->add_ref();
        if (walk.enter(holds_target, AnyFuture(task), its_epoch)) return true;
        static_cast<void>(target->end_cancel(false));
        task->break_or_record(*target);
        return true;
      }
      ended = std::move(holds_target);
      is_counted = true;
      continue;
    }
    if (target->kind() != Kind::kTask) {
      if (target->cancel(message)) return true;
      ended = std::move(holds_target);  // too late for the future
      is_counted = true;
      continue;
    }
    auto& awaited_task = TaskControl::of(*target);
    if (awaited_task.done()) {
      ended = std::move(holds_target);
      is_counted = true;
      continue;
    }
    if (&awaited_task == marker) {
      report_await_cycle(*this);
      // Broken where the cancel came from.
      break_or_record(*holds_first.state());
      return true;
    }
    if (++lap == lap_length) {
      lap = 0;
      lap_length *= 2;
      marker = &awaited_task;
      holds_marker = holds_target;
    }
    if (!has_room_for_one(path)) {
      task->break_or_record(*target);
      return true;
    }
    path.push_back(std::move(holds_target));
    task = &awaited_task;
    is_counted = false;
  }
}

void TaskControl::set_cancel_message(const std::string& message) noexcept {
  // As asyncio: the message of the cancel that ended the wait stays; of several before that, the last one's.
  if (word.was_cancelled()) return;
  std::unique_ptr<std::string> made;
  try {
    if (!message.empty()) made = std::make_unique<std::string>(message);
  } catch (const std::bad_alloc&) {  // it goes on without its text
  }
  std::string* former = made.release();
  {
    std::lock_guard guard(text_lock_);
    std::swap(cancel_message_, former);
  }
  delete former;
}

void TaskControl::break_or_record(FutureState& awaited_future) noexcept {
  if (break_await(awaited_future)) {
    make_ready_anywhere(*this);
    return;
  }
  // It awaits that no more: its next wait may have begun.
  switch (word.renew_request()) {
    case WaitWord<>::Cancel::finished:
    case WaitWord<>::Cancel::recorded:
      return;
    case WaitWord<>::Cancel::resolved:
      make_ready_anywhere(*this);
      return;
    case WaitWord<>::Cancel::forward:
      word.record_and_unlock();
      return;
  }
}

void TaskControl::cancel_here() noexcept {
  switch (word.request_cancel(nullptr)) {
    case WaitWord<>::Cancel::finished:
    case WaitWord<>::Cancel::recorded:
      return;
    case WaitWord<>::Cancel::resolved:
      make_ready_anywhere(*this);
      return;
    case WaitWord<>::Cancel::forward:
      break;
  }
  auto* target = static_cast<FutureState*>(awaited);
  target->add_ref();
  const AnyFuture holds_target(target);
  word.unlock();
  break_or_record(*target);
}

std::string TaskControl::cancel_message() const {
  std::lock_guard guard(text_lock_);
  return cancel_message_ != nullptr ? *cancel_message_ : std::string();
}

std::string TaskControl::cancel_message_or_none() const noexcept {
  try {
    return cancel_message();
  } catch (const std::bad_alloc&) {
    return {};
  }
}

// --- names -------------------------------------------------------------------------------------------------

std::string TaskControl::name() const {
  {
    std::lock_guard guard(text_lock_);
    if (name_ != nullptr) return *name_;
  }
  std::string text = "Task-";
  return text.append(std::to_string(id));  // not operator+: g++ 12 warns about its own string there
}

void TaskControl::set_name(std::string name) {
  auto* made = new std::string(std::move(name));
  {
    std::lock_guard guard(text_lock_);
    std::swap(name_, made);
  }
  delete made;
}

std::size_t TaskControl::copy_name(char* buffer, std::size_t size) const noexcept {
  // From a signal handler on this task's own thread: if the lock is held, it is by what was interrupted.
  if (text_lock_.try_lock()) {
    std::lock_guard guard(text_lock_, std::adopt_lock);
    if (name_ != nullptr) {
      const std::size_t length = std::min(size, name_->size());
      std::memcpy(buffer, name_->data(), length);
      return length;
    }
  }
  constexpr char kPrefix[] = "Task-";
  constexpr std::size_t kPrefixLength = sizeof kPrefix - 1;
  if (size < kPrefixLength) return 0;
  std::memcpy(buffer, kPrefix, kPrefixLength);
  const auto end = std::to_chars(buffer + kPrefixLength, buffer + size, id);
  return static_cast<std::size_t>(end.ptr - buffer);
}

// --- for the templates in tasks.hpp ------------------------------------------------------------------------

std::string task_name(const FutureState& state) { return TaskControl::of(state).name(); }
void set_task_name(FutureState& state, std::string name) { TaskControl::of(state).set_name(std::move(name)); }
int task_cancelling(const FutureState& state) noexcept {
  return static_cast<int>(TaskControl::of(state).word.count());
}
int task_uncancel(FutureState& state) { return static_cast<int>(TaskControl::of(state).word.uncancel()); }

}  // namespace fibrio::detail
