#include "sched/worker.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "base/delay.hpp"
#include "base/memory.hpp"
#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/tuning.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

Worker::Worker(Scheduler& its_scheduler, std::size_t its_index, std::uint64_t seed)
    : scheduler(its_scheduler),
      index(its_index),
      solo(its_scheduler.solo_),
      timers(its_scheduler.now_ns()),
      stacks(its_scheduler.stack_pool),
      now_ns(its_scheduler.now_ns()),
      random_state_(seed | 1) {
  if (solo || !scheduler.has_virtual_time()) return;
  front_ = std::make_unique<Poller>();
  const int error = front_->add(reactor.poller().fd(), EPOLLIN, 0);
  if (error < 0) throw std::system_error(-error, std::system_category(), "epoll_ctl");
}

// --- switching ---------------------------------------------------------------------------------------------

void Worker::arrive_in_debug() noexcept {
  end_step();  // before the commit: after it who stopped may run elsewhere, and be gone
  finish_arrival();
  begin_step();
}

void Worker::begin_step() noexcept {
  step_task_ = current;
  step_round_ = debug_round_.load(std::memory_order_relaxed);
  if (step_task_ != nullptr) step_start_ns_ = scheduler.now_ns();
}

void Worker::end_step() noexcept {
  TaskCore* const task = step_task_;  // (std::exchange would be instrumented)
  step_task_ = nullptr;
  if (task == nullptr || step_round_ != debug_round_.load(std::memory_order_relaxed)) return;
  const std::int64_t now = scheduler.now_ns();
  if (now - step_start_ns_ >= scheduler.slow_ns) scheduler.hooks.report_slow(*task, now - step_start_ns_);
  task->suspended_ms = milliseconds_of(now);
}

void Worker::enter_fiber(SwitchSlot& slot) noexcept {
  Worker* worker = static_cast<Worker*>(&slot);
  worker->arrive();
  tsan_acquire(worker->current->stack);  // who ran on it before is done
  const FiberRemains remains = worker->current->fiber.remains();
  for (;;) {
    TaskCore* core = worker->current;
    tsan_acquire(static_cast<Runnable*>(core));
    tsan_acquire_strand(*core);
    Stack* stack = core->stack;
    reset_fp_control(*worker);
    worker->scheduler.hooks.run_task(*core);
    // The core may be gone, and this may be another worker than before.
    worker = this_worker();
    worker->current = nullptr;
    if (worker->strand_ != nullptr) tsan_release(worker->strand_);
    worker->step_task_ = nullptr;
    TaskCore* next = worker->take_next();
#ifndef FIBRIO_TSAN  // there each task is a fiber of its own, or races between them would be hidden
    if (next != nullptr && next->stack == nullptr && next->stack_class == stack->size_class) {
      // The stack is empty and hot: the next task begins on it right here, without a switch.
      next->stack = stack;
      next->fiber.inherit(*stack);
      worker->current = next;
      worker->budget_.renew();
      worker->step_begin_ = worker->ring_.end();
      worker->pass_is_new_ = false;  // nothing stops here
      if (worker->is_debugging()) [[unlikely]]
        worker->begin_step();
      continue;
    }
#endif
    while (next != nullptr && !worker->give_stack(*next)) next = worker->take_next();
    worker->current = next;
    worker->commit_ = &Worker::recycle_stack;
    worker->commit_argument_ = stack;
    worker->dead_remains_ = remains;
    tsan_release(stack);
    tsan_release(&worker->commit_);
    return switch_fiber_for_good(*worker, worker->dead_, next == nullptr ? worker->main_ : next->fiber);
  }
}

void Worker::recycle_stack(void* stack, Worker& worker) noexcept {
  Fiber::retire(worker.dead_remains_);
  const TsanSection section(&worker.stacks);
  worker.stacks.release(static_cast<Stack*>(stack));
}

bool Worker::give_stack(TaskCore& core) noexcept {
  if (core.stack != nullptr) return true;
  StackFailure failure;
  const TsanSection section(&stacks);
  core.stack = stacks.try_acquire(stack_class_bytes(core.stack_class), failure);
  if (core.stack == nullptr) {
    // Perhaps on the stack of a task that is about to be suspended: a destructor that waits must be refused,
    // or it would lose that task's commit.
    TaskCore* const before = current;
    current = nullptr;
    is_failing_task_ = true;
    scheduler.hooks.fail_task(core, failure);
    is_failing_task_ = false;
    current = before;
    return false;
  }
  core.fiber.prepare(*core.stack);
  return true;
}

bool Worker::begin_quick_pass() noexcept {
  if (local_.empty() || has_due_ || ticks_ >= kTicksPerPoll || attention_.load(std::memory_order_relaxed) ||
      timers.may_be_due(now_ns)) {
    return false;
  }
  pass_left_ = local_.size();
  pass_is_new_ = true;
  return true;
}

// What is resumed next, and the task after that, are out of the cache if there are many: asked for one switch before they
// are needed, they come while this one runs.
static void fetch_ahead(const Runnable* item) noexcept {
  if (item == nullptr) return;
  __builtin_prefetch(item->next);
  if (item->kind != RunnableKind::kTask) return;
  const auto* context =
      static_cast<const std::byte*>(static_cast<const TaskCore*>(item)->fiber.saved_context());
  __builtin_prefetch(context);
  __builtin_prefetch(context + kCacheLine);
  __builtin_prefetch(context + 2 * kCacheLine);
}

TaskCore* Worker::take_next() noexcept {
  if (creators_ != nullptr) return take_creator();
  if (solo) {
    if (pass_left_ == 0 && !begin_quick_pass()) return nullptr;
    Runnable* item = local_.pop_front();
    if (item->kind != RunnableKind::kTask) {  // callbacks run on the loop's own context
      local_.push_front(item);
      return nullptr;
    }
    --pass_left_;
    ++ticks_;
    counters.tasks_run.add();
    fetch_ahead(local_.front());
    return static_cast<TaskCore*>(item);
  }
  if (strand_ != nullptr) return take_next_of_strand();
  if (ticks_ >= kTicksPerPoll || attention_.load(std::memory_order_relaxed)) return nullptr;
  Runnable* item = take_stashed();
  if (item == nullptr) item = take_own();
  if (item == nullptr) return nullptr;
  ++ticks_;
  if (item->kind != RunnableKind::kTask) {
    stashed_ = item;
    return nullptr;
  }
  counters.tasks_run.add();
  return static_cast<TaskCore*>(item);
}

void Worker::run_callback(Runnable& item) noexcept {
  counters.callbacks_run.add();
  tsan_acquire(&item);
  StrandState* const its_strand = item.strand;  // which outlives it here: it is being run
  if (its_strand != nullptr) tsan_acquire(its_strand);
  callback = &item;
  scheduler.hooks.run_callback(item, false);
  callback = nullptr;
  if (its_strand != nullptr) tsan_release(its_strand);
}

void Worker::run_due(Runnable& item) noexcept {
  if (item.strand == nullptr || item.strand == strand_ || solo) {
    run_callback(item);
  } else {
    schedule(item);
  }
}

void Worker::run_item(Runnable& item) noexcept {
  if (item.kind == RunnableKind::kStrand) {
    run_strand(static_cast<StrandState&>(item));
    return;
  }
  ++ticks_;
  if (item.kind == RunnableKind::kCallback) {
    run_callback(item);
    return;
  }
  auto& core = static_cast<TaskCore&>(item);
  if (!give_stack(core)) return;
  counters.tasks_run.add();
  current = &core;
  static_cast<void>(switch_fiber(*this, main_, core.fiber));  // the loop's own context never migrates
  arrive();
}

Worker& suspend(Worker& worker, WaitReason reason, Commit commit, void* argument) noexcept {
  TaskCore* self = worker.current;
  self->reason = reason;
  self->suspended_ms = 0;
  worker.commit_ = commit;
  worker.commit_argument_ = argument;
  tsan_release(&worker.commit_);  // the commit reads and writes the frame of the task that stops
  tsan_release_strand(*self);
  TaskCore* next = worker.take_next();
  while (next != nullptr && !worker.give_stack(*next)) next = worker.take_next();
  worker.current = next;
  auto& now =
      static_cast<Worker&>(switch_fiber(worker, self->fiber, next == nullptr ? worker.main_ : next->fiber));
  now.arrive();
  tsan_acquire(static_cast<Runnable*>(self));
  tsan_acquire_strand(*self);
  return now;
}

void yield_current(Worker& worker) noexcept {
  TaskCore* self = worker.current;
  if (!worker.solo) {
    suspend(
        worker, WaitReason::kYield,
        [](void* core, Worker& here) noexcept { here.push_yielded(*static_cast<TaskCore*>(core)); }, self);
    return;
  }
  self->reason = WaitReason::kYield;
  self->suspended_ms = 0;
  worker.local_.push_back(self);  // nobody else looks into this queue: it may be there before it is saved
  TaskCore* next = worker.take_next();
  while (next != nullptr && next != self && !worker.give_stack(*next)) next = worker.take_next();
  if (next == self) {
    worker.budget_.renew();
    worker.pass_is_new_ = false;  // nothing stops here; the next pass it ends must not be counted again
    if (worker.is_debugging()) [[unlikely]] {
      worker.end_step();
      worker.begin_step();
    }
    return;
  }
  worker.current = next;
  static_cast<Worker&>(switch_fiber(worker, self->fiber, next == nullptr ? worker.main_ : next->fiber))
      .arrive();
}

// --- budget ------------------------------------------------------------------------------------------------

bool Worker::has_overdue_timers() noexcept {
  if (scheduler.has_virtual_time()) return false;
  const Timers& its = timers_here();
  return its.has_due() || (its.size() != 0 && its.may_be_due(scheduler.now_ns()));
}

bool Worker::renew_turns() noexcept {
  // Where asyncio's order is kept only what is due ends a step that asyncio would not end.
  if (!solo && (current == nullptr || current->strand == nullptr)) return renew_budget(true);
  budget_.turns = kBudget;
  if (current == nullptr || !has_overdue_timers()) return false;
  ticks_ = kTicksPerPoll;
  return true;
}

bool Worker::renew_budget(bool is_turn) noexcept {
  (is_turn ? budget_.turns : budget_.operations) = kBudget;
  if (current == nullptr) return false;
  if (!scheduler.has_virtual_time()) {
    const std::int64_t now = scheduler.now_ns();
    if (late_ns_ == 0) late_ns_ = now + kLateLookNs;
    if (now >= late_ns_ || timers_here().may_be_due(now)) {
      ticks_ = kTicksPerPoll;
      return true;
    }
  }
  return --(is_turn ? budget_.turn_looks : budget_.looks) == 0;
}

// --- making ready ------------------------------------------------------------------------------------------

void Worker::make_ready(TaskCore& core) noexcept {
  tsan_release(static_cast<Runnable*>(&core));
  if (!solo) return make_ready_shared(core);
  local_.push_back(&core);
}

[[gnu::noinline]] void Worker::make_ready_shared(TaskCore& core) noexcept {
  Runnable* item = post(core);
  if (item == nullptr) return;
  if (scheduler.forced_migration) return send_to_neighbour(*item);
  // Nobody is woken for the slot: this worker takes it next.
  if (Runnable* displaced = lifo_.exchange(item)) push_ring(*displaced);
}

void Worker::run_next(TaskCore& core) noexcept {
  if (solo || strand_ != nullptr || core.strand != nullptr || creators_ != nullptr || stashed_ != nullptr ||
      scheduler.forced_migration) {
    make_ready(core);
    return;
  }
  tsan_release(static_cast<Runnable*>(&core));
  stashed_ = &core;
}

void Worker::make_ready(RunnableChain chain) noexcept {
  if (chain.empty()) return;
#ifdef FIBRIO_TSAN
  for (Runnable* item = chain.first; item != nullptr; item = item->next) tsan_release(item);
#endif
  if (solo) {
    local_.splice_back(chain);
    return;
  }
  RunnableChain to_queue;
  while (Runnable* ready = chain.pop_front()) {
    Runnable* item = post(*ready);
    if (item == nullptr) continue;
    if (scheduler.forced_migration) {
      send_to_neighbour(*item);
    } else {
      to_queue.push_back(item);
    }
  }
  if (to_queue.empty()) return;
  ring_.push_chain(to_queue, scheduler.inject_);
  // Called by the loop itself, which runs the first one right away, or what is in the slot.
  if (ring_.size() > 1 || !lifo_.empty()) scheduler.wake_one_for_work(this);
}

void Worker::schedule(Runnable& item) noexcept {
  tsan_release(&item);
  if (!solo) return schedule_shared(item);
  local_.push_back(&item);
}

[[gnu::noinline]] void Worker::schedule_shared(Runnable& item) noexcept {
  if (Runnable* to_queue = post(item)) push_ring(*to_queue);
}

bool Worker::is_worth_waking(std::size_t waiting) const noexcept {
  return static_cast<std::int64_t>(waiting) * step_ns_ >= kWorthWakingNs;
}

void Worker::push_ring(Runnable& item) noexcept {
  if (!is_worth_waking(ring_.size() + 1)) return ring_.push_back_quiet(&item, scheduler.inject_);
  ring_.push_back(&item, scheduler.inject_);
  scheduler.wake_one_for_work(this);
}

void Worker::send_to_neighbour(Runnable& item) noexcept {
  Worker& neighbour = scheduler.worker((index + 1) % scheduler.size());
  neighbour.mailbox_.push(&item);
  neighbour.unpark();
}

void Worker::push_yielded(TaskCore& core) noexcept {
  if (core.strand != nullptr) return schedule(core);
  push_again(core);
}

void Worker::push_again(Runnable& item) noexcept {
  if (scheduler.forced_migration) return send_to_neighbour(item);
  // What waits here already was announced when it came; a sleeper is worth waking only if there is more than
  // this.
  const bool others = !ring_.empty();
  ring_.push_back_quiet(&item, scheduler.inject_);
  if (others && is_worth_waking(ring_.size()) && scheduler.idle_.may_want_wake())
    scheduler.wake_one_for_work(this);
}

void make_ready_anywhere(TaskCore& core) noexcept {
  FIBRIO_MAY_DELAY(kTaskResolved);
  Scheduler& scheduler = *core.scheduler;
  Worker* worker = this_worker();
  if (worker != nullptr && &worker->scheduler == &scheduler) {
    worker->make_ready(core);
    return;
  }
  scheduler.schedule_anywhere(core);
}

void refuse_without_task(const char* what, const Worker* worker) {
  if (worker == nullptr) {
    throw RuntimeError(std::string(what) +
                       " needs a task: call it inside fibrio::run or EventLoop::create_task");
  }
  throw RuntimeError(std::string(what) +
                     " is not possible in a callback: a callback must not wait; create a task");
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
