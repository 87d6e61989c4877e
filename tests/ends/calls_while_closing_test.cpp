// Every call that is promised for any thread, made again and again by other threads while a loop opens, runs, stops
// and closes: until then it does what it says, from then on it is refused (or gives its answer); the loop closes
// all the same, and nothing is left.
//
// A point is a call, a number of workers and a phase of the loop's life; a point that no call came into is an error.
#include <array>
#include <atomic>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <unistd.h>

#include "ends/tally.hpp"
#include "support/loops.hpp"
#include "support/watchdog.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

enum Phase : int { kOpen, kRunning, kClosing, kClosed, kPhases };
constexpr std::array<const char*, kPhases> kPhaseNames{"open", "running", "closing", "closed"};

struct Use;
void hold_up_the_close(Use& use);

// What the calls need. It outlives the loop, but for what has to go with it.
struct Use {
  explicit Use(std::size_t workers) : loop(std::make_unique<EventLoop>(test_config(workers, false))) {
    if (::pipe(pipe) != 0) std::abort();
    quiet();
    task = loop->create_task([this] { event.wait(); });
    loop->create_task([this] { hold_up_the_close(*this); });
    for (int i = 0; i < 64; ++i) handles.push_back(loop->call_later(1h, [] {}));
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    loop.reset();
    ::close(pipe[0]);
    ::close(pipe[1]);
  }
  void quiet() {
    loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
  }

  Event event;
  Lock lock;
  Queue<int> queue;
  Semaphore semaphore{1};
  Task<> task;
  std::vector<TimerHandle> handles;
  int pipe[2];
  std::unique_ptr<EventLoop> loop;
  std::atomic<Phase> phase{kOpen};
  std::atomic<std::uint32_t> turn{0};
  std::array<std::atomic<std::uint32_t>, kPhases> calls{};
};

struct Call {
  const char* name;
  bool is_refused;  // by a closed loop, with RuntimeError; else it has an answer
  void (*make)(Use& use);
  Phase first = kOpen;  // before, it would change what the other calls meet
};

const Call kCalls[] = {
    {"call_soon", true, [](Use& use) { use.loop->call_soon([] {}); }},
    {"call_later", true, [](Use& use) { use.loop->call_later(1h, [] {}); }},
    {"call_later, soon", true, [](Use& use) { use.loop->call_later(1us, [] {}); }},
    {"call_at", true, [](Use& use) { use.loop->call_at(use.loop->time() + 1s, [] {}); }},
    {"Handle::cancel", true, [](Use& use) { use.loop->call_soon([] {}).cancel(); }},
    {"TimerHandle::cancel", true, [](Use& use) { use.loop->call_later(1h, [] {}).cancel(); }},
    {"TimerHandle::cancel, once more", false,
     [](Use& use) { use.handles[use.turn++ % use.handles.size()].cancel(); }},
    {"stop", false, [](Use& use) { use.loop->stop(); }},
    {"create_task", true, [](Use& use) { use.loop->create_task([] { yield(); }); }},
    {"create_task, waited for", true, [](Use& use) { use.loop->create_task([] { yield(); }).cancel(); }},
    {"create_task on a strand", true,
     [](Use& use) {
       Strand strand;
       use.loop->create_task(TaskOptions{.strand = &strand}, [] { yield(); });
     }},
    {"create_future and set_result", false, [](Use& use) { use.loop->create_future<int>().set_result(1); }},
    {"add_done_callback", true,
     [](Use& use) {
       Future<int> future = use.loop->create_future<int>();
       future.add_done_callback([](const AnyFuture&) {});
       future.set_result(1);
     }},
    {"Future::cancel", false, [](Use& use) { use.loop->create_future<int>().cancel(); }},
    {"run_in_executor", true,
     [](Use& use) {
       if (use.turn++ % 8 == 0) static_cast<void>(use.loop->run_in_executor(nullptr, [] {}));
       use.loop->run_in_executor(nullptr, [] {}).cancel();
     }},
    {"default_executor", true, [](Use& use) { static_cast<void>(use.loop->default_executor()); }},
    {"set_default_executor", true,
     [](Use& use) { use.loop->set_default_executor(std::make_shared<ThreadPool>(1)); }},
    {"set_exception_handler", false, [](Use& use) { use.quiet(); }},
    {"call_exception_handler", false,
     [](Use& use) {
       use.loop->call_exception_handler({"nothing", nullptr, AnyFuture()});
     }},
    {"set_debug", true, [](Use& use) { use.loop->set_debug(use.turn++ % 2 == 0); }},
    {"add_signal_handler", true, [](Use& use) { use.loop->add_signal_handler(SIGUSR1, [] {}); }},
    {"remove_signal_handler", false, [](Use& use) { use.loop->remove_signal_handler(SIGUSR1); }},
    {"add_reader", true,
     [](Use& use) {
       use.loop->add_reader(use.pipe[0], [] {});
       use.loop->remove_reader(use.pipe[0]);
     }},
    {"add_writer", true, [](Use& use) { use.loop->add_writer(use.pipe[1], [] {}); }},
    {"remove_writer", false, [](Use& use) { use.loop->remove_writer(use.pipe[1]); }},
    {"stats", false, [](Use& use) { static_cast<void>(use.loop->stats()); }},
    {"dump_tasks", false,
     [](Use& use) {
       std::ostringstream out;
       dump_tasks(out, *use.loop);
     }},
    {"inspect", false, [](Use& use) { static_cast<void>(inspect(use.task)); }},
    {"time and the like", false,
     [](Use& use) {
       static_cast<void>(use.loop->time());
       static_cast<void>(use.loop->workers() + use.loop->config().workers);
       static_cast<void>(use.loop->is_running() && use.loop->is_closed() && use.loop->get_debug());
     }},
    {"Task::cancel", false, [](Use& use) { use.task.cancel(); }},
    {"Event::set", false,
     [](Use& use) {
       use.event.set();
       use.event.clear();
     }},
    {"Queue::put_nowait", false,
     [](Use& use) {
       if (use.queue.qsize() < 1000) use.queue.put_nowait(1);
     }},
    {"run_until_complete", true, [](Use& use) { use.loop->run_until_complete([] {}); }},
    {"close", false, [](Use& use) { use.loop->close(); }, kClosing},
};

// Makes the call until it has been made on a closed loop.
void call_again_and_again(const Call& call, Use& use) {
  // Without a limit, a loop with more to do than it can would never get to its end.
  constexpr std::uint32_t kMostInAPhase = 500;
  for (;;) {
    const bool is_closed = use.loop->is_closed();
    const Phase phase = is_closed ? kClosed : use.phase.load();
    if (phase < call.first || (phase < kClosing && use.calls[phase] > kMostInAPhase)) {
      std::this_thread::yield();
      continue;
    }
    bool is_refused = false;
    try {
      call.make(use);
    } catch (const RuntimeError&) {
      is_refused = true;
    } catch (...) {
      TASK_CHECK(false);  // nothing else may come out
    }
    ++use.calls[phase];
    if (!is_closed) continue;
    TASK_CHECK(is_refused == call.is_refused);
    return;
  }
}

// Cancelled, it keeps the loop from closing until calls have come.
void hold_up_the_close(Use& use) {
  try {
    sleep(1h);
  } catch (const CancelledError&) {
    const CancelMask mask;
    for (int i = 0; i < 5000 && use.calls[kClosing] < 10; ++i) sleep(100us);
    throw;
  }
}

// What runs meanwhile: tasks that yield, sleep, wait for a queue and an event.
void run_for_a_while(const Call& call, Use& use) {
  // stop() from outside ends it, and so may a run of another thread.
  const auto run = [&](int rounds) {
    try {
      use.loop->run_until_complete([&use, rounds] {  // it goes on when the run was ended by stop
        spawn([&] {
          for (;;) static_cast<void>(use.queue.get());
        });
        spawn([&] {
          for (;;) {
            use.event.wait();
            yield();
          }
        });
        for (int i = 0; i < rounds; ++i) {
          yield();
          if (i % 8 == 0) sleep(1us);
        }
      });
    } catch (const RuntimeError&) {
    }
  };
  run(20);
  run(20);
  // On a busy machine the callers may not have come yet.
  for (int i = 0; i < 2000 && call.first <= kRunning && use.calls[kRunning] < 4; ++i) run(20);
}

using Counts = std::array<std::uint64_t, kPhases>;

void one_life(const Call& call, std::size_t workers, Counts& counts) {
  Use use(workers);
  std::atomic<int> there{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      ++there;
      call_again_and_again(call, use);
    });
  }
  while (there < 2) std::this_thread::yield();
  while (call.first == kOpen && use.calls[kOpen] < 4) std::this_thread::yield();
  use.phase = kRunning;
  run_for_a_while(call, use);
  use.phase = kClosing;
  while (!use.loop->is_closed()) {
    try {
      use.loop->close();
    } catch (const RuntimeError&) {  // another thread runs or closes it at this moment
      std::this_thread::yield();
    }
  }
  for (std::thread& caller : callers) caller.join();
  const LoopStats stats = use.loop->stats();
  TASK_CHECK(stats.tasks_alive == 0);
  TASK_CHECK(stats.stacks_in_use == 0);
  for (int phase = 0; phase < kPhases; ++phase) counts[phase] += use.calls[phase];
}

}  // namespace

TEST_CASE("Every call that any thread may make is made while loops open, run, stop and close",
          "[ends][close]") {
  Tally tally("calls while closing");
  Watchdog watchdog("calls while closing");
  for (const std::size_t workers : {1, 2, 4}) {
    for (const Call& call : kCalls) {
      const std::string name = std::string(call.name) + ", workers " + std::to_string(workers);
      INFO(name);
      const NothingLeft nothing_left;
      Counts counts{};
      for (std::size_t life = 0; life < 2 * ends_rounds(); ++life) {
        one_life(call, workers, counts);
        watchdog.progress();
      }
      const std::vector<std::string> failures = Failures::instance().take();
      for (const std::string& failure : failures) FAIL_CHECK(failure);
      for (int phase = call.first; phase < kPhases; ++phase) {
        INFO("no call came while the loop was " << kPhaseNames[static_cast<std::size_t>(phase)]);
        CHECK(counts[static_cast<std::size_t>(phase)] > 0);
        tally.run(name + ", " + kPhaseNames[static_cast<std::size_t>(phase)],
                  counts[static_cast<std::size_t>(phase)] > 0, failures.empty());
      }
    }
  }
}
