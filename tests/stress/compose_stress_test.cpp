// Compositions at random on several workers: groups leave no child, a timeout never swallows a cancel from
// outside, and requests are conserved.
#include <atomic>
#include <stdexcept>
#include <vector>

#include "stress/stress.hpp"

using namespace std::chrono_literals;
using namespace fibrio::test;

namespace {

std::chrono::microseconds micros(Random& random, int bound) {
  return std::chrono::microseconds(random.below(bound));
}

struct Failed : std::runtime_error {
  Failed() : std::runtime_error("failed on purpose") {}
};

// One that sleeps, fails, yields, nests; always counted.
struct Child {
  std::atomic<int>& alive;
  std::uint64_t stream;
  int depth;

  int operator()() const {
    struct Count {
      std::atomic<int>& alive;
      ~Count() { --alive; }
    } const count{(++alive, alive)};
    Random random(stream);
    switch (random.below(6)) {
      case 0:
        fibrio::sleep(micros(random, 300));
        break;
      case 1:
        for (int i = random.below(5); i > 0; --i) fibrio::yield();
        break;
      case 2:
        fibrio::yield();
        if (random.below(3) == 0) throw Failed();
        break;
      case 3:
        try {
          fibrio::sleep(1h);
        } catch (const fibrio::CancelledError&) {
          fibrio::yield();
          throw;
        }
        break;
      case 4:
        if (depth > 0) return nest(random);
        break;
      default:
        break;
    }
    return 1;
  }

  int nest(Random& random) const {
    std::atomic<int> here{0};
    const auto child = [&](int i) {
      return Child{here, stream * 31 + static_cast<std::uint64_t>(i), depth - 1};
    };
    try {
      fibrio::timeout(micros(random, 400), [&] {
        fibrio::task_group([&](fibrio::TaskGroup& group) {
          for (int i = 0; i < 3; ++i) group.create_task(child(i));
          if (random.below(4) == 0) group.cancel();
        });
      });
    } catch (const fibrio::TimeoutError&) {
    } catch (const fibrio::ExceptionGroup&) {
    }
    return here.load() == 0 ? 1 : -1;
  }
};

}  // namespace

TEST_CASE("Groups at random, failing, timing out, cancelled: none leaves a child", "[stress]") {
  const int rounds = scaled(150);
  stress("groups", [&](Watchdog& watchdog) {
    Expect expect;
    for (int round = 0; round < rounds; ++round) {
      Random random(static_cast<std::uint64_t>(round));
      const auto body_sleeps = micros(random, 300);
      std::atomic<int> alive{0};
      std::atomic<int> negative{0};
      auto task = fibrio::create_task([&] {
        fibrio::task_group([&](fibrio::TaskGroup& group) {
          for (int i = 0; i < 8; ++i) {
            const Child child{alive, static_cast<std::uint64_t>(round * 8 + i), 2};
            group.create_task([&negative, child] { negative += child() < 0 ? 1 : 0; });
          }
          if (round % 3 == 0) fibrio::sleep(body_sleeps);
        });
      });
      fibrio::sleep(micros(random, 500));
      task.cancel();  // some children only end when they are cancelled
      task.wait();
      static_cast<void>(task.cancelled() || task.exception() != nullptr);
      expect(alive == 0, "a group left a child");
      expect(negative == 0, "a nested group left a child");
      watchdog.progress();
    }
    INFO("FIBRIO_TEST_SEED=" << test_seed());
    CHECK(expect.failures() == "");
  });
}

TEST_CASE(
    "Timeouts race cancels and completions: no cancel from outside is swallowed, no request is left over",
    "[stress]") {
  const int rounds = scaled(400);
  stress("timeouts", [&](Watchdog& watchdog) {
    Expect expect;
    auto& loop = fibrio::get_running_loop();
    for (int round = 0; round < rounds; ++round) {
      Random random(static_cast<std::uint64_t>(round));
      const auto limit = micros(random, 200);
      const auto other_limit = micros(random, 200);
      const auto when = micros(random, 200);
      const bool cancels = random.below(2) == 0;
      const int way = random.below(3);
      fibrio::Future<int> future = loop.create_future<int>();
      struct Ended {
        bool by_cancel = false;
        int left = -1;
      };
      const auto is_inside = std::make_shared<std::atomic<bool>>(false);
      auto task = fibrio::create_task([=] {
        Ended ended;
        try {
          fibrio::timeout(limit, [&] {
            fibrio::timeout(other_limit, [&] {
              *is_inside = true;
              if (way == 0) fibrio::sleep(150us);
              if (way == 1) fibrio::await(future);
              if (way == 2) fibrio::gather(future, [] { fibrio::sleep(100us); });
            });
          });
        } catch (const fibrio::CancelledError&) {
          ended.by_cancel = true;
        } catch (const fibrio::TimeoutError&) {
        }
        try {
          fibrio::yield();  // what is pending comes here
        } catch (const fibrio::CancelledError&) {
          ended.by_cancel = true;
        }
        ended.left = fibrio::current_task().cancelling();
        return ended;
      });
      auto producer = fibrio::create_task([=]() mutable {
        fibrio::sleep(when);
        future.try_set_result(1);
      });
      bool accepted = false;
      bool was_inside = false;
      if (cancels) {
        fibrio::sleep(micros(random, 200));
        was_inside = *is_inside;
        accepted = task.cancel();
      }
      task.wait();
      producer.wait();
      if (task.cancelled()) {
        // The request came after the last wait.
        expect(accepted, "a request of a timeout was left over");
      } else {
        const Ended& ended = task.result();
        expect(ended.left == (accepted ? 1 : 0), "requests are not conserved");
        // One that came before a scope began counts as one from before: if the scope's deadline passes before it is
        // delivered, TimeoutError comes, as in asyncio (uncancel() <= the count at the beginning).
        const bool may_be_swallowed = accepted && !was_inside;
        expect(ended.by_cancel == accepted || may_be_swallowed,
               accepted ? "a cancel from outside was swallowed"
                        : "a timeout's request came out as CancelledError");
      }
      watchdog.progress();
    }
    INFO("FIBRIO_TEST_SEED=" << test_seed());
    CHECK(expect.failures() == "");
  });
}
