// Barrier: asyncio's cases, on any number of workers; the order of wake-ups with one.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/passes.hpp"

using namespace fibrio;
using namespace fibrio::test;

namespace {

// Indices and failures of the tasks that went through.
struct Ended {
  void add(std::size_t index) {
    const std::lock_guard guard(lock);
    indices.push_back(index);
  }
  [[nodiscard]] std::vector<std::size_t> sorted() {
    const std::lock_guard guard(lock);
    std::sort(indices.begin(), indices.end());
    return indices;
  }
  std::mutex lock;
  std::vector<std::size_t> indices;
  std::atomic<int> broken{0};
};

void pass(Barrier& barrier, Ended& outcome) {
  try {
    outcome.add(barrier.wait());
  } catch (const BrokenBarrierError&) {
    ++outcome.broken;
  }
}

std::vector<Task<>> start(int count, Barrier& barrier, Ended& outcome) {
  std::vector<Task<>> tasks;
  for (int i = 0; i < count; ++i) tasks.push_back(create_task([&] { pass(barrier, outcome); }));
  return tasks;
}

bool come_to_wait(const Barrier& barrier, std::size_t count) {
  return eventually_in_task([&] { return barrier.n_waiting() == count; });
}

std::vector<std::size_t> first(std::size_t count) {
  std::vector<std::size_t> indices(count);
  for (std::size_t i = 0; i < count; ++i) indices[i] = i;
  return indices;
}

}  // namespace

// asyncio: test_locks BarrierTests.test_barrier_parties
TEST_CASE("Barrier has at least one party", "[barrier]") {
  in_tasks([](EventLoop&) {
    TASK_CHECK(throws<std::invalid_argument>([] { Barrier none(0); }));
    TASK_CHECK(throws<std::invalid_argument>([] { Barrier negative(-4); }));
    const Barrier barrier(5);
    TASK_CHECK(barrier.parties() == 5 && barrier.n_waiting() == 0 && !barrier.broken());
  });
}

// asyncio: test_locks BarrierTests.test_filling_one_task
// asyncio: test_locks BarrierTests.test_filling_one_task_twice
TEST_CASE("Barrier of one never makes anybody wait", "[barrier]") {
  in_tasks([](EventLoop&) {
    Barrier barrier(1);
    current_task().cancel();  // would be delivered by a wait
    TASK_CHECK(barrier.wait() == 0);
    TASK_CHECK(barrier.wait() == 0);
    TASK_CHECK(current_task().uncancel() == 0);
    TASK_CHECK(barrier.n_waiting() == 0 && !barrier.broken());
  });
}

// asyncio: test_locks BarrierTests.test_filling_task_by_task
// asyncio: test_locks BarrierTests.test_context_manager
TEST_CASE("Barrier counts who waits, up to the last, and is empty again", "[barrier]") {
  in_tasks([](EventLoop& loop) {
    Barrier barrier(3);
    Ended outcome;
    Task<> a = create_task([&] { pass(barrier, outcome); });
    TASK_CHECK(settles(loop, [&] { return barrier.n_waiting() == 1; }));
    Task<> b = create_task([&] { pass(barrier, outcome); });
    TASK_CHECK(settles(loop, [&] { return barrier.n_waiting() == 2; }));
    TASK_CHECK(barrier.wait() == 2);  // the last does not wait
    TASK_CHECK(barrier.n_waiting() == 0);
    await(a);
    await(b);
    TASK_CHECK(outcome.sorted() == first(2));
    TASK_CHECK(!barrier.broken());
  });
}

// asyncio: test_locks BarrierTests.test_filling_tasks_wait_twice
// asyncio: test_locks BarrierTests.test_filling_tasks_check_return_value
TEST_CASE("Barrier gives each index once per round, round after round", "[barrier]") {
  in_tasks([](EventLoop&) {
    constexpr int kParties = 5;
    Barrier barrier(kParties);
    Ended rounds_[3];
    std::vector<Task<>> tasks;
    for (int i = 0; i < kParties; ++i) {
      tasks.push_back(create_task([&] {
        for (Ended& outcome : rounds_) pass(barrier, outcome);
      }));
    }
    for (const auto& task : tasks) await(task);
    for (Ended& outcome : rounds_) TASK_CHECK(outcome.sorted() == first(kParties));
    TASK_CHECK(barrier.n_waiting() == 0);
  });
}

// asyncio: test_locks BarrierTests.test_draining_state
// asyncio: test_locks BarrierTests.test_blocking_tasks_while_draining
TEST_CASE("Barrier: who comes while a round leaves waits for the next", "[barrier]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Barrier barrier(2);
      Log log;
      const auto come = [&](const std::string& name) { log.add(name + std::to_string(barrier.wait())); };
      Task<> a = create_task(come, "a");
      yield();
      TASK_CHECK(barrier.wait() == 1);
      TASK_CHECK(barrier.n_waiting() == 0);  // draining
      Task<> c = create_task(come, "c");
      TASK_CHECK(barrier.wait() == 1);  // waits for a to leave; c comes before it runs again
      await(a);
      await(c);
      TASK_CHECK(log.text() == "a0 c0");
    });
  });
}

// asyncio: test_locks BarrierTests.test_filling_tasks_cancel_one
TEST_CASE("Barrier: one less waits when a waiter is cancelled; it is not broken", "[barrier]") {
  in_tasks([](EventLoop&) {
    Barrier barrier(3);
    Ended outcome;
    std::vector<Task<>> tasks = start(2, barrier, outcome);
    TASK_CHECK(come_to_wait(barrier, 2));
    tasks[0].cancel();
    tasks[0].wait();
    TASK_CHECK(tasks[0].cancelled());
    TASK_CHECK(barrier.n_waiting() == 1 && !barrier.broken());
    tasks.push_back(create_task([&] { pass(barrier, outcome); }));
    TASK_CHECK(come_to_wait(barrier, 2));
    TASK_CHECK(barrier.wait() == 2);
    for (const auto& task : tasks) task.wait();
    TASK_CHECK(outcome.sorted().size() == 2);  // an index may come twice then, as in asyncio
  });
}

// C49.
TEST_CASE("Barrier: a cancel after the last has come concerns only who is cancelled", "[barrier]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Barrier barrier(3);
      Ended outcome;
      std::vector<Task<>> tasks = start(2, barrier, outcome);
      yield();
      TASK_CHECK(barrier.wait() == 2);
      tasks[0].cancel();
      await(tasks[1]);
      tasks[0].wait();
      TASK_CHECK(tasks[0].cancelled());
      TASK_CHECK(outcome.sorted() == std::vector<std::size_t>{1});
      TASK_CHECK(!barrier.broken() && barrier.n_waiting() == 0);
      // The next round is whole.
      tasks = start(2, barrier, outcome);
      yield();
      TASK_CHECK(barrier.n_waiting() == 2);
      TASK_CHECK(barrier.wait() == 2);
      for (const auto& task : tasks) await(task);
    });
  });
}

// asyncio: test_locks BarrierTests.test_reset_barrier
// asyncio: test_locks BarrierTests.test_reset_barrier_while_tasks_waiting
// asyncio: test_locks BarrierTests.test_reset_barrier_while_tasks_waiting_and_waiting_again
TEST_CASE("Barrier: reset throws out who waits, and the next round works", "[barrier]") {
  in_tasks([](EventLoop&) {
    Barrier barrier(3);
    barrier.reset();
    TASK_CHECK(!barrier.broken() && barrier.n_waiting() == 0);
    Ended outcome;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 2; ++i) {
      tasks.push_back(create_task([&] {
        pass(barrier, outcome);
        pass(barrier, outcome);  // again
      }));
    }
    TASK_CHECK(come_to_wait(barrier, 2));
    barrier.reset();
    TASK_CHECK(eventually_in_task([&] { return outcome.broken == 2 && barrier.n_waiting() == 2; }));
    TASK_CHECK(!barrier.broken());
    TASK_CHECK(barrier.wait() == 2);
    for (const auto& task : tasks) await(task);
    TASK_CHECK(outcome.sorted() == first(2));
    TASK_CHECK(outcome.broken == 2);
  });
}

// asyncio: test_locks BarrierTests.test_reset_barrier_when_tasks_half_draining
// asyncio: test_locks BarrierTests.test_reset_barrier_when_tasks_half_draining_half_blocking
TEST_CASE("Barrier: reset while a round leaves throws out who has not left; newcomers join the next",
          "[barrier]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Barrier barrier(4);
      Ended outcome;
      Ended newcomers;
      std::vector<Task<>> tasks = start(1, barrier, outcome);
      // The second to wake resets: the first has left, the third has not.
      tasks.push_back(create_task([&] {
        pass(barrier, outcome);
        barrier.reset();
      }));
      for (Task<>& task : start(1, barrier, outcome)) tasks.push_back(task);
      yield();
      TASK_CHECK(barrier.n_waiting() == 3);
      TASK_CHECK(barrier.wait() == 3);
      // These find the round leaving, and are blocked until it has left.
      std::vector<Task<>> blocked;
      blocked.push_back(create_task([&] { pass(barrier, newcomers); }));
      for (const auto& task : tasks) await(task);
      TASK_CHECK(outcome.broken == 1);
      TASK_CHECK(outcome.sorted() == first(2));
      yield();
      TASK_CHECK(!barrier.broken());
      TASK_CHECK(barrier.n_waiting() == 1);
      for (Task<>& task : start(2, barrier, newcomers)) blocked.push_back(task);
      yield();
      TASK_CHECK(barrier.wait() == 3);
      for (const auto& task : blocked) await(task);
      TASK_CHECK(newcomers.sorted() == first(3));
      TASK_CHECK(newcomers.broken == 0);
    });
  });
}

// asyncio: test_locks BarrierTests.test_reset_barrier_while_tasks_draining
TEST_CASE("Barrier: a reset by the last one out concerns nobody", "[barrier]") {
  in_tasks([](EventLoop&) {
    constexpr int kParties = 4;
    Barrier barrier(kParties);
    Ended outcome;
    std::atomic<int> out{0};
    std::vector<Task<>> tasks;
    for (int i = 0; i < kParties; ++i) {
      tasks.push_back(create_task([&] {
        pass(barrier, outcome);
        if (++out == kParties) barrier.reset();
      }));
    }
    for (const auto& task : tasks) await(task);
    TASK_CHECK(outcome.broken == 0);
    TASK_CHECK(outcome.sorted() == first(kParties));
    TASK_CHECK(!barrier.broken() && barrier.n_waiting() == 0);
  });
}

// asyncio: test_locks BarrierTests.test_abort_barrier
// asyncio: test_locks BarrierTests.test_abort_barrier_when_exception
// asyncio: test_locks BarrierTests.test_abort_barrier_when_exception_then_resetting
TEST_CASE("Barrier: abort breaks it for all, until it is reset", "[barrier]") {
  in_tasks([](EventLoop&) {
    Barrier barrier(4);
    Ended outcome;
    std::vector<Task<>> tasks = start(3, barrier, outcome);
    TASK_CHECK(come_to_wait(barrier, 3));
    Task<> aborts = create_task([&] {
      try {
        throw std::runtime_error("cannot come");
      } catch (const std::runtime_error&) {
        barrier.abort();
      }
    });
    for (const auto& task : tasks) await(task);
    await(aborts);
    TASK_CHECK(outcome.broken == 3);
    TASK_CHECK(barrier.broken() && barrier.n_waiting() == 0);
    TASK_CHECK(throws<BrokenBarrierError>([&] { static_cast<void>(barrier.wait()); }));
    TASK_CHECK(throws<RuntimeError>([&] { static_cast<void>(barrier.wait()); }));  // its base class
    barrier.reset();
    TASK_CHECK(!barrier.broken());
    tasks = start(3, barrier, outcome);
    TASK_CHECK(come_to_wait(barrier, 3));
    TASK_CHECK(barrier.wait() == 3);
    for (const auto& task : tasks) await(task);
    TASK_CHECK(outcome.sorted() == first(3));
  });
}

// asyncio: test_locks BarrierTests.test_abort_barrier_when_tasks_half_draining_half_blocking
TEST_CASE("Barrier: abort while a round leaves breaks it for those inside and those before it", "[barrier]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Barrier barrier(3);
      Ended outcome;
      Ended newcomers;
      std::vector<Task<>> tasks;
      tasks.push_back(create_task([&] {
        pass(barrier, outcome);
        barrier.abort();
      }));
      for (Task<>& task : start(1, barrier, outcome)) tasks.push_back(task);
      yield();
      std::vector<Task<>> blocked;
      TASK_CHECK(barrier.wait() == 2);
      blocked = start(2, barrier, newcomers);
      for (const auto& task : tasks) await(task);
      for (const auto& task : blocked) await(task);
      TASK_CHECK(outcome.sorted() == first(1));
      TASK_CHECK(outcome.broken == 1);
      TASK_CHECK(newcomers.broken == 2);
      TASK_CHECK(barrier.broken());
    });
  });
}

// As CPython 3.13: a cancelled waiter wakes one other in vain, which then waits at the end of the line.
TEST_CASE("Barrier: the order after a cancellation is asyncio's", "[barrier]") {
  on_one_worker([](EventLoop& loop) {
    loop.run_until_complete([&] {
      Barrier barrier(4);
      Log log;
      const auto come = [&](const char* name) {
        static_cast<void>(barrier.wait());
        log.add(name);
      };
      std::vector<Task<>> tasks;
      for (const char* name : {"a", "b", "c"}) tasks.push_back(create_task(come, name));
      yield();
      tasks[0].cancel();
      yield();  // a leaves, and wakes b
      yield();  // b waits again, behind c
      tasks.push_back(create_task(come, "d"));
      yield();
      TASK_CHECK(barrier.wait() == 3);
      yield();
      TASK_CHECK(log.text() == "c b d");
      for (const auto& task : tasks) task.wait();
    });
  });
}

TEST_CASE("Barrier: nobody passes before all have come", "[barrier]") {
  in_tasks([](EventLoop&) {
    constexpr int kParties = 4;
    Barrier barrier(kParties);
    std::atomic<int> arrived{0};
    std::vector<Task<>> tasks;
    for (int i = 0; i < kParties; ++i) {
      tasks.push_back(create_task([&] {
        for (int round = 1; round <= rounds(100); ++round) {
          ++arrived;
          static_cast<void>(barrier.wait());
          TASK_CHECK(arrived >= kParties * round);
        }
      }));
    }
    for (const auto& task : tasks) await(task);
    TASK_CHECK(barrier.n_waiting() == 0);
  });
}

TEST_CASE("Barrier: plain threads and tasks meet", "[barrier]") {
  on_loops(
      [](EventLoop& loop) {
        Barrier barrier(3);
        Ended outcome;
        std::thread a([&] { pass(barrier, outcome); });
        std::thread b([&] { pass(barrier, outcome); });
        loop.run_until_complete([&] { pass(barrier, outcome); });
        a.join();
        b.join();
        CHECK(outcome.sorted() == first(3));
      },
      false);
}
