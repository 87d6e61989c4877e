// What: several workers together: nobody sleeps while there is work, a stalled worker stalls only what it
// runs, an idle loop costs nothing, and what comes from outside may outlive the loop.
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/sanitizers.hpp"
#include "fibrio/fibrio.hpp"
#include "support/catch.hpp"
#include "support/loops.hpp"

using namespace fibrio::test;  // NOLINT
using fibrio::Config;
using fibrio::EventLoop;
using Clock = std::chrono::steady_clock;

namespace {

// Holds its worker, without a wait, until the condition holds. False after a long while.
template <class Condition>
bool hold_until(Condition condition) {
  const auto deadline = Clock::now() + 5s * kSlowdown;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
  }
  return true;
}

std::chrono::nanoseconds cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

// --- work conservation -------------------------------------------------------------------------------------

TEST_CASE("A task that never waits does not hold up the thousand tasks that it made", "[workers]") {
  // tokio#525, #621
  for (const std::size_t workers : {2, 4}) {
    std::atomic<int> done{0};
    bool all = false;
    fibrio::run(
        [&] {
          for (int i = 0; i < 1000; ++i) fibrio::create_task([&] { done.fetch_add(1); });
          all = hold_until([&] { return done.load() == 1000; });
        },
        test_config(workers, false));
    CHECK(all);
  }
}

TEST_CASE("A task that was woken into the slot of a worker that goes on computing is stolen", "[workers]") {
  // tokio#4941
  bool stolen = false;
  fibrio::run(
      [&] {
        auto future = fibrio::get_running_loop().create_future<int>();
        std::atomic<bool> ran{false};
        auto waiter = fibrio::create_task([&] {
          static_cast<void>(fibrio::await(future));
          ran.store(true);
        });
        fibrio::sleep(5ms);  // it waits
        future.set_result(1);
        stolen = hold_until([&] { return ran.load(); });
        waiter.wait();
      },
      test_config(2, false));
  CHECK(stolen);
}

TEST_CASE("A ready task behind one that computes runs though all other workers are busy", "[workers]") {
  // Each of two tasks needs the other to run at the same time. Both may come into one worker's ring, and the
  // other worker never looks for work: it runs a task that yields for ever.
  for (int round = 0; round < 20; ++round) {
    EventLoop loop(test_config(2, false));
    std::atomic<int> inside{0};
    std::atomic<int> met{0};
    std::atomic<bool> stop{false};
    std::thread outside([&] {
      std::vector<fibrio::Task<void>> tasks;
      for (int i = 0; i < 2; ++i) {
        tasks.push_back(loop.create_task([&] {
          inside.fetch_add(1);
          if (hold_until([&] { return inside.load() == 2; })) met.fetch_add(1);
        }));
      }
      for (auto& task : tasks) task.wait();
      stop.store(true);
    });
    loop.run_until_complete([&] {
      while (!stop.load()) fibrio::yield();
    });
    outside.join();
    CHECK(met.load() == 2);
  }
}

// --- stalled workers ---------------------------------------------------------------------------------------

TEST_CASE("Timers and sleepers of a worker that computes go on with a neighbour", "[workers]") {
  bool slept = false;
  fibrio::run(
      [&] {
        std::atomic<int> awake{0};
        for (int i = 0; i < 10; ++i) {
          fibrio::create_task([&] {
            fibrio::sleep(2ms);
            awake.fetch_add(1);
          });
        }
        fibrio::sleep(1ms);
        slept = hold_until([&] { return awake.load() == 10; });
      },
      test_config(2, false));
  CHECK(slept);
}

TEST_CASE("A callback that computes does not hold up the timers that are due with it", "[workers]") {
  // A worker that runs nothing but the callbacks of its timers counts as running: it can be stalled as well.
  EventLoop loop(test_config(2, false));
  std::atomic<bool> second{false};
  std::atomic<bool> in_time{false};
  const auto when = loop.time() + 2ms;
  // Both are armed with worker 0, as the caller is none.
  loop.call_at(when, [&] { in_time.store(hold_until([&] { return second.load(); })); });
  loop.call_at(when, [&] {
    second.store(true);
    loop.call_later(0s, [&] { loop.stop(); });
  });
  loop.run_forever();
  loop.close();
  CHECK(in_time.load());
}

TEST_CASE("A socket of a worker that computes is served by a neighbour", "[workers]") {
  bool served = false;
  fibrio::run(
      [&] {
        int ends[2];
        REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
        std::atomic<bool> read{false};
        auto reader = fibrio::create_task([&] {
          fibrio::wait_readable(ends[0]);
          read.store(true);
        });
        fibrio::sleep(5ms);
        REQUIRE(::write(ends[1], "x", 1) == 1);
        served = hold_until([&] { return read.load(); });
        reader.wait();
        ::close(ends[0]);
        ::close(ends[1]);
      },
      test_config(2, false));
  CHECK(served);
}

// --- idle --------------------------------------------------------------------------------------------------

TEST_CASE("An idle loop uses no CPU time", "[workers]") {
  for (const std::size_t workers : {1, 2, 4}) {
    fibrio::run(
        [&] {
          fibrio::sleep(20ms);
          const auto before = cpu_time();
          fibrio::sleep(300ms);
          const auto used = cpu_time() - before;
          CHECK(used < 15ms * kSlowdown);  // the main task's own thread: nothing else runs
        },
        test_config(workers, false));
  }
}

TEST_CASE("An idle loop with many parked workers wakes one of them for one task", "[workers]") {
  EventLoop loop(test_config(4, false));
  std::uint64_t parks = 0;
  std::thread outside([&] {
    std::this_thread::sleep_for(20ms);
    const auto sum = [&] {
      std::uint64_t all = 0;
      for (const auto& worker : loop.stats().workers) all += worker.parks;
      return all;
    };
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t before = sum();
      loop.create_task([] {}).wait();
      std::this_thread::sleep_for(1ms);
      parks += sum() - before;
    }
    loop.stop();
  });
  loop.run_forever();
  outside.join();
  // One wakes, finds it, passes the search on to a second, which finds nothing; and the watch now and then.
  CHECK(parks < 100 * 5);
}

// --- the end -----------------------------------------------------------------------------------------------

TEST_CASE("A call from another thread may return after the loop that it ended is gone", "[workers]") {
  // CacheLib#469. The thread is still inside call_soon, call_later or stop when the callback has run and main
  // goes on.
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2}) {
    for (int round = 0; round < 300 / kSlowdown; ++round) {
      auto loop = std::make_unique<EventLoop>(test_config(workers, false));
      std::thread outside([&, raw = loop.get()] {
        switch (round % 3) {
          case 0:
            raw->call_soon([raw] { raw->stop(); });
            break;
          case 1:
            raw->call_later(std::chrono::nanoseconds(1), [raw] { raw->stop(); });
            break;
          default:
            raw->stop();
        }
      });
      loop->run_forever();
      loop.reset();
      outside.join();
    }
  }
}

TEST_CASE("A thread that completes the last future may return after the loop is gone", "[workers]") {
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2}) {
    for (int round = 0; round < 300 / kSlowdown; ++round) {
      auto loop = std::make_unique<EventLoop>(test_config(workers, false));
      auto future = loop->create_future<int>();
      std::thread outside([future]() mutable { future.set_result(7); });
      CHECK(loop->run_until_complete([&] { return fibrio::await(future); }) == 7);
      loop.reset();
      outside.join();
    }
  }
}

TEST_CASE("A loop runs again and again with the same threads, and ends each time", "[workers]") {
  // seastar#772, oneTBB#1281: appears after enough runs.
  const NothingLeft nothing_left;
  for (const std::size_t workers : {1, 2, 4}) {
    EventLoop loop(test_config(workers, false));
    std::atomic<int> ran{0};
    for (int round = 0; round < 2000 / kSlowdown; ++round) {
      loop.run_until_complete([&] {
        auto task = fibrio::create_task([&] { ran.fetch_add(1); });
        if (round % 3 == 0) fibrio::yield();
        task.wait();
      });
    }
    CHECK(ran.load() == 2000 / kSlowdown);
    check_idle(loop);
  }
}

#if !defined(FIBRIO_TSAN) && !defined(FIBRIO_ASAN)  // they have a pthread_create of their own

#include <dlfcn.h>

namespace {
std::atomic<int> threads_until_refusal{-1};
}

// Takes the place of the C library's for the whole program.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*),
                              void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_until_refusal.load() >= 0 && threads_until_refusal.fetch_sub(1) == 0) return EAGAIN;
  return real(thread, attributes, function, argument);
}

TEST_CASE("A run that gets too few threads throws, and the next one has all of them", "[workers]") {
  // tokio#2309, #8406
  const NothingLeft nothing_left;
  for (const int granted : {0, 1, 2}) {
    EventLoop loop(test_config(4));
    threads_until_refusal.store(granted);
    CHECK_THROWS_AS(loop.run_until_complete([] {}), std::system_error);
    threads_until_refusal.store(-1);
    CHECK_FALSE(loop.is_running());
    // Virtual time moves on only if all workers are there, and idle.
    loop.run_until_complete([] { fibrio::sleep(1h); });
    loop.close();
  }
}

#endif
