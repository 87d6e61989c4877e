// Loops that come and go, and shut down in the middle of everything.
#include <thread>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

TEST_CASE("1,000 loops are made and destroyed while other threads complete their futures", "[stress]") {
  const int loops = scaled(1000);
  const std::size_t fds = open_fds();
  Watchdog watchdog("loops come and go");
  Expect expect;
  constexpr int kThreads = 2;
  constexpr int kFutures = 16;
  // Handed over under a lock; the completing threads are never told when a loop goes.
  std::mutex lock;
  std::vector<fibrio::Future<int>> offered;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      std::vector<fibrio::Future<int>> taken;
      while (!stop) {
        {
          std::lock_guard guard(lock);
          taken.swap(offered);
        }
        for (auto& future : taken) static_cast<void>(future.try_set_result(7));
        if (taken.empty()) std::this_thread::sleep_for(20us);
        taken.clear();
      }
    });
  }
  Random random(1);
  for (int round = 0; round < loops; ++round) {
    const Setup setup{static_cast<std::size_t>(1 + random.below(4)), random.below(4) == 0};
    const ForcedMigration migration(setup.migrate);
    fibrio::EventLoop loop(config_of(setup));
    const bool waits_for_all = random.below(2) == 0;
    loop.run_until_complete([&] {
      std::vector<fibrio::Future<int>> futures;
      std::vector<fibrio::Task<int>> tasks;
      for (int i = 0; i < kFutures; ++i) {
        auto future = fibrio::get_running_loop().create_future<int>();
        futures.push_back(future);
        tasks.push_back(fibrio::create_task([future] { return fibrio::await(future); }));
        future.add_done_callback([](const fibrio::AnyFuture&) {});
      }
      {
        std::lock_guard guard(lock);
        offered.insert(offered.end(), futures.begin(), futures.end());
      }
      if (!waits_for_all) return;  // the loop goes while they are being completed
      for (auto& task : tasks) expect(fibrio::await(task) == 7, "a wrong value");
    });
    watchdog.progress();
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  offered.clear();
  CHECK(expect.failures() == "");
  CHECK(open_fds() == fds);
}

// asyncio: test_free_threading TestFreeThreading.test_task_different_thread_finalized
TEST_CASE("Handles of futures and tasks outlive their loop", "[stress]") {
  for (int round = 0; round < scaled(200); ++round) {
    fibrio::Task<int> done;
    fibrio::Task<int> dropped;
    fibrio::Future<int> pending;
    fibrio::TimerHandle timer;
    {
      fibrio::EventLoop loop(config_of({static_cast<std::size_t>(1 + round % 3), false}));
      pending = loop.create_future<int>();
      dropped = loop.create_task([] {
        fibrio::sleep(1h);
        return 1;
      });
      timer = loop.call_later(1h, [] {});
      done = loop.create_task([] { return 5; });
      loop.run_until_complete(done);
    }
    CHECK(done.result() == 5);
    CHECK(dropped.cancelled());
    CHECK_FALSE(dropped.cancel());
    CHECK_FALSE(timer.cancel());
    pending.set_result(3);
    CHECK(fibrio::await(pending) == 3);
  }
}

// --- shutdown ----------------------------------------------------------------------------------------------

namespace {

struct Counted {
  std::atomic<int>& alive;
  explicit Counted(std::atomic<int>& its_count) : alive(its_count) { ++alive; }
  Counted(const Counted& other) : alive(other.alive) { ++alive; }
  ~Counted() { --alive; }
};

using Scene = void (*)(std::atomic<int>& alive);

void idle(std::atomic<int>&) {}

void busy(std::atomic<int>& alive) {
  for (int i = 0; i < 20; ++i) {
    fibrio::create_task([counted = Counted(alive)] {
      for (;;) fibrio::yield();
    });
  }
  fibrio::yield();
}

void blocked_pool(std::atomic<int>& alive) {
  for (int i = 0; i < 4; ++i) {
    fibrio::create_task(
        [counted = Counted(alive)] { fibrio::to_thread([] { std::this_thread::sleep_for(2ms); }); });
  }
  fibrio::sleep(500us);
}

void sleeping(std::atomic<int>& alive) {
  for (int i = 0; i < 50; ++i) {
    fibrio::create_task([counted = Counted(alive), i] { fibrio::sleep(std::chrono::hours(i)); });
  }
}

void timers(std::atomic<int>& alive) {
  auto& loop = fibrio::get_running_loop();
  for (int i = 0; i < 50; ++i)
    loop.call_later(std::chrono::microseconds(i * 50), [counted = Counted(alive)] {});
  for (int i = 0; i < 50; ++i) loop.call_later(1h, [counted = Counted(alive)] {});
  for (int i = 0; i < 50; ++i) loop.call_soon([counted = Counted(alive)] {});
}

void accepting(std::atomic<int>& alive) {
  for (int i = 0; i < 3; ++i) {
    fibrio::create_task([counted = Counted(alive)] {
      auto listener = fibrio::TcpListener::bind(fibrio::Address::parse("127.0.0.1", 0));
      auto client = fibrio::TcpStream::connect(listener.local_address());
      auto server = listener.accept();
      fibrio::create_task([counted, server = std::move(server)]() mutable {
        std::byte buffer[16];
        server.read_some(buffer);
      });
      listener.accept();
    });
  }
  fibrio::sleep(1ms);
}

void mid_cancel(std::atomic<int>& alive) {
  std::vector<fibrio::Task<>> tasks;
  for (int i = 0; i < 20; ++i) {
    tasks.push_back(fibrio::create_task([counted = Counted(alive)] {
      struct Cleanup {
        Counted counted;
        ~Cleanup() {
          for (int step = 0; step < 20; ++step) fibrio::yield();
          fibrio::sleep(100us);
        }
      } const cleanup{counted};
      fibrio::sleep(1h);
    }));
  }
  fibrio::sleep(100us);
  for (auto& task : tasks) task.cancel();
}

void failing(std::atomic<int>& alive) {
  for (int i = 0; i < 20; ++i) {
    fibrio::create_task([counted = Counted(alive), i] {
      if (i % 2 == 0) fibrio::sleep(std::chrono::microseconds(10 * i));
      throw std::runtime_error("on purpose");
    });
  }
  throw std::logic_error("the main task fails");
}

void stubborn(std::atomic<int>& alive) {
  // The clean-up of cancelled tasks creates tasks; some swallow the first cancel.
  for (int i = 0; i < 10; ++i) {
    fibrio::create_task([counted = Counted(alive)] {
      try {
        fibrio::sleep(1h);
      } catch (const fibrio::CancelledError&) {
        fibrio::create_task([counted] { fibrio::sleep(1h); });
      }
      fibrio::sleep(100us);
    });
  }
  fibrio::sleep(100us);
}

}  // namespace

TEST_CASE("Shutdown ends, destroys everything and leaves nothing, whatever goes on", "[stress]") {
  const Scene scenes[] = {idle,      busy,       blocked_pool, sleeping, timers,
                          accepting, mid_cancel, failing,      stubborn};
  const int rounds = scaled(30);
  Watchdog watchdog("shutdown");
  const std::size_t fds = open_fds();
  for (const Setup& setup : std::vector<Setup>{{1, false}, {2, false}, {4, false}, {4, true}}) {
    const ForcedMigration migration(setup.migrate);
    for (std::size_t number = 0; number < std::size(scenes); ++number) {
      INFO(setup << ", scene " << number);
      for (int round = 0; round < rounds; ++round) {
        std::atomic<int> alive{0};
        {
          // By run (drains the executor) and by the destructor of the loop (does not wait for running calls).
          fibrio::EventLoop loop(config_of(setup));
          loop.set_exception_handler([](fibrio::EventLoop&, const fibrio::ExceptionContext&) {});
          try {
            loop.run_until_complete([&] { scenes[number](alive); });
          } catch (const std::logic_error&) {
          }
        }
        // A blocked call may still hold its task's future, but no task is left.
        CHECK(alive == 0);
        if (scenes[number] != failing) {
          fibrio::run([&] { scenes[number](alive); }, config_of(setup));
          CHECK(alive == 0);
        }
        watchdog.progress();
      }
    }
  }
  for (int i = 0; i < 1000 && open_fds() != fds; ++i) std::this_thread::sleep_for(10ms);
  CHECK(open_fds() == fds);
}

TEST_CASE("A loop is stopped and run again from many threads", "[stress]") {
  const int rounds = scaled(500);
  Watchdog watchdog("stop and run");
  for (const Setup& setup : all_setups()) {
    const ForcedMigration migration(setup.migrate);
    fibrio::EventLoop loop(config_of(setup));
    std::atomic<int> steps{0};
    std::vector<fibrio::Task<>> tasks;
    for (int i = 0; i < 8; ++i) {
      tasks.push_back(loop.create_task([&] {
        for (;;) {
          fibrio::yield();
          ++steps;
        }
      }));
    }
    for (int round = 0; round < rounds / 5; ++round) {
      std::thread stopper([&] { loop.stop(); });
      loop.run_forever();
      stopper.join();
      watchdog.progress();
    }
    for (auto& task : tasks) task.cancel();
  }
}
