#include "structured/group_scope.hpp"

#include <sched.h>

#include <mutex>
#include <utility>

#include "base/delay.hpp"
#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {
namespace {

// Process-exit class: thrown as it is, not grouped.
bool is_exit(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const KeyboardInterrupt&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

// --- children ----------------------------------------------------------------------------------------------

bool GroupScope::adopt(FutureState& task, void* place) noexcept {
  auto* child = ::new (place) GroupChild(*this);
  child->hold(task);
  {
    std::lock_guard guard(lock_);
    if (!aborting_ && !(exiting_ && !has_children_locked())) {
      live_.push_back(child);
      child = nullptr;
    }
  }
  if (child != nullptr) {
    child->end();
    return false;
  }
  // Not started yet, so it cannot be done; an abort may cancel it already.
  static_cast<GroupChild*>(place)->start(loop_, parent_.strand);
  start_task(task);
  return true;
}

void GroupScope::require_open() {
  std::lock_guard guard(lock_);
  if (aborting_) throw_shutting_down();
  if (exiting_ && !has_children_locked()) {
    throw RuntimeError("TaskGroup::create_task: the task group is finished");
  }
}

FutureState& GroupChild::waits_for_it() noexcept { return group.parent_; }

void GroupChild::run(bool drop) noexcept {
  if (drop) {  // the loop ended; the group went before, with its parent
    end();
    return;
  }
  group.on_child(*this);
}

void GroupScope::on_child(GroupChild& child) noexcept {
  FutureState& task = child.future();
  const bool has_failed = task.has_failed();
  if (has_failed) {
    task.absorb_exception();
    bool aborts = false;
    bool requests = false;
    {
      std::lock_guard guard(lock_);
      if (!aborting_ && !parent_requested_) {
        aborts = begin_abort_locked();
        requests = begin_request_locked();
      }
    }
    if (aborts) cancel_children();
    if (requests) request_parent();
  }
  TaskCore* parent = nullptr;
  {
    std::lock_guard guard(lock_);
    Children::remove(&child);
    if (has_failed) failed_.push_back(&child);
    if (!is_busy_locked()) parent = take_parked(joining_);
  }
  FIBRIO_MAY_DELAY(kGroupChildDone);
  // From here on the group may be gone, and with it a failed child.
  if (parent != nullptr) make_ready_anywhere(*parent);
  if (!has_failed) child.end();
}

// --- aborting ----------------------------------------------------------------------------------------------

bool GroupScope::begin_abort_locked() noexcept { return !std::exchange(aborting_, true); }
bool GroupScope::begin_request_locked() noexcept { return !std::exchange(parent_requested_, true); }

void GroupScope::cancel_children() noexcept {
  for (;;) {
    AnyFuture task;
    {
      std::lock_guard guard(lock_);
      GroupChild* child = live_.pop_front();
      if (child == nullptr) return;
      told_.push_back(child);
      child->future().add_ref();
      task = AnyFuture(&child->future());
    }
    if (!task.done()) task.cancel();
  }
}

void GroupScope::cancel_all() {
  bool aborts = false;
  bool requests = false;
  {
    std::lock_guard guard(lock_);
    if (exiting_ && !has_children_locked()) return;
    aborts = begin_abort_locked();
    requests = begin_request_locked();
    if (!aborts && !requests) return;
    ++cancellers_;
  }
  FIBRIO_MAY_DELAY(kGroupMarked);
  if (aborts) cancel_children();
  FIBRIO_MAY_DELAY(kGroupChildrenTold);
  if (requests) request_parent();
  TaskCore* parent = nullptr;
  {
    std::lock_guard guard(lock_);
    --cancellers_;
    if (!is_busy_locked()) parent = take_parked(joining_);
  }
  // From here on the group may be gone.
  if (parent != nullptr) make_ready_anywhere(*parent);
}

// --- the parent --------------------------------------------------------------------------------------------

GroupScope::GroupScope()
    : parent_(TaskControl::of(*require_task("task_group").current)), loop_(running_loop()) {}

void GroupScope::request_parent() noexcept {
  std::uint32_t epoch = 0;
  static_cast<void>(parent_.cancel_task(std::string(), &epoch));
  std::lock_guard guard(lock_);
  epoch_ = epoch;
  request_sent_ = true;
}

std::uint32_t GroupScope::count_foreign_requests() noexcept {
  for (;;) {
    {
      std::lock_guard guard(lock_);
      if (parent_requested_ == request_sent_) return parent_.word.count() - (request_sent_ ? 1 : 0);
    }
    ::sched_yield();  // another worker is about to send it
  }
}

std::exception_ptr GroupScope::join() {
  const std::uint32_t foreign_before = count_foreign_requests();
  bool was_interrupted = false;
  bool aborts = false;
  for (;;) {
    {
      std::lock_guard guard(lock_);
      if (!is_busy_locked()) break;
    }
    if (!park(WaitReason::kTaskGroup, lock_, joining_, [this] { return is_busy_locked(); })) continue;
    was_interrupted = true;
    bool begins = false;
    {
      std::lock_guard guard(lock_);
      begins = begin_abort_locked();
    }
    if (begins) {
      aborts = true;
      cancel_children();
    }
  }
  // If the group was aborting already, the wait may have been interrupted by the group's own request alone.
  if (!aborts && !(was_interrupted && count_foreign_requests() > foreign_before)) return nullptr;
  return std::make_exception_ptr(CancelledError(parent_.cancel_message()));
}

std::vector<std::exception_ptr> GroupScope::take_errors(std::exception_ptr body_error,
                                                        std::exception_ptr& exit_error) {
  std::vector<std::exception_ptr> errors;
  // No lock: the children are gone.
  while (GroupChild* child = failed_.pop_front()) {
    errors.push_back(child->future().error());
    child->end();
  }
  if (body_error != nullptr) errors.push_back(std::move(body_error));
  for (const std::exception_ptr& error : errors) {
    if (exit_error == nullptr && is_exit(error)) exit_error = error;
  }
  return errors;
}

bool GroupScope::run(GroupBody body, void* context) {
  std::exception_ptr body_error;
  std::exception_ptr interrupted;  // the CancelledError to be passed on
  bool was_left = false;
  try {
    body(context, *this);
  } catch (const CancelledError&) {
    interrupted = std::current_exception();
    was_left = true;
  } catch (...) {
    body_error = std::current_exception();
    was_left = true;
  }
  bool aborts = false;
  {
    std::lock_guard guard(lock_);
    exiting_ = true;
    if (was_left) aborts = begin_abort_locked();
  }
  if (aborts) cancel_children();
  if (std::exception_ptr error = join()) interrupted = std::move(error);

  std::exception_ptr exit_error;
  std::vector<std::exception_ptr> errors = take_errors(std::move(body_error), exit_error);
  const bool has_result = !was_left;
  // As asyncio: if no requests are left but the group's own, the CancelledError was that one's.
  if (parent_requested_ && parent_.word.withdraw(epoch_) == 0) interrupted = nullptr;
  if (exit_error != nullptr) std::rethrow_exception(exit_error);
  if (!errors.empty()) {
    // The cancel from outside is not lost: the next wait throws it, and the count stays what it is.
    if (parent_.word.count() != 0) parent_.word.record_request();
    throw ExceptionGroup("unhandled errors in a task group", std::move(errors));
  }
  if (interrupted != nullptr) std::rethrow_exception(interrupted);
  return has_result;
}

// --- for the templates -------------------------------------------------------------------------------------

LoopIdentity require_open(TaskGroup& group) {
  auto& scope = static_cast<GroupScope&>(group);
  scope.require_open();
  return scope.loop();
}
bool adopt_child(TaskGroup& group, FutureState& task, void* place) noexcept {
  return static_cast<GroupScope&>(group).adopt(task, place);
}
void throw_shutting_down() { throw RuntimeError("TaskGroup::create_task: the task group is shutting down"); }
bool run_task_group(GroupBody body, void* context) {
  GroupScope scope;
  return scope.run(body, context);
}
void throw_group_cancelled() {
  throw CancelledError("the task group was cancelled before its body returned a value");
}

}  // namespace fibrio::detail

namespace fibrio {

void TaskGroup::cancel() { static_cast<detail::GroupScope&>(*this).cancel_all(); }

}  // namespace fibrio
