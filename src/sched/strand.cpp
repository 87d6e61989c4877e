#include "sched/strand.hpp"

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>

#include "fibrio/errors.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

namespace fibrio {

Strand::Strand(std::string name) : state_(new detail::StrandState(std::move(name))) {}
Strand::~Strand() {
  if (owns_) state_->release();
}

Strand* Strand::current() noexcept {
  detail::StrandState* strand = detail::current_strand();
  return strand == nullptr ? nullptr : &strand->handle;
}

const std::string& Strand::name() const noexcept { return state_->name; }

StrandStats Strand::stats() const noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const auto& counters = state_->counters;
  return {counters.steps.load(kRelaxed), counters.passes.load(kRelaxed), counters.queue_length.load(kRelaxed),
          Duration(counters.waited_ns.load(kRelaxed)), Duration(counters.longest_wait_ns.load(kRelaxed))};
}

namespace detail {

FIBRIO_NO_TSAN_BEGIN

StrandState::StrandState(std::string its_name)
    : Runnable(RunnableKind::kStrand), name(std::move(its_name)), handle(*this), alarm_(*this) {}

StrandState::~StrandState() {
  Timers* timers = timers_.load(std::memory_order_acquire);
  if (timers == nullptr) return;
  // Whoever took the last timer off it has left it after this.
  { std::lock_guard guard(timers->lock()); }
  delete timers;
}

void StrandState::bind(Scheduler& scheduler) {
  // Id and scheduler change together: whoever else binds it meanwhile spins.
  constexpr std::uint64_t kBinding = UINT64_MAX;
  std::uint64_t id = loop_id_.load(std::memory_order_acquire);
  do {
    for (SpinWait<std::atomic> wait; id == kBinding; id = loop_id_.load(std::memory_order_acquire))
      wait.pause();
    if (id == scheduler.id) return;
    if (with_live_loop(
            scheduler_.load(std::memory_order_relaxed), id, [](Scheduler&, void*) {}, nullptr)) {
      throw RuntimeError(
          "a strand belongs to the loop of its first task: this one has tasks of another loop");
    }
  } while (
      !loop_id_.compare_exchange_weak(id, kBinding, std::memory_order_acq_rel, std::memory_order_acquire));
  scheduler_.store(&scheduler, std::memory_order_relaxed);  // published by the id
  loop_id_.store(scheduler.id, std::memory_order_release);
}

Timers* StrandState::timers_or_null(std::int64_t now_ns) noexcept {
  Timers* timers = timers_.load(std::memory_order_acquire);
  if (timers != nullptr) return timers;
  auto* made = new (std::nothrow) Timers(now_ns);
  if (made == nullptr || timers_.compare_exchange_strong(timers, made, std::memory_order_acq_rel))
    return made;
  delete made;
  return timers;
}

// --- the runner --------------------------------------------------------------------------------------------

void StrandState::begin(Worker& worker) noexcept {
  tsan_acquire(this);
  local.splice_back(inbox_.take());
  Timers* timers = timers_.load(std::memory_order_acquire);
  if (timers != nullptr) timers->unpark();
  begun_with_ = pass_left;
  if (pass_left != 0) return;  // cut short last time
  begun_with_ = pass_left = local.size();
  has_due_ = timers != nullptr && timers->advance(worker.read_clock());
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const auto waited_ns =
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, worker.now_ns - ready_since_ns.load(kRelaxed)));
  counters.passes.store(counters.passes.load(kRelaxed) + 1, kRelaxed);
  counters.queue_length.store(pass_left, kRelaxed);
  counters.waited_ns.store(counters.waited_ns.load(kRelaxed) + waited_ns, kRelaxed);
  if (waited_ns > counters.longest_wait_ns.load(kRelaxed))
    counters.longest_wait_ns.store(waited_ns, kRelaxed);
}

bool StrandState::end(Worker& worker) noexcept {
  Timers* timers = timers_.load(std::memory_order_acquire);
  counters.steps.store(counters.steps.load(std::memory_order_relaxed) + begun_with_ - pass_left,
                       std::memory_order_relaxed);
  if (pass_left == 0 && has_due_) {
    has_due_ = false;
    while (timers->fire_one(worker)) {
    }
  }
  tsan_release(this);
  if (!local.empty()) return false;
  if (timers != nullptr) {
    if (timers->has_due() || timers->may_be_due(worker.read_clock())) return false;
    set_alarm(worker, timers->park());
  }
  return inbox_.try_rest();
}

// --- the alarm ---------------------------------------------------------------------------------------------

void StrandState::set_alarm(Worker& worker, std::int64_t wanted_ns) noexcept {
  const std::int64_t set_ns = alarm_ns_.load(std::memory_order_acquire);
  if (set_ns == wanted_ns) return;
  // Too early does no harm, and most timeouts are taken back; but a virtual clock must not jump to it.
  if (set_ns < wanted_ns && !worker.scheduler.has_virtual_time()) return;
  if (set_ns == Timers::kNever || !alarm_.home->cancel(alarm_)) {
    if (wanted_ns == Timers::kNever) return;
    add_ref();  // the alarm's; one that went off just now has its own
  } else if (wanted_ns == Timers::kNever) {
    alarm_ns_.store(Timers::kNever, std::memory_order_relaxed);
    release();
    return;
  }
  alarm_ns_.store(wanted_ns, std::memory_order_relaxed);
  static_cast<void>(worker.timers.arm(alarm_, wanted_ns));  // that worker is this one, and awake
}

TimerEntry::Action StrandState::claim_due(TimerEntry& entry, bool drop) noexcept {
  StrandState& strand = static_cast<Alarm&>(entry).strand;
  // release: partner of set_alarm's acquire: the entry is off the wheel.
  strand.alarm_ns_.store(Timers::kNever, std::memory_order_release);
  if (drop) {
    if (strand.wake()) {  // it rested; else it stands in a queue, and is dropped from there
      strand.add_ref();
      strand.drop();
    }
    strand.release();
    return {};
  }
  return {[](void* context, Worker& worker) noexcept {
            auto& woken = *static_cast<StrandState*>(context);
            worker.wake_strand(woken);
            woken.release();
          },
          &strand};
}

void StrandState::drop() noexcept {
  const SchedulerHooks& hooks = scheduler_.load(std::memory_order_relaxed)->hooks;
  pass_left = 0;
  has_due_ = false;
  for (;;) {
    local.splice_back(inbox_.take());
    Timers* timers = timers_.load(std::memory_order_acquire);
    if (Runnable* item = local.pop_front()) {
      hooks.run_callback(*item, true);
    } else if (TimerEntry* entry = timers == nullptr ? nullptr : timers->take_any()) {
      static_cast<void>(entry->claim(*entry, true));
    } else if (inbox_.try_rest()) {
      break;
    }
  }
  release();
}

FIBRIO_NO_TSAN_END

}  // namespace detail
}  // namespace fibrio
