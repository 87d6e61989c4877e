// Several loops in a process, and waits where there must be none.
#include <atomic>
#include <thread>

#include "support/setups.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

// Creates, yields, sleeps, fails: a little of everything; returns 10.
int some_work() {
  std::atomic<int> sum{0};
  std::vector<fibrio::Task<>> tasks;
  for (int i = 0; i < 10; ++i) {
    tasks.push_back(fibrio::create_task([&sum] {
      fibrio::yield();
      fibrio::sleep(10us);
      ++sum;
    }));
  }
  for (auto& task : tasks) fibrio::await(task);
  return sum;
}

}  // namespace

TEST_CASE("Loops live one after the other in one thread", "[loops]") {
  with_all_setups([](const Setup& setup) {
    const ForcedMigration migration(setup.migrate);
    for (int i = 0; i < 20; ++i) CHECK(fibrio::run(some_work, config_of(setup)) == 10);
  });
}

TEST_CASE("Loops run at the same time in several threads", "[loops]") {
  with_all_setups([](const Setup& setup) {
    const ForcedMigration migration(setup.migrate);
    std::atomic<int> sum{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 5; ++round) sum += fibrio::run(some_work, config_of(setup));
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(sum == 4 * 5 * 10);
  });
}

TEST_CASE("A task of one loop runs a second loop in another thread and waits for it", "[loops]") {
  with_all_setups([](const Setup& setup) {
    int sum = 0;
    run_with(setup,
             [&] { sum = fibrio::to_thread([&] { return fibrio::run(some_work, config_of(setup)); }); });
    CHECK(sum == 10);
  });
}

TEST_CASE("A task awaits a future that a task of another loop completes", "[loops]") {
  with_all_setups([](const Setup& setup) {
    const ForcedMigration migration(setup.migrate);
    constexpr int kMessages = 100;
    fibrio::EventLoop left(config_of(setup));
    fibrio::EventLoop right(config_of(setup));
    std::vector<fibrio::Future<int>> questions;
    std::vector<fibrio::Future<int>> answers;
    for (int i = 0; i < kMessages; ++i) {
      questions.push_back(right.create_future<int>());
      answers.push_back(left.create_future<int>());
    }
    std::thread other([&] {
      right.run_until_complete([&] {
        for (std::size_t i = 0; i < kMessages; ++i) answers[i].set_result(2 * fibrio::await(questions[i]));
      });
    });
    const int sum = left.run_until_complete([&] {
      int total = 0;
      for (int i = 0; i < kMessages; ++i) {
        questions[static_cast<std::size_t>(i)].set_result(i);
        total += fibrio::await(answers[static_cast<std::size_t>(i)]);
      }
      return total;
    });
    other.join();
    CHECK(sum == kMessages * (kMessages - 1));
  });
}

TEST_CASE("run inside run throws a RuntimeError that says what to do", "[loops]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      const auto throws = [&](auto&& call, const char* what) {
        try {
          call();
          expect(false, what);
        } catch (const fibrio::RuntimeError& error) {
          expect(std::string(error.what()).find("await or create a task") != std::string::npos, error.what());
        }
      };
      throws([] { fibrio::run([] {}); }, "run in a task");
      throws([] { fibrio::Runner().run([] {}); }, "Runner in a task");
      {
        fibrio::EventLoop second(config_of({2, false}));
        throws([&] { second.run_until_complete([] {}); }, "run_until_complete in a task");
        throws([&] { second.run_forever(); }, "run_forever in a task");
      }
      auto called = fibrio::get_running_loop().create_future();
      fibrio::get_running_loop().call_soon([&] {
        throws([] { fibrio::run([] {}); }, "run in a callback");
        called.set_result();
      });
      fibrio::await(called);
      expect(some_work() == 10, "the outer loop is damaged");
    });
    CHECK(expect.failures() == "");
  });
}

// asyncio: test_events EventLoopTestsMixin.test_close_running_event_loop
TEST_CASE("The running loop cannot be run, or closed, a second time", "[loops]") {
  with_all_setups([](const Setup& setup) {
    const ForcedMigration migration(setup.migrate);
    Expect expect;
    fibrio::EventLoop loop(config_of(setup));
    loop.run_until_complete([&] {
      const auto throws = [&](auto&& call, const char* what) {
        try {
          call();
          expect(false, what);
        } catch (const fibrio::RuntimeError&) {
        }
      };
      throws([&] { loop.run_forever(); }, "run_forever in its own task");
      throws([&] { loop.close(); }, "close in its own task");
      std::thread other([&] {
        throws([&] { loop.run_forever(); }, "run_forever in another thread");
        throws([&] { loop.close(); }, "close in another thread");
      });
      other.join();
    });
    CHECK(expect.failures() == "");
    loop.close();
    loop.close();
    CHECK_THROWS_AS(loop.run_forever(), fibrio::RuntimeError);
    CHECK_THROWS_AS(loop.call_soon([] {}), fibrio::RuntimeError);
    CHECK_THROWS_AS(loop.create_task([] {}), fibrio::RuntimeError);
  });
}

TEST_CASE("Every wait inside a callback throws a RuntimeError that says what to do", "[loops]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      auto& loop = fibrio::get_running_loop();
      auto pending = loop.create_future();
      const auto all_waits = [&, pending] {
        const auto throws = [&](auto&& call, const char* what) {
          try {
            call();
            expect(false, what);
          } catch (const fibrio::RuntimeError& error) {
            expect(std::string(error.what()).find("task") != std::string::npos, error.what());
          }
        };
        throws([] { fibrio::sleep(1ms); }, "sleep");
        throws([] { fibrio::yield(); }, "yield");
        throws([&] { fibrio::await(pending); }, "await");
        throws([&] { pending.wait(); }, "wait");
        throws([] { fibrio::wait_readable(0); }, "wait_readable");
        throws([] { fibrio::to_thread([] {}); }, "to_thread");
        throws([] { const fibrio::CancelMask mask; }, "CancelMask");
        expect(!fibrio::current_task().valid(), "a callback has a current task");
      };
      auto soon = loop.create_future();
      auto later = loop.create_future();
      loop.call_soon([&] { all_waits(), soon.set_result(); });
      loop.call_later(1ms, [&] { all_waits(), later.set_result(); });
      fibrio::await(soon);
      fibrio::await(later);
      auto done = loop.create_future();
      soon.add_done_callback([&](const fibrio::AnyFuture&) { all_waits(), done.set_result(); });
      fibrio::await(done);
      pending.cancel();
    });
    CHECK(expect.failures() == "");
  });
}

TEST_CASE("Waits outside of a task throw a RuntimeError; awaiting blocks a plain thread", "[loops]") {
  CHECK_THROWS_AS(fibrio::sleep(1ms), fibrio::RuntimeError);
  CHECK_THROWS_AS(fibrio::yield(), fibrio::RuntimeError);
  CHECK_THROWS_AS(fibrio::create_task([] {}), fibrio::RuntimeError);
  CHECK_THROWS_AS(fibrio::current_task(), fibrio::RuntimeError);
  CHECK_THROWS_AS(fibrio::get_running_loop(), fibrio::RuntimeError);
  CHECK_THROWS_AS(fibrio::wait_readable(0), fibrio::RuntimeError);
  with_all_setups([](const Setup& setup) {
    const ForcedMigration migration(setup.migrate);
    fibrio::EventLoop loop(config_of(setup));
    auto task = loop.create_task([] {
      fibrio::sleep(1ms);
      return 5;
    });
    int got = 0;
    std::thread other([&] { got = fibrio::await(task); });
    loop.run_until_complete(task);
    other.join();
    CHECK(got == 5);
  });
}

TEST_CASE("A task that awaits itself gets a RuntimeError", "[loops]") {
  with_all_setups([](const Setup& setup) {
    Expect expect;
    run_with(setup, [&] {
      fibrio::Future<> go = fibrio::get_running_loop().create_future();
      fibrio::Task<> self;
      self = fibrio::create_task([&] {
        fibrio::await(go);
        try {
          fibrio::await(self);
          expect(false, "awaited itself");
        } catch (const fibrio::RuntimeError&) {
        }
      });
      go.set_result();
      fibrio::await(fibrio::create_task([&] { self.wait(); }));
    });
    CHECK(expect.failures() == "");
  });
}
