// What: a machine with many CPUs, of which none is real: every worker of a loop runs on a context of its own, all of
//   them on the calling thread, in simulated time. The workers are the library's own, with all that belongs to them;
//   simulated are the clock, the system calls (kernel.hpp), and how long a task computes (Machine::work).
// Threads: one.
// Protocol: each CPU has a clock. The one whose clock is least runs, on and on, until it has spent time (work, system
//   calls) and another one is behind it, or it sleeps; ties go in the order in which they came about. So whatever is
//   seen by others happens in the order of time, and nothing depends on the real machine: the same seed gives the same
//   trace. What the workers do between two such points takes no time of its own, and is not interleaved.
// Rejected: an OS thread per worker with one running at a time (2.5 us per change instead of 0.05); a model of the
//   scheduler (it would be the model that is measured).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <queue>
#include <vector>

#include "fiber/stack_cache.hpp"
#include "fiber/stack_pool.hpp"
#include "fiber/switch.hpp"
#include "sched/scheduler.hpp"

namespace fibrio::simulation {

using Nanos = std::int64_t;
inline constexpr Nanos kNever = std::numeric_limits<Nanos>::max();

// What takes how long. The defaults were measured on a 2-vCPU VM, but for the wake-up, where its 35 us are replaced
// by what is usual without a hypervisor.
struct Costs {
  Nanos clock = 18;            // a look at the clock
  Nanos poll = 110;            // epoll_wait that does not sleep
  Nanos wake = 570;            // a write to an eventfd, for the writer
  Nanos wake_latency = 5'000;  // from there, or from an expiry, until the sleeper runs
  Nanos set_timer = 300;       // timerfd_settime
  Nanos read_timer = 200;      // read of a timerfd
  Nanos receive = 700;
  Nanos send = 1'500;
  Nanos probe = 60;   // a look into a queue that another CPU has written to
  Nanos steal = 200;  // taking from it
};

struct Cpu {
  std::size_t index = 0;
  detail::Worker* worker = nullptr;
  Nanos clock = 0;
  bool asleep = false;
  bool waking = false;
  std::uint64_t turn = 0;          // an entry of the queue with another turn is void
  detail::Fiber* saved = nullptr;  // where it goes on
  detail::Fiber start;
  detail::Stack* stack = nullptr;
  std::uint64_t charged_failures = 0;  // of its searches
  std::uint64_t charged_searches = 0;
};

// What is counted while a simulation runs.
struct Totals {
  Nanos worked = 0;                                   // in tasks
  Nanos slept = 0;                                    // all CPUs together
  Nanos lost = 0;                                     // of that, while a ready task waited for each of them
  Nanos longest_lost = 0;                             // at a stretch
  std::uint64_t wakes = 0;                            // writes to eventfds
  std::uint64_t trace = 14'695'981'039'346'656'037U;  // a hash of who went on when
  std::size_t most_queued = 0;                        // in one worker's own queues
  std::size_t most_injected = 0;
  double queued_sum = 0;  // over samples and workers
  std::uint64_t samples = 0;
};

class Machine : private detail::SwitchSlot {
 public:
  explicit Machine(const Costs& costs);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine();

  // Runs the workers until the scheduler has been stopped, and has stopped.
  void run(detail::Scheduler& scheduler);

  [[nodiscard]] Nanos now() const noexcept;
  // The running task computes for so long.
  void work(Nanos time);
  // The same for what is no task's work.
  void spend(Nanos time);
  // Calls the event, which belongs to no CPU, when its time has come.
  void at(Nanos time, std::function<void()> event);
  // Goes into the trace.
  void note(std::uint64_t what) noexcept;

  // --- for the kernel --------------------------------------------------------------------------------------

  [[nodiscard]] Cpu& current() noexcept { return *current_; }
  void sleep(Nanos until);
  void wake(Cpu& cpu);
  // The time the worker of this CPU spent looking into its neighbours' queues since it was asked last.
  [[nodiscard]] Nanos take_search_time() noexcept;
  [[nodiscard]] Nanos read_clock() noexcept;

  const Costs costs;
  Totals totals;

  // The machine that runs on this thread; null: none.
  [[nodiscard]] static Machine* active() noexcept;

 private:
  struct Turn {
    Nanos time;
    std::uint64_t order;
    Cpu* cpu;
    std::uint64_t turn;
    bool operator>(const Turn& other) const noexcept {
      return time != other.time ? time > other.time : order > other.order;
    }
  };
  struct Event {
    Nanos time;
    std::uint64_t order;
    std::shared_ptr<std::function<void()>> call;
    bool operator>(const Event& other) const noexcept {
      return time != other.time ? time > other.time : order > other.order;
    }
  };

  static void enter(detail::SwitchSlot& slot) noexcept;
  void push(Cpu& cpu, Nanos time);
  void go_on();
  [[nodiscard]] Cpu& next();
  void observe(Nanos until);
  void sample();

  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  std::vector<std::unique_ptr<Cpu>> cpus_;
  Cpu* current_ = nullptr;
  std::size_t running_ = 0;  // CPUs whose worker has not returned
  std::size_t sleepers_ = 0;
  Nanos event_time_ = kNever;  // of the event that runs; kNever: none does
  Nanos observed_ = 0;
  Nanos lost_since_ = kNever;
  Nanos next_sample_ = 0;
  detail::Scheduler* scheduler_ = nullptr;
  detail::StackPool pool_;
  detail::StackCache stacks_{pool_};
  detail::Fiber main_;
  detail::Fiber dead_;
};

}  // namespace fibrio::simulation
