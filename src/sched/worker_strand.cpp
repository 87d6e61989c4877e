// What: of a worker, what concerns strands, and tasks that begin on the spot.
// (No std::exchange here: it would be instrumented, see base/sanitizers.hpp.)
#include <cstddef>

#include "sched/scheduler.hpp"
#include "sched/tuning.hpp"
#include "sched/worker.hpp"

namespace fibrio::detail {

FIBRIO_NO_TSAN_BEGIN

// --- strands -----------------------------------------------------------------------------------------------

StrandState* current_strand() noexcept {
  Worker* worker = this_worker();
  return worker == nullptr ? nullptr : worker->current_strand();
}

Runnable* Worker::announce(StrandState& woken) noexcept {
  woken.add_ref();  // the runner's
  woken.ready_since_ns.store(now_ns, std::memory_order_relaxed);
  tsan_release(&woken);
  return &woken;
}

Runnable* Worker::post(Runnable& item) noexcept {
  StrandState* const strand = item.strand;
  if (strand == nullptr) return &item;
  if (strand == strand_) {
    strand->local.push_back(&item);
    return nullptr;
  }
  return strand->push(item) ? announce(*strand) : nullptr;
}

void Worker::wake_strand(StrandState& strand) noexcept {
  if (!solo && strand.wake()) push_ring(*announce(strand));
}

void Worker::run_strand(StrandState& strand) noexcept {
  const bool is_last_pass = scheduler.is_stopping();
  if (is_last_pass && strand.last_run == scheduler.run_number()) {
    push_ring(strand);  // as a loop with one worker: the pass that was running, and no other
    return;
  }
  strand_ = &strand;
  strand.begin(*this);
  while (strand.pass_left != 0 &&
         (is_last_pass || (ticks_ < kTicksPerPoll && !attention_.load(std::memory_order_relaxed)))) {
    --strand.pass_left;
    run_item(*strand.local.pop_front());
  }
  if (strand.pass_left == 0 && scheduler.is_stopping()) strand.last_run = scheduler.run_number();
  const bool rests = strand.end(*this);
  strand_ = nullptr;
  if (rests) {
    strand.release();
    return;
  }
  strand.ready_since_ns.store(now_ns, std::memory_order_relaxed);
  tsan_release(&strand);
  push_again(strand);
}

TaskCore* Worker::take_next_of_strand() noexcept {
  StrandState& strand = *strand_;
  if (strand.pass_left == 0 || ticks_ >= kTicksPerPoll || attention_.load(std::memory_order_relaxed)) {
    return nullptr;
  }
  Runnable* item = strand.local.pop_front();
  if (item->kind != RunnableKind::kTask) {
    strand.local.push_front(item);
    return nullptr;
  }
  --strand.pass_left;
  ++ticks_;
  counters.tasks_run.add();
  return static_cast<TaskCore*>(item);
}

// --- eager tasks -------------------------------------------------------------------------------------------

// Of the creators of eager tasks the newest, which waits for what stops now; null: that is a callback, on the
// loop's own context.
TaskCore* Worker::take_creator() noexcept {
  Runnable* creator = creators_;
  creators_ = creator->next;
  return creator == &loop_as_creator_ ? nullptr : static_cast<TaskCore*>(creator);
}

void Worker::start_eagerly(TaskCore& core) noexcept {
  tsan_release(static_cast<Runnable*>(&core));
  TaskCore* const self = current;
  if (!give_stack(core)) return;
  counters.tasks_run.add();
  Runnable& creator = self == nullptr ? loop_as_creator_ : *self;
  creator.next = creators_;
  creators_ = &creator;
  if (self != nullptr) {
    tsan_release(static_cast<Runnable*>(self));
    tsan_release_strand(*self);
  }
  Runnable* const running_callback = callback;
  callback = nullptr;
  // What the new task does now is a part of its creator's step.
  TaskCore* const creators_step = step_task_;
  const std::uint32_t creators_round = step_round_;
  const std::int64_t creators_start_ns = step_start_ns_;
  step_task_ = nullptr;
  current = &core;
  // Nobody else can take it up: it goes on here.
  static_cast<void>(switch_fiber(*this, self == nullptr ? main_ : self->fiber, core.fiber));
  arrive();
  step_task_ = creators_step;
  step_round_ = creators_round;
  step_start_ns_ = creators_start_ns;
  callback = running_callback;
  if (self == nullptr) return;
  tsan_acquire(static_cast<Runnable*>(self));
  tsan_acquire_strand(*self);
}

FIBRIO_NO_TSAN_END

}  // namespace fibrio::detail
