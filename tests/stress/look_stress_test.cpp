// Look-a-lot: stacks, call graphs and dumps of tasks that are woken, cancelled and migrate meanwhile.
#include <functional>
#include <sstream>
#include <thread>
#include <vector>

#include "sched/this_worker.hpp"
#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

constexpr std::size_t kTasks = 16;

[[gnu::noinline]] int frame_to_be_seen(const std::function<void()>& body) {
  body();
  asm volatile("");
  return 1;
}

// What the tasks of one round wait on.
struct Shared {
  fibrio::Event event;
  fibrio::Lock lock;
  fibrio::Queue<int> queue{1};
  fibrio::Future<> future = fibrio::get_running_loop().create_future();
};

void wait_somehow(Shared& shared, const std::vector<fibrio::Task<>>& tasks, std::size_t self, int way,
                  int micros) {
  switch (way) {
    case 0:
      fibrio::sleep(std::chrono::microseconds(micros));
      break;
    case 1:
      shared.event.wait();
      break;
    case 2: {
      const std::lock_guard guard(shared.lock);
      fibrio::yield();
      break;
    }
    case 3:
      static_cast<void>(shared.queue.get());
      break;
    case 4:
      shared.future.wait();
      break;
    case 5:
      if (self > 0) fibrio::gather(tasks[self - 1], tasks[self / 2]);
      break;
    case 6:
      fibrio::timeout(std::chrono::microseconds(micros), [] { fibrio::sleep(1h); });
      break;
    case 7: {
      const fibrio::CancelMask mask;
      fibrio::sleep(std::chrono::microseconds(micros));
      break;
    }
    default:
      for (int i = 0; i < 10; ++i) fibrio::yield();
  }
}

struct Round {
  std::vector<fibrio::Task<>> tasks;
  std::atomic<bool> is_over{false};
  std::atomic<int> stacks_seen{0};
};

void look_until_over(Round& round, fibrio::EventLoop& loop, Random random) {
  while (!round.is_over.load()) {
    const fibrio::Task<>& task = round.tasks[static_cast<std::size_t>(random.below(kTasks))];
    switch (random.below(8)) {
      case 0: {
        std::ostringstream out;
        fibrio::dump_tasks(out, loop);
        break;
      }
      case 1:
        static_cast<void>(fibrio::capture_call_graph(task, 0));
        break;
      case 2:
        static_cast<void>(fibrio::inspect(task));
        break;
      default:
        round.stacks_seen += task.get_stack().empty() ? 0 : 1;
    }
    if (fibrio::detail::this_worker() != nullptr) fibrio::yield();
  }
}

}  // namespace

TEST_CASE("Look-a-lot: tasks in every kind of wait, woken and cancelled at random", "[stress]") {
  const int rounds = scaled(60);
  stress("look", [&](Watchdog& watchdog) {
    Expect expect;
    fibrio::EventLoop& loop = fibrio::get_running_loop();
    // A gather that failed while its caller was cancelled is reported, as in asyncio.
    loop.set_exception_handler([](fibrio::EventLoop&, const fibrio::ExceptionContext&) {});
    int stacks_seen = 0;
    for (int number = 0; number < rounds; ++number) {
      Random random(static_cast<std::uint64_t>(7000 + number));
      loop.set_debug(random.below(2) == 0);
      Shared shared;
      Round round;
      auto go = loop.create_future();
      for (std::size_t i = 0; i < kTasks; ++i) {
        round.tasks.push_back(fibrio::create_task([&, i, way = random.below(9), micros = random.below(500)] {
          go.wait();
          frame_to_be_seen([&] { wait_somehow(shared, round.tasks, i, way, micros); });
        }));
      }
      auto looker = fibrio::create_task(look_until_over, std::ref(round), std::ref(loop), Random(9000));
      std::thread outside(look_until_over, std::ref(round), std::ref(loop), Random(9001));
      go.set_result();
      for (int i = 0; i < 20; ++i) {
        round.tasks[static_cast<std::size_t>(random.below(kTasks))].cancel();
        if (random.below(3) == 0) shared.event.set();
        static_cast<void>(shared.queue.try_put(1));
        fibrio::sleep(std::chrono::microseconds(random.below(100)));
      }
      shared.event.set();
      shared.future.try_set_result();
      for (auto& task : round.tasks) {
        while (!task.done()) {
          task.cancel();
          try {
            task.wait();
          } catch (const fibrio::CancelledError&) {
          }
        }
        if (!task.cancelled()) static_cast<void>(task.exception());
      }
      round.is_over.store(true);
      outside.join();
      fibrio::await(looker);
      stacks_seen += round.stacks_seen.load();
      watchdog.progress();
    }
    expect(stacks_seen > rounds, "hardly a stack was seen");
    loop.set_debug(false);
    loop.set_exception_handler(nullptr);
    REQUIRE(expect.failures() == "");
  });
}
