// What: the spin lock under every interleaving.
#include "base/spin_lock.hpp"

#include <atomic>

#include "support/catch.hpp"
#include "support/model/model.hpp"

namespace model = fibrio::model;
using SpinLock = fibrio::detail::BasicSpinLock<model::Atomic>;

namespace {

model::Body increments(int threads, int rounds) {
  return [=](model::Execution& execution) {
    SpinLock lock;
    model::Var<int> count{0};
    for (int i = 0; i < threads; ++i) {
      execution.thread([&] {
        for (int round = 0; round < rounds; ++round) {
          lock.lock();
          count.set(count.get() + 1);
          lock.unlock();
        }
      });
    }
    execution.join();
    model::check(count.get() == threads * rounds, "no increment is lost");
  };
}

}  // namespace

TEST_CASE("SpinLock lets one of two threads in", "[model][spin_lock]") {
  const auto result = model::explore({.preemption_bound = 3}, increments(2, 2));
  CHECK(result);
  CHECK(result.exhausted);
}

TEST_CASE("SpinLock lets one of three threads in", "[model][spin_lock]") {
  const auto result = model::explore(increments(3, 1));
  CHECK(result);
  CHECK(result.exhausted);
  CHECK(model::explore(model::random_search(50'000), increments(3, 2)));
}

TEST_CASE("SpinLock try_lock never waits and never lets a second thread in", "[model][spin_lock]") {
  const auto result = model::explore({.preemption_bound = 3}, [](model::Execution& execution) {
    SpinLock lock;
    model::Var<int> count{0};
    int failures = 0;
    const auto attempt = [&] {
      if (!lock.try_lock()) {
        ++failures;  // model threads take turns: no race
        return;
      }
      count.set(count.get() + 1);
      lock.unlock();
    };
    execution.thread(attempt);
    execution.thread(attempt);
    execution.thread([&] {
      lock.lock();
      count.set(count.get() + 1);
      lock.unlock();
    });
    execution.join();
    model::check(count.get() + failures == 3, "each got in or was told");
    model::check(lock.try_lock(), "nobody left it locked");
    model::check(!lock.try_lock(), "it is locked now");
    lock.unlock();
  });
  CHECK(result);
  CHECK(result.exhausted);
}
