#include "base/spin_lock.hpp"

#include <mutex>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace {

using fibrio::detail::SpinLock;

TEST_CASE("SpinLock is free at first and can be taken again after unlock", "[spin_lock]") {
  SpinLock lock;
  lock.lock();
  lock.unlock();
  REQUIRE(lock.try_lock());
  lock.unlock();
}

TEST_CASE("SpinLock refuses try_lock while it is held", "[spin_lock]") {
  SpinLock lock;
  lock.lock();
  REQUIRE_FALSE(lock.try_lock());
  lock.unlock();
  REQUIRE(lock.try_lock());
  REQUIRE_FALSE(lock.try_lock());
  lock.unlock();
}

TEST_CASE("SpinLock lets one thread at a time into its critical section", "[spin_lock]") {
  constexpr int kThreads = 4;
  constexpr int kRounds = 40'000 / fibrio::test::kSlowdown;
  SpinLock lock;
  long count = 0;  // guarded by lock; a plain number, so that a lost update shows
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        std::lock_guard guard(lock);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(count == long{kThreads} * kRounds);
}

TEST_CASE("SpinLock shows the next owner by try_lock what the last one wrote", "[spin_lock]") {
  constexpr int kRounds = 20'000 / fibrio::test::kSlowdown;
  SpinLock lock;
  int first = 0;
  int second = 0;
  int torn = 0;
  std::thread writer([&] {
    for (int round = 1; round <= kRounds; ++round) {
      std::lock_guard guard(lock);
      first = round;
      second = round;
    }
  });
  for (bool finished = false; !finished;) {
    if (!lock.try_lock()) continue;
    if (first != second) ++torn;
    finished = first == kRounds;
    lock.unlock();
  }
  writer.join();
  REQUIRE(torn == 0);
}

}  // namespace
