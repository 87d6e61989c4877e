#include "pool_support.hpp"

using namespace pool_test;

TEST_CASE("ThreadPool shutdown of an idle pool ends its threads", "[thread_pool][shutdown]") {
  // ThreadSanitizer starts a thread of its own with the first one of the process: let that happen before
  // counting.
  std::thread([] {}).join();
  const std::size_t before = threads_of_process();
  ThreadPool pool(3);
  std::vector<Future<>> futures;
  for (int i = 0; i < 3; ++i) futures.push_back(pool.submit([] {}));
  for (const Future<>& future : futures) wait_done(future);
  CHECK(pool.shutdown() == 0);
  CHECK(pool.threads() == 0);
  CHECK(eventually([&] { return threads_of_process() <= before; }));
  CHECK(pool.shutdown() == 0);
}

TEST_CASE("ThreadPool shutdown runs what is queued", "[thread_pool][shutdown]") {
  Gate gate;
  ThreadPool pool(1);
  const OpenAtEnd open_at_end(gate);
  std::atomic<int> ran{0};
  std::vector<Future<>> futures{pool.submit(gate.visitor())};
  for (int i = 0; i < 10; ++i) futures.push_back(pool.submit([&] { ++ran; }));
  CHECK(pool.shutdown(false) == 11);
  gate.open();
  CHECK(pool.shutdown(true) == 0);
  CHECK(ran == 10);
  for (const Future<>& future : futures) CHECK(future.done());
}

TEST_CASE("ThreadPool shutdown cancels what is queued if asked", "[thread_pool][shutdown]") {
  Gate gate;
  ThreadPool pool(1);
  const OpenAtEnd open_at_end(gate);
  const Future<> blocker = pool.submit(gate.visitor());
  gate.wait_entered(1);
  std::atomic<int> destroyed{0};
  std::vector<Future<>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(pool.submit([token = Token(destroyed)] {}));
  futures[3].cancel();
  CHECK(pool.shutdown(false, fibrio::Duration(-1), true) == 1);
  CHECK(destroyed == 10);
  for (const Future<>& future : futures) CHECK(future.cancelled());
  gate.open();
  CHECK(pool.shutdown() == 0);
  CHECK_FALSE(blocker.cancelled());
}

TEST_CASE("ThreadPool shutdown gives up at its timeout and leftovers go on", "[thread_pool][shutdown]") {
  Gate gate;
  Future<int> leftover;
  {
    ThreadPool pool(1);
    leftover = pool.submit([&] {
      gate.enter();
      return 7;
    });
    gate.wait_entered(1);
    CHECK(pool.shutdown(true, 0ns) == 1);
    CHECK(pool.shutdown(true, 1ms) == 1);
    CHECK(pool.threads() == 1);
  }  // does not wait again
  CHECK_FALSE(leftover.done());
  gate.open();
  CHECK(value_of(leftover) == 7);
}

TEST_CASE("ThreadPool shutdown called again waits longer", "[thread_pool][shutdown]") {
  Gate gate;
  ThreadPool pool(2);
  const OpenAtEnd open_at_end(gate);
  const Future<> first = pool.submit(gate.visitor());
  const Future<> second = pool.submit(gate.visitor());
  gate.wait_entered(2);
  CHECK(pool.shutdown(true, 1ms) == 2);
  gate.open();
  CHECK(pool.shutdown(true, std::chrono::hours(24 * 365 * 250)) == 0);
  CHECK(first.done());
  CHECK(second.done());
}

TEST_CASE("ThreadPool destructor waits for running and queued calls", "[thread_pool][shutdown]") {
  std::atomic<int> ran{0};
  {
    ThreadPool pool(2);
    for (int i = 0; i < 50; ++i) (void)pool.submit([&] { ++ran; });
  }
  CHECK(ran == 50);
}

TEST_CASE("ThreadPool shutdown from one of its own calls does not wait for itself",
          "[thread_pool][shutdown]") {
  ThreadPool pool(2);
  CHECK(value_of(pool.submit([&] { return pool.shutdown(true); })) >= 1);
  CHECK(pool.shutdown() == 0);
}

TEST_CASE("ThreadPool destroyed by one of its own calls still runs what is queued",
          "[thread_pool][shutdown]") {
  Gate gate;
  auto pool = std::make_shared<ThreadPool>(1);
  const Future<> last_owner = pool->submit([&gate, &pool] {
    gate.enter();
    pool.reset();
  });
  const Future<int> queued = pool->submit([] { return 3; });
  gate.wait_entered(1);
  gate.open();
  CHECK(value_of(queued) == 3);
  CHECK(last_owner.done());
}

TEST_CASE("ThreadPool reports the limits when not even one thread can be started", "[thread_pool][eagain]") {
  ThreadPool pool(4, 10s, "mine");
  impl(pool).set_create_thread(&scarce_create);
  creations_left = 0;
  std::atomic<int> destroyed{0};
  try {
    (void)pool.submit([token = Token(destroyed)] {});
    FAIL("accepted");
  } catch (const std::system_error& error) {
    const std::string text = error.what();
    INFO(text);
    CHECK(error.code() == std::errc::resource_unavailable_try_again);
    CHECK(text.find("ThreadPool \"mine\": pthread_create") == 0);
    CHECK(text.find("RLIMIT_NPROC = ") != std::string::npos);
  }
  CHECK(destroyed == 1);
  CHECK(pool.threads() == 0);
  CHECK(pool.queued() == 0);
  creations_left = 1;  // the shortage is over
  CHECK(value_of(pool.submit([] { return 1; })) == 1);
}

TEST_CASE("ThreadPool queues calls when no second thread can be started", "[thread_pool][eagain]") {
  Gate gate;
  ThreadPool pool(4);
  const OpenAtEnd open_at_end(gate);
  impl(pool).set_create_thread(&scarce_create);
  creations_left = 1;
  std::vector<Future<>> futures{pool.submit(gate.visitor())};
  for (int i = 0; i < 5; ++i) futures.push_back(pool.submit([] {}));
  CHECK(pool.threads() == 1);
  gate.open();
  for (const Future<>& future : futures) wait_done(future);
  CHECK(pool.threads() == 1);
}

TEST_CASE("ThreadPool keeps every accepted call while threads come and go and creation fails",
          "[thread_pool][eagain]") {
  ThreadPool pool(4, 0ns);
  impl(pool).set_create_thread(&scarce_create);
  std::atomic<int> ran{0};
  int accepted = 0;
  std::vector<Future<>> futures;
  for (int i = 0; i < 2000; ++i) {
    creations_left = i % 3 == 0 ? 1 : 0;
    try {
      futures.push_back(pool.submit([&] { ++ran; }));
      ++accepted;
    } catch (const std::system_error&) {
    }
  }
  for (const Future<>& future : futures) wait_done(future);
  CHECK(pool.shutdown() == 0);
  CHECK(ran == accepted);
  CHECK(accepted >= 600);
}

// Bugs 39 to 42 of other runtimes: a shutdown that hangs, calls lost in it, orphans after EAGAIN.
TEST_CASE("ThreadPool runs or cancels every call exactly once when shut down at any moment",
          "[thread_pool][stress]") {
  constexpr int kSubmitters = 3;
  constexpr int kCallsEach = 40;
  const unsigned seed = Catch::rngSeed();
  INFO("seed " << seed);
  std::atomic<int> wrong{0};
  for (unsigned round = 0; round < 150; ++round) {
    const unsigned mix = (seed + round) * 2654435761U;
    struct Record {
      std::atomic<int> ran{0};
      std::atomic<int> destroyed{0};
      Future<int> future;  // invalid: refused
    };
    std::vector<Record> records(kSubmitters * kCallsEach);
    std::atomic<int> begun{0};
    {
      ThreadPool pool(1 + mix % 4, std::chrono::microseconds((mix >> 3) % 200));
      std::vector<std::thread> submitters;
      for (int s = 0; s < kSubmitters; ++s) {
        submitters.emplace_back([&, s] {
          unsigned dice = mix ^ (static_cast<unsigned>(s) * 0x9E3779B9U);
          for (int i = 0; i < kCallsEach; ++i) {
            dice = dice * 1664525U + 1013904223U;
            Record& record = records[static_cast<std::size_t>(s * kCallsEach + i)];
            try {
              record.future = pool.submit([&record, i, token = Token(record.destroyed)] {
                ++record.ran;
                return i;
              });
            } catch (const fibrio::RuntimeError&) {
              continue;
            }
            ++begun;
            if ((dice >> 16) % 4 == 0) record.future.cancel();
            if ((dice >> 20) % 8 == 0) std::this_thread::yield();
          }
        });
      }
      std::thread stopper([&] {
        const int stop_after = static_cast<int>((mix >> 8) % (kSubmitters * kCallsEach));
        while (begun < stop_after / 2) std::this_thread::yield();
        const std::size_t left = pool.shutdown(
            (mix >> 16) % 2 == 0, std::chrono::microseconds((mix >> 17) % 300), (mix >> 20) % 2 == 0);
        if (left > records.size()) ++wrong;
      });
      for (std::thread& thread : submitters) thread.join();
      stopper.join();
      if (pool.shutdown() != 0 || pool.threads() != 0) ++wrong;
    }
    for (Record& record : records) {
      if (record.destroyed != 1) ++wrong;
      if (!record.future.valid()) {
        if (record.ran != 0) ++wrong;
        continue;
      }
      if (!record.future.done() || record.ran > 1) ++wrong;
      if (!record.future.cancelled() && record.ran != 1) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("ThreadPool cancels from many threads race with its threads without losing one",
          "[thread_pool][stress]") {
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> ran{0};
    std::atomic<int> destroyed{0};
    std::vector<Future<>> futures;
    {
      ThreadPool pool(2);
      for (int i = 0; i < 20; ++i)
        futures.push_back(pool.submit([&ran, token = Token(destroyed)] { ++ran; }));
      std::thread other([&] {
        for (Future<>& future : futures) future.cancel();
      });
      for (auto future = futures.rbegin(); future != futures.rend(); ++future) future->cancel();
      other.join();
    }
    int cancelled = 0;
    for (const Future<>& future : futures) cancelled += future.cancelled() ? 1 : 0;
    REQUIRE(destroyed == 20);
    REQUIRE(ran + cancelled >= 20);  // both: cancelled while it ran
  }
}

TEST_CASE("ThreadPool shutdowns called at once by several threads all return", "[thread_pool][stress]") {
  for (int round = 0; round < 300; ++round) {
    ThreadPool pool(3, round % 2 == 0 ? 0ns : 10s);
    for (int i = 0; i < round % 5; ++i) (void)pool.submit([] {});
    std::vector<std::thread> stoppers;
    std::atomic<std::size_t> left{0};
    for (int i = 0; i < 3; ++i) {
      stoppers.emplace_back([&, i] { left += pool.shutdown(true, fibrio::Duration(-1), i == 0); });
    }
    for (std::thread& stopper : stoppers) stopper.join();
    REQUIRE(left == 0);
    REQUIRE(pool.threads() == 0);
  }
}
