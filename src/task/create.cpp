// What: how a task is made, started, or given up again before it was started (for the templates in tasks.hpp).
#include <algorithm>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/registry.hpp"
#include "task/task_control.hpp"

namespace fibrio::detail {

namespace {

constexpr std::size_t round_up(std::size_t bytes, std::size_t align) {
  return (bytes + align - 1) / align * align;
}
constexpr std::size_t kPayloadAt = round_up(sizeof(TaskControl), alignof(std::max_align_t));

constexpr const char* kClosed = "create_task: the event loop is closed";

// Functions of their own: where a task is made there is nothing to unwind, and little to save.
[[noreturn, gnu::noinline]] void throw_without_loop() {
  throw RuntimeError(
      "create_task needs a running loop: call it inside fibrio::run, or use EventLoop::create_task");
}
[[noreturn, gnu::noinline]] void throw_of_parent() {
  throw RuntimeError(std::string("create_task") + kOfParent);
}
[[noreturn, gnu::noinline]] void throw_overaligned(std::size_t align) {
  throw std::invalid_argument("create_task: the callable, an argument or the result is aligned to " +
                              std::to_string(align) + " bytes, more than memory is (" +
                              std::to_string(alignof(std::max_align_t)) + "): hold it by a pointer");
}
[[noreturn, gnu::noinline]] void throw_closed() { throw RuntimeError(kClosed); }
// The registry has refused it.
[[noreturn, gnu::noinline]] void give_up(TaskControl& task, const Scheduler& scheduler, bool here) {
  task.free();
  if (!here && scheduler.registry->refuses_elsewhere()) throw_closed();
  throw std::bad_alloc();
}

std::uint8_t stack_class_for(std::size_t wanted, const Scheduler& scheduler) {
  if (wanted == 0) return scheduler.stack_class;
  if (wanted < kMinStackBytes || wanted > kMaxStackBytes) {
    throw std::invalid_argument(
        "TaskOptions::stack_size = " + std::to_string(wanted) +
        " is out of range; allowed: 16384 (16 KiB) to 67108864 (64 MiB), or 0 for Config's");
  }
  return static_cast<std::uint8_t>(stack_class_of(wanted));
}

StrandState* strand_of_creator(const Scheduler& scheduler, const Worker* worker) noexcept {
  return worker == nullptr || &worker->scheduler != &scheduler ? nullptr : worker->current_strand();
}

StrandState* strand_for(const TaskOptions& options, bool free, Scheduler& scheduler, const Worker* worker) {
  if (options.strand == nullptr) return free ? nullptr : strand_of_creator(scheduler, worker);
  if (free) {
    throw std::invalid_argument(
        "spawn: TaskOptions::strand is set, but what it starts is free; use create_task");
  }
  StrandState* const strand = options.strand->state();
  strand->bind(scheduler);
  return strand;
}

const ContextSlot& context_of_creator(const Worker* worker) {
  return worker != nullptr && worker->current != nullptr ? TaskControl::of(*worker->current).context
                                                         : current_context();
}

ContextSlot context_for(const TaskOptions& options, const Worker* worker) {
  if (!options.context) return context_of_creator(worker).copy();
  ContextSlot made;
  made.enter(options.context->state());
  return made;
}

TaskControl& place_task(Scheduler& scheduler, Worker* worker, const TaskOps& ops, std::size_t payload_bytes) {
  const std::size_t bytes = kPayloadAt + payload_bytes;
  void* memory = worker == nullptr ? allocate(bytes) : worker->frames.allocate(bytes);
  auto& task = *::new (memory) TaskControl(scheduler, scheduler.id, ops,
                                           static_cast<std::byte*>(memory) + kPayloadAt, bytes);
  const bool here = worker != nullptr && &worker->scheduler == &scheduler;
  if (!scheduler.registry->reserve(task, here ? worker->index : TaskRegistry::kElsewhere)) [[unlikely]]
    give_up(task, scheduler, here);
  return task;
}

void give_strand(TaskControl& task, StrandState* strand) noexcept {
  if (strand == nullptr) return;
  strand->add_ref();
  task.strand = strand;
}

NewTask finished(TaskControl& task) noexcept {
  if (task.FutureState::scheduler()->is_debugging()) [[unlikely]]
    task.note_creation();
  return {&task, reinterpret_cast<std::byte*>(&task) + kPayloadAt};
}

// All that can throw comes before the task is made.
[[gnu::noinline]] NewTask allocate_with(TaskOptions& options, Scheduler& scheduler, Worker* worker,
                                        std::size_t payload_bytes, const TaskOps& ops, bool free) {
  const std::uint8_t stack_class = stack_class_for(options.stack_size, scheduler);
  StrandState* const strand = strand_for(options, free, scheduler, worker);
  ContextSlot context = context_for(options, worker);
  TaskControl& task = place_task(scheduler, worker, ops, payload_bytes);
  task.stack_class = stack_class;
  give_strand(task, strand);
  task.starts_eagerly = options.eager_start;
  if (!options.name.empty()) task.set_name(std::move(options.name));
  task.context = std::move(context);
  return finished(task);
}

[[gnu::noinline]] NewTask allocate_in_context(const ContextSlot& creators, Scheduler& scheduler,
                                              Worker* worker, std::size_t payload_bytes, const TaskOps& ops,
                                              StrandState* strand) {
  ContextSlot context = creators.copy();
  TaskControl& task = place_task(scheduler, worker, ops, payload_bytes);
  task.stack_class = scheduler.stack_class;
  give_strand(task, strand);
  task.context = std::move(context);
  return finished(task);
}

}  // namespace

NewTask allocate_task(LoopIdentity loop, std::size_t payload_bytes, std::size_t payload_align,
                      const TaskOps& ops, TaskOptions* options, bool free) {
  if (payload_align > alignof(std::max_align_t)) [[unlikely]]
    throw_overaligned(payload_align);
  Worker* const worker = this_worker();
  if (loop.scheduler == nullptr) {
    if (worker == nullptr) throw_without_loop();
  } else if (loop.scheduler->is_of_parent()) {
    throw_of_parent();
  }
  Scheduler& scheduler = loop.scheduler == nullptr ? worker->scheduler : *loop.scheduler;
  if (scheduler.is_closed()) [[unlikely]]
    throw_closed();
  if (options != nullptr) return allocate_with(*options, scheduler, worker, payload_bytes, ops, free);
  StrandState* const strand = free ? nullptr : strand_of_creator(scheduler, worker);
  const ContextSlot& context = context_of_creator(worker);
  if (context.has_values())
    return allocate_in_context(context, scheduler, worker, payload_bytes, ops, strand);
  TaskControl& task = place_task(scheduler, worker, ops, payload_bytes);
  task.stack_class = scheduler.stack_class;
  give_strand(task, strand);
  return finished(task);
}

void start_task(FutureState& state) noexcept {
  auto& task = TaskControl::of(state);
  Scheduler& scheduler = *state.scheduler();
  Worker* worker = this_worker();
  TaskRegistry::insert(task);
  if (worker != nullptr && &worker->scheduler == &scheduler) {
    // Not from the destructor of a task that got no stack: whoever runs here is not suspended for good yet.
    if (task.starts_eagerly && worker->has_saved_all() &&
        (task.strand == nullptr || worker->runs(*task.strand))) {
      worker->start_eagerly(task);
    } else {
      worker->schedule(task);
    }
    return;
  }
  scheduler.schedule_anywhere(task);
}

void discard_task(FutureState& state) noexcept {
  // Never started: nobody else knows it.
  auto& task = TaskControl::of(state);
  state.scheduler()->registry->discard(task);
  task.free();
}

}  // namespace fibrio::detail
