#include "simulation/machine.hpp"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "sched/this_worker.hpp"
#include "sched/worker.hpp"

namespace fibrio::simulation {

namespace {
Machine* active_machine = nullptr;
constexpr Nanos kStart = 1'000'000'000;  // clocks of machines do not begin with 0
constexpr Nanos kSamplePeriod = 10'000;
}  // namespace

Machine* Machine::active() noexcept { return active_machine; }

Machine::Machine(const Costs& its_costs) : costs(its_costs) {
  FIBRIO_CHECK(active_machine == nullptr, "two simulated machines at a time");
  exceptions = detail::exceptions_of_this_thread();
  entry = &Machine::enter;
  fp_environment = detail::fp_environment();
  is_alone = true;
  event_time_ = kStart;  // whatever is done before the run
  active_machine = this;
}

Machine::~Machine() {
  for (const auto& cpu : cpus_) stacks_.release(cpu->stack);
  active_machine = nullptr;
}

void Machine::run(detail::Scheduler& scheduler) {
  scheduler_ = &scheduler;
  for (std::size_t i = 0; i < scheduler.size(); ++i) {
    auto cpu = std::make_unique<Cpu>();
    cpu->index = i;
    cpu->worker = &scheduler.worker(i);
    cpu->clock = kStart;
    cpu->stack = stacks_.acquire(detail::kDefaultStackBytes);
    cpu->start.prepare(*cpu->stack);
    cpu->saved = &cpu->start;
    push(*cpu, kStart);
    cpus_.push_back(std::move(cpu));
  }
  running_ = cpus_.size();
  observed_ = next_sample_ = kStart;
  main_.adopt_thread();
  current_ = &next();
  static_cast<void>(switch_fiber(*this, main_, *current_->saved));
  current_ = nullptr;
  event_time_ = observed_;
}

void Machine::enter(detail::SwitchSlot& slot) noexcept {
  auto& machine = static_cast<Machine&>(slot);
  machine.current_->worker->run();
  --machine.running_;
  if (machine.running_ == 0) detail::switch_fiber_for_good(machine, machine.dead_, machine.main_);
  machine.current_ = &machine.next();
  detail::set_this_worker(machine.current_->worker);
  detail::switch_fiber_for_good(machine, machine.dead_, *machine.current_->saved);
}

Nanos Machine::now() const noexcept { return event_time_ != kNever ? event_time_ : current_->clock; }

void Machine::work(Nanos time) {
  totals.worked += time;
  spend(time);
}

Nanos Machine::read_clock() noexcept {
  if (event_time_ == kNever) current_->clock += costs.clock;
  return now();
}

void Machine::spend(Nanos time) {
  if (current_ == nullptr) return;  // before and after the run
  current_->clock += time;
  push(*current_, current_->clock);
  go_on();
}

void Machine::at(Nanos time, std::function<void()> event) {
  events_.push({time, order_++, std::make_shared<std::function<void()>>(std::move(event))});
}

void Machine::note(std::uint64_t what) noexcept {
  totals.trace = (totals.trace ^ what) * 1'099'511'628'211U;  // FNV
}

void Machine::sleep(Nanos until) {
  Cpu& cpu = *current_;
  cpu.asleep = true;
  ++sleepers_;
  if (until != kNever) push(cpu, until + costs.wake_latency);
  go_on();
  cpu.asleep = cpu.waking = false;
  --sleepers_;
}

void Machine::wake(Cpu& cpu) {
  if (!cpu.asleep || cpu.waking) return;
  cpu.waking = true;
  push(cpu, now() + costs.wake_latency);
}

Nanos Machine::take_search_time() noexcept {
  Cpu& cpu = *current_;
  const std::uint64_t failures = cpu.worker->counters.failed_searches.get();
  const std::uint64_t searches = cpu.worker->counters.searches.get();
  const auto failed = static_cast<Nanos>(failures - std::exchange(cpu.charged_failures, failures));
  const auto found = static_cast<Nanos>(searches - std::exchange(cpu.charged_searches, searches)) - failed;
  const auto neighbours = static_cast<Nanos>(cpus_.size()) - 1;
  // How many were looked at before one had something is not known.
  return failed * detail::kStealPasses * neighbours * costs.probe + found * costs.steal;
}

void Machine::push(Cpu& cpu, Nanos time) { turns_.push({time, order_++, &cpu, ++cpu.turn}); }

// Lets whoever is first go on; returns when that is the caller.
void Machine::go_on() {
  Cpu& self = *current_;
  Cpu& first = next();
  if (&first == &self) return;
  detail::Fiber here;
  here.adopt_thread();
  self.saved = &here;
  current_ = &first;
  detail::set_this_worker(first.worker);
  static_cast<void>(switch_fiber(*this, here, *first.saved));
}

Cpu& Machine::next() {
  for (;;) {
    if (!events_.empty() && (turns_.empty() || events_.top().time <= turns_.top().time)) {
      const Event event = events_.top();
      events_.pop();
      observe(event.time);
      event_time_ = event.time;
      (*event.call)();
      event_time_ = kNever;
      continue;
    }
    FIBRIO_CHECK(!turns_.empty(), "every simulated worker sleeps for ever");
    const Turn turn = turns_.top();
    turns_.pop();
    if (turn.turn != turn.cpu->turn) continue;
    observe(turn.time);
    event_time_ = kNever;
    turn.cpu->clock = std::max(turn.cpu->clock, turn.time);
    note(static_cast<std::uint64_t>(turn.time) * 1024 + turn.cpu->index);
    return *turn.cpu;
  }
}

// Until then all stays as it is now.
void Machine::observe(Nanos until) {
  const Nanos time = until - observed_;
  if (time <= 0) return;
  std::size_t waiting = 0;
  if (sleepers_ != 0) {
    waiting = scheduler_->injected();
    for (const auto& cpu : cpus_) waiting += cpu->worker->queue_length();
    totals.slept += static_cast<Nanos>(sleepers_) * time;
    totals.lost += static_cast<Nanos>(std::min(sleepers_, waiting)) * time;
  }
  if (waiting == 0) {
    lost_since_ = kNever;
  } else {
    if (lost_since_ == kNever) lost_since_ = observed_;
    totals.longest_lost = std::max(totals.longest_lost, until - lost_since_);
  }
  for (; next_sample_ < until; next_sample_ += kSamplePeriod) sample();
  observed_ = until;
}

void Machine::sample() {
  for (const auto& cpu : cpus_) {
    const std::size_t queued = cpu->worker->queue_length();
    totals.most_queued = std::max(totals.most_queued, queued);
    totals.queued_sum += static_cast<double>(queued);
  }
  totals.most_injected = std::max(totals.most_injected, scheduler_->injected());
  totals.samples += cpus_.size();
}

}  // namespace fibrio::simulation

// The whole program reads the clock through this: the simulated one while a machine runs.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  using fibrio::simulation::Machine;
  constexpr fibrio::simulation::Nanos kNanosPerSecond = 1'000'000'000;
  Machine* const machine = Machine::active();
  if (machine == nullptr || clock != CLOCK_MONOTONIC) {
    return static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  }
  const fibrio::simulation::Nanos now = machine->read_clock();
  time->tv_sec = now / kNanosPerSecond;
  time->tv_nsec = now % kNanosPerSecond;
  return 0;
}
