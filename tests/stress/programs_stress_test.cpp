// Many small random programs on several workers, in virtual time: tasks, some on strands, use every primitive at
// once, while others cancel them and their timeouts expire. A wait that was interrupted is done again, so every
// program can end; if a wake-up, a permit, an item or a notification is lost, nothing can run any more, and the
// loop throws DeadlockError. What must hold besides: items and permits are conserved, each producer's items come
// in order, one at a time inside a lock, no task is left.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

constexpr int kPrograms = 50'000;

// Does it again until it is not interrupted: by a cancel, which is taken back, or by its own short timeout.
template <class Operation>
void insist(Random& random, Operation operation) {
  for (;;) {
    try {
      if (random.below(3) == 0) {
        fibrio::timeout(std::chrono::microseconds(random.below(3)), operation);
      } else {
        operation();
      }
      return;
    } catch (const fibrio::CancelledError&) {
      fibrio::current_task().uncancel();
    } catch (const fibrio::TimeoutError&) {
    }
  }
}

void pause(Random& random) {
  switch (random.below(4)) {
    case 0:
      fibrio::yield();
      break;
    case 1:
      fibrio::sleep(std::chrono::microseconds(random.below(4)));
      break;
    default:
      break;
  }
}

struct Item {
  int producer;
  int number;
};

// What the tasks of one program share.
struct Program {
  Program(std::uint64_t its_stream, Expect& its_expect)
      : stream(its_stream),
        expect(its_expect),
        random(its_stream),
        permits(1 + random.below(3)),
        parties(2 + random.below(2)),
        semaphore(permits),
        queue(random.below(3) == 0 ? 0 : 1 + static_cast<std::size_t>(random.below(3))),
        barrier(static_cast<std::size_t>(parties)) {}

  const std::uint64_t stream;
  Expect& expect;
  Random random;
  const int permits;
  const int parties;
  fibrio::Lock lock;
  bool locked = false;  // plain: the lock's
  fibrio::BoundedSemaphore semaphore;
  std::atomic<int> inside{0};
  fibrio::Queue<Item> queue;
  std::atomic<int> got{0};
  fibrio::Condition condition;
  int turn = 0;  // the condition's
  fibrio::Event event;
  fibrio::Barrier barrier;
  fibrio::Strand strand;
  std::vector<fibrio::Task<>> tasks;
  std::vector<std::unique_ptr<std::atomic<bool>>> begun;

  // `count` tasks that do it three times each.
  template <class Body>
  void add_times(int count, Body body) {
    for (int t = 0; t < count; ++t) {
      add([body](Random& choice) {
        for (int n = 0; n < 3; ++n) body(choice);
      });
    }
  }

  template <class Body>
  void add(Body body) {
    const auto number = static_cast<std::uint64_t>(tasks.size());
    begun.push_back(std::make_unique<std::atomic<bool>>(false));
    auto run = [this, body, number, has_begun = begun.back().get()] {
      *has_begun = true;
      Random choice(stream * 64 + number);
      body(choice);
    };
    switch (random.below(4)) {
      case 0:
        tasks.push_back(strand.create_task(run));
        break;
      case 1:
        tasks.push_back(fibrio::create_task(fibrio::TaskOptions{.eager_start = true}, run));
        break;
      default:
        tasks.push_back(fibrio::create_task(run));
    }
  }

  void use_lock(Random& choice) {
    insist(choice, [&] {
      const std::lock_guard guard(lock);
      expect(!locked, "two inside the lock");
      locked = true;
      const fibrio::CancelMask whole;  // what is inside is done once
      pause(choice);
      locked = false;
    });
  }

  void use_semaphore(Random& choice) {
    insist(choice, [&] { semaphore.acquire(); });
    expect(++inside <= permits, "more inside than permits");
    insist(choice, [&] { pause(choice); });
    --inside;
    semaphore.release();
  }

  void add_queue(int items) {
    const int producers = 1 + random.below(2);
    for (int p = 0; p < producers; ++p) {
      add([this, p, items](Random& choice) {
        for (int i = 0; i < items; ++i) {
          insist(choice, [&] { queue.put(Item{p, i}); });
          insist(choice, [&] { pause(choice); });
        }
      });
    }
    const int consumers = 1 + random.below(2);
    auto left = std::make_shared<std::atomic<int>>(producers * items);
    for (int c = 0; c < consumers; ++c) {
      add([this, left](Random& choice) {
        std::array<int, 2> last{-1, -1};
        while (left->fetch_sub(1) > 0) {
          Item item{};
          insist(choice, [&] { item = queue.get(); });
          int& before = last[static_cast<std::size_t>(item.producer)];
          expect(item.number > before, "an item overtook another of its producer");
          before = item.number;
          ++got;
          queue.task_done();
        }
      });
    }
    add([this, all = producers * items](Random& choice) {
      while (got < all) insist(choice, [&] { fibrio::sleep(1us); });
      insist(choice, [&] { queue.join(); });
    });
  }

  // Tasks that take turns.
  void add_condition(int players) {
    for (int p = 0; p < players; ++p) {
      add([this, p, players](Random& choice) {
        for (int round = 0; round < 3; ++round) {
          insist(choice, [&] {
            const std::lock_guard guard(condition);
            condition.wait_for([&] { return turn % players == p; });
            ++turn;
            condition.notify_all();
          });
        }
      });
    }
  }

  void add_barrier() {
    for (int p = 0; p < parties; ++p) {
      add([this](Random&) {
        // Not interrupted: a wait that was over counts, even if the waiter does not know it.
        const fibrio::CancelMask whole;
        for (int round = 0; round < 3; ++round) barrier.wait();
      });
    }
  }

  // Each kind at most once: the parts of each are counted.
  void run() {
    const int kinds = 1 + random.below(63);
    if ((kinds & 1) != 0) add_queue(1 + random.below(4));
    if ((kinds & 2) != 0) add_condition(2 + random.below(2));
    if ((kinds & 4) != 0) add_barrier();
    if ((kinds & 8) != 0) add_times(3, [this](Random& choice) { use_semaphore(choice); });
    if ((kinds & 16) != 0) add_times(3, [this](Random& choice) { use_lock(choice); });
    if ((kinds & 32) != 0) {
      add_times(2, [this](Random& choice) { insist(choice, [&] { event.wait(); }); });
      add([this](Random& choice) {
        insist(choice, [&] { pause(choice); });
        event.set();
      });
    }
    for (int cancels = random.below(12); cancels > 0; --cancels) {
      pause(random);
      const auto which = static_cast<std::size_t>(random.below(static_cast<int>(tasks.size())));
      // One that has not begun would never do its part.
      if (*begun[which]) tasks[which].cancel();
    }
    for (const auto& task : tasks) {
      while (!task.done()) task.wait();
      // Cancelled at its end, outside of any wait.
      if (!task.cancelled()) fibrio::await(task);
    }
  }
};

}  // namespace

TEST_CASE("Random programs with every primitive on several workers: none deadlocks", "[stress][programs]") {
  constexpr Setup kSetups[] = {{2, false}, {4, false}, {8, false}, {2, true}, {4, true}};
  for (const Setup& setup : kSetups) {
    INFO(setup << ", FIBRIO_TEST_SEED=" << test_seed());
    Watchdog watchdog("programs");
    const ForcedMigration migration(setup.migrate);
    fibrio::Config config = config_of(setup);
    config.virtual_time = true;
    config.seed = test_seed();
    fibrio::EventLoop loop(config);
    watchdog.watch_loop(&loop);
    Expect expect;
    const int programs = scaled(kPrograms) / static_cast<int>(std::size(kSetups));
    for (int i = 0; i < programs; ++i) {
      INFO("program " << i);
      const auto stream = static_cast<std::uint64_t>(i) * 8 + setup.workers;
      REQUIRE_NOTHROW(loop.run_until_complete([&] { Program(stream, expect).run(); }));
      watchdog.progress();
    }
    CHECK(expect.failures() == "");
    const fibrio::LoopStats stats = loop.stats();
    CHECK(stats.tasks_alive == 0);
    CHECK(stats.timers == 0);
    watchdog.watch_loop(nullptr);
  }
}
